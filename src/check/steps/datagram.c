/* A datagram to the far end and its answer; and if there is none, why. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "check/scope.h"
#include "check/silence.h"
#include "check/steps/steps.h"

/* For each of the other ways that are tried when the first was silent, in ms: three times it is sent. */
#define TRIAL_PATIENCE 3000

/* ---- other ways ---- */

static enum silence_seen try_channel(struct check *check, struct channel *channel, const union netaddr *to)
{
    struct stun_question question = {.to = *to, .key = check->far_end.key};
    return stun_ask(channel, &question, 1, TRIAL_PATIENCE, &check->datagram) ? SILENCE_ANSWERED : SILENCE_STAYED;
}

/* The port that it names, at the address that it is reached by. Leaves the association like that when it works. */
static enum silence_seen try_proxys_address(struct check *check, const union netaddr *to)
{
    struct association *a = &check->association;
    union netaddr told = a->relay, relay = check->proxy;
    netaddr_set_port(&relay, netaddr_port(&told));
    if (netaddr_equal(&relay, &told) || !association_redirect(a, &relay))
        return SILENCE_NOT_TRIED;
    enum silence_seen seen = try_channel(check, &a->channel, to);
    if (seen != SILENCE_ANSWERED)
        association_redirect(a, &told);
    return seen;
}

static enum silence_seen try_our_address(struct check *check, const union netaddr *to)
{
    struct association other;
    union netaddr local = io_local(check->association.channel.fd);
    enum silence_seen seen = SILENCE_NOT_TRIED;
    /* The socket is taken, so its neighbour has to do; it is the same address. */
    int fd = netaddr_is_any(&local) ? -1 : (netaddr_set_port(&local, 0), io_udp(&local));
    if (fd < 0)
        return seen;
    local = io_local(fd);
    close(fd);
    if (association_open(&other, &check->url, &check->proxy, &local, clock_ms() + CHECK_TCP_TIMEOUT))
        seen = try_channel(check, &other.channel, to);
    association_close(&other);
    return seen;
}

static enum silence_seen try_over_tcp(struct check *check, const union netaddr *to)
{
    struct association framed;
    enum silence_seen seen = SILENCE_NOT_TRIED;
    if (association_open_framed(&framed, &check->url, &check->proxy, clock_ms() + CHECK_TCP_TIMEOUT))
        seen = try_channel(check, &framed.channel, to);
    association_close(&framed);
    return seen;
}

static enum silence_seen try_without_proxy(struct check *check, const union netaddr *to)
{
    union netaddr any = netaddr_any(to->sa.sa_family);
    struct channel straight = {.kind = CHANNEL_STRAIGHT, .fd = io_udp(&any)};
    if (straight.fd < 0)
        return SILENCE_NOT_TRIED;
    enum silence_seen seen = try_channel(check, &straight, to);
    close(straight.fd);
    return seen;
}

static bool is_no_route(int error)
{
    return error == -ENETUNREACH || error == -EADDRNOTAVAIL || error == -EINVAL || error == -EACCES || error == -EPERM;
}

static struct silence look_for_other_ways(struct check *check, const struct stun_question *question)
{
    const union netaddr *relay = &check->association.relay, *to = &question->to;
    struct silence silence = {
        .no_route = is_no_route(question->error),
        .rejected = question->error && !is_no_route(question->error),
        .told_elsewhere = scope_of(relay) < scope_of(&check->proxy),
        .at_proxys_address = try_proxys_address(check, to),
    };
    if (silence.at_proxys_address == SILENCE_ANSWERED)
        return silence;
    silence.with_our_address = try_our_address(check, to);
    if (silence.with_our_address == SILENCE_ANSWERED)
        return silence;
    silence.over_tcp = try_over_tcp(check, to);
    silence.without_proxy = try_without_proxy(check, to);
    return silence;
}

/* ---- in words ---- */

