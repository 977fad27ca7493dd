#include "conf/schema.h"

#include <assert.h>
#include <string.h>

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

/* The Levenshtein distance: how many letters to add, remove or change. */
static size_t schema_key_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t b_len = strlen(b);
    if (b_len >= sizeof(row) / sizeof(row[0]))
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            size_t drop = row[j + 1] + 1, add = row[j] + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < drop ? change : drop;
            if (add < row[j + 1])
                row[j + 1] = add;
        }
    }
    return row[b_len];
}

const char *schema_nearest(const struct schema_row *rows, const char *key)
{
    const char *nearest = NULL;
    size_t least = 3; /* with more than two typos it is another word */
    for (; rows->key; rows++) {
        size_t d = schema_key_distance(rows->key, key);
        if (d < least && d < strlen(rows->key)) {
            least = d;
            nearest = rows->key;
        }
    }
    return nearest;
}
