#include "conf/schema_check.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/options.h"

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

static void schema_check_mapping(struct schema_check *check, const yaml_node_t *node, const struct schema_row *rows);

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

static const char *schema_check_kind(const yaml_node_t *node)
{
    if (node->type == YAML_MAPPING_NODE)
        return "a mapping (key: value)";
    if (node->type == YAML_SEQUENCE_NODE)
        return "a list";
    bool empty = node->data.scalar.length == 0 && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    return empty ? "nothing" : "a single value";
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

/* Reports a value of the wrong kind. It is not quoted, because it may be a password. */
static void report_wrong_kind(struct schema_check *check, const yaml_node_t *node, const char *expected)
{
    report_error(check->report, document_place(node), check->path, "found %s, expected %s", schema_check_kind(node),
                 expected);
}

static void report_wrong_value(struct schema_check *check, const yaml_node_t *node, const struct schema_row *row,
                               const char *hint)
{
    char found[QUOTE_MAX + 8];
    char *expected = NULL;
    size_t size;
    FILE *out = open_memstream(&expected, &size);
    if (!out) {
        report_error(check->report, document_place(node), check->path, "out of memory");
        return;
    }
    schema_expect(row, out);
    fclose(out);
    bool absent = node->type != YAML_SCALAR_NODE || strcmp(schema_check_kind(node), "nothing") == 0;
    if (absent)
        report_wrong_kind(check, node, expected);
    else if (row->type->secret)
        report_error(check->report, document_place(node), check->path, "found %s, expected %s", hint, expected);
    else
        report_error(check->report, document_place(node), check->path, "found %s, expected %s%s%s",
                     schema_check_quote(node, found, sizeof(found)), expected, *hint ? "; " : "", hint);
    free(expected);
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
        report_wrong_value(check, node, row, "");
        return;
    }
    const char *text = (const char *)node->data.scalar.value;
    /* A value with a NUL byte does not fit into a C string. */
    const char *hint =
        strlen(text) == node->data.scalar.length ? schema_parse(row, text, &field) : "remove the NUL byte";
    if (row->type->owned)
        free(field.text);
    if (hint)
        report_wrong_value(check, node, row, hint);
}

static void schema_check_list(struct schema_check *check, const yaml_node_t *node, const struct schema_row *row)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        report_wrong_kind(check, node, "a list; [] is an empty one");
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
            schema_check_mapping(check, value, row->rows);
        else
            schema_check_value(check, value, row);
        schema_check_leave(check, before);
    }
}

static void report_unknown_key(struct schema_check *check, const yaml_node_t *key, const struct schema_row *rows)
{
    if (key->type != YAML_SCALAR_NODE) {
        report_wrong_kind(check, key, "a key");
        return;
    }
    char name[QUOTE_MAX + 8], known[512] = "one of";
    const char *nearest = schema_nearest(rows, (const char *)key->data.scalar.value);
    for (size_t used = strlen(known); rows->key && used < sizeof(known); rows++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s %s", used > strlen("one of") ? "," : "",
                                 rows->key);
    report_error(check->report, document_place(key), check->path, "found the unknown key %s, expected %s%s%s",
                 schema_check_quote(key, name, sizeof(name)), nearest ? "\"" : "", nearest ? nearest : known,
                 nearest ? "\"" : "");
}

static void schema_check_pair(struct schema_check *check, const yaml_node_t *value, const struct schema_row *row)
{
    if (row->kind == SCHEMA_VALUE)
        schema_check_value(check, value, row);
    else if (row->kind == SCHEMA_GROUP)
        schema_check_mapping(check, value, row->rows);
    else
        schema_check_list(check, value, row);
}

static void schema_check_mapping(struct schema_check *check, const yaml_node_t *node, const struct schema_row *rows)
{
    const yaml_node_t *given[SCHEMA_ROWS_MAX] = {0};
    if (node->type != YAML_MAPPING_NODE) {
        report_wrong_kind(check, node, "a mapping (key: value)");
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
            report_unknown_key(check, key, rows);
            continue;
        }
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
    schema_check_mapping(&check, yaml_document_get_root_node(document), config_options);
    return report->error_count == before;
}
