/*
 * Keeps the volumes of users over an upgrade. A server that was replaced reports what its sessions have relayed, and
 * what had been reported to it, to the one that serves: once a second, and when it ends. It uses the connection by
 * which it follows that server (follow.h). On the main thread.
 */
#ifndef CONESOCKS_DAEMON_USAGE_EXCHANGE_H
#define CONESOCKS_DAEMON_USAGE_EXCHANGE_H

struct event_base;
struct followers;
struct leader;
struct usage;
struct usage_exchange;

/* `followers` and `usage` outlive it. NULL: no memory. */
struct usage_exchange *usage_exchange_new(struct event_base *base, struct usage *usage,
                                          const struct followers *followers);
/* There are followers now, or a leader (NULL: none), which outlives it. */
void usage_exchange_begin(struct usage_exchange *exchange, const struct leader *leader);
/* Sends and receives now: a follower that has ended is about to be forgotten. */
void usage_exchange_run(struct usage_exchange *exchange);
/* After the last session: sends what is left. NULL is fine. */
void usage_exchange_free(struct usage_exchange *exchange);

#endif
