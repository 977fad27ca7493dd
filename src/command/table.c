#include "command/table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "command/terminal.h"

#define GAP 2

struct terminal_table {
    const struct table_column *columns;
    size_t count, row_count, size;
    char **cells; /* escaped, row by row */
};

struct terminal_table *table_new(const struct table_column *columns, size_t count)
{
    assert(count <= TABLE_COLUMNS_MAX);
    struct terminal_table *table = calloc(1, sizeof(*table));
    if (table)
        *table = (struct terminal_table){.columns = columns, .count = count};
    return table;
}

void table_free(struct terminal_table *table)
{
    if (!table)
        return;
    for (size_t i = 0; i < table->row_count * table->count; i++)
        free(table->cells[i]);
    free(table->cells);
    free(table);
}

bool table_add(struct terminal_table *table, const char *const *cells)
{
    if (table->row_count == table->size) {
        size_t size = table->size ? 2 * table->size : 16;
        char **grown = reallocarray(table->cells, size * table->count, sizeof(*grown));
        if (!grown)
            return false;
        table->cells = grown;
        table->size = size;
    }
    char **row = table->cells + table->row_count * table->count;
    for (size_t i = 0; i < table->count; i++) {
        row[i] = terminal_escape(cells[i] ? cells[i] : "-");
        if (row[i])
            continue;
        while (i > 0)
            free(row[--i]);
        return false;
    }
    table->row_count++;
    return true;
}

/* ---- layout ---- */

static size_t table_least_width(const struct table_column *column, size_t natural)
{
    return column->least > 0 && column->least < natural ? column->least : natural;
}

static size_t table_total_width(const size_t *widths, size_t count)
{
    size_t sum = 0;
    for (size_t i = 0; i < count; i++)
        if (widths[i] > 0)
            sum += widths[i] + (sum > 0 ? GAP : 0);
    return sum;
}

/* The column to leave out next; `count`: none. */
static size_t table_most_spare(const struct table_column *columns, const size_t *widths, size_t count)
{
    size_t found = count;
    for (size_t i = 0; i < count; i++)
        if (widths[i] > 0 && columns[i].spare > 0 && (found == count || columns[i].spare > columns[found].spare))
            found = i;
    return found;
}

/* Gives the remaining width to the columns that need more, the narrowest first: long ones end up equally wide. */
static void table_widen(const size_t *natural, size_t count, size_t left, size_t *widths)
{
    for (; left > 0; left--) {
        size_t found = count;
        for (size_t i = 0; i < count; i++)
            if (widths[i] > 0 && widths[i] < natural[i] && (found == count || widths[i] < widths[found]))
                found = i;
        if (found == count)
            return;
        widths[found]++;
    }
}

void table_layout(const struct table_column *columns, const size_t *natural, size_t count, size_t width, size_t *widths)
{
    for (size_t i = 0; i < count; i++)
        widths[i] = table_least_width(&columns[i], natural[i]);
    size_t spare;
    while (table_total_width(widths, count) > width && (spare = table_most_spare(columns, widths, count)) < count)
        widths[spare] = 0;
    size_t used = table_total_width(widths, count);
    table_widen(natural, count, used < width ? width - used : 0, widths);
}

/* ---- printing ---- */

/* The width of the longest cell of each column; 0: the column is empty. */
static void table_measure(const struct terminal_table *table, size_t *natural)
{
    for (size_t i = 0; i < table->count; i++) {
        size_t most = 0;
        bool empty = true;
        for (size_t row = 0; row < table->row_count; row++) {
            const char *cell = table->cells[row * table->count + i];
            size_t width = terminal_width(cell);
            most = width > most ? width : most;
            empty = empty && strcmp(cell, "-") == 0;
        }
        size_t title = strlen(table->columns[i].title);
        natural[i] = empty ? 0 : most > title ? most : title;
    }
}

static void table_print_row(const struct terminal_table *table, char *const *cells, const size_t *widths, FILE *out)
{
    size_t owed = 0; /* spaces to write before the next cell; none at the end of the line */
    for (size_t i = 0; i < table->count; i++) {
        if (widths[i] == 0)
            continue;
        size_t width = terminal_width(cells[i]), pad = width < widths[i] ? widths[i] - width : 0;
        fprintf(out, "%*s", (int)(owed + (table->columns[i].right ? pad : 0)), "");
        terminal_shorten(out, cells[i], widths[i]);
        owed = GAP + (table->columns[i].right ? 0 : pad);
    }
    fputc('\n', out);
}

void table_print(const struct terminal_table *table, FILE *out, size_t width)
{
    size_t natural[TABLE_COLUMNS_MAX], widths[TABLE_COLUMNS_MAX];
    char *titles[TABLE_COLUMNS_MAX];
    table_measure(table, natural);
    table_layout(table->columns, natural, table->count, width, widths);
    for (size_t i = 0; i < table->count; i++)
        titles[i] = (char *)(uintptr_t)table->columns[i].title;
    table_print_row(table, titles, widths, out);
    for (size_t row = 0; row < table->row_count; row++)
        table_print_row(table, table->cells + row * table->count, widths, out);
}