static void explain_silence(const struct check *check, enum silence_cause cause, struct check_result *result)
{
    char told[NETADDR_TEXT_MAX], proxy[NETADDR_TEXT_MAX];
    bool is_peer = check->far_end.kind == FAR_END_PEER;
    const char *option = is_peer ? "--peer" : "--stun";
    unsigned port = netaddr_port(&check->association.relay);
    const union netaddr *bound = &check->association.negotiation.bound;
    netaddr_format(bound->sa.sa_family == AF_UNSPEC ? &check->association.relay : bound, told);
    netaddr_format_host(&check->proxy, proxy);
    switch (cause) {
    case SILENCE_BOUND_ADDRESS:
        result_cause(result,
                     "the proxy tells clients to send to %s, which leads nowhere from here; it is reached at %s", told,
                     proxy);
        result_fix(result,
                   "have it tell the address that clients use: conesocks: udp.advertise_v4 (or _v6): %s, and "
                   "udp.ports, a range that is forwarded to it",
                   proxy);
        break;
    case SILENCE_HINT:
        result_cause(result, "the proxy takes datagrams only from the port that the request names; most clients send "
                             "0.0.0.0:0 there, as this did at first");
        result_fix(result, "configure or update the server so that it learns the port from the first datagram");
        break;
    case SILENCE_WAY_IN:
        result_cause(result,
                     "a firewall between here and the proxy drops UDP to port %u: sent inside the TCP "
                     "connection, the same datagram was answered, so the proxy itself gets out",
                     port);
        result_fix(result,
                   "let UDP to the relay's ports in (conesocks: udp.ports names the range) at the host's firewall, "
                   "the router's port forwarding, docker's published ports, the cloud's security group");
        break;
    case SILENCE_CLOSED:
        result_cause(result, "nothing takes datagrams at %s: somebody answers that the port is closed", told);
        result_fix(result, "forward the relay's UDP ports to the proxy's host itself, each under its own number "
                           "(conesocks: udp.ports), and do not have a firewall reject them");
        break;
    case SILENCE_WAY_OUT:
        result_cause(result, "the proxy's host does not get UDP out, or no answers in: sent inside the TCP connection, "
                             "the datagram was not answered either, and without the proxy it is");
        result_fix(result,
                   "let UDP out of the proxy's host, and answers in; there, conesocks check --direct %s %s must work",
                   option, check->far_end.name);
        break;
    case SILENCE_FAR_END:
        result_cause(result, "%s does not answer without the proxy either: it may be down, or %s", check->far_end.name,
                     is_peer ? "its key may be another, or its firewall does not let UDP in" : "no STUN server");
        result_fix(result, is_peer ? "see on its machine what conesocks check --listen says meanwhile"
                                   : "try another STUN server first");
        break;
    default:
        result_cause(result,
                     "a firewall between here and the proxy drops UDP to port %u, or the proxy's host does not get "
                     "UDP out, or the server relays nothing: that cannot be told apart from here",
                     port);
        result_fix(result,
                   "on the proxy's host, tcpdump udp port %u shows whether datagrams arrive, and conesocks check "
                   "--direct %s %s whether UDP gets out",
                   port, option, check->far_end.name);
    }
}

static const char *cause_name(enum silence_cause cause)
{
    static const char *const names[] = {"bound_address", "hint", "way_in", "closed", "way_out", "far_end", "unknown"};
    return names[cause];
}

/* Whether it could be made to work after all, so that the next steps have something to go on with. */
static bool say_silence(struct check *check, const struct stun_question *question, struct check_result *result)
{
    char to[NETADDR_TEXT_MAX];
    const struct silence silence = look_for_other_ways(check, question);
    enum silence_cause cause = silence_judge(&silence);
    netaddr_format(&question->to, to);
    if (silence.at_proxys_address == SILENCE_ANSWERED)
        result_say(result, CHECK_FAILED, "no answer from %s, but one when sent to the proxy's own address", to);
    else if (cause == SILENCE_FAR_END)
        result_say(result, CHECK_SKIPPED, "no answer from %s, through the proxy or without it", to);
    else
        result_say(result, CHECK_FAILED, "no answer from %s%s%s", to, question->error ? ": " : "",
                   question->error ? strerror(-question->error) : "");
    result_data(result, "cause", json_string(cause_name(cause)));
    explain_silence(check, cause, result);
    return silence.at_proxys_address == SILENCE_ANSWERED;
}

/* ---- the step ---- */

static void note_answer(struct check *check, const struct stun_question *question)
{
    if (!(check->facts & FACT_ANSWERS))
        check->answer = *question;
    check->facts |= FACT_ANSWERS | (question->to.sa.sa_family == AF_INET ? FACT_ANSWERS_V4 : FACT_ANSWERS_V6);
}

/* A host may well have one family alone. But what cannot be sent must cost no more than itself. */
static void say_other_family(struct check *check, int family, const char *to, struct check_result *result)
{
    struct stun_question before = {.to = check->answer.to, .key = check->far_end.key};
    const char *name = check_family_name(family);
    if (stun_ask(&check->association.channel, &before, 1, STUN_PATIENCE, &check->datagram)) {
        result_say(result, CHECK_INFO, "no answer from %s: the proxy's host may have no %s", to, name);
        return;
    }
    result_say(result, CHECK_WARNING, "no answer from %s, and since then none to anything else either", to);
    result_cause(result,
                 "the proxy's host may have no %s; but the server gives up a whole association for one datagram "
                 "that it cannot send",
                 name);
    result_fix(result, "update the server, or use another; have its clients use no %s meanwhile", name);
}

void step_datagram(struct check *check, int family, struct check_result *result)
{
    struct stun_question question = {.to = *io_of_family(&check->far_end.addresses, family), .key = check->far_end.key};
    struct association *a = &check->association;
    char to[NETADDR_TEXT_MAX], seen[NETADDR_TEXT_MAX];
    netaddr_format(&question.to, to);
    if (stun_ask(&a->channel, &question, 1, STUN_PATIENCE, &check->datagram)) {
        note_answer(check, &question);
        netaddr_format(&question.answer.mapped, seen);
        result_say(result, CHECK_OK, "%s answers, %u ms, and sees us as %s", to, question.rtt_ms, seen);
        result_data(result, "external", json_string(seen));
        result_data(result, "rtt_ms", json_integer(question.rtt_ms));
        return;
    }
    if (check->facts & FACT_ANSWERS) { /* the other family */
        say_other_family(check, family, to, result);
        return;
    }
    if (say_silence(check, &question, result) && stun_ask(&a->channel, &question, 1, TRIAL_PATIENCE, &check->datagram))
        note_answer(check, &question);
}
