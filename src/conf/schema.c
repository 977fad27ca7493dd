#include "conf/schema.h"

#include <assert.h>
#include <string.h>

#include "base/nearest.h"

static bool schema_is_zero(const void *field, size_t size)
{
    const unsigned char *bytes = field;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

const char *schema_parse(const struct schema_row *row, const char *text, void *field)
{
    assert(row->type && row->type->size <= SCHEMA_FIELD_MAX);
    if (row->none && strcmp(text, row->none) == 0) {
        memset(field, 0, row->type->size);
        return NULL;
    }
    return row->type->parse(row, text, field);
}

void schema_format(const struct schema_row *row, const void *field, FILE *out)
{
    assert(row->type);
    if (row->none && schema_is_zero(field, row->type->size))
        fputs(row->none, out);
    else
        row->type->format(row, field, out);
}

void schema_expect(const struct schema_row *row, FILE *out)
{
    if (row->none)
        fprintf(out, "%s, or ", row->none);
    for (size_t i = (size_t)row->min; row->words && row->words[i]; i++)
        fprintf(out, "%s%s", i == row->min ? "" : row->words[i + 1] ? ", " : " or ", row->words[i]);
    if (row->type->what)
        fputs(row->type->what, out);
    if (row->type->bound) {
        fputs(" from ", out);
        row->type->bound(row->min, out);
        fputs(" to ", out);
        row->type->bound(row->max, out);
    }
}

size_t schema_count(const struct schema_row *rows)
{
    size_t count = 0;
    while (rows[count].key)
        count++;
    return count;
}

const struct schema_row *schema_find(const struct schema_row *rows, const char *key, size_t key_len)
{
    for (; rows->key; rows++)
        if (strlen(rows->key) == key_len && memcmp(rows->key, key, key_len) == 0)
            return rows;
    return NULL;
}

/* Other words for a key, as other programs have them. */
static const char *schema_synonym(const struct schema_row *rows, const char *key)
{
    static const char *const synonyms[][2] = {
        {"user", "name"},       {"username", "name"},    {"login", "name"},     {"pass", "password"},
        {"passwd", "password"}, {"hash", "password"},    {"host", "address"},   {"ip", "address"},
        {"addr", "address"},    {"server", "address"},   {"timeout", "idle"},   {"rate", "bandwidth"},
        {"speed", "bandwidth"}, {"source", "from"},      {"src", "from"},       {"destination", "to"},
        {"dst", "to"},          {"protocol", "command"}, {"expire", "expires"}, {"quota", "volume"},
    };
    for (size_t i = 0; i < sizeof(synonyms) / sizeof(synonyms[0]); i++)
        if (strcmp(key, synonyms[i][0]) == 0 && schema_find(rows, synonyms[i][1], strlen(synonyms[i][1])))
            return synonyms[i][1];
    return NULL;
}

const char *schema_nearest(const struct schema_row *rows, const char *key)
{
    const char *synonym = schema_synonym(rows, key);
    if (synonym)
        return synonym;
    struct nearest nearest = nearest_to(key);
    const char *begins = NULL; /* "advertise" begins advertise_v4 */
    size_t len = strlen(key);
    for (; rows->key; rows++) {
        nearest_offer(&nearest, rows->key);
        if (!begins && len > 0 && strncmp(rows->key, key, len) == 0 && rows->key[len] == '_')
            begins = rows->key;
    }
    return nearest.word ? nearest.word : begins;
}
