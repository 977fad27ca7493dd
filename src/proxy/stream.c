#include "proxy/stream.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dial.h"
#include "net/pump.h"
#include "net/resolver.h"
#include "net/sock.h"
#include "policy/rates.h"
#include "proxy/address.h"
#include "proxy/bind.h"
#include "proxy/egress.h"
#include "proxy/env.h"
#include "proxy/lookup.h"
#include "proxy/permit.h"

/* A stream that ends sooner is not worth the system calls that watch over its outgoing side. */
#define SHORT_LIFE_MS 10000

struct direction {
    struct stream *stream;
    struct pump pump;
    struct event event;
    uint64_t stuck_since_ms; /* while it waits to write */
};

struct lookup {
    struct stream *stream;
    int family;
    struct resolver_query *query; /* NULL: not under way */
};

/* Needed only until the destination is reached. */
struct reaching {
    struct dial *dial; /* of CONNECT */
    struct bind *bind; /* of BIND, once its port is open */
    struct lookup lookups[FAMILY_COUNT];
    struct subject subject;
    const char *user;         /* the session's; NULL: no login */
    char name[NAME_TEXT_MAX]; /* "": an address was asked for */
    uint16_t port;
    union netaddr address;   /* what was asked for, unless it was a name */
    uint32_t found, refused; /* addresses of the name; those that policy denies */
    bool timed_out;          /* a lookup got no answer in time */
    bool reviewed;           /* other rules hold now than when it began */
    struct event settle;     /* tells the outcome from the loop, when there is nothing to wait for */
    enum socks5_reply verdict;
};

struct stream {
    struct env *env;
    struct stream_hooks hooks;
    enum config_command command;
    union netaddr client, remote;
    struct reaching *reaching;
    int remote_fd;
    struct rates *rates; /* NULL: no limit */
    bool keeps_alive;    /* TCP keepalive is on, on the outgoing side */
    bool by_name;        /* `destination` is a name and its port, not an address */
    uint64_t relaying_since_ms;
    struct direction up, down;
    char destination[];
};

/* ---- reaching the destination ---- */

static void stop_reaching(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    if (!reaching)
        return;
    for (int i = 0; i < FAMILY_COUNT; i++)
        if (reaching->lookups[i].query)
            resolver_cancel(reaching->lookups[i].query);
    if (reaching->dial)
        dial_cancel(reaching->dial);
    bind_free(reaching->bind);
    event_del(&reaching->settle);
    subject_deinit(&reaching->subject);
    free(reaching);
    stream->reaching = NULL;
}

static void on_settle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stream *stream = arg;
    enum socks5_reply verdict = stream->reaching->verdict;
    if (stream->reaching->bind) {
        const union netaddr told = bind_told(stream->reaching->bind);
        stream->hooks.listening(stream->hooks.arg, &told);
        return;
    }
    stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, verdict);
}

static void settle_soon(struct stream *stream, enum socks5_reply verdict)
{
    stream->reaching->verdict = verdict;
    event_active(&stream->reaching->settle, EV_TIMEOUT, 0);
}

/* On the terms of the rule that lets it through to the address it has reached. */
static bool set_rates(struct stream *stream, const union netaddr *to)
{
    const struct reaching *reaching = stream->reaching;
    const char *name = reaching->name[0] ? reaching->name : NULL;
    const struct verdict verdict = verdict_find(&stream->env->policy, &reaching->subject, name, to);
    const struct terms terms = env_terms(stream->env, reaching->user, verdict.rule, &stream->client);
    return rates_new(&stream->rates, &terms, reaching->user);
}

static void on_dialed(void *arg, int fd, int error, const union netaddr *to)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    reaching->dial = NULL;
    enum socks5_reply verdict = SOCKS5_REPLY_SUCCEEDED;
    const char *name = stream->by_name ? reaching->name : NULL;
    if (fd >= 0 && reaching->reviewed && !permit(stream->env, &reaching->subject, name, to, 1, NULL)) {
        close(fd);
        fd = -1;
        verdict = SOCKS5_REPLY_NOT_ALLOWED;
    } else if (fd < 0) {
        verdict = address_reply_of(error);
        if (error == 0 && reaching->refused)
            verdict = SOCKS5_REPLY_NOT_ALLOWED;
        else if (error == 0 && reaching->timed_out)
            verdict = SOCKS5_REPLY_TTL_EXPIRED;
    } else if (!set_rates(stream, to)) {
        verdict = SOCKS5_REPLY_GENERAL_FAILURE;
    }
    stream->remote_fd = fd;
    stream->remote = *to;
    stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, verdict);
}

