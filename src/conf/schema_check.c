#include "conf/schema_check.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/key_hint.h"
#include "conf/options.h"
#include "conf/shape.h"
#include "conf/suggest.h"

/* Room for "users[65535].password" and longer. */
#define PATH_MAX_LEN 128
/* How much of a value a message quotes. */
#define QUOTE_MAX 60

struct schema_check {
    yaml_document_t *document;
    struct report *report;
    char path[PATH_MAX_LEN]; /* of the value being checked: "listen[0].port" */
    size_t path_len;
};

/* The value of a group, an element of a list of mappings, or the whole file. */
static void schema_check_mapping(struct schema_check *check, const yaml_node_t *node, const struct schema_row *parent);

/* Appends one step to the path. Returns the length before, for schema_check_leave(). */
static size_t schema_check_enter(struct schema_check *check, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static size_t schema_check_enter(struct schema_check *check, const char *format, ...)
{
    size_t before = check->path_len, room = sizeof(check->path) - before;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(check->path + before, room, format, args);
    va_end(args);
    check->path_len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    return before;
}

static void schema_check_leave(struct schema_check *check, size_t before)
{
    assert(before <= check->path_len);
    check->path_len = before;
    check->path[before] = '\0';
}

static bool schema_check_is_empty(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.length == 0 &&
           node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static const char *schema_check_kind(const yaml_node_t *node)
{
    if (node->type == YAML_MAPPING_NODE)
        return "a mapping (key: value)";
    if (node->type == YAML_SEQUENCE_NODE)
        return "a list";
    return schema_check_is_empty(node) ? "nothing" : "a single value";
}

/* Quotes the beginning of a value. The login of a URL is left out, because errors also appear in the log and the
 * status. */
static const char *schema_check_quote(const yaml_node_t *node, char *out, size_t size)
{
    char text[QUOTE_MAX];
    const char *value = (const char *)node->data.scalar.value;
    size_t len = node->data.scalar.length;
    const char *at = memrchr(value, '@', len);
    size_t hidden = at && memchr(value, ':', (size_t)(at - value)) ? (size_t)(at - value) : 0;
    size_t used = log_escape(text, sizeof(text), value + hidden, len - hidden);
    snprintf(out, size, "\"%s%s\"%s", hidden ? "..." : "", text, used < len - hidden ? "..." : "");
    return out;
}

/* Writes what a message needs in pieces. Both texts are the caller's (free). */
struct wording {
    char *expected, *suggestion;
    size_t expected_size, suggestion_size;
    FILE *expect, *suggest;
};

static bool wording_begin(struct wording *wording)
{
    *wording = (struct wording){0};
    wording->expect = open_memstream(&wording->expected, &wording->expected_size);
    wording->suggest = open_memstream(&wording->suggestion, &wording->suggestion_size);
    return wording->expect && wording->suggest;
}

/* The texts are complete. */
static void wording_close(struct wording *wording)
{
    if (wording->expect)
        fclose(wording->expect);
    if (wording->suggest)
        fclose(wording->suggest);
    wording->expect = wording->suggest = NULL;
}

static void wording_free(struct wording *wording)
{
    wording_close(wording);
    free(wording->expected);
    free(wording->suggestion);
}

static void schema_check_expect(const struct schema_row *row, bool element, FILE *out)
{
    if (row->kind == SCHEMA_VALUE || (row->kind == SCHEMA_VALUES && element))
        schema_expect(row, out);
    else if (row->kind == SCHEMA_GROUP || element)
        fputs("a mapping (key: value)", out);
    else
        fputs("a list; [] is an empty one", out);
}

/* Reports a list, a mapping or a single value where the row, or an element of its list, expects something else. It is
 * not quoted, because it may be a password. */
static void report_wrong_kind(struct schema_check *check, const yaml_node_t *node, const struct schema_row *row,
                              bool element)
{
    struct wording wording;
    if (wording_begin(&wording)) {
        schema_check_expect(row, element, wording.expect);
        shape_suggest(check->document, node, row, element, wording.suggest);
        wording_close(&wording);
        report_error(check->report, document_place(node), check->path, "found %s, expected %s%s",
                     schema_check_kind(node), wording.expected, wording.suggestion);
    }
    wording_free(&wording);
}

static void report_wrong_value(struct schema_check *check, const yaml_node_t *node, const struct schema_row *row,
                               const char *hint)
{
    char found[QUOTE_MAX + 8];
    struct wording wording;
    if (wording_begin(&wording)) {
        schema_expect(row, wording.expect);
        const char *text = (const char *)node->data.scalar.value;
        bool known = strlen(text) == node->data.scalar.length && suggest_value(row, text, wording.suggest);
        wording_close(&wording);
        if (row->type->secret)
            report_error(check->report, document_place(node), check->path, "found %s, expected %s", hint,
                         wording.expected);
        else
            report_error(check->report, document_place(node), check->path, "found %s, expected %s%s%s%s%s",
                         schema_check_quote(node, found, sizeof(found)), wording.expected, *hint ? "; " : "", hint,
                         known ? "; write " : "", wording.suggestion);
    }
    wording_free(&wording);
}

static void schema_check_value(struct schema_check *check, const yaml_node_t *node, const struct schema_row *row)
{
    union {
        char *text; /* an owned field starts with its pointer */
        max_align_t aligned;
        unsigned char bytes[SCHEMA_FIELD_MAX];
    } field = {0};
    assert(row->type->size <= sizeof(field));
    if (node->type != YAML_SCALAR_NODE) {
        report_wrong_kind(check, node, row, row->kind == SCHEMA_VALUES);
        return;
    }
    const char *text = (const char *)node->data.scalar.value;
    /* A value with a NUL byte does not fit into a C string. */
    const char *hint =
        strlen(text) == node->data.scalar.length ? schema_parse(row, text, &field) : "remove the NUL byte";
    if (row->type->owned)
        free(field.text);
    if (hint && schema_check_is_empty(node))
        report_wrong_kind(check, node, row, row->kind == SCHEMA_VALUES);
    else if (hint)
        report_wrong_value(check, node, row, hint);
}

static void schema_check_list(struct schema_check *check, const yaml_node_t *node, const struct schema_row *row)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        report_wrong_kind(check, node, row, false);
        return;
    }
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - items);
    if (count < row->min || count > row->max)
        report_error(check->report, document_place(node), check->path, "found %zu elements, expected %ju to %ju", count,
                     (uintmax_t)row->min, (uintmax_t)row->max);
    for (size_t i = 0; i < count && !report_full(check->report); i++) {
        size_t before = schema_check_enter(check, "[%zu]", i);
        const yaml_node_t *value = yaml_document_get_node(check->document, items[i]);
        if (row->kind == SCHEMA_LIST)
            schema_check_mapping(check, value, row);
        else
            schema_check_value(check, value, row);
        schema_check_leave(check, before);
    }
}

