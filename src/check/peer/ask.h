/*
 * Asks the test server through a channel, and repeats each question until it is answered or the time is over.
 *
 * Datagrams get lost: a question is sent again after a fifteenth of the patience, then after twice as long each time,
 * at most 2 s (RFC 8489 section 6.2.1 with fewer and shorter waits). With STUN_PATIENCE that is 0, 0.5, 1.5, 3.5
 * and 5.5 s after the first: where a fifth of all datagrams is lost each way, one in two hundred questions stays
 * unanswered.
 */
#ifndef CONESOCKS_CHECK_ASK_H
#define CONESOCKS_CHECK_ASK_H

#include "check/channel.h"
#include "check/peer/stun.h"

#define STUN_PATIENCE 7500 /* ms, for all questions of a call together */
#define PEER_PATIENCE 3000 /* ms, for a peer that is known to answer; the round-trip time is added */

/* The way to a test server. */
struct server_line {
    struct channel *channel;
    union netaddr to;      /* the server's address */
    const char *key;       /* a peer's; NULL: it is a public STUN server */
    struct datagram *room; /* for what comes in */
    unsigned rtt_ms;       /* estimated, rather too high: added to the time that an answer may take */
    bool cut;              /* a received pattern was shorter than sent, at least once */
};

struct stun_question {
    struct stun_message request; /* what is asked; class, method and transaction are filled in here */
    union netaddr to;            /* AF_UNSPEC: the line's address */
    struct socks5_addr name;     /* with a host, it is sent there instead; only through the proxy */
    size_t len_min;              /* a peer's request is padded to this; 0: PEER_REQUEST_MIN */
    bool once;                   /* not sent again */

    bool answered;
    struct stun_message answer;   /* of class STUN_SUCCESS or STUN_ERROR */
    union netaddr origin, sender; /* as a struct datagram has them */
    uint32_t rtt_us;              /* since it was first sent: an answer does not show which repetition it is for */
    int error;                    /* the last negative errno of sending it, or from ICMP */
    uint64_t sent_us;             /* 0: not yet */
};

/* Asks all of them side by side. How many were answered. */
size_t stun_ask(const struct server_line *line, struct stun_question *questions, size_t count, unsigned patience_ms);
/* The same, but when `enough` are answered, the others get STUN_GRACE and the line's round-trip time. */
#define STUN_GRACE 400 /* ms */
size_t stun_ask_some(const struct server_line *line, struct stun_question *questions, size_t count, size_t enough,
                     unsigned patience_ms);
/* Asks a peer that has answered before. */
bool peer_ask(const struct server_line *line, struct stun_question *question);

/* Sends a question once and does not wait. false: it could not be sent. */
bool stun_send(const struct server_line *line, struct stun_question *question);
/* Whether the datagram in `room` answers one of the questions, for the first time. */
bool stun_take(const struct server_line *line, struct stun_question *questions, size_t count);
/* One question over a TCP connection: do bytes go both ways? */
bool stun_ask_stream(int fd, const char *key, uint64_t deadline, struct stun_message *answer);

/* The next datagram from the server until the deadline; others are skipped, ICMP errors too. false: none. */
bool line_receive(const struct server_line *line, uint64_t deadline);
/* Sends `len` bytes of that pattern, or waits for them. false: they were refused, or did not come in time. */
bool line_send_pattern(const struct server_line *line, size_t len, uint32_t seed);
bool line_receive_pattern(struct server_line *line, size_t len, uint32_t seed, uint64_t deadline);

#endif