static void dial_by_rule(struct stream *stream, const union netaddr *to, uint32_t rule)
{
    struct reaching *reaching = stream->reaching;
    const struct terms terms = env_terms(stream->env, reaching->user, rule, &stream->client);
    const bool v4 = to->sa.sa_family == AF_INET;
    const struct sock_way way = {.from = v4 ? terms.address_v4 : terms.address_v6, .egress = egress_of(&terms)};
    dial_add(reaching->dial, to->sa.sa_family, to, 1, &way);
}

static void on_came(void *arg, int fd, const union netaddr *peer, enum socks5_reply code)
{
    struct stream *stream = arg;
    if (fd >= 0) {
        stream->remote_fd = fd;
        stream->remote = *peer;
    }
    stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, code);
}

/* Keeps the addresses that policy allows: the address that is dialed is the address that was checked. */
static void dial_allowed(struct stream *stream, int family, const union netaddr *addresses, size_t count)
{
    struct reaching *reaching = stream->reaching;
    for (size_t i = 0; i < count; i++) {
        union netaddr to = addresses[i];
        uint32_t rule;
        netaddr_unmap(&to);
        netaddr_set_port(&to, reaching->port);
        reaching->found++;
        if (to.sa.sa_family == family && permit(stream->env, &reaching->subject, reaching->name, &to, 1, &rule))
            dial_by_rule(stream, &to, rule);
        else
            reaching->refused++;
    }
}

static void on_answer(void *arg, enum resolver_status status, const union netaddr *addresses, size_t count)
{
    struct lookup *lookup = arg;
    struct stream *stream = lookup->stream;
    struct reaching *reaching = stream->reaching;
    lookup->query = NULL;
    if (status == RESOLVER_FOUND)
        dial_allowed(stream, lookup->family, addresses, count);
    else if (status != RESOLVER_NOT_FOUND)
        reaching->timed_out |= status == RESOLVER_TIMED_OUT;
    if (reaching->lookups[FAMILY_V4].query || reaching->lookups[FAMILY_V6].query)
        return;
    if (reaching->found == 0)
        metrics_add(&stream->env->metrics.lookups_failed_total, 1);
    dial_all_added(reaching->dial);
}

static bool look_up(struct stream *stream, const char *name)
{
    static const int families[FAMILY_COUNT] = {[FAMILY_V4] = AF_INET, [FAMILY_V6] = AF_INET6};
    enum config_prefer prefer = stream->env->config->outbound.prefer;
    bool under_way = false;
    metrics_add(&stream->env->metrics.lookups_total, 1);
    for (int i = 0; i < FAMILY_COUNT; i++) {
        struct lookup *lookup = &stream->reaching->lookups[i];
        *lookup = (struct lookup){.stream = stream, .family = families[i]};
        if ((prefer == CONFIG_PREFER_IPV4_ONLY && i == FAMILY_V6) ||
            (prefer == CONFIG_PREFER_IPV6_ONLY && i == FAMILY_V4))
            continue;
        lookup->query =
            lookup_begin(stream->env, &stream->client, stream->reaching->user, name, families[i], on_answer, lookup);
        under_way |= lookup->query != NULL;
    }
    return under_way;
}

/* The connection is compared with an address: names have too many, and none for whoever connects from behind them. */
static enum socks5_reply listen_for(struct stream *stream, enum address_kind kind, const union netaddr *addr)
{
    struct reaching *reaching = stream->reaching;
    if (kind != ADDRESS_IP)
        return SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED;
    return bind_new(&reaching->bind, stream->env, &reaching->subject, reaching->user, addr, on_came, stream);
}

static void reach(struct stream *stream, enum address_kind kind, const union netaddr *addr)
{
    struct reaching *reaching = stream->reaching;
    uint32_t rule;
    if (stream->command == CONFIG_COMMAND_BIND) {
        settle_soon(stream, listen_for(stream, kind, addr));
    } else if (kind == ADDRESS_BAD) {
        settle_soon(stream, SOCKS5_REPLY_HOST_UNREACHABLE);
    } else if (reaching->port == 0) {
        settle_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
    } else if (kind == ADDRESS_NAME) {
        if (!permit_name(stream->env, &reaching->subject, reaching->name, reaching->port, 1))
            settle_soon(stream, SOCKS5_REPLY_NOT_ALLOWED);
        else if (!look_up(stream, reaching->name))
            settle_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
    } else if (!permit(stream->env, &reaching->subject, NULL, addr, 1, &rule)) {
        settle_soon(stream, SOCKS5_REPLY_NOT_ALLOWED);
    } else {
        dial_by_rule(stream, addr, rule);
        dial_all_added(reaching->dial);
    }
}

