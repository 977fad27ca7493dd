#include "proxy/stream/stream.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/dial.h"
#include "net/sock.h"
#include "policy/rates.h"
#include "proxy/egress.h"
#include "proxy/lookup.h"
#include "proxy/permit.h"
#include "proxy/stream/bind.h"
#include "proxy/stream/stream_impl.h"
#include "proxy/upstream/upstream.h"

/* ---- reaching the destination ---- */

static void stop_dialing(struct reaching *reaching)
{
    lookup_cancel(reaching->lookup);
    reaching->lookup = NULL;
    if (reaching->dial)
        dial_cancel(reaching->dial);
    reaching->dial = NULL;
}

static void stop_reaching(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    if (!reaching)
        return;
    stop_dialing(reaching);
    bind_free(reaching->bind);
    upstream_cancel(reaching->upstream);
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
    struct reaching *reaching = stream->reaching;
    const char *name = reaching->name[0] ? reaching->name : NULL;
    if (!subject_renew(&reaching->subject, stream->env->rules))
        return false;
    const struct verdict verdict = verdict_find(&stream->env->policy, &reaching->subject, name, to);
    const struct terms terms = env_terms(stream->env, reaching->user, verdict.rule, &stream->client);
    return rates_new(&stream->rates, stream->env->host->user_rates, &terms, reaching->user);
}

static bool is_reloaded(const struct stream *stream)
{
    return stream->reaching->generation != stream->env->generation;
}

static void on_dialed(void *arg, int fd, int error, const union netaddr *to)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    reaching->dial = NULL;
    enum socks5_reply verdict = SOCKS5_REPLY_SUCCEEDED;
    const char *name = stream->by_name ? reaching->name : NULL;
    if (fd >= 0 && is_reloaded(stream) && !permit(stream->env, &reaching->subject, name, to, 1, NULL)) {
        close(fd);
        fd = -1;
        verdict = SOCKS5_REPLY_NOT_ALLOWED;
    } else if (fd < 0) {
        verdict = address_reply_of(error);
        stream->unreached = error;
        if (error == 0 && reaching->refused)
            verdict = SOCKS5_REPLY_NOT_ALLOWED;
        else if (error == 0 && reaching->timed_out)
            verdict = SOCKS5_REPLY_TTL_EXPIRED;
        stream->unresolved = verdict == SOCKS5_REPLY_TTL_EXPIRED && stream->by_name && reaching->found == 0;
    } else if (!set_rates(stream, to)) {
        verdict = SOCKS5_REPLY_GENERAL_FAILURE;
    }
    stream->remote_fd = fd;
    stream->remote = *to;
    stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, verdict);
}

/* ---- by an upstream ---- */

static bool may_go_on_relaying(const struct stream *stream, struct subject *subject);

static void on_upstream_answer(void *arg, const struct upstream_answer *answer)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    enum socks5_reply code = answer->code;
    reaching->upstream = NULL;
    stream->remote_fd = answer->fd;
    stream->via->bound = answer->bound;
    if (answer->fd >= 0 && is_reloaded(stream) && !may_go_on_relaying(stream, &reaching->subject))
        code = SOCKS5_REPLY_NOT_ALLOWED;
    stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, code);
}

/* In place of all dialing. `to` is NULL when the upstream is to resolve the name. */
static void ask_upstream(struct stream *stream, const struct terms *terms, const union netaddr *to)
{
    struct reaching *reaching = stream->reaching;
    const struct socks5_addr by_name = {
        .atyp = SOCKS5_ATYP_NAME,
        .host_len = (uint8_t)strlen(reaching->name),
        .port = reaching->port,
        .host = (const uint8_t *)reaching->name,
    };
    const struct socks5_addr destination = to ? address_to_wire(to) : by_name;
    size_t len = strlen(terms->upstream->name) + 1;
    stop_dialing(reaching);
    stream->via = calloc(1, sizeof(*stream->via) + len);
    if (stream->via && rates_new(&stream->rates, stream->env->host->user_rates, terms, reaching->user))
        reaching->upstream = upstream_ask(stream->env, &stream->client, reaching->user, terms, SOCKS5_COMMAND_CONNECT,
                                          &destination, on_upstream_answer, stream);
    if (!reaching->upstream) {
        settle_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
        return;
    }
    memcpy(stream->via->upstream, terms->upstream->name, len);
    if (to)
        stream->remote = *to;
}

/* A name that is to leave by an upstream leaves as it is. false: it is to be resolved here. */
static bool ask_by_name(struct stream *stream)
{
    const struct reaching *reaching = stream->reaching;
    const uint32_t rule = rules_find_name(&reaching->subject, reaching->name, reaching->port);
    if (rule != RULES_NO_MATCH && stream->env->config->rules[rule].action == CONFIG_ACTION_DENY)
        return false; /* unless an address of it is allowed before */
    const struct terms terms = env_terms(stream->env, reaching->user, rule, &stream->client);
    if (terms.upstream)
        ask_upstream(stream, &terms, NULL);
    return terms.upstream != NULL;
}

/* ---- by its addresses ---- */

static void dial_by_rule(struct stream *stream, const union netaddr *to, uint32_t rule)
{
    struct reaching *reaching = stream->reaching;
    const struct terms terms = env_terms(stream->env, reaching->user, rule, &stream->client);
    if (terms.upstream) {
        ask_upstream(stream, &terms, to);
        return;
    }
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
    } else {
        stream->unreached = -fd;
    }
    stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, code);
}

