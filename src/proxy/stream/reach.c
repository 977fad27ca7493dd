/* How a stream reaches its destination: it dials the addresses, asks an upstream, or opens a port for BIND. */
#include <assert.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/host.h"
#include "net/dial.h"
#include "policy/rates.h"
#include "policy/rules.h"
#include "proxy/client_terms.h"
#include "proxy/egress.h"
#include "proxy/lookup.h"
#include "proxy/permit.h"
#include "proxy/stream/bind.h"
#include "proxy/stream/stream_impl.h"
#include "proxy/upstream/upstream.h"

/* Needed only until the destination is reached. */
struct reaching {
    struct dial *dial;         /* of CONNECT */
    struct bind *bind;         /* of BIND, once its port is open */
    struct upstream *upstream; /* asked, in place of a dial */
    struct lookup *lookup;     /* of the name; NULL: not under way */
    struct subject subject;
    struct proxy_client client;
    uint32_t found, refused; /* addresses of the name; those that policy denies */
    bool timed_out;          /* a lookup got no answer in time */
    uint64_t generation;     /* of the snapshot that it began under */
    struct event outcome;    /* tells it from the loop, when there is nothing to wait for */
    enum socks5_reply code;
};

/* ---- the outcome ---- */

static void reach_stop_dialing(struct reaching *reaching)
{
    lookup_cancel(reaching->lookup);
    reaching->lookup = NULL;
    if (reaching->dial)
        dial_cancel(reaching->dial);
    reaching->dial = NULL;
}

void stream_stop_reaching(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    if (!reaching)
        return;
    reach_stop_dialing(reaching);
    bind_free(reaching->bind);
    upstream_cancel(reaching->upstream);
    event_del(&reaching->outcome);
    subject_deinit(&reaching->subject);
    free(reaching);
    stream->reaching = NULL;
}

/* The stream may be gone afterwards. */
static void reach_finish(struct stream *stream, enum socks5_reply code, const union netaddr *bound)
{
    assert(stream->reaching && (code != SOCKS5_REPLY_SUCCEEDED || (stream->remote_fd >= 0 && bound)));
    stream_stop_reaching(stream);
    stream->hooks.reached(stream->hooks.arg, code, bound);
}

static void reach_on_outcome(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    if (!reaching->bind) {
        reach_finish(stream, reaching->code, NULL);
        return;
    }
    const union netaddr told = bind_told(reaching->bind);
    stream->hooks.listening(stream->hooks.arg, &told);
}

static void reach_finish_soon(struct stream *stream, enum socks5_reply code)
{
    stream->reaching->code = code;
    event_active(&stream->reaching->outcome, EV_TIMEOUT, 0);
}

static bool reach_is_reloaded(const struct stream *stream)
{
    return stream->reaching->generation != stream->env->generation;
}

static bool reach_renew(struct stream *stream)
{
    return permit_renew(stream->env, &stream->reaching->subject, &stream->reaching->client);
}

/* ---- by an upstream ---- */

static void reach_on_upstream_answer(void *arg, const struct upstream_answer *answer)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    enum socks5_reply code = answer->code;
    reaching->upstream = NULL;
    stream->remote_fd = answer->fd;
    if (answer->fd >= 0 && reach_is_reloaded(stream) &&
        !(reach_renew(stream) && stream_may_relay(stream, &reaching->subject)))
        code = SOCKS5_REPLY_NOT_ALLOWED;
    reach_finish(stream, code, &answer->bound);
}

/* Asks the upstream, and stops dialing. `to` is NULL if the upstream is to resolve the name. */
static void reach_ask_upstream(struct stream *stream, const struct terms *terms, const union netaddr *to)
{
    struct reaching *reaching = stream->reaching;
    const struct socks5_addr by_name = {
        .atyp = SOCKS5_ATYP_NAME,
        .host_len = (uint8_t)strlen(stream->name),
        .port = stream->port,
        .host = (const uint8_t *)stream->name,
    };
    const struct socks5_addr destination = to ? address_to_wire(to) : by_name;
    assert(!stream->upstream && !reaching->upstream);
    reach_stop_dialing(reaching);
    stream->upstream = strdup(terms->upstream->name);
    if (stream->upstream && rates_new(&stream->rates, stream->env->host->user_rates, terms, reaching->subject.user))
        reaching->upstream = upstream_ask(stream->env, &stream->client, reaching->subject.user, terms,
                                          SOCKS5_COMMAND_CONNECT, &destination, reach_on_upstream_answer, stream);
    if (!reaching->upstream) {
        reach_finish_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
        return;
    }
    if (to)
        stream->remote = *to;
}

