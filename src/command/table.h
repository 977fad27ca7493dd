/* A table for a terminal: columns as wide as they need, and narrower or gone where it is not wide enough for all. */
#ifndef CONESOCKS_COMMAND_TABLE_H
#define CONESOCKS_COMMAND_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

struct table_column {
    const char *title;
    bool right;     /* aligned, as numbers are */
    size_t least;   /* columns below which it makes no sense; 0: it is never shortened */
    unsigned spare; /* 0: stays; else the highest goes first */
};

struct table;

/* `columns` outlives it. NULL: out of memory. */
struct table *table_new(const struct table_column *columns, size_t count);
void table_free(struct table *table);
/* A row of as many cells; a NULL is "-". The texts are escaped: see terminal_escape. */
bool table_add(struct table *table, const char *const *cells);
/* Titles, then the rows; columns without anything but "-" are left out. */
void table_print(const struct table *table, FILE *out, size_t width);

/* What of `natural` columns fits into `width`, with two between each; those that go get a width of 0. */
void table_layout(const struct table_column *columns, const size_t *natural, size_t count, size_t width,
                  size_t *widths);

#endif
