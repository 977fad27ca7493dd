/*
 * STUN on the wire: RFC 8489 Binding requests and responses, with what RFC 5780 adds to find out how a NAT behaves.
 * Pure: bytes in, struct out, and back. (The one STUN library in C that Debian has, libnice, stands on GLib.)
 *
 * Not looked at: MESSAGE-INTEGRITY and FINGERPRINT, for nothing here is secret; an answer is believed when it has the
 * transaction's 96 random bits. Of RFC 3489 the attributes that its servers still send in place of the newer ones.
 */
#ifndef CONESOCKS_CHECK_STUN_H
#define CONESOCKS_CHECK_STUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"

#define STUN_HEADER      20
#define STUN_TRANSACTION 12
/* Room for any message that stun_encode() makes. */
#define STUN_MESSAGE_MAX 256

enum stun_class { STUN_REQUEST, STUN_INDICATION, STUN_SUCCESS, STUN_ERROR };

#define STUN_BINDING 1

enum stun_decode_error {
    STUN_E_SHORT = -1,     /* ends inside its header, or before its length says */
    STUN_E_NONE = -2,      /* no STUN message: its first bits, its magic cookie or its length */
    STUN_E_ATTRIBUTE = -3, /* an attribute that does not fit in, or is not what its type says */
};

/* A message without an attribute has zeroes there: AF_UNSPEC, 0, false. */
struct stun_message {
    enum stun_class class;
    uint16_t method;
    uint8_t transaction[STUN_TRANSACTION];

    union netaddr mapped; /* XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS where that is all there is */
    union netaddr response_origin, other_address;
    bool change_address, change_port; /* CHANGE-REQUEST */
    uint16_t error_code;              /* 300 to 699 */
};

/* The message's length, with `out` filled in, or one of enum stun_decode_error. Bytes behind it are left alone. */
int stun_decode(const uint8_t *in, size_t len, struct stun_message *out);
/* The whole length of a message with these first STUN_HEADER bytes, for a stream; 0: they are no STUN. */
size_t stun_length(const uint8_t *header);
/* The length, or 0 when it does not fit. `mapped` leaves as XOR-MAPPED-ADDRESS. */
size_t stun_encode(uint8_t *out, size_t size, const struct stun_message *in);

#endif
