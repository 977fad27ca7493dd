#include "check/peer/ask.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h> /* getentropy(): musl has it there */

#include "check/io.h"
#include "check/peer/peer_wire.h"

#define WAITS        15   /* the first wait is this part of the patience */
#define LONGEST_WAIT 2000 /* ms */
#define PATTERN_SURE 12   /* bytes that are not the same by chance */

/* After this nothing comes any more on a channel. */
static bool ends_channel(int error)
{
    return error == -EPIPE || error == -EPROTO || error == -EBADF;
}

/* ---- questions ---- */

static size_t question_encode(uint8_t *out, size_t size, struct stun_question *q, const char *key)
{
    if (q->sent_us == 0 && getentropy(q->request.transaction, STUN_TRANSACTION) < 0)
        abort(); /* without random bytes, anybody could forge answers */
    q->request.class = STUN_REQUEST;
    q->request.method = STUN_BINDING;
    return key ? peer_encode(out, size, q->len_min ? q->len_min : PEER_REQUEST_MIN, &q->request, key)
               : stun_encode(out, size, &q->request);
}

static bool question_is_answered_by(const struct stun_question *q, const char *key, const uint8_t *in, size_t len,
                                    struct stun_message *answer)
{
    bool decoded = key ? peer_decode(in, len, key, STUN_SUCCESS, answer)
                       : stun_decode(in, len, answer) > 0 && answer->method == STUN_BINDING &&
                             (answer->class == STUN_SUCCESS || answer->class == STUN_ERROR);
    return decoded && memcmp(answer->transaction, q->request.transaction, STUN_TRANSACTION) == 0;
}

bool stun_send(const struct server_line *line, struct stun_question *q)
{
    uint8_t bytes[PEER_MESSAGE_MAX];
    size_t len = question_encode(bytes, sizeof(bytes), q, line->key);
    assert(len > 0);
    if (q->sent_us == 0)
        q->sent_us = clock_us();
    const union netaddr *to = q->to.sa.sa_family == AF_UNSPEC ? &line->to : &q->to;
    int error = q->name.host ? channel_send_named(line->channel, &q->name, bytes, len)
                             : channel_send(line->channel, to, bytes, len);
    if (error)
        q->error = error;
    return !error;
}

bool stun_take(const struct server_line *line, struct stun_question *questions, size_t count)
{
    const struct datagram *datagram = line->room;
    for (size_t i = 0; i < count; i++) {
        struct stun_question *q = &questions[i];
        struct stun_message answer;
        if (q->answered || !question_is_answered_by(q, line->key, datagram->payload, datagram->len, &answer))
            continue;
        assert(q->sent_us != 0);
        q->answered = true;
        q->answer = answer;
        q->origin = datagram->origin;
        q->sender = datagram->sender;
        q->rtt_us = (uint32_t)(clock_us() - q->sent_us);
        return true;
    }
    return false;
}

static void questions_send_unanswered(const struct server_line *line, struct stun_question *questions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!questions[i].answered && (questions[i].sent_us == 0 || !questions[i].once))
            stun_send(line, &questions[i]);
}

static void questions_note_error(struct stun_question *questions, size_t count, int error)
{
    for (size_t i = 0; i < count; i++)
        if (!questions[i].answered)
            questions[i].error = error;
}

size_t stun_ask_some(const struct server_line *line, struct stun_question *questions, size_t count, size_t enough,
                     unsigned patience_ms)
{
    uint64_t now = clock_ms(), end = now + patience_ms, again = now, wait = patience_ms / WAITS;
    size_t answered = 0;
    for (size_t i = 0; i < count; i++) {
        questions[i].answered = false;
        questions[i].error = 0;
        questions[i].sent_us = 0;
    }
    while (answered < count && (now = clock_ms()) < end) {
        if (now >= again) {
            questions_send_unanswered(line, questions, count);
            again += wait;
            wait = wait * 2 < LONGEST_WAIT ? wait * 2 : LONGEST_WAIT;
        }
        int error = channel_receive(line->channel, line->room, again < end ? again : end);
        if (error == 0) {
            bool counts = stun_take(line, questions, count);
            answered += counts;
            if (counts && answered == enough && clock_ms() + STUN_GRACE + line->rtt_ms < end)
                end = clock_ms() + STUN_GRACE + line->rtt_ms;
        } else if (ends_channel(error)) {
            break;
        } else if (error != -ETIMEDOUT) {
            questions_note_error(questions, count, error);
        }
    }
    return answered;
}

size_t stun_ask(const struct server_line *line, struct stun_question *questions, size_t count, unsigned patience_ms)
{
    return stun_ask_some(line, questions, count, count, patience_ms);
}

bool peer_ask(const struct server_line *line, struct stun_question *question)
{
    return stun_ask(line, question, 1, PEER_PATIENCE + 4 * line->rtt_ms) == 1;
}

bool stun_ask_stream(int fd, const char *key, uint64_t deadline, struct stun_message *answer)
{
    struct stun_question question = {.once = true};
    uint8_t bytes[PEER_MESSAGE_MAX];
    size_t len = question_encode(bytes, sizeof(bytes), &question, key);
    if (io_send_all(fd, bytes, len, deadline) < 0 || io_receive_all(fd, bytes, STUN_HEADER, deadline) < 0)
        return false;
    len = stun_length(bytes);
    return len >= STUN_HEADER && len <= sizeof(bytes) &&
           io_receive_all(fd, bytes + STUN_HEADER, len - STUN_HEADER, deadline) == 0 &&
           question_is_answered_by(&question, key, bytes, len, answer) && answer->class == STUN_SUCCESS;
}

/* ---- plain datagrams ---- */

bool line_receive(const struct server_line *line, uint64_t deadline)
{
    do {
        int error = channel_receive(line->channel, line->room, deadline);
        if (error == -ETIMEDOUT || ends_channel(error))
            return false;
        if (!error && netaddr_equal(&line->room->origin, &line->to))
            return true;
    } while (clock_ms() < deadline);
    return false;
}

bool line_send_pattern(const struct server_line *line, size_t len, uint32_t seed)
{
    assert(len <= sizeof(line->room->bytes));
    peer_pattern(line->room->bytes, len, seed); /* nothing that came in is needed any more */
    return channel_send(line->channel, &line->to, line->room->bytes, len) == 0;
}

bool line_receive_pattern(struct server_line *line, size_t len, uint32_t seed, uint64_t deadline)
{
    while (clock_ms() < deadline && line_receive(line, deadline)) {
        const struct datagram *came = line->room;
        bool ours = came->len >= PATTERN_SURE && came->len <= len && peer_pattern_is(came->payload, came->len, seed);
        line->cut = line->cut || (ours && came->len < len);
        if (came->len == len && peer_pattern_is(came->payload, len, seed))
            return true;
    }
    return false;
}
