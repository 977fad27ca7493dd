#include "check/peer/stun_ask.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "check/io.h"

#define FIRST_WAIT   500
#define LONGEST_WAIT 2000

void stun_new_transaction(uint8_t *transaction)
{
    if (getentropy(transaction, STUN_TRANSACTION) < 0)
        abort(); /* a system without randomness is none */
}

void stun_send(const struct channel *channel, struct stun_question *q)
{
    if (q->sent_at == 0) {
        stun_new_transaction(q->transaction);
        q->sent_at = clock_ms();
    }
    struct stun_message request = {.class = STUN_REQUEST,
                                   .method = STUN_BINDING,
                                   .change_address = q->change_address,
                                   .change_port = q->change_port};
    uint8_t bytes[STUN_MESSAGE_MAX];
    memcpy(request.transaction, q->transaction, STUN_TRANSACTION);
    size_t len = stun_encode(bytes, sizeof(bytes), &request);
    if (q->key)
        len = peer_seal(bytes, len, sizeof(bytes), q->key);
    int error = channel_send(channel, &q->to, bytes, len);
    if (error)
        q->error = error;
}

static void send_what_is_open(const struct channel *channel, struct stun_question *questions, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!questions[i].answered)
            stun_send(channel, &questions[i]);
}

static void note_error(struct stun_question *questions, size_t count, int error)
{
    for (size_t i = 0; i < count; i++)
        if (!questions[i].answered)
            questions[i].error = error;
}

bool stun_take(struct stun_question *questions, size_t count, const struct datagram *datagram)
{
    struct stun_message answer;
    if (stun_decode(datagram->payload, datagram->len, &answer) < 0 || answer.method != STUN_BINDING ||
        (answer.class != STUN_SUCCESS && answer.class != STUN_ERROR))
        return false;
    for (size_t i = 0; i < count; i++) {
        struct stun_question *q = &questions[i];
        if (q->answered || memcmp(q->transaction, answer.transaction, STUN_TRANSACTION) != 0)
            continue;
        if (q->key && !peer_is_sealed(datagram->payload, datagram->len, q->key))
            return false;
        q->answered = true;
        q->answer = answer;
        q->origin = datagram->origin;
        q->sender = datagram->sender;
        q->rtt_ms = (uint32_t)(clock_ms() - q->sent_at);
        return true;
    }
    return false;
}

size_t stun_ask(struct channel *channel, struct stun_question *questions, size_t count, unsigned patience_ms,
                struct datagram *room)
{
    uint64_t now = clock_ms(), end = now + patience_ms, again = now, wait = FIRST_WAIT;
    size_t answered = 0;
    for (size_t i = 0; i < count; i++) {
        questions[i].answered = false;
        questions[i].error = 0;
        questions[i].sent_at = 0;
    }
    while (answered < count && (now = clock_ms()) < end) {
        if (now >= again) {
            send_what_is_open(channel, questions, count);
            again += wait;
            wait = wait * 2 < LONGEST_WAIT ? wait * 2 : LONGEST_WAIT;
        }
        int error = channel_receive(channel, room, again < end ? again : end);
        if (error == 0)
            answered += stun_take(questions, count, room);
        else if (error == -EPIPE || error == -EPROTO || error == -EBADF)
            break; /* the connection that carries it is gone */
        else if (error != -ETIMEDOUT)
            note_error(questions, count, error);
    }
    return answered;
}

bool stun_ask_stream(int fd, const char *key, uint64_t deadline, struct stun_message *answer)
{
    struct stun_message request = {.class = STUN_REQUEST, .method = STUN_BINDING};
    uint8_t bytes[1024];
    stun_new_transaction(request.transaction);
    size_t len = stun_encode(bytes, sizeof(bytes), &request);
    if (key)
        len = peer_seal(bytes, len, sizeof(bytes), key);
    if (io_send_all(fd, bytes, len, deadline) < 0 || io_receive_all(fd, bytes, STUN_HEADER, deadline) < 0)
        return false;
    len = stun_length(bytes);
    return len >= STUN_HEADER && len <= sizeof(bytes) &&
           io_receive_all(fd, bytes + STUN_HEADER, len - STUN_HEADER, deadline) == 0 &&
           (!key || peer_is_sealed(bytes, len, key)) && stun_decode(bytes, len, answer) > 0 &&
           answer->class == STUN_SUCCESS && memcmp(answer->transaction, request.transaction, STUN_TRANSACTION) == 0;
}
