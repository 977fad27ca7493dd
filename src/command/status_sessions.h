/* Prints the sessions of a /status as tables, the busiest first. */
#ifndef CONESOCKS_COMMAND_STATUS_SESSIONS_H
#define CONESOCKS_COMMAND_STATUS_SESSIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct readings;
struct status_sessions;

/* With two readings the tables contain rates, too. The readings must outlive it. NULL: out of memory. */
struct status_sessions *status_sessions_new(const struct readings *readings);
void status_sessions_free(struct status_sessions *sessions);
/* A table of associations, then one of streams, each with a title and at most `rows` rows. false: out of memory. */
bool status_sessions_print_kinds(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows);
/* One table of both, without a title. */
bool status_sessions_print_all(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows);

#endif
