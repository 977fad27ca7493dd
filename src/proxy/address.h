/*
 * Translates the addresses of SOCKS5 messages to socket addresses and back, and errors to reply codes.
 */
#ifndef CONESOCKS_PROXY_ADDRESS_H
#define CONESOCKS_PROXY_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conesocks/socks5.h"

/* Room for a name and the final NUL. */
#define NAME_TEXT_MAX 256

enum address_kind {
    ADDRESS_IP,   /* `addr` is it */
    ADDRESS_NAME, /* `name` is it, in lower case, without a final dot */
    ADDRESS_BAD   /* neither an address nor a host name */
};

/*
 * What a SOCKS5 address means. Some clients send literals as names ("192.0.2.1", "[2001:db8::1]"): they are addresses.
 * IPv4-mapped addresses are unmapped. `addr` gets the port in any case; `name` is NAME_TEXT_MAX bytes.
 */
enum address_kind address_read(const struct socks5_addr *in, union netaddr *addr, char *name);

/* The wire's form of an address, unmapped; points into `addr`, which must stay unmapped itself. */
struct socks5_addr address_to_wire(const union netaddr *addr);

/* RFC 1928 section 6, from the errno of a failed connection; 0 = there was no address to try. */
enum socks5_reply address_reply_of(int error);

/* The port from which an association's client will send, as its request announces (DST.PORT); 0: it announces none.
 * Used only if DST.ADDR is the client's own address or unspecified: clients put all sorts of other things there. */
uint16_t address_hint(const struct socks5_addr *hint, const union netaddr *client_host);

/* The address that a reply tells the client. Some clients read ten bytes of a reply, whatever its address type. So one
 * that has connected over IPv4 gets an IPv4 address: the bound one, or 0.0.0.0 with its port. */
union netaddr address_readable_by(const union netaddr *client, const union netaddr *bound);

#endif
