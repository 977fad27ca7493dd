/*
 * What only a peer can be asked (check/peer_wire.h), over a channel.
 */
#ifndef CONESOCKS_CHECK_PEER_ASK_H
#define CONESOCKS_CHECK_PEER_ASK_H

#include "check/channel.h"
#include "check/peer/peer_wire.h"

struct peer_line {
    struct channel *channel;
    union netaddr to; /* the peer's address */
    const char *key;
    struct datagram *room; /* for what comes in */
    unsigned rtt_ms;       /* about, and rather too much: an answer is waited for that much longer */
    bool cut;              /* a pattern has come cut short, at some time */
};

/* Asks up to four times, within three seconds where answers take no time. false: no answer came. */
bool peer_ask(const struct peer_line *line, const struct peer_request *request, struct peer_answer *answer);
/* Says it once and does not wait. The transaction is left in `request`. false: it could not be sent. */
bool peer_say(const struct peer_line *line, struct peer_request *request, size_t len_min);

/* The next datagram from the peer until the deadline, whatever it is; others are left out. ICMP errors are not the end.
 * false: none. */
bool peer_hear(const struct peer_line *line, uint64_t deadline);
/* Sends `len` bytes of that pattern, or waits for them; false: they were refused, or did not come until the deadline.
 */
bool peer_send_pattern(const struct peer_line *line, size_t len, uint32_t seed);
bool peer_hear_pattern(struct peer_line *line, size_t len, uint32_t seed, uint64_t deadline);

#endif