static void report_unknown_key(struct schema_check *check, const yaml_node_t *key, const struct schema_row *rows,
                               const struct schema_row *above)
{
    char name[QUOTE_MAX + 8];
    struct wording wording;
    if (key->type != YAML_SCALAR_NODE) {
        report_error(check->report, document_place(key), check->path, "found %s, expected a key",
                     schema_check_kind(key));
        return;
    }
    if (wording_begin(&wording)) {
        const struct key_place place = {rows, above, .top = check->path_len == 0};
        key_hint((const char *)key->data.scalar.value, &place, wording.expect);
        wording_close(&wording);
        report_error(check->report, document_place(key), check->path, "found the unknown key %s, expected %s",
                     schema_check_quote(key, name, sizeof(name)), wording.expected);
    }
    wording_free(&wording);
}

static void schema_check_pair(struct schema_check *check, const yaml_node_t *value, const struct schema_row *row)
{
    if (row->kind == SCHEMA_VALUE)
        schema_check_value(check, value, row);
    else if (row->kind == SCHEMA_GROUP)
        schema_check_mapping(check, value, row);
    else
        schema_check_list(check, value, row);
}

static void schema_check_mapping(struct schema_check *check, const yaml_node_t *node, const struct schema_row *parent)
{
    const yaml_node_t *given[SCHEMA_ROWS_MAX] = {0};
    const struct schema_row *rows = parent->rows, *above = NULL;
    if (node->type != YAML_MAPPING_NODE) {
        report_wrong_kind(check, node, parent, parent->kind == SCHEMA_LIST);
        return;
    }
    for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start; pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *key = yaml_document_get_node(check->document, pair->key);
        const struct schema_row *row =
            key->type == YAML_SCALAR_NODE
                ? schema_find(rows, (const char *)key->data.scalar.value, key->data.scalar.length)
                : NULL;
        if (report_full(check->report))
            return;
        if (!row) {
            report_unknown_key(check, key, rows, above);
            continue;
        }
        above = row;
        size_t before = schema_check_enter(check, "%s%s", check->path_len ? "." : "", row->key);
        assert(row - rows < SCHEMA_ROWS_MAX);
        const yaml_node_t **first = &given[row - rows];
        if (*first)
            report_error(check->report, document_place(key), check->path,
                         "found a second time, expected once; the first is on line %zu", document_place(*first).line);
        else
            *first = key;
        schema_check_pair(check, yaml_document_get_node(check->document, pair->value), row);
        schema_check_leave(check, before);
    }
    for (size_t i = 0; rows[i].key; i++)
        if (rows[i].kind == SCHEMA_VALUE && !rows[i].initial && !given[i])
            report_error(check->report, document_place(node), check->path, "found no %s, which is required: %s",
                         rows[i].key, rows[i].help);
}

bool schema_check_document(yaml_document_t *document, struct report *report)
{
    struct schema_check check = {.document = document, .report = report};
    unsigned before = report->error_count;
    static const struct schema_row whole_file = {.kind = SCHEMA_GROUP, .rows = config_options};
    schema_check_mapping(&check, yaml_document_get_root_node(document), &whole_file);
    return report->error_count == before;
}
