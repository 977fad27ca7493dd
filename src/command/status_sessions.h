/* Prints the sessions of a /status as two tables, associations and streams, the busiest first. */
#ifndef CONESOCKS_COMMAND_STATUS_SESSIONS_H
#define CONESOCKS_COMMAND_STATUS_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

struct status_sessions;

/* Takes the sessions from `now`, a /status. If `before` is not NULL, it is one that was read `seconds` earlier: then
 * the tables contain rates, too. Both must outlive it. NULL: out of memory. */
struct status_sessions *status_sessions_new(const json_t *now, const json_t *before, double seconds);
void status_sessions_free(struct status_sessions *sessions);
/* At most `rows` of each kind, and `lines` in all with titles (0: any number). false: out of memory. */
bool status_sessions_print(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows, size_t lines);

#endif
