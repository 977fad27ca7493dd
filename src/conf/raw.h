/*
 * Loads and saves a configuration with libcyaml, every value as a string; value.c reads the strings.
 *
 * libcyaml's own numbers, booleans and enums are not used: release 1.3.1 accepts "1080x", "010" and "-1" as numbers,
 * "maybe" as true, and enum values that are not in the list. Its schema is built from the table of options.
 */
#ifndef CONESOCKS_CONF_RAW_H
#define CONESOCKS_CONF_RAW_H

#include <stdbool.h>
#include <stddef.h>

struct config;

/* Fills `config` (all zero) from a text that schema_check_document() has accepted, or with the defaults (`text` NULL).
 * Returns NULL, or what failed; `config` may then be filled in part. */
const char *raw_load(struct config *config, const char *text, size_t size);
/* The text of a file that loads as `config` (free), or NULL: no memory. Without `secrets`, hashes become "***". */
char *raw_save(const struct config *config, bool secrets);
/* Frees what `config` points to. */
void raw_deinit(struct config *config);

#endif
