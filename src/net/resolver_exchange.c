#include "net/resolver_exchange.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/util.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/reserve.h"
#include "net/sock.h"

/* Packets that are read before others have their turn: forged ones may come in any number. */
#define BATCH 16

static_assert(RESOLVER_QUESTION_MAX >= 12 + 1 + NAME_TEXT_MAX + 1 + 4, "header, the longest name, type and class");

void exchange_close(struct exchange *exchange)
{
    if (exchange->fd < 0)
        return;
    event_del(&exchange->event);
    close(exchange->fd);
    reserve_count_question(exchange->reserve, -1);
    free(exchange->packet);
    exchange->fd = -1;
    exchange->packet = NULL;
}

static void exchange_lose(struct exchange *exchange, int error)
{
    exchange_close(exchange);
    errno = error;
    exchange->done(exchange, EXCHANGE_LOST, NULL);
}

/* Uses `fd` (or a negative errno) from now on. false with errno: the exchange is closed. */
static bool exchange_use(struct exchange *exchange, int fd, short what, event_callback_fn on_event)
{
    exchange_close(exchange);
    if (fd < 0) {
        errno = -fd;
        return false;
    }
    exchange->fd = fd;
    reserve_count_question(exchange->reserve, 1);
    event_assign(&exchange->event, exchange->base, fd, what, on_event, exchange);
    if (event_add(&exchange->event, NULL) == 0)
        return true;
    exchange_close(exchange);
    errno = ENOMEM;
    return false;
}

/* ---- TCP ---- */

/* Reads up to `wanted` bytes in all. false: it is lost, or there is no more for now. */
static bool exchange_read(struct exchange *exchange, uint8_t *to, size_t wanted)
{
    assert(exchange->received < wanted);
    ssize_t got = recv(exchange->fd, to, wanted - exchange->received, 0);
    if (got > 0)
        exchange->received += (size_t)got;
    else if (got == 0)
        exchange_lose(exchange, ECONNRESET);
    else if (errno != EAGAIN && errno != EINTR)
        exchange_lose(exchange, errno);
    return got > 0;
}

static void exchange_on_tcp_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct exchange *exchange = arg;
    const size_t prefix = sizeof(exchange->length);
    while (exchange->received < prefix)
        if (!exchange_read(exchange, exchange->length + exchange->received, prefix))
            return;
    const size_t len = (size_t)exchange->length[0] << 8 | exchange->length[1];
    if (!exchange->packet && !(exchange->packet = malloc(len + 1))) {
        exchange_lose(exchange, ENOMEM);
        return;
    }
    while (exchange->received < prefix + len)
        if (!exchange_read(exchange, exchange->packet + exchange->received - prefix, prefix + len))
            return;
    struct resolver_answer answer;
    bool valid = resolver_answer_read(&answer, exchange->packet, len, exchange->id, exchange->name, exchange->family);
    if (!valid) {
        exchange_lose(exchange, EBADMSG);
        return;
    }
    exchange_close(exchange);
    exchange->done(exchange, EXCHANGE_ANSWERED, &answer);
}

static void exchange_on_tcp_writable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct exchange *exchange = arg;
    uint8_t question[2 + RESOLVER_QUESTION_MAX];
    size_t len = resolver_question_write(question + 2, exchange->id, exchange->name, exchange->family);
    question[0] = (uint8_t)(len >> 8);
    question[1] = (uint8_t)len;
    int error = sock_error(fd);
    if (!error && send(fd, question, len + 2, MSG_NOSIGNAL) != (ssize_t)len + 2)
        error = EPIPE; /* a new connection has room for that */
    if (error) {
        exchange_lose(exchange, error);
        return;
    }
    event_del(&exchange->event);
    event_assign(&exchange->event, exchange->base, fd, EV_READ | EV_PERSIST, exchange_on_tcp_readable, exchange);
    if (event_add(&exchange->event, NULL) != 0)
        exchange_lose(exchange, ENOMEM);
}

static void exchange_go_on_over_tcp(struct exchange *exchange, const struct resolver_answer *truncated)
{
    exchange->tcp = true;
    exchange->received = 0;
    if (exchange_use(exchange, sock_connect(exchange->reserve, exchange->server, NULL), EV_WRITE,
                     exchange_on_tcp_writable))
        exchange->done(exchange, EXCHANGE_TRUNCATED, truncated);
    else if (truncated->count > 0) /* no descriptor, no route: the rest is not to be had */
        exchange->done(exchange, EXCHANGE_ANSWERED, truncated);
    else
        exchange_lose(exchange, errno);
}

/* ---- UDP ---- */

static void exchange_on_udp_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct exchange *exchange = arg;
    for (int i = 0; i < BATCH; i++) {
        uint8_t packet[4096];
        ssize_t len = recv(fd, packet, sizeof(packet), 0);
        if (len < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (len < 0) {
            exchange_lose(exchange, errno);
            return;
        }
        struct resolver_answer answer;
        if (!resolver_answer_read(&answer, packet, (size_t)len, exchange->id, exchange->name, exchange->family))
            continue;
        if (answer.truncated) {
            exchange_go_on_over_tcp(exchange, &answer);
            return;
        }
        exchange_close(exchange);
        exchange->done(exchange, EXCHANGE_ANSWERED, &answer);
        return;
    }
}

static bool exchange_open(struct exchange *exchange)
{
    int fd = sock_udp_open(exchange->reserve, exchange->server->sa.sa_family, false);
    int error = fd < 0 ? 0 : sock_udp_connect(fd, exchange->server);
    if (error) {
        close(fd);
        fd = error;
    }
    exchange->tcp = false;
    evutil_secure_rng_get_bytes(&exchange->id, sizeof(exchange->id));
    return exchange_use(exchange, fd, EV_READ | EV_PERSIST, exchange_on_udp_readable);
}

bool exchange_send(struct exchange *exchange)
{
    if (exchange->fd < 0 && !exchange_open(exchange))
        return false;
    if (exchange->tcp)
        return true;
    uint8_t question[RESOLVER_QUESTION_MAX];
    size_t len = resolver_question_write(question, exchange->id, exchange->name, exchange->family);
    if (len > 0 && send(exchange->fd, question, len, MSG_NOSIGNAL) == (ssize_t)len)
        return true;
    int error = len > 0 ? errno : EINVAL;
    exchange_close(exchange);
    errno = error;
    return false;
}
