/* A table for a terminal. Columns are as wide as needed; if the terminal is too narrow, some shrink or are left out. */
#ifndef CONESOCKS_COMMAND_TABLE_H
#define CONESOCKS_COMMAND_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *title;
    bool right;     /* aligned, as numbers are */
    size_t least;   /* its smallest useful width; 0: it is never shortened */
    unsigned spare; /* 0: always shown; otherwise the column with the highest number is left out first */
};

struct terminal_table;

/* `columns` must outlive it. NULL: out of memory. */
struct terminal_table *table_new(const struct table_column *columns, size_t count);
void table_free(struct terminal_table *table);
/* Adds a row; a NULL cell shows "-". Escapes the texts (terminal_escape). */
bool table_add(struct terminal_table *table, const char *const *cells);
/* Prints the titles, then the rows. A column that has only "-" is left out. */
void table_print(const struct terminal_table *table, FILE *out, size_t width);

/* Computes widths that fit into `width`, with two spaces between columns; a column that is left out gets 0. */
void table_layout(const struct table_column *columns, const size_t *natural, size_t count, size_t width,
                  size_t *widths);

#endif
