/* conesocks status --watch: shows the state again and again, at a terminal on the whole screen. */
#ifndef CONESOCKS_COMMAND_STATUS_WATCH_H
#define CONESOCKS_COMMAND_STATUS_WATCH_H

#include <stddef.h>

struct ask_place;

/*
 * Asks every `seconds`. `rows`: of each table, where standard output is not a terminal. Continues if the server is gone
 * for a while. Returns the exit status when the user quits, or if the first question got no answer: `*error` then
 * contains the reason; free() it.
 */
int status_watch(const struct ask_place *place, unsigned seconds, size_t rows, char **error);

#endif
