/*
 * Whose a datagram is that comes to a port of all associations while no socket there is connected to its sender: the
 * client's first, or one from the port that a NAT has given it anew. All that tells is where it comes from, so the
 * associations of that address are compared. Whoever has an address that none of them has is a stranger.
 *
 * One table for the whole process; any thread may ask. It is locked when an association begins, finds or loses its
 * client and ends, and for such datagrams: not for those of a client whose socket is connected.
 */
#ifndef CONESOCKS_PROXY_ASSOC_DEMUX_H
#define CONESOCKS_PROXY_ASSOC_DEMUX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

/* How many datagrams (or runs) may be on their way to one association. */
#define DEMUX_UNDER_WAY_MAX 32
/* What an association's client still sends after its end is nobody's for this long, unless a request names its port. It
 * is what may be under way; for longer, ports that clients use again by chance would not be heard, too. */
#define DEMUX_REST_MS 250

/* An association on such a port. */
struct demux_entry;

/* Who may be its client. */
enum demux_state {
    DEMUX_WAITING, /* no client yet, or one at another port than the request has named: that one may still come */
    DEMUX_HELD,    /* the one it has */
    DEMUX_QUIET,   /* the one it has been silent: another port of the same address may take over */
};

/*
 * `relay`: where its client sends to; `host`: its client's address; `hint_port`: the port that the request has named,
 * or 0. `worker` and `owner` are what demux_worker() and demux_owner() say. NULL: no memory. It begins DEMUX_WAITING.
 */
struct demux_entry *demux_enter(const union netaddr *relay, const union netaddr *host, uint16_t hint_port, void *worker,
                                void *owner);
/* The association has ended; from now on its owner is NULL. */
void demux_leave(struct demux_entry *entry, uint64_t now_ms);
/* `client`: where it sends from; AF_UNSPEC: not known (again). */
void demux_set(struct demux_entry *entry, const union netaddr *client, enum demux_state state);

/* Which worker's it is, and, for that worker alone to ask, who looks after it. */
void *demux_worker(const struct demux_entry *entry);
void *demux_owner(const struct demux_entry *entry);

enum demux_verdict {
    DEMUX_FOUND,
    DEMUX_STRANGER,      /* no association here is of a client with this address */
    DEMUX_OTHER_ADDRESS, /* none is, but one of a client in the same IPv6 network (/64) */
    DEMUX_OTHER_PORT,    /* some are, but none takes what comes from this port */
    DEMUX_FULL,          /* too many are on their way to the one that it is for */
};

/*
 * Finds the association for a datagram that came to `relay` from `from`: the one whose client that is; or else, when it
 * is `valid`, and then it has found its client: the first whose request has named the port, the first of those that
 * wait and have named none, the first of the others that wait, the one that has been quiet for longest. DEMUX_FOUND:
 * `entry` is there until demux_done().
 */
enum demux_verdict demux_find(const union netaddr *relay, const union netaddr *from, bool valid, uint64_t now_ms,
                              struct demux_entry **entry);
void demux_done(struct demux_entry *entry);

#endif
