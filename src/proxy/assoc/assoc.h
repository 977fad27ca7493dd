/*
 * A UDP association (RFC 1928 section 7) that behaves as a full-cone NAT (RFC 4787): what a session opens for a client
 * that asks for UDP.
 *
 * It has one internal end, where the client's datagrams come and go, and external ends, where the internet's do
 * (ends.h). The mapping is endpoint-independent: one external socket for each address family, whatever the destination.
 *
 * No UDP datagram ends an association. Its owner does: when the control connection ends, when assoc_sweep() reports
 * that the idle limit has passed, or when a hook reports the end (hooks.h): of its upstream, or of its frames over TCP.
 */
#ifndef CONESOCKS_PROXY_ASSOC_ASSOC_H
#define CONESOCKS_PROXY_ASSOC_ASSOC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "proxy/assoc/flow.h"
#include "proxy/assoc/hooks.h"
#include "proxy/assoc/kernel_reason.h"
#include "proxy/env.h"

struct assoc;
struct proxy_client;

/*
 * Opens an association; `client->user` outlives it. `local` is the host that the client sends to, nearly always that of
 * `client->local`; `hint` is the request's DST. What the client sends waits in the kernel until assoc_start(). 0 or a
 * negative errno: -EACCES when the rules leave it no destination at all.
 */
int assoc_new(struct assoc **out, struct env *env, const struct proxy_client *client, const union netaddr *local,
              const struct socks5_addr *hint);
/* The same over TCP: the datagrams are frames (struct socks5_frame) on the control connection `fd`, which stays its
 * owner's, but is the association's to read and write from assoc_start() on. `early`: what was read from it behind the
 * request. */
int assoc_new_over_tcp(struct assoc **out, struct env *env, const struct proxy_client *client, int fd,
                       const uint8_t *early, size_t early_len, const struct assoc_hooks *hooks);
/* The client is told that it may send: from now on its datagrams are read. To be called once. */
void assoc_start(struct assoc *assoc);
void assoc_free(struct assoc *assoc);

bool assoc_is_over_tcp(const struct assoc *assoc);

/* Sets the hooks if the association uses an upstream. Returns whether it does: then the owner answers the client when a
 * hook reports the upstream's answer. */
bool assoc_expect_upstream(struct assoc *assoc, const struct assoc_upstream_hooks *hooks);
/* The upstream's name, or NULL. */
const char *assoc_upstream(const struct assoc *assoc);

/* The ports of its client, the first one first. Returns how many: at most CONFIG_CLIENT_PORTS_MAX. */
size_t assoc_mappings(const struct assoc *assoc, struct assoc_mapping *mappings);

/* The upstreams that it leaves by besides its own, for rules about destinations, as a list; "none": directly. Returns
 * `text`. */
const char *assoc_exits(const struct assoc *assoc, char *text, size_t size);

/* Which peers may send to its external ports, unless an upstream decides that. */
enum config_filtering assoc_filtering(const struct assoc *assoc);

/* Up to date: with what the kernel path has relayed until now. */
const struct assoc_flow *assoc_flow(struct assoc *assoc);
/* Its datagrams are among those of assoc_flow(), as that was called last. */
struct kernel_use assoc_kernel_use(const struct assoc *assoc);
/* From now on only user space relays, so that what assoc_flow() says is all there was: before the association ends. */
void assoc_leave_kernel(struct assoc *assoc);

/* `may_go_on` is called before the first datagrams after a reload. There the owner calls assoc_review(). If it returns
 * false, the owner ends the association, but not there: later, from the event loop. */
void assoc_set_review(struct assoc *assoc, bool (*may_go_on)(void *owner), void *owner);
/* Puts it under the rules of the env's new snapshot. false: they allow no destination at all, or there is no memory;
 * then it has to end at once. */
bool assoc_review(struct assoc *assoc, const struct proxy_client *client);

/* To be called about once a second. true: idle for longer than `udp.idle` allows. */
bool assoc_sweep(struct assoc *assoc, uint64_t now_ms);

/* How many bytes of datagrams may wait in each of its sockets. */
void assoc_set_room(struct assoc *assoc, int bytes);
/* How many descriptors it holds, without the control connection. */
size_t assoc_descriptors(const struct assoc *assoc);
/* Whether a port at that place becomes free when the association ends. */
bool assoc_holds_port(const struct assoc *assoc, const struct port_place *place);
/* Charges what it holds besides its sockets to `loan` from now on; before, it is charged to the association itself. */
void assoc_borrow(struct assoc *assoc, struct loan *loan);
/* Drops what is charged, as far as it can. */
void assoc_call_loans(struct assoc *assoc);
/* The memory that it holds, ours and the kernel's. */
size_t assoc_memory(const struct assoc *assoc);

/* How long ago the last datagram passed, either way and on either path. */
uint64_t assoc_idle_ms(struct assoc *assoc, uint64_t now_ms);

#endif
