#include "conf/key_hint.h"

#include <string.h>

#include "conf/options.h"

/* If more options have the key, a list of them does not help. */
#define OWNERS_MAX 3

/* The top-level options that contain the key. Returns how many there are; the first OWNERS_MAX are stored. */
static size_t key_owners(const char *key, const struct schema_row *owners[OWNERS_MAX])
{
    size_t count = 0;
    for (const struct schema_row *row = config_options; row->key; row++) {
        if (!row->rows || !schema_find(row->rows, key, strlen(key)))
            continue;
        if (count < OWNERS_MAX)
            owners[count] = row;
        count++;
    }
    return count;
}

/* Indented too little or too much. */
static bool key_hint_indent(const char *key, const struct key_place *place, FILE *out)
{
    size_t len = strlen(key);
    if (place->above && place->above->rows && schema_find(place->above->rows, key, len))
        fprintf(out, "inside %s (above); indent it like the keys there", place->above->key);
    else if (!place->top && schema_find(config_options, key, len))
        fputs("at the top level; begin it in column 1", out);
    else
        return false;
    return true;
}

/* "enabled:false" inside braces is one key for YAML. */
static bool key_hint_glued(const char *key, const struct key_place *place, FILE *out)
{
    size_t len = strcspn(key, ":");
    const struct schema_row *row = key[len] ? schema_find(place->rows, key, len) : NULL;
    if (row)
        fprintf(out, "\"%s\"; a space belongs after the colon", row->key);
    return row != NULL;
}

/* "deny: ..." has a value of an option as its key. */
static bool key_hint_word(const char *key, const struct key_place *place, FILE *out)
{
    for (const struct schema_row *row = place->rows; row->key; row++)
        for (size_t i = (size_t)row->min; row->kind == SCHEMA_VALUE && row->words && row->words[i]; i++)
            if (strcmp(key, row->words[i]) == 0) {
                fprintf(out, "\"%s: %s\"", row->key, key);
                return true;
            }
    return false;
}

static bool key_hint_nearest(const char *key, const struct key_place *place, FILE *out)
{
    const char *nearest = schema_nearest(place->rows, key);
    if (nearest)
        fprintf(out, "\"%s\"", nearest);
    return nearest != NULL;
}

static bool key_hint_owners(const char *key, FILE *out)
{
    const struct schema_row *owners[OWNERS_MAX];
    size_t count = key_owners(key, owners);
    if (count == 0 || count > OWNERS_MAX)
        return false;
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s%s", i == 0 ? "inside " : i + 1 < count ? ", " : " or ", owners[i]->key);
    return true;
}

void key_hint(const char *key, const struct key_place *place, FILE *out)
{
    if (key_hint_indent(key, place, out) || key_hint_glued(key, place, out) || key_hint_word(key, place, out) ||
        key_hint_nearest(key, place, out) || key_hint_owners(key, out))
        return;
    const char *comma = "one of ";
    for (const struct schema_row *row = place->rows; row->key; row++, comma = ", ")
        fprintf(out, "%s%s", comma, row->key);
}
