/*
 * What `conesocks check --peer` and the far end, `conesocks check --listen`, say to each other.
 *
 * It is STUN: Binding requests and answers (RFC 8489) with CHANGE-REQUEST, OTHER-ADDRESS and PADDING (RFC 5780), each
 * under MESSAGE-INTEGRITY-SHA256 by a key that both were told. Mapping and filtering are then measured by the very
 * steps that measure them with a public server. Two attributes of our own, from the range that others skip, ask for
 * what STUN has not: an answer after a delay, plain bytes of some size, and what has arrived so far.
 *
 * Why not just an open STUN server, which any tool could use: its answer is longer than the question and goes wherever
 * the question claims to come from, so strangers could aim it at a third party. Here a datagram without the key gets
 * nothing, and one with the key is answered to where it came from, with at most as many bytes as have come from there
 * (see check/peer_guests.h). A request that is overheard and repeated, under a forged address too, moves no more bytes
 * than it cost, and none once this far end has ended: another one has another key.
 *
 * Datagrams that are no STUN carry no key and may have any size, 0 too: they are echoed to guests, those who have shown
 * the key from the same address and port a moment ago.
 *
 * Pure: bytes in, structs out, and back.
 */
#ifndef CONESOCKS_CHECK_PEER_WIRE_H
#define CONESOCKS_CHECK_PEER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "check/peer/stun.h"

#define PEER_PORT 3478 /* STUN's; the far end's other port is the next one */
/* Requests are padded to this, so that no answer is longer than what asked for it. */
#define PEER_REQUEST_MIN 160
#define PEER_MESSAGE_MAX 1400
#define PEER_DELAY_MAX   900

struct peer_request {
    uint8_t transaction[STUN_TRANSACTION];
    bool change_address, change_port; /* answer from another address, or port, of the far end */
    bool quiet;                       /* no answer: it only counts as bytes that have come */
    uint16_t delay_s;                 /* answer after so many seconds */
    bool plain;                       /* answer with `plain_len` bytes by peer_pattern() instead of STUN */
    uint16_t plain_len;
};

struct peer_answer {
    uint8_t transaction[STUN_TRANSACTION];
    union netaddr mapped; /* where the request came from: XOR-MAPPED-ADDRESS */
    union netaddr origin; /* where the answer leaves from: RESPONSE-ORIGIN */
    union netaddr other;  /* the far end's other address and port; the same address with the other port: it has one */
    uint32_t plain_count; /* datagrams other than STUN that have come from this guest */
    uint16_t plain_last;  /* the size of the last one, */
    uint16_t fragment;    /* and of the largest IP fragment that it came in; 0: it came whole */
};

/* Whether a datagram is meant as STUN: then it is never echoed. */
bool peer_is_stun(const uint8_t *in, size_t len);
/* Whether it is a whole STUN message that ends with the digest by `key`: nothing else of it is looked at. */
bool peer_is_sealed(const uint8_t *in, size_t len, const char *key);
/* Pads a STUN request of `len` bytes, whose buffer has `size`, and puts the digest behind it. The length, 0: no room.
 */
size_t peer_seal(uint8_t *request, size_t len, size_t size, const char *key);

/* The length, of at least `len_min` and at most `size` bytes, or 0 when it does not fit. */
size_t peer_request_encode(uint8_t *out, size_t size, size_t len_min, const struct peer_request *in, const char *key);
size_t peer_answer_encode(uint8_t *out, size_t size, const struct peer_answer *in, const char *key);
/* false: it is no such message, or not under this key. */
bool peer_request_decode(const uint8_t *in, size_t len, const char *key, struct peer_request *out);
bool peer_answer_decode(const uint8_t *in, size_t len, const char *key, struct peer_answer *out);

/* `len` bytes that differ at every place and for every seed, so that a mix-up or a cut shows. */
void peer_pattern(uint8_t *out, size_t len, uint32_t seed);
bool peer_pattern_is(const uint8_t *in, size_t len, uint32_t seed);

#endif
