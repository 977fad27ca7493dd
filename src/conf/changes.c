#include "conf/changes.h"

#include <stdlib.h>
#include <string.h>

#include "conf/options.h"

static char *changes_text(const struct schema_row *row, const struct config *config)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    schema_format(row, (const char *)config + row->offset, out);
    fclose(out);
    return text;
}

static bool changes_differs(const struct schema_row *row, const struct config *a, const struct config *b)
{
    char *text_a = changes_text(row, a), *text_b = changes_text(row, b);
    bool differ = !text_a || !text_b || strcmp(text_a, text_b) != 0;
    free(text_a);
    free(text_b);
    return differ;
}

static void changes_list_rows(const struct schema_row *rows, const char *group, const struct config *a,
                              const struct config *b, FILE *out)
{
    for (; rows->key; rows++) {
        if (rows->kind == SCHEMA_GROUP)
            changes_list_rows(rows->rows, rows->key, a, b, out);
        else if (rows->at_start && changes_differs(rows, a, b))
            fprintf(out, "%s%s%s%s", ftell(out) > 0 ? ", " : "", group, *group ? "." : "", rows->key);
    }
}

char *changes_at_start(const struct config *running, const struct config *fresh)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    changes_list_rows(config_options, "", running, fresh, out);
    fclose(out);
    if (size > 0)
        return text;
    free(text);
    return NULL;
}
