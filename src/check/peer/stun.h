/*
 * STUN messages on the wire: Binding requests and answers (RFC 8489) with what RFC 5780 adds to find out a NAT's type.
 * Pure: bytes in, a struct out, and back. (The one STUN library in C that Debian has, libnice, needs GLib.)
 *
 * MESSAGE-INTEGRITY and FINGERPRINT of public servers are not checked: nothing here is secret, and an answer counts
 * when it carries the request's 96 random bits. The attributes of RFC 3489 are read where a server sends only those.
 */
#ifndef CONESOCKS_CHECK_STUN_H
#define CONESOCKS_CHECK_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define STUN_HEADER      20
#define STUN_TRANSACTION 12
#define STUN_MESSAGE_MAX 256 /* room for any message of stun_encode(), before it is padded and sealed */

enum stun_class { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };

#define STUN_BINDING 1

enum stun_decode_error {
    STUN_E_SHORT = -1,     /* ends inside its header, or before its length says */
    STUN_E_NONE = -2,      /* no STUN message: its first bits, its magic cookie or its length */
    STUN_E_ATTRIBUTE = -3, /* an attribute that does not fit in, or is not what its type says */
};

/* What a message does not carry is zero here: AF_UNSPEC, 0, false. */
struct stun_message {
    enum stun_class class;
    uint16_t method;
    uint8_t transaction[STUN_TRANSACTION];

    union netaddr mapped;                         /* XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS */
    union netaddr response_origin, other_address; /* where the answer left from; the server's other address and port */
    bool change_address, change_port;             /* CHANGE-REQUEST: answer from another address, or port */
    uint16_t error_code;                          /* 300 to 699 */

    /* Two attributes of our own (see check/peer/peer_wire.h). The first orders something from a peer: */
    bool quiet; /* no answer: the request only counts as bytes that have arrived */
    bool plain; /* answer with `plain_len` bytes of peer_pattern() instead of STUN */
    uint16_t plain_len;
    uint16_t delay_s; /* answer after so many seconds */
    /* The second is the peer's count of datagrams other than STUN from this client: */
    uint32_t plain_count;
    uint16_t plain_last; /* the size of the last one, */
    uint16_t fragment;   /* and of the largest IP fragment that it came in; 0: it came in one packet */
};

/* The message's length, with `out` filled in, or one of enum stun_decode_error. Bytes behind it are ignored. */
int stun_decode(const uint8_t *in, size_t len, struct stun_message *out);
/* The whole length of a message with these first STUN_HEADER bytes, for a stream; 0: they are no STUN. */
size_t stun_length(const uint8_t *header);
/* The length, or 0 when it does not fit. `mapped` is sent as XOR-MAPPED-ADDRESS. */
size_t stun_encode(uint8_t *out, size_t size, const struct stun_message *in);

/* For who adds attributes to an encoded message of `len` bytes: writes the attribute's head, zeroes its value and
 * padding, and advances `len`. The value's place, or NULL: there is no room. */
uint8_t *stun_add_attribute(uint8_t *message, size_t *len, size_t size, uint16_t type, size_t value_len);
/* Writes the header's length field for a message that will be `len` bytes long. */
void stun_set_length(uint8_t *message, size_t len);

#endif
