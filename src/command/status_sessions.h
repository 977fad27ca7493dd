/* The sessions of a /status as two tables, of associations and of streams; those with most traffic first. */
#ifndef CONESOCKS_COMMAND_STATUS_SESSIONS_H
#define CONESOCKS_COMMAND_STATUS_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

struct status_sessions;

/* Those of `now`. With those of a reading `seconds` before (NULL: there is none) the rates of the time between.
 * Both outlive it. NULL: out of memory. */
struct status_sessions *status_sessions_new(const json_t *now, const json_t *before, double seconds);
void status_sessions_free(struct status_sessions *sessions);
/* At most `rows` of each, and `lines` in all (0: any number), titles and all. false: out of memory. */
bool status_sessions_print(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows, size_t lines);

#endif
