#include "conf/yaml_hint.h"

#include <stdbool.h>
#include <string.h>

/* A line of the file, without its newline. */
struct hint_line {
    const char *text;
    size_t len, number; /* counted from 1; 0: there is no such line */
};

struct hint {
    struct hint_line at;    /* where libyaml noticed the error */
    struct hint_line above; /* the line with content above it */
    size_t begin;           /* the number of the line in which the value or mapping begins */
    size_t column;          /* of the error, counted from 1 */
};

/* ---- lines ---- */

static struct hint_line hint_line_at(const char *text, size_t size, size_t number)
{
    const char *end = text + size;
    for (size_t i = 1; i < number && text < end; i++) {
        const char *newline = memchr(text, '\n', (size_t)(end - text));
        text = newline ? newline + 1 : end;
    }
    const char *newline = memchr(text, '\n', (size_t)(end - text));
    return (struct hint_line){text, (size_t)((newline ? newline : end) - text), number};
}

static size_t line_indent(const struct hint_line *line)
{
    size_t i = 0;
    while (i < line->len && line->text[i] == ' ')
        i++;
    return i;
}

/* The column, from 0, in which a key begins: behind "- ". */
static size_t line_key(const struct hint_line *line)
{
    size_t i = line_indent(line);
    while (i + 1 < line->len && line->text[i] == '-' && line->text[i + 1] == ' ')
        for (i++; i < line->len && line->text[i] == ' ';)
            i++;
    return i;
}

static bool line_has(const struct hint_line *line, const char *what)
{
    return line->number > 0 && memmem(line->text, line->len, what, strlen(what)) != NULL;
}

static char line_char(const struct hint_line *line, size_t column)
{
    return column >= 1 && column <= line->len ? line->text[column - 1] : '\0';
}

/* Whether the line begins with a key whose ":" has neither a space nor the line's end behind it. */
static bool line_has_glued_colon(const struct hint_line *line)
{
    size_t key = line_key(line);
    size_t len = 0;
    while (key + len < line->len && strchr("abcdefghijklmnopqrstuvwxyz_0123456789", line->text[key + len]))
        len++;
    return len > 0 && key + len + 1 < line->len && line->text[key + len] == ':' && line->text[key + len + 1] != ' ';
}

static bool line_has_colon(const struct hint_line *line)
{
    return line_has(line, ": ") || (line->len > 0 && line->text[line->len - 1] == ':');
}

static bool line_begins(const struct hint_line *line, const char *what)
{
    size_t begin = line_key(line), len = strlen(what);
    return line->len - begin >= len && memcmp(line->text + begin, what, len) == 0;
}

/* "address 127.0.0.1", unlike an element of a list. */
static bool line_has_two_words(const struct hint_line *line)
{
    size_t begin = line_key(line);
    return memchr(line->text + begin, ' ', line->len - begin) != NULL;
}

static bool line_has_two_keys(const struct hint_line *line)
{
    const char *first = memmem(line->text, line->len, ": ", 2);
    return first && memmem(first + 2, line->len - (size_t)(first + 2 - line->text), ": ", 2) != NULL;
}

/* In one pass, because a file may have a million empty lines. */
static struct hint_line hint_content_above(const char *text, size_t size, size_t number)
{
    struct hint_line above = {0};
    const char *end = text + size;
    for (size_t i = 1; i < number && text < end; i++) {
        struct hint_line line = hint_line_at(text, (size_t)(end - text), 1);
        size_t indent = line_indent(&line);
        line.number = i;
        if (indent < line.len && line.text[indent] != '#' && line.text[indent] != '\r')
            above = line;
        text += line.len;
        text += text < end; /* its newline */
    }
    return above;
}

/* ---- hints ---- */

#define KEY_FORM "a colon and a space belong between key and value"

static void hint_on_columns(const struct hint *hint, FILE *out)
{
    if (hint->above.number == 0 || line_indent(&hint->at) == line_indent(&hint->above)) {
        fputs("; expected lines such as \"workers: 0\"", out);
        return;
    }
    fprintf(out, "; line %zu begins in column %zu, but ", hint->at.number, line_indent(&hint->at) + 1);
    if (line_key(&hint->above) != line_indent(&hint->above))
        fprintf(out, "the key in line %zu in column %zu; ", hint->above.number, line_key(&hint->above) + 1);
    else
        fprintf(out, "line %zu in column %zu; ", hint->above.number, line_indent(&hint->above) + 1);
    fputs("keys that belong together begin in the same column", out);
}

