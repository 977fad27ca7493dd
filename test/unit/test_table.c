#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command/table.h"
#include "command/terminal.h"

static const struct table_column columns[] = {{"CLIENT", .least = 5},
                                              {"USER", .least = 4, .spare = 1},
                                              {"UP", .right = true},
                                              {"AGE", .right = true, .spare = 2}};
#define COLUMNS (sizeof(columns) / sizeof(columns[0]))

static void expect_layout(const size_t *natural, size_t width, const size_t *expected)
{
    size_t widths[COLUMNS];
    table_layout(columns, natural, COLUMNS, width, widths);
    for (size_t i = 0; i < COLUMNS; i++)
        assert_int_equal(widths[i], expected[i]);
}

static void the_widths_of_columns(void **state)
{
    (void)state;
    const size_t natural[COLUMNS] = {20, 10, 6, 4};
    expect_layout(natural, TERMINAL_ANY_WIDTH, natural);
    expect_layout(natural, 46, natural);
    expect_layout(natural, 45, (size_t[]){19, 10, 6, 4});
    expect_layout(natural, 34, (size_t[]){9, 9, 6, 4}); /* the long ones alike */
    expect_layout(natural, 25, (size_t[]){5, 4, 6, 4});
    expect_layout(natural, 24, (size_t[]){7, 7, 6, 0} /* the room of what went is for the others */);
    expect_layout(natural, 18, (size_t[]){10, 0, 6, 0});
    expect_layout(natural, 1, (size_t[]){5, 0, 6, 0}); /* those stay, fit or not */
    expect_layout((const size_t[]){20, 0, 6, 4}, 80, (size_t[]){20, 0, 6, 4});
}

/* free() it. */
static char *print(const struct terminal_table *table, size_t width)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    table_print(table, out, width);
    fclose(out);
    return text;
}

static void expect_table(const struct terminal_table *table, size_t width, const char *expected)
{
    char *text = print(table, width);
    assert_string_equal(text, expected);
    free(text);
}

static void a_table(void **state)
{
    (void)state;
    struct terminal_table *table = table_new(columns, COLUMNS);
    assert_non_null(table);
    expect_table(table, 80, "\n");
    assert_true(table_add(table, (const char *const[]){"10.0.0.1:5000", "alice", "7", NULL}));
    assert_true(table_add(table, (const char *const[]){"10.0.0.22:50000", NULL, "1234", NULL}));
    expect_table(table, 80,
                 "CLIENT           USER     UP\n"
                 "10.0.0.1:5000    alice     7\n"
                 "10.0.0.22:50000  -      1234\n");
    expect_table(table, 15,
                 "CLIENT       UP\n"
                 "10.0~5000     7\n"
                 "10.0~0000  1234\n");
    table_free(table);
    table_free(NULL);
}

/* Row 51: what a client chose is one cell of one line. */
static void row_51_cells_are_escaped(void **state)
{
    (void)state;
    struct terminal_table *table = table_new(columns, COLUMNS);
    assert_non_null(table);
    for (int i = 0; i < 100; i++)
        assert_true(table_add(table, (const char *const[]){"a\nb", "\x1b[2J", "0", "1"}));
    char *text = print(table, TERMINAL_ANY_WIDTH);
    assert_null(strchr(text, '\x1b'));
    assert_non_null(strstr(text, "\na\\x0ab  \\x1b[2J   0    1\n"));
    size_t lines = 0;
    for (const char *at = text; (at = strchr(at, '\n')); at++)
        lines++;
    assert_int_equal(lines, 101);
    free(text);
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_widths_of_columns),
        cmocka_unit_test(a_table),
        cmocka_unit_test(row_51_cells_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
