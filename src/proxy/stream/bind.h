/*
 * BIND (RFC 1928 section 4): opens a port and waits for one connection from the peer that the client named. From then
 * on it is a stream like that of a CONNECT; the stream owns this.
 */
#ifndef CONESOCKS_PROXY_STREAM_BIND_H
#define CONESOCKS_PROXY_STREAM_BIND_H

#include <stdbool.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"

struct bind;
struct env;
struct proxy_client;
struct subject;

/* `fd` is the connection, the callee's from now on, and `peer` where it comes from; or fd is a negative errno and
 * `code` is the reply, as none will come. Nothing follows: bind_free(), which closes the port, is due. */
typedef void bind_done(void *arg, int fd, const union netaddr *peer, enum socks5_reply code);

/*
 * Opens the port. Only the host of `from` may connect to it, whatever its port; when that is unspecified (0.0.0.0, ::)
 * or one of this host's own addresses, any host may. In both cases policy has to allow `subject` that host. `subject`
 * and its client must outlive it. `done` comes from the event loop. When no port could be opened,
 * `error` gets the errno.
 */
enum socks5_reply bind_new(struct bind **bind, struct env *env, struct subject *subject,
                           const struct proxy_client *client, const union netaddr *from, bind_done *done, void *arg,
                           int *error);
void bind_free(struct bind *bind);

/* The subject has other rules: may it wait on? A peer that connects afterwards is judged by these. */
bool bind_review(struct bind *bind);

/* What the peer is to be told to connect to. */
union netaddr bind_told(const struct bind *bind);

#endif
