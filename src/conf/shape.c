#include "conf/shape.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "conf/options.h"
#include "conf/suggest.h"
#include "conf/value.h"

/* A longer text is shown in part. */
#define SHAPE_TEXT_MAX 128

static const char *shape_text(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value : "";
}

static const yaml_node_t *shape_item(yaml_document_t *document, const yaml_node_t *list, size_t i)
{
    const yaml_node_item_t *items = list->data.sequence.items.start;
    return i < (size_t)(list->data.sequence.items.top - items) ? yaml_document_get_node(document, items[i]) : NULL;
}

/* ---- writing YAML ---- */

/* As a plain value if that is safe inside brackets, else in quotes. */
static void shape_write_scalar(const char *text, FILE *out)
{
    char shown[SHAPE_TEXT_MAX];
    bool plain = isalnum((unsigned char)text[0]) || text[0] == '/' || text[0] == '.';
    for (const char *c = text; *c; c++)
        plain &= isalnum((unsigned char)*c) || strchr("._/- ", *c) != NULL;
    log_escape(shown, sizeof(shown), text, strlen(text));
    fprintf(out, plain ? "%s" : "\"%s\"", shown);
}

/* Writes the valid value that `len` bytes of `text` mean. */
static bool shape_write_value(const struct schema_row *row, const char *text, size_t len, FILE *out)
{
    char part[SHAPE_TEXT_MAX], *value = NULL;
    size_t size;
    if (len == 0 || len >= sizeof(part))
        return false;
    memcpy(part, text, len);
    part[len] = '\0';
    FILE *stream = open_memstream(&value, &size);
    if (!stream)
        return false;
    bool valid = suggest_value(row, part, stream);
    fclose(stream);
    if (valid)
        shape_write_scalar(value, out);
    free(value);
    return valid;
}

/* A required key with a value to fill in. */
static void shape_write_required(const struct schema_row *row, FILE *out)
{
    fprintf(out, "%s: %s", row->key, row->type->secret ? "\"...\"" : row->words ? row->words[row->min] : "...");
}

/* An element of a list of mappings, with the name if it is known. */
static void shape_write_example(const struct schema_row *list, const char *name, FILE *out)
{
    const char *comma = "";
    fputc('{', out);
    for (const struct schema_row *row = list->rows; row->key; row++) {
        if (row->kind != SCHEMA_VALUE || row->initial)
            continue;
        fputs(comma, out);
        comma = ", ";
        if (name && row == list->rows) {
            fprintf(out, "%s: ", row->key);
            shape_write_scalar(name, out);
        } else {
            shape_write_required(row, out);
        }
    }
    fputs("}", out);
}

/* ---- a listener in one value: 127.0.0.1:1080, :1080, 1080, socks5://[::1]:1080 ---- */

static bool shape_write_listener(const struct schema_row *rows, const char *text, FILE *out)
{
    const struct schema_row *address = schema_find(rows, "address", strlen("address"));
    const struct schema_row *port = schema_find(rows, "port", strlen("port"));
    const char *scheme = strstr(text, "://");
    if (!address || !address->initial || !port)
        return false;
    text = scheme ? scheme + strlen("://") : text;
    const char *colon = strrchr(text, ':');
    bool number = *text && strspn(text, "0123456789") == strlen(text);
    bool with_port = colon && (colon == strchr(text, ':') || (colon > text && colon[-1] == ']'));
    size_t host = number ? 0 : with_port ? (size_t)(colon - text) : strlen(text);
    const char *digits = number ? text : with_port ? colon + 1 : port->initial;
    fputs("{address: ", out);
    bool valid = shape_write_value(address,
                                   host        ? text
                                   : with_port ? "0.0.0.0"
                                               : address->initial,
                                   host ? host : strlen(with_port ? "0.0.0.0" : address->initial), out);
    fputs(", port: ", out);
    valid = valid && shape_write_value(port, digits, strlen(digits), out);
    fputc('}', out);
    return valid;
}

/* ---- the value after "key: "; each function returns whether it knows one ---- */

