/* Asks a running server for its /status, for the subcommands status and reload. */
#ifndef CONESOCKS_COMMAND_ASK_H
#define CONESOCKS_COMMAND_ASK_H

#include <stdint.h>

#include <jansson.h>

#include "command/ask_place.h"

/* How many sessions the answer contains: one at most, or all pages joined. */
enum ask_sessions { ASK_FEW_SESSIONS, ASK_ALL_SESSIONS };

/*
 * The server's /status as one document; conesocks(8) describes its members. Only a text "version", a text "state" and a
 * list "sessions" of objects have been checked. NULL: `*error` says what is wrong and what to do; free() it.
 */
json_t *ask_status(const struct ask_place *place, enum ask_sessions sessions, char **error);

/* The member at a path of keys, such as "configuration.file"; NULL: there is none. */
json_t *ask_member(const json_t *object, const char *keys);
/* Its text; NULL: it is not a text. */
const char *ask_text(const json_t *object, const char *keys);
/* Its number; 0: it is not a number, or negative. */
uint64_t ask_number(const json_t *object, const char *keys);

#endif
