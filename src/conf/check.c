#include "conf/check.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/netaddr.h"
#include "conf/schema.h"

/* Room for "users[65535].password" and longer. */
#define PATH_MAX_LEN 128
/* Of a value, as much as shows the reader which one is meant. */
#define QUOTE_MAX 60

struct check {
    yaml_document_t *document;
    struct report *report;
    char path[PATH_MAX_LEN]; /* of the value being checked: "listen[0].port" */
    size_t path_len;
};

static void check_mapping(struct check *check, const yaml_node_t *node, const struct schema_row *rows);

/* Goes down one step, appending to the path; returns what leave() takes to come back. */
static size_t enter(struct check *check, const char *format, ...) __attribute__((format(printf, 2, 3)));
static size_t enter(struct check *check, const char *format, ...)
{
    size_t before = check->path_len, room = sizeof(check->path) - before;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(check->path + before, room, format, args);
    va_end(args);
    check->path_len += n < 0 ? 0 : (size_t)n < room ? (size_t)n : room - 1;
    return before;
}

static void leave(struct check *check, size_t before)
{
    check->path_len = before;
    check->path[before] = '\0';
}

/* "text" as found, in quotes; or what stands there instead of text. */
static const char *describe(const yaml_node_t *node, char *text, size_t size)
{
    char quote[QUOTE_MAX];
    switch (node->type) {
    case YAML_MAPPING_NODE:
        return "a mapping (key: value)";
    case YAML_SEQUENCE_NODE:
        return "a list";
    case YAML_SCALAR_NODE:
        if (node->data.scalar.length == 0 && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE)
            return "nothing";
        log_escape(quote, sizeof(quote), (const char *)node->data.scalar.value, node->data.scalar.length);
        snprintf(text, size, "\"%s\"%s", quote, strlen(quote) < node->data.scalar.length ? "..." : "");
        return text;
    default:
        return "nothing";
    }
}

static void mistake(struct check *check, const yaml_node_t *node, const char *found, const char *expected,
                    const char *hint)
{
    char text[QUOTE_MAX + 8];
    if (!found)
        found = describe(node, text, sizeof(text));
    report_error(check->report, document_place(node), check->path, "found %s, expected %s%s%s", found, expected,
                 *hint ? "; " : "", hint);
}

static void check_value(struct check *check, const yaml_node_t *node, const struct schema_row *row)
{
    union {
        union netaddr addr;
        uint64_t number;
        char *text;
    } field = {0};
    char *expected = NULL;
    size_t size;
    const char *text = (const char *)node->data.scalar.value;
    const char *hint = "";
    if (node->type == YAML_SCALAR_NODE && strlen(text) == node->data.scalar.length) {
        hint = schema_parse(row, text, &field);
        if (row->type->owned)
            free(field.text);
        if (!hint)
            return;
    }
    FILE *out = open_memstream(&expected, &size);
    if (!out) {
        report_error(check->report, document_place(node), check->path, "out of memory");
        return;
    }
    schema_expect(row, out);
    fclose(out);
    if (row->type->secret && *hint)
        mistake(check, node, hint, expected, "");
    else
        mistake(check, node, NULL, expected, hint);
    free(expected);
}

static void check_list(struct check *check, const yaml_node_t *node, const struct schema_row *row)
{
    if (node->type != YAML_SEQUENCE_NODE) {
        mistake(check, node, NULL, "a list", "[] is an empty one");
        return;
    }
    const yaml_node_item_t *items = node->data.sequence.items.start;
    size_t count = (size_t)(node->data.sequence.items.top - items);
    if (count < row->min || count > row->max)
        report_error(check->report, document_place(node), check->path, "found %zu elements, expected %ju to %ju", count,
                     (uintmax_t)row->min, (uintmax_t)row->max);
    for (size_t i = 0; i < count && !report_full(check->report); i++) {
        size_t before = enter(check, "[%zu]", i);
        const yaml_node_t *value = yaml_document_get_node(check->document, items[i]);
        if (row->kind == SCHEMA_LIST)
            check_mapping(check, value, row->rows);
        else
            check_value(check, value, row);
        leave(check, before);
    }
}

static void unknown_key(struct check *check, const yaml_node_t *key, const struct schema_row *rows)
{
    const char *name = (const char *)key->data.scalar.value;
    const char *nearest = key->type == YAML_SCALAR_NODE ? schema_nearest(rows, name) : NULL;
    char known[512] = "one of";
    if (nearest) {
        mistake(check, key, NULL, nearest, "no such key");
        return;
    }
    for (size_t used = strlen(known); rows->key && used < sizeof(known); rows++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, " %s%s", rows->key, rows[1].key ? "," : "");
    mistake(check, key, NULL, known, "no such key");
}

static void check_pair(struct check *check, const yaml_node_t *value, const struct schema_row *row)
{
    if (row->kind == SCHEMA_VALUE)
        check_value(check, value, row);
    else if (row->kind == SCHEMA_GROUP)
        check_mapping(check, value, row->rows);
    else
        check_list(check, value, row);
}

static void check_mapping(struct check *check, const yaml_node_t *node, const struct schema_row *rows)
{
    const yaml_node_t *given[32] = {0};
    if (node->type != YAML_MAPPING_NODE) {
        mistake(check, node, NULL, "a mapping (key: value)", "");
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
            unknown_key(check, key, rows);
            continue;
        }
        size_t before = enter(check, "%s%s", check->path_len ? "." : "", row->key);
        const yaml_node_t **first = &given[row - rows];
        if (*first)
            report_error(check->report, document_place(key), check->path,
                         "found again, expected once; it stands in line %zu", document_place(*first).line);
        else
            *first = key;
        check_pair(check, yaml_document_get_node(check->document, pair->value), row);
        leave(check, before);
    }
    for (size_t i = 0; rows[i].key; i++)
        if (rows[i].kind == SCHEMA_VALUE && !rows[i].initial && !given[i])
            report_error(check->report, document_place(node), check->path, "found no %s, expected one: %s", rows[i].key,
                         rows[i].help);
}

bool check_document(yaml_document_t *document, struct report *report)
{
    struct check check = {.document = document, .report = report};
    unsigned before = report->error_count;
    check_mapping(&check, yaml_document_get_root_node(document), schema);
    return report->error_count == before;
}
