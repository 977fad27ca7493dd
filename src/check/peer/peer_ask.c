#include "check/peer/peer_ask.h"

#include <errno.h>
#include <string.h>

#include "check/io.h"
#include "check/peer/stun_ask.h"

#define TRIES        4
#define FIRST_WAIT   200u /* ms; twice as long each time */
#define PATTERN_SURE 12   /* bytes that are not the same by chance */

static bool is_over(int error)
{
    return error == -ETIMEDOUT || error == -EPIPE || error == -EPROTO || error == -EBADF;
}

bool peer_hear(const struct peer_line *line, uint64_t deadline)
{
    do {
        int error = channel_receive(line->channel, line->room, deadline);
        if (is_over(error))
            return false;
        if (!error && netaddr_equal(&line->room->origin, &line->to))
            return true;
    } while (clock_ms() < deadline);
    return false;
}

bool peer_say(const struct peer_line *line, struct peer_request *request, size_t len_min)
{
    uint8_t bytes[PEER_MESSAGE_MAX];
    stun_new_transaction(request->transaction);
    size_t len = peer_request_encode(bytes, sizeof(bytes), len_min, request, line->key);
    return len > 0 && channel_send(line->channel, &line->to, bytes, len) == 0;
}

static bool hear_answer(const struct peer_line *line, const struct peer_request *request, struct peer_answer *answer,
                        uint64_t deadline)
{
    while (clock_ms() < deadline && peer_hear(line, deadline))
        if (peer_answer_decode(line->room->payload, line->room->len, line->key, answer) &&
            memcmp(answer->transaction, request->transaction, sizeof(answer->transaction)) == 0)
            return true;
    return false;
}

bool peer_ask(const struct peer_line *line, const struct peer_request *request, struct peer_answer *answer)
{
    struct peer_request asked = *request;
    for (unsigned i = 0; i < TRIES; i++) {
        peer_say(line, &asked, PEER_REQUEST_MIN);
        if (hear_answer(line, &asked, answer, clock_ms() + line->rtt_ms + (FIRST_WAIT << i)))
            return true;
    }
    return false;
}

bool peer_send_pattern(const struct peer_line *line, size_t len, uint32_t seed)
{
    static uint8_t bytes[CHANNEL_DATAGRAM_MAX];
    peer_pattern(bytes, len, seed);
    return channel_send(line->channel, &line->to, bytes, len) == 0;
}

bool peer_hear_pattern(struct peer_line *line, size_t len, uint32_t seed, uint64_t deadline)
{
    while (clock_ms() < deadline && peer_hear(line, deadline)) {
        const struct datagram *came = line->room;
        bool ours = came->len >= PATTERN_SURE && came->len <= len && peer_pattern_is(came->payload, came->len, seed);
        line->cut = line->cut || (ours && came->len < len);
        if (came->len == len && peer_pattern_is(came->payload, len, seed))
            return true;
    }
    return false;
}
