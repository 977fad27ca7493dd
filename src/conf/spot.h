/* Finds where an option is in the file, and how messages name it; for checks that involve several options. */
#ifndef CONESOCKS_CONF_SPOT_H
#define CONESOCKS_CONF_SPOT_H

#include <stddef.h>

#include "conf/document.h"

struct spot {
    struct place place;
    char key[64];
};

/* `document` NULL: the built-in default. An option that is missing has the place of the nearest mapping that would
 * contain it. */
struct place place_in_list(yaml_document_t *document, const char *list, size_t i, const char *key);
/* `group` may be NULL: an option of no group. */
struct place place_in_group(yaml_document_t *document, const char *group, const char *key);
/* "list[i].key" */
struct spot spot_in_list(yaml_document_t *document, const char *list, size_t i, const char *key);
/* "list[i].key[j]" */
struct spot spot_of_value(yaml_document_t *document, const char *list, size_t i, const char *key, size_t j);

#endif
