/*
 * Descriptors that sessions leave free, so that the admin listener, a reload and a handover still work while sessions
 * hold all others. Everything that a session opens passes through here.
 *
 * The kernel gives the lowest number that is free, and sessions keep none of the highest numbers: so a new descriptor
 * with such a number means that all others are taken, by sessions or by libraries that nobody counts.
 */
#ifndef CONESOCKS_NET_RESERVE_H
#define CONESOCKS_NET_RESERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sets the reserve from the process's limit. `copies`: how many descriptors a handover copies, besides. Before the
 * workers run; until then there is no reserve. */
void reserve_set(size_t copies);

/* What a session has just opened, or a negative errno. Returns it; when it belongs to the reserve, closes it and
 * returns -EMFILE. */
int reserve_keep(int fd);

/* Gives a session's descriptor the lowest number that is free now, and then does the same. */
int reserve_move(int fd);

/* One more socket asks a name server, or one less: nobody is charged for it, but it counts. Any thread may call it. */
void reserve_count_question(int change);

/* Whether there is room for one more session: some are left for what it opens later. `held`: by sessions, as they are
 * counted. */
bool reserve_has_room(size_t held);
/* To be called when somebody was refused or ended because descriptors are short. */
void reserve_note_shortage(uint64_t now_ms);
/* Whether they are short now, or were so in the last seconds. Any thread may ask. */
bool reserve_is_short(uint64_t now_ms, size_t held);
/* How many descriptors the process may have. */
unsigned reserve_limit(void);

#endif
