#include "conf/raw.h"

#include <assert.h>
#include <cyaml/cyaml.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "conf/options.h"
#include "conf/types.h"

/* The value of one key: a string, the raws of a group, or the elements of a list and their count. A mapping is an array
 * of raws, one for each row. */
struct raw {
    void *value;
    uint32_t count;
};

/* ---- libcyaml's config_options, from ours ---- */

#define FIELDS_MAX  200
#define ENTRIES_MAX 32

struct blueprint {
    cyaml_schema_field_t fields[FIELDS_MAX];
    cyaml_schema_value_t entries[ENTRIES_MAX];
    size_t field_count, entry_count;
    cyaml_schema_value_t top;
};

static const cyaml_schema_value_t raw_string = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char *, 0, CYAML_UNLIMITED)};

static cyaml_schema_value_t blueprint_draw_mapping(struct blueprint *blueprint, const struct schema_row *rows,
                                                   enum cyaml_flag flags);

static cyaml_schema_value_t blueprint_draw_value(struct blueprint *blueprint, const struct schema_row *row)
{
    cyaml_schema_value_t *entry;
    switch (row->kind) {
    case SCHEMA_GROUP:
        return blueprint_draw_mapping(blueprint, row->rows, CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL);
    case SCHEMA_LIST:
    case SCHEMA_VALUES:
        assert(blueprint->entry_count < ENTRIES_MAX);
        entry = &blueprint->entries[blueprint->entry_count++];
        *entry =
            row->kind == SCHEMA_VALUES ? raw_string : blueprint_draw_mapping(blueprint, row->rows, CYAML_FLAG_DEFAULT);
        return (cyaml_schema_value_t){
            .type = CYAML_SEQUENCE,
            .flags = CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL,
            .data_size = row->kind == SCHEMA_VALUES ? sizeof(char *) : entry->data_size,
            .sequence = {.entry = entry, .min = 0, .max = CYAML_UNLIMITED},
        };
    case SCHEMA_VALUE:
        break;
    }
    cyaml_schema_value_t string = raw_string;
    string.flags |= CYAML_FLAG_OPTIONAL;
    return string;
}

static cyaml_schema_value_t blueprint_draw_mapping(struct blueprint *blueprint, const struct schema_row *rows,
                                                   enum cyaml_flag flags)
{
    size_t count = schema_count(rows);
    cyaml_schema_field_t *fields = &blueprint->fields[blueprint->field_count];
    blueprint->field_count += count + 1;
    assert(blueprint->field_count <= FIELDS_MAX);
    for (size_t i = 0; i < count; i++)
        fields[i] = (cyaml_schema_field_t){
            .key = rows[i].key,
            .data_offset = (uint32_t)(i * sizeof(struct raw) + offsetof(struct raw, value)),
            .count_offset = (uint32_t)(i * sizeof(struct raw) + offsetof(struct raw, count)),
            .count_size = sizeof(((struct raw *)NULL)->count),
            .value = blueprint_draw_value(blueprint, &rows[i]),
        };
    fields[count] = (cyaml_schema_field_t){.key = NULL};
    return (cyaml_schema_value_t){
        .type = CYAML_MAPPING,
        .flags = flags,
        .data_size = (uint32_t)(count * sizeof(struct raw)),
        .mapping = {.fields = fields},
    };
}

static void blueprint_draw(struct blueprint *blueprint)
{
    memset(blueprint, 0, sizeof(*blueprint));
    blueprint->top = blueprint_draw_mapping(blueprint, config_options, CYAML_FLAG_POINTER);
}

static const cyaml_config_t cyaml_behaviour = {
    .flags = CYAML_CFG_NO_ALIAS | CYAML_CFG_STYLE_BLOCK,
    .mem_fn = cyaml_mem,
};

/* ---- raw to config ---- */

static const char *raw_read_rows(const struct schema_row *rows, const struct raw *raw, void *base);

static const char *raw_read_list(const struct schema_row *row, const struct raw *raw, void *base)
{
    size_t count = raw && raw->value ? raw->count : (size_t)row->min;
    char *elements = calloc(count ? count : 1, row->element_size);
    if (!elements)
        return "out of memory";
    memcpy((char *)base + row->offset, &elements, sizeof(elements));
    *(size_t *)((char *)base + row->count_offset) = count;
    size_t width = row->kind == SCHEMA_LIST ? schema_count(row->rows) : 0;
    const char *failed = NULL;
    for (size_t i = 0; i < count && !failed; i++) {
        char *element = elements + i * row->element_size;
        if (row->kind == SCHEMA_VALUES)
            failed = schema_parse(row, ((char **)raw->value)[i], element);
        else
            failed = raw_read_rows(row->rows, raw && raw->value ? (const struct raw *)raw->value + i * width : NULL,
                                   element);
    }
    return failed;
}

