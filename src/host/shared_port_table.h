/*
 * The associations whose clients all send to one UDP port (`udp: {ports: 1080}`): finds the one that a datagram is for.
 *
 * It is asked for datagrams that no association's connected socket takes: a client's first ones, and those from a port
 * that a NAT has newly given to it. Only the source address tells them apart. A sender is a stranger if no association
 * has a client with its address.
 *
 * All workers share one table, any thread may call the functions below, and each call takes the table's lock.
 */
#ifndef CONESOCKS_HOST_SHARED_PORT_TABLE_H
#define CONESOCKS_HOST_SHARED_PORT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"

/* How many datagrams (or runs) may be on their way to one association. */
#define SHARED_PORT_UNDER_WAY_MAX 32
/* For this long after an association's end, datagrams from its client's port go to no other association, unless a
 * request names that port. Datagrams that are still under way need that long. With a longer time, a new client that
 * happens to use the port would lose datagrams. */
#define SHARED_PORT_REST_MS 250

struct shared_port_table;
/* An association in the table. */
struct shared_port_entry;

/* Which sender may be an association's client. */
enum shared_port_state {
    SHARED_PORT_WAITING, /* any: it has none, or one at another port than its request named, which may still come */
    SHARED_PORT_HELD,    /* the one that it has */
    SHARED_PORT_QUIET,   /* that one, or as it has been silent, another port of the same address */
    SHARED_PORT_STATES
};

/* NULL: no memory. */
struct shared_port_table *shared_port_table_new(void);
/* After all associations were removed and all entries released. NULL is fine. */
void shared_port_table_free(struct shared_port_table *table);

/* Adds an association, which is SHARED_PORT_WAITING then. `relay`: where its client sends to; `host`: its client's
 * address; `hint_port`: the port that its request named, or 0. `worker` and `owner` are for the caller to read back.
 * NULL: no memory. */
struct shared_port_entry *shared_port_table_add(struct shared_port_table *table, const union netaddr *relay,
                                                const union netaddr *host, uint16_t hint_port, void *worker,
                                                void *owner);
/* The association has ended: its owner is NULL from now on. */
void shared_port_table_remove(struct shared_port_table *table, struct shared_port_entry *entry, uint64_t now_ms);
/* `client`: where it sends from; AF_UNSPEC: not known (again). */
void shared_port_table_set_client(struct shared_port_table *table, struct shared_port_entry *entry,
                                  const union netaddr *client, enum shared_port_state state);

/* Whether the association takes further ports of its client besides the one that it has. */
void shared_port_table_set_room(struct shared_port_table *table, struct shared_port_entry *entry, bool has_room);

/* The worker that the association belongs to. */
void *shared_port_entry_worker(const struct shared_port_entry *entry);
/* What handles its datagrams; for that worker alone to ask. */
void *shared_port_entry_owner(const struct shared_port_entry *entry);

enum shared_port_match {
    SHARED_PORT_FOUND,
    SHARED_PORT_STRANGER,      /* no association has a client with this address */
    SHARED_PORT_OTHER_ADDRESS, /* the same, but one has a client in the same IPv6 network (/64) */
    SHARED_PORT_OTHER_PORT,    /* some have, but none of them takes datagrams from this port */
    SHARED_PORT_FULL,          /* the association has SHARED_PORT_UNDER_WAY_MAX under way */
    SHARED_PORT_MATCHES
};

/* Finds the association for a datagram that came to `relay` from `from`: the one whose client that is. If there is none
 * and the datagram is `valid`, an association gets it as its client: the first whose request named the port, else the
 * first that waits and whose request named none, else the first that waits, else the first that has room (it keeps its
 * client), else the one that has been quiet longest.
 * SHARED_PORT_FOUND: `entry` stays valid until it is released. */
enum shared_port_match shared_port_table_find(struct shared_port_table *table, const union netaddr *relay,
                                              const union netaddr *from, bool valid, uint64_t now_ms,
                                              struct shared_port_entry **entry);
/* What shared_port_table_find() found is delivered. */
void shared_port_table_release(struct shared_port_table *table, struct shared_port_entry *entry);

#endif