/* "mapping values are not allowed": a second ": " in what libyaml takes for one value. */
static void hint_on_mapping(const struct hint *hint, FILE *out)
{
    const struct hint_line *at = &hint->at, *above = &hint->above;
    char dash = line_char(above, line_indent(above) + 1), behind = line_char(above, line_indent(above) + 2);
    if (above->number > 0 && line_begins(above, "//"))
        fprintf(out, "; line %zu: a comment begins with #", above->number);
    else if (above->number > 0 && dash == '-' && behind != ' ')
        fprintf(out, "; line %zu: a space belongs after the dash", above->number);
    else if (above->number > 0 &&
             (line_has_glued_colon(above) || (!line_has_colon(above) && line_has_two_words(above))))
        fprintf(out, "; line %zu: " KEY_FORM, above->number);
    else if (line_has_two_keys(at))
        fputs("; write one key in a line, and a value with a colon in quotes", out);
    else if (above->number > 0 && line_indent(at) != line_key(above))
        hint_on_columns(hint, out);
    else if (above->number > 0)
        fprintf(out, "; line %zu begins in the column of a list's element, expected that of the other keys",
                at->number);
}

static void hint_on_key(const struct hint *hint, FILE *out)
{
    fprintf(out, "; line %zu: " KEY_FORM, hint->begin);
}

static void hint_on_character(char first, FILE *out)
{
    if (first == '\t')
        fputs("; indent with spaces, not with tabs", out);
    else if (first >= '!' && first <= '~')
        fprintf(out, "; a value that begins with %c belongs in quotes", first);
}

static void hint_on_dash(const struct hint *hint, FILE *out)
{
    if (line_char(&hint->at, hint->column) == ',')
        fputs("; remove the comma", out);
    else
        hint_on_columns(hint, out);
}

struct hint_row {
    const char *problem; /* as libyaml words it */
    void (*write)(const struct hint *hint, FILE *out);
    const char *hint; /* if no function writes it */
};

static const struct hint_row hint_rows[] = {
    {"could not find expected ':'", hint_on_key, NULL},
    {"mapping values are not allowed", hint_on_mapping, NULL},
    {"did not find expected '-' indicator", hint_on_dash, NULL},
    {"did not find expected key", hint_on_columns, NULL},
    {"did not find expected <document start>", hint_on_columns, NULL},
    {"did not find expected ',' or '}'", NULL, "; a comma between two keys or the } at the end is missing"},
    {"did not find expected ',' or ']'", NULL, "; a comma between two elements or the ] at the end is missing"},
    {"did not find expected alphabetic or numeric character", NULL,
     "; a value that begins with * or & belongs in quotes"},
    {"block sequence entries are not allowed", NULL, "; begin a line of its own with the dash"},
    {"found unknown escape character", NULL, "; in double quotes a backslash has a meaning; use single quotes"},
    {"found unexpected end of stream", NULL, "; the quote at the end is missing"},
};

void yaml_hint(const yaml_parser_t *parser, const char *text, size_t size, FILE *out)
{
    const char *problem = parser->problem ? parser->problem : "";
    size_t number = parser->problem_mark.line + 1;
    struct hint hint = {hint_line_at(text, size, number), hint_content_above(text, size, number),
                        parser->context_mark.line + 1, parser->problem_mark.column + 1};
    if (line_char(&hint.at, line_indent(&hint.at) + 1) == '\t') {
        fputs("; indent with spaces, not with tabs", out);
    } else if (line_has(&hint.at, "${")) {
        fputs("; variables are not replaced in this file", out);
    } else if (line_has(&hint.at, "::")) {
        fputs("; put IPv6 addresses in quotes: \"::1\"", out);
    } else if (strstr(problem, "cannot start any token")) {
        hint_on_character(line_char(&hint.at, hint.column), out);
    } else {
        for (size_t i = 0; i < sizeof(hint_rows) / sizeof(hint_rows[0]); i++) {
            if (strncmp(problem, hint_rows[i].problem, strlen(hint_rows[i].problem)) != 0)
                continue;
            if (hint_rows[i].write)
                hint_rows[i].write(&hint, out);
            else
                fputs(hint_rows[i].hint, out);
        }
    }
}