/* `raw` is NULL where the file sets nothing: the defaults apply. */
static const char *raw_read_rows(const struct schema_row *rows, const struct raw *raw, void *base)
{
    const char *failed = NULL;
    for (size_t i = 0; rows[i].key && !failed; i++) {
        const struct raw *value = raw ? &raw[i] : NULL;
        if (rows[i].kind == SCHEMA_GROUP)
            failed = raw_read_rows(rows[i].rows, value ? value->value : NULL, base);
        else if (rows[i].kind == SCHEMA_VALUE)
            failed = schema_parse(&rows[i], value && value->value ? value->value : rows[i].initial,
                                  (char *)base + rows[i].offset);
        else
            failed = raw_read_list(&rows[i], value, base);
    }
    return failed;
}

const char *raw_load(struct config *config, const char *text, size_t size)
{
    if (!text)
        return raw_read_rows(config_options, NULL, config);
    struct blueprint blueprint;
    blueprint_draw(&blueprint);
    cyaml_data_t *data = NULL;
    cyaml_err_t err = cyaml_load_data((const uint8_t *)text, size, &cyaml_behaviour, &blueprint.top, &data, NULL);
    if (err != CYAML_OK)
        return cyaml_strerror(err);
    const char *failed = raw_read_rows(config_options, data, config);
    cyaml_free(&cyaml_behaviour, &blueprint.top, data, 0);
    return failed;
}

/* ---- config to raw ---- */

static void raw_write_rows(const struct schema_row *rows, struct raw *raw, const void *base, bool secrets);

static char *raw_write_value(const struct schema_row *row, const void *field, bool secrets)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    if (row->type->secret && !secrets)
        fputs("***", out);
    else
        schema_format(row, field, out);
    fclose(out);
    return text;
}

static void raw_write_list(const struct schema_row *row, struct raw *raw, const void *base, bool secrets)
{
    const char *elements;
    memcpy(&elements, (const char *)base + row->offset, sizeof(elements));
    size_t count = *(const size_t *)((const char *)base + row->count_offset);
    size_t width = row->kind == SCHEMA_LIST ? schema_count(row->rows) * sizeof(struct raw) : sizeof(char *);
    char *values = calloc(count ? count : 1, width);
    for (size_t i = 0; values && i < count; i++) {
        const char *element = elements + i * row->element_size;
        if (row->kind == SCHEMA_LIST)
            raw_write_rows(row->rows, (struct raw *)(values + i * width), element, secrets);
        else
            ((char **)values)[i] = raw_write_value(row, element, secrets);
    }
    assert(count <= UINT32_MAX);
    *raw = (struct raw){values, (uint32_t)count};
}

static void raw_write_rows(const struct schema_row *rows, struct raw *raw, const void *base, bool secrets)
{
    for (size_t i = 0; rows[i].key; i++) {
        if (rows[i].kind == SCHEMA_VALUE) {
            raw[i].value = raw_write_value(&rows[i], (const char *)base + rows[i].offset, secrets);
        } else if (rows[i].kind == SCHEMA_GROUP) {
            raw[i].value = calloc(schema_count(rows[i].rows), sizeof(struct raw));
            if (raw[i].value)
                raw_write_rows(rows[i].rows, raw[i].value, base, secrets);
        } else {
            raw_write_list(&rows[i], &raw[i], base, secrets);
        }
    }
}

char *raw_save(const struct config *config, bool secrets)
{
    struct blueprint blueprint;
    blueprint_draw(&blueprint);
    struct raw *raw = calloc(schema_count(config_options), sizeof(*raw));
    if (!raw)
        return NULL;
    raw_write_rows(config_options, raw, config, secrets);
    char *text = NULL, *saved = NULL;
    size_t size;
    if (cyaml_save_data(&saved, &size, &cyaml_behaviour, &blueprint.top, raw, 0) == CYAML_OK)
        text = strndup(saved, size);
    free(saved);
    cyaml_free(&cyaml_behaviour, &blueprint.top, raw, 0);
    return text;
}

/* ---- the end ---- */

static void raw_free_rows(const struct schema_row *rows, void *base);

static void raw_free_element(const struct schema_row *row, char *element)
{
    if (row->kind == SCHEMA_LIST)
        raw_free_rows(row->rows, element);
    else if (row->type->owned)
        free(*(char **)(void *)element);
}

static void raw_free_rows(const struct schema_row *rows, void *base)
{
    for (; rows->key; rows++) {
        char *field = (char *)base + rows->offset;
        if (rows->kind == SCHEMA_GROUP) {
            raw_free_rows(rows->rows, base);
        } else if (rows->kind == SCHEMA_VALUE) {
            if (rows->type->owned)
                free(*(char **)field);
        } else {
            char *elements = *(char **)field;
            size_t count = elements ? *(size_t *)((char *)base + rows->count_offset) : 0;
            for (size_t i = 0; i < count; i++)
                raw_free_element(rows, elements + i * rows->element_size);
            free(elements);
        }
    }
}

void raw_deinit(struct config *config)
{
    raw_free_rows(config_options, config);
}