/* A name that is to leave by an upstream leaves as it is. false: it is to be resolved here. */
static bool reach_ask_by_name(struct stream *stream)
{
    const struct reaching *reaching = stream->reaching;
    const uint32_t rule = rules_find_name(&reaching->subject, stream->name, stream->port);
    if (rule != RULES_NO_MATCH && stream->env->config->rules[rule].action == CONFIG_ACTION_DENY)
        return false; /* an earlier rule may allow an address of it */
    const struct terms terms = client_terms(stream->env, &reaching->subject, rule, &reaching->client);
    if (terms.upstream)
        reach_ask_upstream(stream, &terms, NULL);
    return terms.upstream != NULL;
}

/* ---- by its addresses ---- */

/* Takes the rate limits from the rule that allows the address it has reached. */
static bool reach_set_rates(struct stream *stream, const union netaddr *to)
{
    struct reaching *reaching = stream->reaching;
    if (!reach_renew(stream))
        return false;
    const struct verdict verdict = verdict_find(&stream->env->policy, &reaching->subject, stream_name(stream), to);
    const struct terms terms = client_terms(stream->env, &reaching->subject, verdict.rule, &reaching->client);
    return rates_new(&stream->rates, stream->env->host->user_rates, &terms, reaching->subject.user);
}

static enum socks5_reply reach_failure(struct stream *stream, int error)
{
    const struct reaching *reaching = stream->reaching;
    enum socks5_reply code = address_reply_of(error);
    stream->unreached = error;
    if (error == 0 && reaching->refused)
        code = SOCKS5_REPLY_NOT_ALLOWED;
    else if (error == 0 && reaching->timed_out)
        code = SOCKS5_REPLY_TTL_EXPIRED;
    stream->unresolved = code == SOCKS5_REPLY_TTL_EXPIRED && stream->asked_kind == ADDRESS_NAME && reaching->found == 0;
    return code;
}

static void reach_watch(void *arg, int fd)
{
    stream_watch_destination(arg, fd);
}

static void reach_on_dialed(void *arg, const struct dial_outcome *outcome)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    enum socks5_reply code = SOCKS5_REPLY_SUCCEEDED;
    reaching->dial = NULL;
    stream->remote = outcome->to;
    stream->remote_fd = outcome->fd;
    if (outcome->fd < 0)
        code = reach_failure(stream, outcome->error);
    else if (reach_is_reloaded(stream) && !(reach_renew(stream) && permit(stream->env, &reaching->subject,
                                                                          stream_name(stream), &outcome->to, 1, NULL)))
        code = SOCKS5_REPLY_NOT_ALLOWED;
    else if (!reach_set_rates(stream, &outcome->to))
        code = SOCKS5_REPLY_GENERAL_FAILURE;
    reach_finish(stream, code, &outcome->local);
}

static void reach_dial_by_rule(struct stream *stream, const union netaddr *to, uint32_t rule)
{
    struct reaching *reaching = stream->reaching;
    const struct terms terms = client_terms(stream->env, &reaching->subject, rule, &reaching->client);
    if (terms.upstream) {
        reach_ask_upstream(stream, &terms, to);
        return;
    }
    const bool v4 = to->sa.sa_family == AF_INET;
    const struct sock_way way = {.from = v4 ? terms.address_v4 : terms.address_v6, .egress = egress_of(&terms)};
    dial_add(reaching->dial, to->sa.sa_family, to, 1, &way);
}

/* Keeps the addresses that policy allows: the address that is dialed is the address that was checked. */
static void reach_on_addresses(void *arg, const union netaddr *addresses, size_t count)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    const bool is_renewed = reach_renew(stream);
    for (size_t i = 0; i < count && reaching->dial; i++) {
        union netaddr to = addresses[i];
        uint32_t rule;
        netaddr_set_port(&to, stream->port);
        reaching->found++;
        if (is_renewed && permit(stream->env, &reaching->subject, stream->name, &to, 1, &rule))
            reach_dial_by_rule(stream, &to, rule);
        else
            reaching->refused++;
    }
}

static void reach_on_lookup_end(void *arg, bool timed_out)
{
    struct stream *stream = arg;
    struct reaching *reaching = stream->reaching;
    assert(reaching->dial);
    reaching->lookup = NULL;
    reaching->timed_out = timed_out;
    dial_all_added(reaching->dial);
}

