/*
 * Questions to a STUN server over a channel. Datagrams get lost, so each is asked again until it is answered or the
 * time is over: 0, 0.5, 1.5, 3.5 and 5.5 s after the first (RFC 8489 section 6.2.1, with fewer and shorter waits).
 * Where a fifth of all datagrams is lost each way, one in two hundred questions stays without its answer.
 */
#ifndef CONESOCKS_CHECK_STUN_ASK_H
#define CONESOCKS_CHECK_STUN_ASK_H

#include "check/channel.h"
#include "check/peer/peer_wire.h"
#include "check/peer/stun.h"

#define STUN_PATIENCE 7500 /* ms, for all of them together */

struct stun_question {
    union netaddr to;
    const char *key;                  /* of a peer, which answers only to those who have it; NULL: of a STUN server */
    bool change_address, change_port; /* from where the answer shall come */

    /* What came of it. */
    bool answered;
    struct stun_message answer;   /* of class STUN_SUCCESS or STUN_ERROR */
    union netaddr origin, sender; /* as a struct datagram has them */
    uint32_t rtt_ms;              /* from the first time it was sent: which one is answered does not show */
    int error;                    /* a negative errno: what sending it, or ICMP, said last */

    uint8_t transaction[STUN_TRANSACTION];
    uint64_t sent_at;
};

/* Asks all of them side by side. `room` is for what comes in. How many were answered. */
size_t stun_ask(struct channel *channel, struct stun_question *questions, size_t count, unsigned patience_ms,
                struct datagram *room);

/* The parts of that, for who has other times: sends a question, by a transaction of its own if it is the first time. */
void stun_send(const struct channel *channel, struct stun_question *question);
/* Whether it answers one of the questions, for the first time. */
bool stun_take(struct stun_question *questions, size_t count, const struct datagram *datagram);

void stun_new_transaction(uint8_t *transaction);

/* One question over a TCP connection: do bytes go both ways? */
bool stun_ask_stream(int fd, const char *key, uint64_t deadline, struct stun_message *answer);

#endif
