/*
 * What the loads send: each datagram says which association, slot and target it belongs to and is filled with bytes
 * that follow from that; a stream's bytes follow from their position. So whatever arrives can be checked by itself.
 */
#ifndef CONESOCKS_BENCH_PAYLOAD_H
#define CONESOCKS_BENCH_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAYLOAD_MIN 36 /* a stamp without filling */

struct stamp {
    uint32_t association;
    uint32_t slot;
    uint32_t generation; /* grows with each use of the slot: an answer to an earlier use is late */
    uint32_t target;
    uint64_t sent_ns;
};

enum payload_verdict {
    PAYLOAD_GOOD,
    PAYLOAD_STRAY,  /* of another run of this program: a leftover, nobody's fault here */
    PAYLOAD_BROKEN, /* not what was sent */
};

/* Before any other call: makes the filling, and a run number that tells this run's datagrams from an earlier one's. */
void payload_init(void);

void payload_write(uint8_t *payload, size_t size, const struct stamp *stamp);
enum payload_verdict payload_check(const uint8_t *payload, size_t size, struct stamp *stamp);

/* The bytes of a stream from `position` on: PAYLOAD_PIECE of them. */
#define PAYLOAD_PIECE (256u * 1024)
const uint8_t *payload_stream(uint64_t position);
bool payload_stream_check(uint64_t position, const uint8_t *data, size_t len);

#endif
