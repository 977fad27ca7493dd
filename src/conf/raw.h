/*
 * The configuration as libcyaml carries it: every value a string, as it stands in the file.
 *
 * libcyaml's own numbers, booleans and enums are not used: release 1.3.1 takes "1080x", "010" and "-1" for numbers,
 * "maybe" for true and values that are in no list. value.c reads the strings. libcyaml's schema comes from ours.
 */
#ifndef CONESOCKS_CONF_RAW_H
#define CONESOCKS_CONF_RAW_H

#include <stdbool.h>
#include <stddef.h>

struct config;

/* Fills `config` (all zero) from the text of a file that schema_check_document() has passed, or with the defaults alone
 * when `text` is NULL. Returns NULL, or what failed; `config` may then hold a part. */
const char *raw_load(struct config *config, const char *text, size_t size);
/* The text of a file that loads as `config` (free), or NULL. Without `secrets`, hashes become "***". */
char *raw_save(const struct config *config, bool secrets);
/* Frees what `config` points to. */
void raw_deinit(struct config *config);

#endif
