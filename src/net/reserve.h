/*
 * The descriptors that sessions leave free, so that the admin listener, a reload and a handover still work while
 * sessions hold all others.
 *
 * One for the process, which host owns. All that a session opens passes through it, from any thread. Where a function
 * takes a reserve, NULL stands for "there is none", and nothing is refused.
 */
#ifndef CONESOCKS_NET_RESERVE_H
#define CONESOCKS_NET_RESERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct descriptor_reserve;

/* Refuses nothing until reserve_set() was called. NULL: no memory. */
struct descriptor_reserve *reserve_new(void);
/* NULL is fine. */
void reserve_free(struct descriptor_reserve *reserve);

/* Sets the size from the process's limit, before the workers run. `copies`: descriptors that a handover copies,
 * besides.
 */
void reserve_set(struct descriptor_reserve *reserve, size_t copies);

/* Takes what a session has just opened, or a negative errno, and returns it. A descriptor that belongs to the reserve
 * is closed; then it returns -EMFILE. */
int reserve_keep(struct descriptor_reserve *reserve, int fd);

/* Gives a session's descriptor the lowest number that is free now, and then does the same. */
int reserve_move(struct descriptor_reserve *reserve, int fd);

/* Counts sockets that ask name servers, and queries of all resolvers: no client is charged for these. */
void reserve_count_question(struct descriptor_reserve *reserve, int change);
void reserve_count_query(struct descriptor_reserve *reserve, int change);
size_t reserve_queries(const struct descriptor_reserve *reserve);

/* Whether one more session may begin: some descriptors are left for what it opens later. `held`: by sessions, as they
 * are counted. */
bool reserve_has_room(struct descriptor_reserve *reserve, size_t held);
/* Called when a session was refused or ended because descriptors are short. */
void reserve_note_shortage(struct descriptor_reserve *reserve, uint64_t now_ms);
/* Whether they are short now, or were so in the last seconds. */
bool reserve_is_short(struct descriptor_reserve *reserve, uint64_t now_ms, size_t held);
/* How many descriptors the process may have; 0: no limit is known. */
unsigned reserve_limit(const struct descriptor_reserve *reserve);

#endif
