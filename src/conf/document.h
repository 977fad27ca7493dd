/*
 * Reads a YAML file into a tree whose nodes know their line and column. Only mappings, lists and values are supported:
 * aliases (a few lines become gigabytes), tags and several documents are errors.
 */
#ifndef CONESOCKS_CONF_DOCUMENT_H
#define CONESOCKS_CONF_DOCUMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

#include "conf/report.h"

/* A larger file is not a configuration. */
#define DOCUMENT_SIZE_MAX ((size_t)1 << 20)

/* Reads a whole file (free). NULL: the report says why, for example because anybody can write to it. `*exposed`:
 * anybody can read it. `open_fd`: a descriptor of the open file, which the caller keeps, or -1. */
char *document_read(const char *path, int open_fd, size_t *size, bool *exposed, struct report *report);

/* Reads an open file from its start, at most `max` + 1 bytes, with room for one more byte. NULL: errno. */
char *document_read_all(int fd, size_t max, size_t *size);

/* Skips a byte order mark, which some editors write before UTF-8 text. false: it is UTF-16, an error. */
bool document_skip_mark(const char **text, size_t *size, struct report *report);

/* Parses the text of a file. false: the report says why, and there is nothing to free. */
bool document_parse(yaml_document_t *document, const char *text, size_t size, struct report *report);

struct place document_place(const yaml_node_t *node);
/* The value of `key` in a mapping, or NULL. */
const yaml_node_t *document_get(yaml_document_t *document, const yaml_node_t *mapping, const char *key);

#endif
