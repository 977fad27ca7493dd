/*
 * A UDP association (RFC 1928 section 7) with the NAT behaviour of RFC 4787: one external socket per address family,
 * the same for every destination (endpoint-independent mapping), open to whom the filtering mode says (by default to
 * everybody).
 *
 * The client's datagrams come to a socket of their own or, over TCP, as frames on its control connection: the rest is
 * the same.
 *
 * Nothing that arrives on its sockets ends an association. Its owner does: when the control connection ends, or when
 * assoc_sweep() says that the idle limit has passed.
 */
#ifndef CONESOCKS_PROXY_ASSOC_ASSOC_H
#define CONESOCKS_PROXY_ASSOC_ASSOC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "proxy/assoc/flow.h"
#include "proxy/assoc/hooks.h"
#include "proxy/env.h"

struct assoc;

/*
 * Opens an association for the client of a control connection: `peer` and `local` are that connection's two ends,
 * unmapped; `user` is NULL without a login, and outlives the association; `hint` is the request's DST. What the client
 * sends waits in the kernel until assoc_start(). 0 or a negative errno: -EACCES when the rules leave it no destination
 * at all.
 */
int assoc_new(struct assoc **out, struct env *env, const union netaddr *peer, const char *user,
              const union netaddr *local, const struct socks5_addr *hint);
/* The same over TCP: the datagrams are frames (struct socks5_frame) on the control connection `fd`, which stays its
 * owner's, but is the association's to read and write from assoc_start() on. */
int assoc_new_over_tcp(struct assoc **out, struct env *env, const union netaddr *peer, const char *user,
                       const union netaddr *local, int fd, const struct assoc_hooks *hooks);
/* It is granted: from now on it reads what the client sends. */
void assoc_start(struct assoc *assoc);
void assoc_free(struct assoc *assoc);

bool assoc_is_over_tcp(const struct assoc *assoc);

/* Whether it leaves by an upstream: then it is not to be granted before that has answered, which the hooks tell, from
 * the event loop. The association may be freed in them. */
bool assoc_awaits_upstream(struct assoc *assoc, const struct assoc_upstream_hooks *hooks);
/* The upstream's name, or NULL. */
const char *assoc_upstream(const struct assoc *assoc);

/* Who may send to its external ports, where no upstream decides that. */
enum config_filtering assoc_filtering(const struct assoc *assoc);

const struct assoc_flow *assoc_flow(const struct assoc *assoc);

/* `may_go_on` is asked before the first datagrams after a reload: the owner reviews the association, and soon ends one
 * that may not, but not from inside of it. */
void assoc_set_review(struct assoc *assoc, bool (*may_go_on)(void *owner), void *owner);
/* The env has another snapshot: its rules hold from here on. false: they leave it no destination at all, or there is no
 * memory; then it has to end at once. */
bool assoc_review(struct assoc *assoc);

/* To be called about once a second. true: idle for longer than `udp.idle` allows. */
bool assoc_sweep(struct assoc *assoc, uint64_t now_ms);

/* Gives each of its sockets this much room for datagrams that have not been read yet. */
void assoc_set_room(struct assoc *assoc, int bytes);
/* How many descriptors it has, besides the control connection. */
size_t assoc_descriptors(const struct assoc *assoc);
/* Whether one of its ports can be had at that place once it ends. */
bool assoc_holds_port(const struct assoc *assoc, const struct port_place *place);
/* Who is charged from now on for what it holds besides its sockets; until then it is itself. */
void assoc_borrow(struct assoc *assoc, struct loan *loan);
/* Drops what is charged there, as far as it can. */
void assoc_call_loans(struct assoc *assoc);
/* Memory that it holds, ours and the kernel's. */
size_t assoc_memory(const struct assoc *assoc);

/* How long ago the last datagram passed, either way. */
uint64_t assoc_idle_ms(const struct assoc *assoc, uint64_t now_ms);

#endif
