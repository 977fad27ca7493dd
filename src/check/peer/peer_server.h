/*
 * The far end of a check: what `conesocks check --listen` runs, and what a check opens on this host where it can.
 * Each of its addresses has two UDP ports and, at the first of them, TCP. See check/peer_wire.h for what it answers.
 */
#ifndef CONESOCKS_CHECK_PEER_SERVER_H
#define CONESOCKS_CHECK_PEER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define PEER_SERVER_PLACES_MAX 8
#define PEER_KEY_LEN           26

struct peer_server;

/* What somebody who watches it may want to know; may be NULL. On the thread that runs it. */
struct peer_server_watch {
    void (*arrived)(void *context, const union netaddr *guest);  /* a new one, with the key */
    void (*refused)(void *context, const union netaddr *sender); /* something without it: at most once in ten seconds */
    void *context;
};

/* Another one at each call, in letters that are hard to mistake. false: the system gives no random bytes. */
bool peer_make_key(char key[PEER_KEY_LEN + 1]);

/* An address to listen at. Those of one family and one link are each other's "other address": from another link's,
 * such as a container bridge's, nothing would get to where the question came from. */
struct peer_host {
    union netaddr address;
    unsigned link;
};
/* The one whose turn it is after the n-th; itself when it is alone. */
size_t peer_host_other(const struct peer_host *hosts, size_t count, size_t n);

/*
 * At all these hosts, with `port` and the next one; 0: two that
 * are free at all of them. NULL: `problem` says why, in words for the user. The key is kept by the caller.
 */
struct peer_server *peer_server_open(const struct peer_host *hosts, size_t count, uint16_t port, const char *key,
                                     const struct peer_server_watch *watch, char *problem, size_t problem_size);
/* Where the n-th host is to be asked: its first port. AF_UNSPEC beyond the last. */
union netaddr peer_server_address(const struct peer_server *server, size_t n);

/* Serves until peer_server_close() of another thread, or for ever. */
void peer_server_run(struct peer_server *server);
/* The same, on a thread of its own. false: there is none to be had. */
bool peer_server_start(struct peer_server *server);
/* Ends that thread. */
void peer_server_close(struct peer_server *server);

#endif
