/*
 * One YAML document as a tree that knows where in the file each value stands. What YAML can do beyond plain mappings,
 * lists and values is refused: aliases (a few lines become gigabytes), tags, several documents.
 */
#ifndef CONESOCKS_CONF_DOCUMENT_H
#define CONESOCKS_CONF_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "conf/report.h"

/* No honest configuration is longer. */
#define DOCUMENT_SIZE_MAX ((size_t)1 << 20)

/* Reads a whole file (free), or says in the report why not, as where everybody may write to it. `*exposed`: everybody
 * may read it. `open_fd`: where it is open already, the caller's to close; or -1. */
char *document_read(const char *path, int open_fd, size_t *size, bool *exposed, struct report *report);

/* The same for an open file, from its start, cut after `max` + 1 bytes, with room for one more. NULL: errno. */
char *document_read_all(int fd, size_t max, size_t *size);

/* Skips a byte order mark, which some editors begin UTF-8 text with. UTF-16 text is an error: false. */
bool document_skip_mark(const char **text, size_t *size, struct report *report);

/* Parses the text of a file. On failure the report says why, and there is nothing to free. */
bool document_parse(yaml_document_t *document, const char *text, size_t size, struct report *report);

struct place document_place(const yaml_node_t *node);
/* The value of `key` in a mapping, or NULL. */
const yaml_node_t *document_get(yaml_document_t *document, const yaml_node_t *mapping, const char *key);

#endif
