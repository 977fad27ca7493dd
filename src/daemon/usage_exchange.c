#include "daemon/usage_exchange.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/calendar.h"
#include "daemon/follow.h"
#include "policy/usage.h"

static const struct timeval exchange_period = {.tv_sec = 1};

/* A message: the month, then what each user has used since it was last named: the volume, and the name with its NUL.
 * Thousands of users fit: a process without sessions ends at once, and has to report all of them before. */
#define MESSAGE_MAX  (32 * 1024)
#define MONTH_LEN    sizeof(uint32_t)
#define VOLUME_LEN   sizeof(uint64_t)
#define NAME_MAX_LEN 255

/* At the end: how long it waits for the serving process, which reads once a second. */
#define LAST_TRIES  30
#define LAST_TRY_MS 100

struct usage_exchange {
    struct event timer;
    struct usage *usage;
    const struct followers *followers;
    const struct leader *leader; /* NULL: none */
    size_t len;                  /* of the message that is to be sent; 0: none */
    uint8_t message[MESSAGE_MAX];
};

/* ---- sending ---- */

static bool exchange_add(void *arg, const char *user, uint64_t volume)
{
    struct usage_exchange *exchange = arg;
    const size_t size = strlen(user) + 1;
    if (exchange->len + VOLUME_LEN + size > MESSAGE_MAX)
        return false;
    memcpy(exchange->message + exchange->len, &volume, VOLUME_LEN);
    memcpy(exchange->message + exchange->len + VOLUME_LEN, user, size);
    exchange->len += VOLUME_LEN + size;
    return true;
}

/* Makes a message, unless one is left. false: there is nothing to report. */
static bool exchange_has_message(struct usage_exchange *exchange)
{
    const uint32_t month = usage_month(exchange->usage);
    if (exchange->len)
        return true;
    memcpy(exchange->message, &month, MONTH_LEN);
    exchange->len = MONTH_LEN;
    usage_collect(exchange->usage, exchange_add, exchange);
    if (exchange->len == MONTH_LEN)
        exchange->len = 0;
    return exchange->len > 0;
}

static bool exchange_can_send(const struct usage_exchange *exchange)
{
    return exchange->leader && leader_socket(exchange->leader) >= 0;
}

/* false: a message is left, because it finds no room. */
static bool exchange_send(struct usage_exchange *exchange)
{
    const int leader = leader_socket(exchange->leader);
    while (exchange_has_message(exchange)) {
        if (send(leader, exchange->message, exchange->len, MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)exchange->len)
            return false;
        exchange->len = 0;
    }
    return true;
}

static void exchange_send_last(struct usage_exchange *exchange)
{
    for (int i = 0; i < LAST_TRIES && exchange_can_send(exchange) && !exchange_send(exchange); i++) {
        struct pollfd leader = {.fd = leader_socket(exchange->leader), .events = POLLOUT};
        if (poll(&leader, 1, LAST_TRY_MS) > 0 && !(leader.revents & POLLOUT)) /* that process has ended */
            break;
    }
}

/* ---- receiving ---- */

static void exchange_take(const struct usage_exchange *exchange, const uint8_t *message, size_t len)
{
    uint32_t month;
    uint64_t volume;
    if (len < MONTH_LEN)
        return;
    memcpy(&month, message, MONTH_LEN);
    for (size_t at = MONTH_LEN; len - at > VOLUME_LEN;) {
        memcpy(&volume, message + at, VOLUME_LEN);
        at += VOLUME_LEN;
        const char *user = (const char *)message + at;
        const size_t size = strnlen(user, len - at) + 1;
        if (size > len - at || size - 1 > NAME_MAX_LEN) /* no version of ours sends that */
            return;
        usage_merge(exchange->usage, month, user, volume);
        at += size;
    }
}

static void exchange_receive(const struct usage_exchange *exchange, int from)
{
    uint8_t message[MESSAGE_MAX];
    ssize_t len;
    while ((len = recv(from, message, sizeof(message), MSG_DONTWAIT)) > 0)
        exchange_take(exchange, message, (size_t)len);
}

/* ---- both ---- */

void usage_exchange_run(struct usage_exchange *exchange)
{
    usage_set_month(exchange->usage, calendar_month_of(calendar_today()));
    for (size_t i = 0; i < exchange->followers->count; i++)
        exchange_receive(exchange, exchange->followers->fds[i]);
    if (exchange_can_send(exchange))
        (void)exchange_send(exchange);
}

static void exchange_on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    usage_exchange_run(arg);
}

struct usage_exchange *usage_exchange_new(struct event_base *base, struct usage *usage,
                                          const struct followers *followers)
{
    struct usage_exchange *exchange = calloc(1, sizeof(*exchange));
    if (!exchange)
        return NULL;
    exchange->usage = usage;
    exchange->followers = followers;
    event_assign(&exchange->timer, base, -1, EV_PERSIST, exchange_on_timer, exchange);
    return exchange;
}

void usage_exchange_begin(struct usage_exchange *exchange, const struct leader *leader)
{
    exchange->leader = leader;
    (void)event_add(&exchange->timer, &exchange_period);
    usage_exchange_run(exchange);
}

void usage_exchange_free(struct usage_exchange *exchange)
{
    if (!exchange)
        return;
    usage_exchange_run(exchange);
    exchange_send_last(exchange);
    event_del(&exchange->timer);
    free(exchange);
}
