/*
 * A stream serves CONNECT and BIND (RFC 1928 section 4). It reaches the destination, or waits for the connection from
 * there (bind.h), and then relays both directions until both have ended. A half-close is forwarded. When one end fails,
 * the other still gets what had arrived before, and is then reset.
 */
#ifndef CONESOCKS_PROXY_STREAM_STREAM_H
#define CONESOCKS_PROXY_STREAM_STREAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"
#include "conf/config.h"
#include "proxy/address.h"

struct env;
struct proxy_client;
struct stream;

/* All are called from the event loop, never from inside stream_new() or stream_relay(); the stream may be freed in
 * them. */
struct stream_hooks {
    /* BIND only, before `reached`: its peer may connect to `told` now. */
    void (*listening)(void *arg, const union netaddr *told);
    /* CONNECT: the destination was reached, or not. BIND: its peer has connected, or not. On success answer the client
     * with `bound`, then call stream_relay(). `bound` is our end of the connection, or what the upstream has bound;
     * BIND: the peer. */
    void (*reached)(void *arg, enum socks5_reply code, const union netaddr *bound);
    /* Both directions are over, or one broke: then the client's connection is to be reset, too. */
    void (*ended)(void *arg, const char *why, bool broken);
    void *arg;
};

/* Begins to reach `destination`. `command` is CONNECT or BIND; `client->user` must outlive the stream. NULL: no memory.
 */
struct stream *stream_new(struct env *env, enum config_command command, const struct proxy_client *client,
                          const struct socks5_addr *destination, const struct stream_hooks *hooks);
void stream_free(struct stream *stream);

/* Keeps the `len` bytes that the client has sent behind its request. They go to the destination before what
 * stream_relay() finds in the socket. false: no memory. */
bool stream_keep_early(struct stream *stream, const uint8_t *bytes, size_t len);

/* Starts to relay between `client_fd`, which stays the caller's, and the destination. */
void stream_relay(struct stream *stream, int client_fd);

/* The env has another snapshot: may `client` continue to that destination? While it is still reaching, addresses that
 * are found later are checked by the new rules. false: no, or there is no memory; then it has to end at once. */
bool stream_review(struct stream *stream, const struct proxy_client *client);

/* To be called about once a second while it relays: finds an end that has vanished, and a stream that has been idle for
 * timeouts.stream_idle. `asks`: the kernel is to be asked about each end. The stream may have ended afterwards. */
void stream_sweep(struct stream *stream, uint64_t now_ms, bool asks);

/* The time (env_now) since when a reader has not taken the bytes that wait for it; UINT64_MAX: none waits. */
uint64_t stream_stuck_since(const struct stream *stream);
/* How many descriptors it holds, beside the client's connection. */
size_t stream_descriptors(const struct stream *stream);
/* Memory that it holds, ours and the kernel's. */
size_t stream_memory(const struct stream *stream);
/* Calls the hook `ended` with `broken`: the owner then frees the stream. */
void stream_give_up(struct stream *stream, const char *why);

/* What was asked for, as "name:port". Returns `text`. */
#define STREAM_DESTINATION_MAX (NAME_TEXT_MAX + sizeof(":65535"))
const char *stream_destination(const struct stream *stream, char text[static STREAM_DESTINATION_MAX]);

enum config_command stream_command(const struct stream *stream);
const char *stream_upstream(const struct stream *stream); /* the name of the upstream it uses, or NULL */
int stream_reach_error(const struct stream *stream);      /* errno: why it did not reach its destination, or 0 */
bool stream_is_unresolved(const struct stream *stream);   /* no name server has answered about its name in time */
union netaddr stream_remote(const struct stream *stream); /* the peer of that connection; AF_UNSPEC: an upstream
                                                             has resolved the name */
uint64_t stream_up_bytes(const struct stream *stream);
uint64_t stream_down_bytes(const struct stream *stream);

#endif
