#include "proxy/assoc/udp_header.h"

#include <assert.h>
#include <string.h>

#include "proxy/address.h"

static_assert(DGRAM_HEADER_MAX >= SOCKS5_UDP_HEADER_V6, "a run has room for the header of any address");

void udp_header_put(struct dgram_batch *batch, const union netaddr *to, struct dgram_tally *tally)
{
    size_t kept = 0;
    for (size_t i = 0; i < batch->count; i++) {
        struct dgram_run *run = &batch->runs[i];
        const struct socks5_udp_header header = {.destination = address_to_wire(&run->peer)};
        const size_t header_len = socks5_udp_header_encode(run->header, sizeof(run->header), &header);
        assert(header_len > 0);
        if (run->seg + header_len > DGRAM_PAYLOAD_MAX) {
            tally->lost[DGRAM_LOST_OVERSIZE] += run->count;
            continue;
        }
        run->header_len = (uint8_t)header_len;
        run->peer = *to;
        if (kept != i)
            batch->runs[kept] = *run;
        kept++;
    }
    batch->count = kept;
}

static uint16_t run_count_same_header(const struct dgram_run *run, size_t first, size_t header_len)
{
    uint16_t same = 1;
    while (first + same < run->count && dgram_run_len(run, first + same) >= header_len &&
           memcmp(dgram_run_at(run, first + same), dgram_run_at(run, first), header_len) == 0)
        same++;
    return same;
}

uint16_t udp_header_cut(const struct dgram_run *run, size_t first, struct socks5_udp_header *header,
                        struct dgram_run *payloads, enum drop_reason *reason)
{
    assert(first < run->count);
    const uint8_t *data = dgram_run_at(run, first);
    int decoded = socks5_udp_header_decode(data, dgram_run_len(run, first), header);
    if (decoded < 0 || header->fragment != 0) {
        *reason = decoded < 0 ? DROP_BAD_HEADER : DROP_FRAGMENT;
        payloads->count = 0;
        return 1;
    }
    uint16_t header_len = (uint16_t)decoded;
    uint16_t same = run->count == 1 ? 1 : run_count_same_header(run, first, header_len);
    uint16_t last = (uint16_t)(dgram_run_len(run, first + same - 1u) - header_len);
    *payloads = (struct dgram_run){
        .data = data + header_len,
        .count = same,
        .seg = same == 1 ? last : (uint16_t)(run->seg - header_len),
        .last = last,
        .stride = run->stride,
        .tos = run->tos,
    };
    return same;
}