static void reach_name(struct stream *stream)
{
    const struct lookup_hooks hooks = {reach_on_addresses, reach_on_lookup_end, stream};
    struct reaching *reaching = stream->reaching;
    if (!permit_name(stream->env, &reaching->subject, stream->name, stream->port, 1)) {
        reach_finish_soon(stream, SOCKS5_REPLY_NOT_ALLOWED);
        return;
    }
    if (reach_ask_by_name(stream))
        return;
    reaching->lookup = lookup_begin(stream->env, &stream->client, reaching->subject.user, stream->name,
                                    env_first_family(stream->env), &hooks);
    if (!reaching->lookup)
        reach_finish_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
}

static void reach_address(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    uint32_t rule;
    if (!permit(stream->env, &reaching->subject, NULL, &stream->asked, 1, &rule)) {
        reach_finish_soon(stream, SOCKS5_REPLY_NOT_ALLOWED);
        return;
    }
    reach_dial_by_rule(stream, &stream->asked, rule);
    if (reaching->dial)
        dial_all_added(reaching->dial);
}

/* ---- BIND ---- */

static void reach_on_came(void *arg, int fd, const union netaddr *peer, enum socks5_reply code)
{
    struct stream *stream = arg;
    if (fd >= 0) {
        stream->remote_fd = fd;
        stream->remote = *peer;
    } else {
        stream->unreached = -fd;
    }
    reach_finish(stream, code, peer);
}

/* BIND needs an IP address, with which the peer's is compared. A name may have many, and the peer may connect from yet
 * another one. */
static enum socks5_reply reach_listen(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    if (stream->asked_kind != ADDRESS_IP)
        return SOCKS5_REPLY_ADDRESS_TYPE_NOT_SUPPORTED;
    return bind_new(&reaching->bind, stream->env, &reaching->subject, &reaching->client, &stream->asked, reach_on_came,
                    stream, &stream->unreached);
}

/* ---- the beginning ---- */

static void reach_begin(struct stream *stream)
{
    if (stream->command == CONFIG_COMMAND_BIND)
        reach_finish_soon(stream, reach_listen(stream));
    else if (stream->asked_kind == ADDRESS_BAD)
        reach_finish_soon(stream, SOCKS5_REPLY_HOST_UNREACHABLE);
    else if (stream->port == 0)
        reach_finish_soon(stream, SOCKS5_REPLY_GENERAL_FAILURE);
    else if (stream->asked_kind == ADDRESS_NAME)
        reach_name(stream);
    else
        reach_address(stream);
}

bool stream_begin_reaching(struct stream *stream, const struct proxy_client *client)
{
    struct env *env = stream->env;
    struct reaching *reaching = calloc(1, sizeof(*reaching));
    const struct dial_options options = {
        .timeout_ms = env->config->timeouts.connect_ms,
        .reserve = env->host->reserve,
        .ipv4_first = env_first_family(env) == AF_INET,
        .watch = reach_watch,
    };
    if (!reaching || !client_subject_init(&reaching->subject, env, client, stream->command)) {
        free(reaching);
        return false;
    }
    const bool dials = stream->command == CONFIG_COMMAND_CONNECT;
    reaching->dial = dials ? dial_new(env->base, &options, reach_on_dialed, stream) : NULL;
    if (dials && !reaching->dial) {
        subject_deinit(&reaching->subject);
        free(reaching);
        return false;
    }
    reaching->generation = env->generation;
    reaching->client = *client;
    event_assign(&reaching->outcome, env->base, -1, 0, reach_on_outcome, stream);
    stream->reaching = reaching;
    reach_begin(stream);
    return true;
}

/* ---- while it is under way ---- */

bool stream_review_reaching(struct stream *stream)
{
    struct reaching *reaching = stream->reaching;
    if (!reach_renew(stream))
        return false;
    if (reaching->bind)
        return bind_review(reaching->bind);
    if (reaching->upstream)
        return stream_may_relay(stream, &reaching->subject);
    if (stream->asked_kind == ADDRESS_NAME)
        return permit_name(stream->env, &reaching->subject, stream->name, stream->port, 1);
    return stream->asked_kind == ADDRESS_BAD || permit(stream->env, &reaching->subject, NULL, &stream->asked, 1, NULL);
}

size_t stream_reaching_descriptors(const struct stream *stream)
{
    const struct reaching *reaching = stream->reaching;
    return (reaching->dial ? dial_descriptors(reaching->dial) : 0) + (reaching->bind ? 1 : 0) +
           (reaching->upstream ? upstream_descriptors(reaching->upstream) : 0);
}
