/*
 * A world for one association: sockets, a resolver and a clock that the test owns. world.c defines the functions of
 * net/sock.h, net/dgram_io.h and net/resolver.h that the association calls; the event loop is the real one.
 */
#ifndef CONESOCKS_TEST_SIM_WORLD_H
#define CONESOCKS_TEST_SIM_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "net/resolver.h"
#include "net/sock.h"
#include "proxy/env.h"

struct sent { /* one datagram that left */
    union netaddr from, to;
    size_t len;
    uint8_t tos;
    uint8_t bytes[2048];
};

extern struct env world_env;
extern struct config world_config;
extern uint64_t world_now_ms;
/* While set, each datagram that should leave is lost this way. */
extern int world_send_loss; /* an enum dgram_loss, or -1 */
/* While set, opening a socket of this family fails with world_open_error. */
extern int world_open_fails_family, world_open_error;
/* While not 0, nothing can be said about how a socket leaves. */
extern int world_egress_error;
extern bool world_ipv6_has_route;
/* What datagrams arrive with that are read while it is set. */
extern uint8_t world_tos;
/* From when on the external port rests that was given back last; 0: it does not have to. */
extern uint64_t world_quiet_from_ms[FAMILY_COUNT];
/* What the next socket that is asked for ICMP errors has kept, if it keeps any. */
extern uint32_t world_icmp_too_big;
/* While not 0, no socket can be bound to a shared port; while not NULL, called when one was. */
extern int world_bind_error;
extern void (*world_on_bind)(void);

void world_begin(void);
void world_end(void);

union netaddr addr(const char *text, uint16_t port);

/* A datagram arrives for the socket that is bound to `to` (a wildcard socket takes any host). false: nobody takes it.
 */
bool world_arrive(const union netaddr *from, const union netaddr *to, const void *bytes, size_t len);
/* The same for `count` equal segments that arrive as one run. */
bool world_arrive_run(const union netaddr *from, const union netaddr *to, const void *bytes, size_t len, size_t seg);
/* Runs the loop until it has nothing to do. */
void world_run(void);

/* What left, oldest first; NULL when nothing (more) did. */
const struct sent *world_next_sent(void);
size_t world_sent_count(void);
size_t world_open_sockets(void);
/* Of the socket that is bound to `local`. */
const struct sock_egress *world_egress_of(const union netaddr *local);

/* The name of the upstream whose request has waited longest; NULL: none has. */
const char *world_upstream_asked(void);
/* Has the upstream that was asked first answer; `control` is the connection there, -1 with a refusal. false: none was.
 */
bool world_upstream_answers(enum socks5_reply code, int control, const union netaddr *bound);
/* Where the upstream is, and where connections to it start from. */
extern union netaddr world_upstream, world_upstream_local;

/* Answers the oldest pending query for `name` and `family` with addresses that a space separates (NULL: none); false
 * when there is none. */
bool world_answer(const char *name, int family, enum resolver_status status, const char *addresses);
size_t world_pending_queries(void);

#endif