/* "to: 10.0.0.0/8", "ports: 25,465" */
static bool shape_write_values(const struct schema_row *row, const char *text, FILE *out)
{
    bool valid = *text != '\0';
    fputc('[', out);
    for (const char *comma = ""; *text && valid; comma = ", ") {
        size_t len = strcspn(text, ", ");
        fputs(comma, out);
        valid = shape_write_value(row, text, len, out);
        text += len;
        text += strspn(text, ", ");
    }
    fputc(']', out);
    return valid;
}

/* "ports: [30000, 31000]", "address_v4: [192.0.2.1, 192.0.2.2]" */
static bool shape_write_joined(yaml_document_t *document, const yaml_node_t *list, const struct schema_row *row,
                               const char *separator, FILE *out)
{
    char joined[SHAPE_TEXT_MAX] = "";
    size_t used = 0;
    const yaml_node_t *item;
    for (size_t i = 0; (item = shape_item(document, list, i)) != NULL && used < sizeof(joined); i++)
        used += (size_t)snprintf(joined + used, sizeof(joined) - used, "%s%s", i ? separator : "", shape_text(item));
    return used < sizeof(joined) && shape_write_value(row, joined, used, out);
}

/* "log: debug", "udp: true": the first key of the group that takes exactly this value. */
static bool shape_write_group(const struct schema_row *group, const char *text, FILE *out)
{
    for (const struct schema_row *row = group->rows; row->key; row++) {
        bool is_switch = row->type == &value_bool && strcmp(row->key, "enabled") != 0;
        if (row->kind != SCHEMA_VALUE || is_switch || !suggest_is_valid(row, text))
            continue;
        fprintf(out, "{%s: ", row->key);
        shape_write_value(row, text, strlen(text), out);
        fputc('}', out);
        return true;
    }
    return false;
}

/* "dns: [9.9.9.9]": the first list of the group. */
static bool shape_write_group_list(yaml_document_t *document, const yaml_node_t *list, const struct schema_row *group,
                                   FILE *out)
{
    const struct schema_row *row = group->rows;
    while (row->key && row->kind != SCHEMA_VALUES)
        row++;
    const yaml_node_t *item = shape_item(document, list, 0);
    bool valid = row->key && item;
    if (valid)
        fprintf(out, "{%s: [", row->key);
    for (size_t i = 0; valid && (item = shape_item(document, list, i)) != NULL; i++) {
        fputs(i ? ", " : "", out);
        valid = shape_write_value(row, shape_text(item), strlen(shape_text(item)), out);
    }
    fputs("]}", out);
    return valid;
}

/* The element that `text` describes (NULL: nothing), else an example with the name. free() it; NULL: none is known. */
static char *shape_format_element(const struct schema_row *list, const char *text, const char *name)
{
    char *element = NULL;
    size_t size;
    FILE *stream = open_memstream(&element, &size);
    if (!stream)
        return NULL;
    if (!text || !shape_write_listener(list->rows, text, stream)) {
        rewind(stream);
        shape_write_example(list, name, stream);
    }
    fclose(stream);
    if (element && strcmp(element, "{}") != 0)
        return element;
    free(element);
    return NULL;
}

static bool shape_write_list(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row,
                             FILE *out)
{
    const char *name = NULL;
    if (found->type == YAML_MAPPING_NODE && strcmp(row->rows->key, "name") == 0 &&
        found->data.mapping.pairs.start < found->data.mapping.pairs.top)
        name = shape_text(yaml_document_get_node(document, found->data.mapping.pairs.start->key));
    char *element = shape_format_element(row, found->type == YAML_SCALAR_NODE ? shape_text(found) : NULL, name);
    if (element)
        fprintf(out, "[%s]", element);
    bool known = element != NULL;
    free(element);
    return known;
}

static bool shape_write_meant(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row,
                              FILE *out)
{
    const char *text = shape_text(found);
    bool list = found->type == YAML_SEQUENCE_NODE, single = found->type == YAML_SCALAR_NODE;
    switch (row->kind) {
    case SCHEMA_VALUE:
        return list && (shape_write_joined(document, found, row, " ", out) ||
                        shape_write_joined(document, found, row, "-", out));
    case SCHEMA_VALUES:
        return single && shape_write_values(row, text, out);
    case SCHEMA_GROUP:
        return single ? *text && (shape_write_group(row, text, out) || shape_write_listener(row->rows, text, out))
                      : list && shape_write_group_list(document, found, row, out);
    case SCHEMA_LIST:
        return shape_write_list(document, found, row, out);
    }
    return false;
}

