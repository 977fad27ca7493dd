/* Asks the server that runs how it goes. */
#ifndef CONESOCKS_COMMAND_ASK_H
#define CONESOCKS_COMMAND_ASK_H

#include <stdint.h>

#include <jansson.h>

#include "command/ask_place.h"

/* How many sessions come with an answer: none to speak of, or all pages in one. */
enum ask_sessions { ASK_FEW_SESSIONS, ASK_ALL_SESSIONS };

/*
 * The server's /status as one document: see conesocks(8) for its members. It is an object with a text "version" and a
 * list "sessions" of objects; nothing else is certain. NULL: what is wrong, and what to do, is in `*error`, for free().
 */
json_t *ask_status(const struct ask_place *place, enum ask_sessions sessions, char **error);

/* A member by a path of keys, "configuration.file", whatever its type; NULL: there is none. */
json_t *ask_member(const json_t *object, const char *keys);
/* The text there; NULL: it is none. */
const char *ask_text(const json_t *object, const char *keys);
/* The number there; 0: it is none, or below. */
uint64_t ask_number(const json_t *object, const char *keys);

#endif
