/*
 * Lets the workers begin after a take-over: they adopt the sockets of the previous server and accept connections. On
 * the main thread.
 */
#ifndef CONESOCKS_DAEMON_WORKER_TAKEOVER_H
#define CONESOCKS_DAEMON_WORKER_TAKEOVER_H

#include <stdbool.h>

struct crew;
struct host;
struct worker_takeover;
struct takeover;

/* For workers that were made `paused`. NULL: no memory or descriptors (errno). */
struct worker_takeover *worker_takeover_new(struct host *host, struct crew *crew);
/* Once, after takeover_finish() and crew_start(). Takes over the connection to the previous server and the UDP sockets;
 * `shares_port`: our associations share one port (udp.ports), too. */
void worker_takeover_begin(struct worker_takeover *worker_takeover, struct takeover *takeover, bool shares_port);
/* After crew_stop(), before the workers are freed. NULL is fine. */
void worker_takeover_free(struct worker_takeover *worker_takeover);

#endif