/* Keeps the addresses that policy allows: the address that is dialed is the address that was checked. */
static void on_addresses(void *arg, const union netaddr *addresses, size_t count)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    for (size_t i = 0; i < count && reaching->dial; i++) {
        union netaddr to = addresses[i];
        uint32_t rule;
        netaddr_set_port(&to, reaching->port);
        reaching->found++;
        if (permit(stream->env, &reaching->subject, reaching->name, &to, 1, &rule))
            dial_by_rule(stream, &to, rule);
        else
            reaching->refused++;
    }
}

static void on_lookup_end(void *arg, bool timed_out)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    reaching->lookup = NULL;
    reaching->timed_out = timed_out;
    dial_all_added(reaching->dial);
}

static bool look_up(struct stream *stream, const char *name)
{
    const struct lookup_hooks hooks = {on_addresses, on_lookup_end, stream};
    stream->reaching->lookup =
        lookup_begin(stream->env, &stream->client, stream->reaching->user, name, env_first_family(stream->env), &hooks);
    return stream->reaching->lookup != NULL;
}

/* The connection is compared with an address: names have too many, and none for whoever connects from behind them. */
static enum socks5_reply listen_for(struct stream *stream, enum address_kind kind, const union netaddr *addr)
{
    struct reaching *reaching = stream->reaching;
    if (kind != ADDRESS_IP)
        return SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED;
    return bind_new(&reaching->bind, stream->env, &reaching->subject, reaching->user, addr, on_came, stream,
                    &stream->unreached);
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
        else if (!ask_by_name(stream) && !look_up(stream, reaching->name))
            settle_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
    } else if (!permit(stream->env, &reaching->subject, NULL, addr, 1, &rule)) {
        settle_soon(stream, SOCKS5_REPLY_NOT_ALLOWED);
    } else {
        dial_by_rule(stream, addr, rule);
        if (reaching->dial)
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
        .reserve = env->host->reserve,
        .ipv4_first = env_first_family(env) == AF_INET,
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
    reaching->generation = env->generation;
    reaching->user = user;
    reaching->port = destination->port;
    if (kind == ADDRESS_NAME)
        memcpy(reaching->name, name, strlen(name) + 1);
    else if (kind == ADDRESS_IP)
        reaching->address = addr;
    event_assign(&reaching->settle, env->base, -1, 0, on_settle, stream);
    env->open.streams++;
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
    if (reaching->bind)
        return bind_review(reaching->bind);
    if (reaching->upstream)
        return may_go_on_relaying(stream, &reaching->subject);
    if (stream->by_name)
        return permit_name(stream->env, &reaching->subject, reaching->name, reaching->port, 1);
    return reaching->address.sa.sa_family == AF_UNSPEC ||
           permit(stream->env, &reaching->subject, NULL, &reaching->address, 1, NULL);
}

static bool may_go_on_relaying(const struct stream *stream, struct subject *subject)
{
    char name[NAME_TEXT_MAX + 8];
    const char *port = strrchr(stream->destination, ':');
    snprintf(name, sizeof(name), "%.*s", (int)(port - stream->destination), stream->destination);
    if (stream->remote.sa.sa_family == AF_UNSPEC)
        return permit_unresolved(stream->env, subject, name, (uint16_t)strtoul(port + 1, NULL, 10), 1);
    return permit(stream->env, subject, stream->by_name ? name : NULL, &stream->remote, 1, NULL);
}

bool stream_review(struct stream *stream, const char *user)
{
    struct subject subject;
    if (stream->reaching)
        return subject_renew(&stream->reaching->subject, stream->env->rules) && may_go_on_reaching(stream);
    if (!subject_init(&subject, stream->env->rules, &stream->client, user, stream->command))
        return false;
    bool may = may_go_on_relaying(stream, &subject);
    subject_deinit(&subject);
    return may;
}

void stream_free(struct stream *stream)
{
    if (!stream)
        return;
    stream->env->open.streams--;
    stop_reaching(stream);
    stream_stop_relay(stream);
    if (stream->remote_fd >= 0) {
        if (stream_is_complete(stream))
            close(stream->remote_fd);
        else
            sock_abort(stream->remote_fd);
    }
    rates_free(stream->rates);
    free(stream->via);
    free(stream);
}

size_t stream_descriptors(const struct stream *stream)
{
    const struct reaching *reaching = stream->reaching;
    size_t held = stream->remote_fd >= 0 ? 1 : 0;
    if (reaching)
        return held + (reaching->dial ? dial_descriptors(reaching->dial) : 0) + (reaching->bind ? 1 : 0) +
               (reaching->upstream ? upstream_descriptors(reaching->upstream) : 0);
    return held + pump_descriptors(&stream->up.pump) + pump_descriptors(&stream->down.pump);
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
    if (stream->via)
        return stream->via->bound;
    return stream->remote_fd >= 0 ? sock_local(stream->remote_fd) : (union netaddr){0};
}

const char *stream_upstream(const struct stream *stream)
{
    return stream->via ? stream->via->upstream : NULL;
}

int stream_unreached(const struct stream *stream)
{
    return stream->unreached;
}

bool stream_is_unresolved(const struct stream *stream)
{
    return stream->unresolved;
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