/* ---- the sentences ---- */

/* "; write key: value", where the value is known. */
static void shape_suggest_value(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row,
                                FILE *out)
{
    char *value = NULL;
    size_t size;
    FILE *stream = open_memstream(&value, &size);
    if (!stream)
        return;
    bool known = shape_write_meant(document, found, row, stream);
    fclose(stream);
    if (known)
        fprintf(out, "; write %s: %s", row->key, value);
    free(value);
}

/* A mapping where a list of mappings is expected, with the elements' keys: the dash is missing. */
static bool shape_suggest_dash(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row,
                               FILE *out)
{
    const yaml_node_pair_t *first = found->data.mapping.pairs.start;
    if (found->type != YAML_MAPPING_NODE || first == found->data.mapping.pairs.top)
        return false;
    const char *key = shape_text(yaml_document_get_node(document, first->key));
    bool dash = key[0] == '-';
    const struct schema_row *known = schema_find(row->rows, key + dash, strlen(key + dash));
    if (known)
        fprintf(out, "; put \"- \" (a dash and a space) before \"%s\"", known->key);
    return known != NULL;
}

/* A single value where keys are expected, that begins with one of them: its ": " is missing. */
static bool shape_suggest_key(const yaml_node_t *found, const struct schema_row *rows, FILE *out)
{
    const char *text = shape_text(found);
    size_t len = strcspn(text, " :=");
    const struct schema_row *row = text[len] ? schema_find(rows, text, len) : NULL;
    if (!row)
        return false;
    text += len;
    text += strspn(text, " :=");
    fprintf(out, "; a colon and a space belong after a key: write %s: ", row->key);
    if (row->kind != SCHEMA_VALUE || !shape_write_value(row, text, strcspn(text, " "), out))
        fputs("...", out);
    return true;
}

/* A single value where an element of a list is a mapping: a listener, or "alice:hash" as in users_file. */
static void shape_suggest_element(const yaml_node_t *found, const struct schema_row *row, FILE *out)
{
    char name[SHAPE_TEXT_MAX];
    const char *text = shape_text(found), *colon = strchr(text, ':');
    bool named = strcmp(row->rows->key, "name") == 0 && colon && !strstr(text, "://");
    snprintf(name, sizeof(name), "%.*s", named ? (int)(colon - text) : 0, text);
    char *element = shape_format_element(row, text, named ? name : NULL);
    if (element)
        fprintf(out, "; write - %s", element);
    free(element);
}

static void shape_suggest_group(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row,
                                FILE *out)
{
    const yaml_node_t *first = found->type == YAML_SEQUENCE_NODE ? shape_item(document, found, 0) : NULL;
    if (first && first->type == YAML_MAPPING_NODE)
        fputs("; remove the dash before its keys", out);
    else if (found->type == YAML_SCALAR_NODE && !*shape_text(found))
        fputs("; indent its keys below it, or remove this line", out);
    else
        shape_suggest_value(document, found, row, out);
}

void shape_suggest(yaml_document_t *document, const yaml_node_t *found, const struct schema_row *row, bool element,
                   FILE *out)
{
    bool single = found->type == YAML_SCALAR_NODE, keys = row->kind == SCHEMA_GROUP || row->kind == SCHEMA_LIST;
    if (single && keys && shape_suggest_key(found, row->rows, out))
        return;
    if (element && single && row->kind == SCHEMA_LIST)
        shape_suggest_element(found, row, out);
    else if (!element && row->kind == SCHEMA_GROUP && row->key)
        shape_suggest_group(document, found, row, out);
    else if (!element && (row->kind != SCHEMA_LIST || !shape_suggest_dash(document, found, row, out)) && row->key)
        shape_suggest_value(document, found, row, out);
}