struct stream *stream_new(struct env *env, enum config_command command, const union netaddr *client, const char *user,
                          const struct socks5_addr *destination, const struct stream_hooks *hooks)
{
    union netaddr addr;
    char name[NAME_TEXT_MAX], text[NAME_TEXT_MAX + 8];
    enum address_kind kind = address_read(destination, &addr, name);
    if (kind == ADDRESS_IP)
        netaddr_format(&addr, text);
    else if (kind == ADDRESS_NAME)
        snprintf(text, sizeof(text), "%s:%u", name, destination->port);
    else
        snprintf(text, sizeof(text), "%.*s:%u", destination->host_len, (const char *)destination->host,
                 destination->port);

    struct stream *stream = calloc(1, sizeof(*stream) + strlen(text) + 1);
    struct reaching *reaching = calloc(1, sizeof(*reaching));
    const struct dial_options options = {
        .timeout_ms = env->config->timeouts.connect_ms,
        .ipv4_first = env->config->outbound.prefer == CONFIG_PREFER_IPV4,
    };
    bool able = stream && reaching && subject_init(&reaching->subject, env->rules, client, user, command);
    bool dials = command == CONFIG_COMMAND_CONNECT;
    struct dial *dial = able && dials ? dial_new(env->base, &options, on_dialed, stream) : NULL;
    if (!able || (dials && !dial)) {
        if (able)
            subject_deinit(&reaching->subject);
        free(stream);
        free(reaching);
        return NULL;
    }
    reaching->dial = dial;
    reaching->user = user;
    reaching->port = destination->port;
    if (kind == ADDRESS_NAME)
        memcpy(reaching->name, name, strlen(name) + 1);
    else if (kind == ADDRESS_IP)
        reaching->address = addr;
    event_assign(&reaching->settle, env->base, -1, 0, on_settle, stream);
    stream->env = env;
    stream->hooks = *hooks;
    stream->command = command;
    stream->client = *client;
    stream->reaching = reaching;
    stream->remote_fd = -1;
    stream->by_name = kind == ADDRESS_NAME;
    memcpy(stream->destination, text, strlen(text) + 1);
    reach(stream, kind, &addr);
    return stream;
}

/* ---- other rules ---- */

static bool may_go_on_reaching(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    reaching->reviewed = true;
    if (reaching->bind)
        return bind_review(reaching->bind);
    if (stream->by_name)
        return permit_name(stream->env, &reaching->subject, reaching->name, reaching->port, 1);
    return reaching->address.sa.sa_family == AF_UNSPEC ||
           permit(stream->env, &reaching->subject, NULL, &reaching->address, 1, NULL);
}

static bool may_go_on_relaying(const struct stream *stream, const struct subject *subject)
{
    char name[NAME_TEXT_MAX + 8];
    const char *port = strrchr(stream->destination, ':');
    snprintf(name, sizeof(name), "%.*s", (int)(port - stream->destination), stream->destination);
    return permit(stream->env, subject, stream->by_name ? name : NULL, &stream->remote, 1, NULL);
}

bool stream_review(struct stream *stream, const char *user)
{
    struct subject subject;
    if (!subject_init(&subject, stream->env->rules, &stream->client, user, stream->command))
        return false;
    if (stream->reaching) {
        subject_deinit(&stream->reaching->subject);
        stream->reaching->subject = subject;
        return may_go_on_reaching(stream);
    }
    bool may = may_go_on_relaying(stream, &subject);
    subject_deinit(&subject);
    return may;
}

/* ---- relaying ---- */

static void on_ready(evutil_socket_t fd, short what, void *arg);

static void wait_for(struct direction *direction, int fd, short what)
{
    if (event_initialized(&direction->event)) {
        if (event_get_fd(&direction->event) == fd && event_get_events(&direction->event) == (what | EV_PERSIST))
            return;
        event_del(&direction->event);
    }
    event_assign(&direction->event, direction->stream->env->base, fd, (short)(what | EV_PERSIST), on_ready, direction);
    event_add(&direction->event, NULL);
}

/* Neither end is watched meanwhile: what is there to read would wake it for nothing. */
static void rest(struct direction *direction, uint32_t ms)
{
    const struct timeval pause = {.tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000};
    event_del(&direction->event);
    event_assign(&direction->event, direction->stream->env->base, -1, 0, on_ready, direction);
    event_add(&direction->event, &pause);
}

static const char *broken_text(const struct stream *stream, const struct direction *direction)
{
    return direction == &stream->up ? "broken on the way from the client" : "broken on the way from the destination";
}

/* Moves what may be moved. Returns how long to rest, 0: not at all. */
static uint32_t take_turn(struct direction *direction)
{
    struct stream *stream = direction->stream;
    struct pump *pump = &direction->pump;
    if (!stream->rates) {
        pump_run(pump, stream->env->pumps, PUMP_NO_LIMIT);
        return 0;
    }
    enum rates_way way = direction == &stream->up ? RATES_UP : RATES_DOWN;
    uint64_t now = env_now(stream->env), before = pump->taken;
    uint64_t limit = rates_allow(stream->rates, way, now);
    pump_run(pump, stream->env->pumps, limit);
    rates_charge(stream->rates, way, pump->taken - before, now);
    return pump->state == PUMP_GOES_ON && pump->taken - before == limit ? rates_rest(stream->rates, way, now) : 0;
}

