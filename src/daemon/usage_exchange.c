#include "daemon/usage_exchange.h"

#include <event2/event.h>
#include <event2/event_struct.h>
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

struct usage_exchange {
    struct event timer;
    struct usage *usage;
    const struct followers *followers;
    const struct leader *leader; /* NULL: none */
};

/* What one user has used since the last message about it. */
struct usage_message {
    uint32_t month;
    uint64_t volume;
    char user[256]; /* with its NUL; the rest is not sent */
};
#define MESSAGE_LEAST (offsetof(struct usage_message, user) + 1)

/* A message that finds no room is sent later: the volume counts as not collected. */
static bool exchange_send(void *arg, const char *user, uint64_t volume)
{
    const struct usage_exchange *exchange = arg;
    struct usage_message message = {.month = usage_month(exchange->usage), .volume = volume};
    const size_t len = strlen(user), size = MESSAGE_LEAST + len;
    memcpy(message.user, user, len + 1);
    return send(leader_socket(exchange->leader), &message, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size;
}

static void exchange_receive(const struct usage_exchange *exchange, int from)
{
    struct usage_message message;
    ssize_t len;
    while ((len = recv(from, &message, sizeof(message), MSG_DONTWAIT)) >= (ssize_t)MESSAGE_LEAST) {
        message.user[(size_t)len - MESSAGE_LEAST] = '\0';
        usage_merge(exchange->usage, message.month, message.user, message.volume);
    }
}

void usage_exchange_run(struct usage_exchange *exchange)
{
    usage_set_month(exchange->usage, calendar_month_of(calendar_today()));
    for (size_t i = 0; i < exchange->followers->count; i++)
        exchange_receive(exchange, exchange->followers->fds[i]);
    if (exchange->leader && leader_socket(exchange->leader) >= 0)
        usage_collect(exchange->usage, exchange_send, exchange);
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
    event_del(&exchange->timer);
    free(exchange);
}
