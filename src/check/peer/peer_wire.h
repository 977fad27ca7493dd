/*
 * What `conesocks check --peer` and its test server, `conesocks check --listen`, send each other: sealed STUN messages,
 * and plain datagrams that are echoed. Pure: bytes in, structs out, and back.
 *
 * The messages are STUN's Binding requests and answers with RFC 5780's CHANGE-REQUEST, OTHER-ADDRESS and PADDING, each
 * sealed with MESSAGE-INTEGRITY-SHA256 by a key that both sides know. So the steps that measure mapping and filtering
 * with a public server do it with a peer, too. Two attributes of our own order what STUN cannot: an answer after a
 * delay, plain bytes of some size, and a count of what has arrived.
 *
 * The peer is no open STUN server, because an attacker could aim that at a third party: its answer is longer than the
 * question and goes wherever the question claims to come from. Here a datagram without the key gets nothing, and one
 * with the key is answered where it came from, with at most as many bytes as came from there (see
 * check/peer/peer_guests.h). A request that is overheard and repeated, even from a forged address, moves no more bytes
 * than it cost, and none once this peer has ended: the next one has another key.
 *
 * Datagrams that are no STUN carry no key and may have any size, 0 too: they are echoed to guests, which have shown the
 * key from the same address and port a moment ago.
 */
#ifndef CONESOCKS_CHECK_PEER_WIRE_H
#define CONESOCKS_CHECK_PEER_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "check/peer/stun.h"

#define PEER_PORT 3478 /* STUN's; the peer's other port is the next one */
/* Requests are padded to this, so that no answer is longer than its request. */
#define PEER_REQUEST_MIN 160
#define PEER_MESSAGE_MAX 1400
#define PEER_DELAY_MAX   900

/* Whether a datagram is meant as STUN: then it is never echoed. */
bool peer_is_stun(const uint8_t *in, size_t len);
/* Encodes, pads to at least `len_min` and seals. The length, or 0 when `size` is too small. */
size_t peer_encode(uint8_t *out, size_t size, size_t len_min, const struct stun_message *in, const char *key);
/* The reverse, for a STUN_REQUEST or a STUN_SUCCESS. false: it is no such message, or not sealed by this key, which is
 * checked before anything else is looked at. */
bool peer_decode(const uint8_t *in, size_t len, const char *key, enum stun_class class, struct stun_message *out);

/* `len` bytes that differ at every place and for every seed, so that a mix-up or a cut shows. */
void peer_pattern(uint8_t *out, size_t len, uint32_t seed);
bool peer_pattern_is(const uint8_t *in, size_t len, uint32_t seed);

#endif
