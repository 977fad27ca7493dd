/*
 * The test server of a check: `conesocks check --listen` runs it for a check on another machine, and a check runs one
 * itself when the proxy is on this machine.
 *
 * Each of its addresses has two UDP ports and, at the first of them, TCP. See check/peer/peer_wire.h for what it
 * answers.
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

/* Called on the thread that runs the server, for a new guest with the key, and at most once in ten seconds for a sender
 * without it. */
typedef void peer_server_watch(const union netaddr *sender, bool has_key);

/* A new random key at each call, without letters that look alike. false: the system has no random bytes. */
bool peer_make_key(char key[PEER_KEY_LEN + 1]);

/* An address to listen at. Those of one family and one link are each other's "other address": from an address of
 * another link, such as a container bridge's, no answer would reach the client. */
struct peer_host {
    union netaddr address;
    unsigned link;
};
/* The index of the n-th host's other address; `n` when there is none. */
size_t peer_host_other(const struct peer_host *hosts, size_t count, size_t n);

/*
 * Listens at all these hosts, with `port` and the next one; 0: two ports that are free at all of them. NULL: `problem`
 * is set to the reason, as text for the user. The caller keeps the key. `watch` may be NULL.
 */
struct peer_server *peer_server_open(const struct peer_host *hosts, size_t count, uint16_t port, const char *key,
                                     peer_server_watch *watch, char *problem, size_t problem_size);
/* The first port at the n-th host. AF_UNSPEC beyond the last. */
union netaddr peer_server_address(const struct peer_server *server, size_t n);

/* Serves until another thread calls peer_server_close(), or without an end. */
void peer_server_run(struct peer_server *server);
/* The same, on a thread of its own. false: the system has none left. */
bool peer_server_start(struct peer_server *server);
/* Ends that thread. */
void peer_server_close(struct peer_server *server);

#endif