static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct direction *direction = arg;
    struct stream *stream = direction->stream;
    struct direction *other = direction == &stream->up ? &stream->down : &stream->up;
    struct metrics *metrics = &stream->env->metrics;
    uint64_t before = direction->pump.bytes;
    uint32_t rest_ms = take_turn(direction);
    metrics_add(direction == &stream->up ? &metrics->stream_up_bytes_total : &metrics->stream_down_bytes_total,
                direction->pump.bytes - before);
    switch (direction->pump.state) {
    case PUMP_WAITS_TO_READ:
    case PUMP_GOES_ON:
        if (rest_ms)
            rest(direction, rest_ms);
        else
            wait_for(direction, direction->pump.from, EV_READ);
        break;
    case PUMP_WAITS_TO_WRITE:
        direction->stuck_since_ms = env_now(stream->env);
        wait_for(direction, direction->pump.to, EV_WRITE);
        break;
    case PUMP_DONE:
        event_del(&direction->event);
        if (other->pump.state == PUMP_DONE)
            stream->hooks.ended(stream->hooks.arg,
                                direction == &stream->up ? "destination closed first" : "client closed first", false);
        break;
    case PUMP_BROKEN:
        stream->hooks.ended(stream->hooks.arg, broken_text(stream, direction), true);
        break;
    }
}

void stream_relay(struct stream *stream, int client_fd)
{
    stream->relaying_since_ms = env_now(stream->env);
    stream->up.stream = stream->down.stream = stream;
    pump_init(&stream->up.pump, client_fd, stream->remote_fd);
    pump_init(&stream->down.pump, stream->remote_fd, client_fd);
    wait_for(&stream->up, client_fd, EV_READ);
    wait_for(&stream->down, stream->remote_fd, EV_READ);
}

bool stream_sweep(struct stream *stream, uint64_t now_ms)
{
    const struct pump *up = &stream->up.pump, *down = &stream->down.pump;
    if (!stream->keeps_alive && now_ms - stream->relaying_since_ms >= SHORT_LIFE_MS) {
        sock_keepalive(stream->remote_fd);
        stream->keeps_alive = true;
    }
    return (up->state == PUMP_DONE && sock_is_lost(up->from)) || (down->state == PUMP_DONE && sock_is_lost(down->from));
}

uint64_t stream_stuck_since(const struct stream *stream)
{
    uint64_t since = UINT64_MAX;
    const struct direction *both[] = {&stream->up, &stream->down};
    for (int i = 0; i < 2; i++)
        if (both[i]->pump.state == PUMP_WAITS_TO_WRITE && both[i]->stuck_since_ms < since)
            since = both[i]->stuck_since_ms;
    return since;
}

size_t stream_memory(const struct stream *stream)
{
    size_t held = sizeof(*stream);
    if (stream->up.stream)
        held += pump_held(&stream->up.pump) + pump_held(&stream->down.pump) + sock_memory(stream->up.pump.from);
    return held + (stream->remote_fd >= 0 ? sock_memory(stream->remote_fd) : 0);
}

void stream_give_up(struct stream *stream, const char *why)
{
    stream->hooks.ended(stream->hooks.arg, why, true);
}

static void stop(struct direction *direction)
{
    if (!direction->stream)
        return;
    event_del(&direction->event);
    pump_deinit(&direction->pump, direction->stream->env->pumps);
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    stop_reaching(stream);
    stop(&stream->up);
    stop(&stream->down);
    if (stream->remote_fd >= 0) {
        bool complete = stream->up.pump.state == PUMP_DONE && stream->down.pump.state == PUMP_DONE;
        if (complete)
            close(stream->remote_fd);
        else
            sock_abort(stream->remote_fd);
    }
    rates_free(stream->rates);
    free(stream);
}

enum config_command stream_command(const struct stream *stream)
{
    return stream->command;
}

const char *stream_destination(const struct stream *stream)
{
    return stream->destination;
}

union netaddr stream_local(const struct stream *stream)
{
    return stream->remote_fd >= 0 ? sock_local(stream->remote_fd) : (union netaddr){0};
}

union netaddr stream_remote(const struct stream *stream)
{
    return stream->remote;
}

uint64_t stream_up_bytes(const struct stream *stream)
{
    return stream->up.pump.bytes;
}

uint64_t stream_down_bytes(const struct stream *stream)
{
    return stream->down.pump.bytes;
}
