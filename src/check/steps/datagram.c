/* Sends a datagram to the test server, and when no answer comes, finds out why. */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/scope.h"
#include "check/silence.h"
#include "check/steps/steps.h"
#include "net/sock.h"

/* For each of the other ways that are tried when the first was silent, in ms. */
#define TRIAL_PATIENCE 3000
#define SERVERS_SURE   3 /* so many servers are not down at the same time */
#define ICMP_PATIENCE  500

/* ---- other ways ---- */

/* An error tells nothing about our address; of the others, the nearest server is the best one. */
static bool is_better_answer(const struct stun_question *one, const struct stun_question *than)
{
    bool useful = one->answered && one->answer.class == STUN_SUCCESS;
    bool than_useful = than->answered && than->answer.class == STUN_SUCCESS;
    if (useful != than_useful)
        return useful;
    return one->answered && (!than->answered || one->rtt_us < than->rtt_us);
}

/* Asks the servers side by side and keeps to the one that answers first. `question` is then the one it answered. */
static bool ask_servers(struct check_run *check, struct channel *channel, struct stun_question *question,
                        unsigned patience_ms)
{
    const struct server_line line = check_line(check, channel);
    struct stun_question questions[CHECK_ASKED_MAX];
    size_t count = check_questions(check, questions);
    stun_ask_some(&line, questions, count, 1, patience_ms);
    *question = questions[0];
    for (size_t i = 1; i < count; i++)
        if (is_better_answer(&questions[i], question))
            *question = questions[i];
    if (question->answered)
        check_use_server(check, &question->to);
    return question->answered;
}

static enum silence_seen try_channel(struct check_run *check, struct channel *channel)
{
    struct stun_question question;
    return ask_servers(check, channel, &question, TRIAL_PATIENCE) ? SILENCE_ANSWERED : SILENCE_STAYED;
}

/* The port that the proxy names, at the address that it is reached at. When that works, the association keeps it. */
static enum silence_seen try_proxys_address(struct check_run *check)
{
    struct check_association *a = &check->association;
    union netaddr told = a->relay, relay = check->proxy.address;
    netaddr_set_port(&relay, netaddr_port(&told));
    if (netaddr_equal(&relay, &told) || !association_redirect(a, &relay))
        return SILENCE_NOT_TRIED;
    enum silence_seen seen = try_channel(check, &a->channel);
    if (seen != SILENCE_ANSWERED)
        association_redirect(a, &told);
    return seen;
}

/* Over an association that the request was made for in another way: with a hint or, when that is NULL, inside TCP. */
static enum silence_seen try_other_association(struct check_run *check, const union netaddr *hint)
{
    struct check_association other;
    bool usable = hint ? association_open(&other, &check->proxy, hint) : association_open_framed(&other, &check->proxy);
    enum silence_seen seen = usable ? try_channel(check, &other.channel) : SILENCE_NOT_TRIED;
    association_close(&other);
    return seen;
}

static enum silence_seen try_our_address(struct check_run *check)
{
    union netaddr local = sock_local(check->association.channel.fd);
    /* The socket's port is taken, so another port of the same address has to do. */
    netaddr_set_port(&local, 0);
    int fd = netaddr_is_any(&local) ? -1 : io_udp(&local, true);
    if (fd < 0)
        return SILENCE_NOT_TRIED;
    local = sock_local(fd);
    close(fd);
    return try_other_association(check, &local);
}

static bool is_no_route(int error)
{
    return error == -ENETUNREACH || error == -EADDRNOTAVAIL || error == -EINVAL;
}

/* ICMP tells the same of a firewall on the way, if that reports it as such. */
static bool is_forbidden(int error)
{
    return error == -EACCES || error == -EPERM;
}

static enum silence_seen try_without_proxy(struct check_run *check)
{
    union netaddr any = netaddr_any(check->family);
    struct channel direct = {.kind = CHANNEL_DIRECT, .fd = io_udp(&any, true)};
    struct stun_question question;
    if (direct.fd < 0)
        return SILENCE_NOT_TRIED;
    bool answered = ask_servers(check, &direct, &question, TRIAL_PATIENCE);
    close(direct.fd);
    if (!answered && (is_no_route(question.error) || is_forbidden(question.error)))
        return SILENCE_NOT_TRIED;
    return answered ? SILENCE_ANSWERED : SILENCE_STAYED;
}

/* Whether a test server answers STUN over TCP through the proxy, as coturn and some public ones do: then it is up. */
static enum silence_seen try_server_by_tcp(struct check_run *check)
{
    struct stun_question questions[CHECK_ASKED_MAX];
    size_t count = check_questions(check, questions);
    for (size_t i = 0; i < count; i++) {
        const struct socks5_addr destination = socks5_addr_of(&questions[i].to);
        struct proxy_answer connected;
        struct stun_message answer;
        proxy_ask(&connected, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, TRIAL_PATIENCE);
        if (connected.outcome != PROXY_GRANTED)
            continue;
        bool answered = stun_ask_stream(connected.fd, check->server.key, clock_ms() + TRIAL_PATIENCE, &answer);
        close(connected.fd);
        if (answered)
            return SILENCE_ANSWERED;
    }
    return SILENCE_STAYED;
}

/* How many servers have an address of the family, whatever the number of addresses. */
static size_t count_servers(const struct check_run *check)
{
    const struct stun_places *places = &check->server.places;
    unsigned seen = 0;
    size_t count = 0;
    for (size_t i = 0; i < places->count; i++) {
        unsigned bit = 1u << places->list[i].server;
        if (places->list[i].address.sa.sa_family == check->family && !(seen & bit)) {
            seen |= bit;
            count++;
        }
    }
    return count;
}

/* Does a new relay port take a datagram that no server forwards (a fragment)? Some send ICMP errors for others. */
static bool is_relay_open(struct check_run *check)
{
    static const uint8_t fragment[] = {0, 0, 1, SOCKS5_ATYP_IPV4, 127, 0, 0, 1, 0, 9};
    struct check_association other;
    bool open = association_open(&other, &check->proxy, NULL);
    for (int i = 0; open && i < 2; i++) {
        int error = channel_send_raw(&other.channel, fragment, sizeof(fragment));
        if (!error)
            error = channel_receive(&other.channel, &check->datagram, clock_ms() + ICMP_PATIENCE);
        open = error == -ETIMEDOUT;
    }
    association_close(&other);
    return open;
}

/* Is the test server up at all? */
static void try_server(struct check_run *check, struct silence *silence)
{
    silence->without_proxy = try_without_proxy(check);
    if (silence->by_tcp == SILENCE_NOT_TRIED && silence->without_proxy != SILENCE_ANSWERED &&
        silence->over_tcp != SILENCE_ANSWERED)
        silence->by_tcp = try_server_by_tcp(check);
}

/* `error`: the errno of sending. `had_ended`: the association ended before anything was sent. */
static struct silence try_other_ways(struct check_run *check, int error, bool had_ended)
{
    bool forbidden = is_forbidden(error), no_route = is_no_route(error);
    bool connected = check->connected.to.sa.sa_family == check->family;
    struct silence silence = {
        .forbidden = forbidden,
        .no_route = no_route,
        .rejected = error && !no_route && !forbidden,
        .told_elsewhere = scope_of(&check->association.relay) < scope_of(&check->proxy.address),
        .ended = !had_ended && association_has_ended(&check->association),
        .several_servers = count_servers(check) >= SERVERS_SURE,
        .unroutable = connected && check->connected.unroutable,
        .by_tcp = connected && check->connected.answered ? SILENCE_ANSWERED : SILENCE_NOT_TRIED,
    };
    if (silence.rejected && !silence.ended)
        silence.relay_is_open = is_relay_open(check);
    if (silence.ended || silence.relay_is_open) {
        try_server(check, &silence);
        return silence;
    }
    silence.at_proxys_address = try_proxys_address(check);
    if (silence.at_proxys_address == SILENCE_ANSWERED)
        return silence;
    silence.with_our_address = try_our_address(check);
    if (silence.with_our_address == SILENCE_ANSWERED)
        return silence;
    silence.over_tcp = try_other_association(check, NULL);
    try_server(check, &silence);
    return silence;
}

/* ---- causes as text ---- */

/* How to name the same test servers on the command line. */
static void name_option(const struct check_run *check, char *text, size_t size)
{
    const struct test_server *server = &check->server;
    size_t used = 0;
    text[0] = '\0';
    if (server->kind == TEST_SERVER_PEER)
        snprintf(text, size, " --peer %s", server->name);
    for (size_t i = 0; !server->is_public && i < server->stun.count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? "," : " --stun ", server->stun.list[i].text);
}

/* The proxy tells clients to send to `bound`, but answers at `proxy`. */
static void advise_bound_address(struct check_result *result, const union netaddr *bound, const union netaddr *proxy)
{
    char text[NETADDR_TEXT_MAX];
    if (bound->sa.sa_family != AF_UNSPEC && scope_of(bound) > scope_of(proxy)) {
        netaddr_format_host(bound, text);
        result_owner(result,
                     "in the proxy's own network, use %s as the proxy's address, too; the router needs NAT loopback "
                     "(hairpin) for that",
                     text);
        result_user(result, "set %s as the proxy's address, and test again", text);
        return;
    }
    netaddr_format_host(proxy, text);
    result_owner(result,
                 "make the proxy advertise the address that clients use (conesocks: udp.advertise_v4 or _v6: %s, and "
                 "forward the range udp.ports)",
                 text);
}

static void explain_way_in(const struct check_run *check, enum silence_cause cause, struct check_result *result)
{
    char told[NETADDR_TEXT_MAX], proxy[NETADDR_TEXT_MAX];
    const union netaddr *bound = &check->association.granted.bound;
    netaddr_format(bound->sa.sa_family == AF_UNSPEC ? &check->association.relay : bound, told);
    netaddr_format_host(&check->proxy.address, proxy);
    switch (cause) {
    case SILENCE_BOUND_ADDRESS:
        result_cause(result,
                     "the proxy tells clients to send UDP to %s, which cannot be reached from here; the proxy is "
                     "reached at %s",
                     told, proxy);
        advise_bound_address(result, bound, &check->proxy.address);
        break;
    case SILENCE_HINT:
        result_advise(
            result,
            "the proxy accepts UDP only from the port that the request names, but most clients send 0.0.0.0:0 there",
            "configure or update the server so that it learns the port from the first datagram");
        break;
    case SILENCE_FORBIDDEN:
        result_cause(result, "a firewall on this machine, or one that reports it, forbids UDP to %s", told);
        result_fix(result, "allow UDP to the proxy in this machine's firewall");
        break;
    case SILENCE_WAY_IN:
        result_cause(result,
                     "a firewall between here and the proxy drops UDP to port %u; inside the TCP connection the "
                     "same datagram was answered, so the proxy itself can send UDP",
                     netaddr_port(&check->association.relay));
        result_owner(result, "open the proxy's UDP ports (conesocks: udp.ports) in the host's firewall, the router, "
                             "Docker's published ports or the cloud's security group");
        result_user(result, "try another network, such as a phone's hotspot: if it works there, yours drops UDP; a "
                            "client that can send UDP over TCP (hev-socks5-tunnel: udp: tcp) works in both");
        break;
    default:
        assert(cause == SILENCE_CLOSED);
        result_cause(result, "UDP to %s is rejected: the port is closed, or a firewall rejects it", told);
        result_owner(result,
                     "forward the proxy's UDP ports (conesocks: udp.ports) to the same port numbers on its host, "
                     "and allow them in its firewall");
    }
}

static void explain_way_out(const struct check_run *check, const struct silence *silence, enum silence_cause cause,
                            struct check_result *result)
{
    bool unroutable = silence->unroutable;
    char option[CHECK_NAME_MAX + 16];
    name_option(check, option, sizeof(option));
    if (cause == SILENCE_FORWARD)
        result_cause(result, "the server receives UDP, but fails when it should forward a datagram: %s",
                     unroutable ? "its host has no route there"
                     : silence->by_tcp == SILENCE_ANSWERED
                         ? "its host cannot send UDP there, or its rules forbid it"
                         : "its host cannot send UDP there, its rules forbid it, or nobody listens there");
    else if (cause == SILENCE_BEYOND)
        result_cause(result, "the proxy's host cannot send UDP or gets no answers, or the test server is down");
    else
        result_cause(result, "the proxy's host %s%s",
                     unroutable ? "has no route there" : "cannot send UDP to the internet, or gets no answers",
                     unroutable                                   ? ""
                     : silence->by_tcp == SILENCE_ANSWERED        ? ": by TCP, the test server answers through it"
                     : silence->without_proxy == SILENCE_ANSWERED ? ": without the proxy, the test server answers"
                                                                  : ": none of the test servers answers");
    result_owner(result,
                 "allow outgoing UDP and its answers on the proxy's host; conesocks check --direct%s must work there",
                 option);
}

static void explain_server(const struct check_run *check, struct check_result *result)
{
    bool is_peer = check->server.kind == TEST_SERVER_PEER;
    result_means(result, "nothing is known about UDP yet: the test server is silent");
    result_cause(result, "%s does not answer without the proxy either: it may be off, or %s", check->server.name,
                 is_peer ? "its key is different, or its firewall drops UDP" : "no STUN server");
    result_fix(result, is_peer ? "look at the output of conesocks check --listen on that machine"
                               : "try another STUN server first");
}

static void explain_either(const struct check_run *check, bool none_from_here, struct check_result *result)
{
    unsigned port = netaddr_port(&check->association.relay);
    char option[CHECK_NAME_MAX + 16];
    name_option(check, option, sizeof(option));
    result_cause(result,
                 "there are three possible causes: a firewall drops UDP to port %u of the proxy, the proxy's host "
                 "cannot send UDP, or the server does not relay UDP%s",
                 port,
                 none_from_here ? "; without the proxy, UDP gets no answer either: this network may drop it" : "");
    result_owner(result,
                 "on the proxy's host, tcpdump udp port %u shows whether UDP arrives, and conesocks check --direct%s "
                 "shows whether it can send",
                 port, option);
    result_user(result, "try another network, such as a phone's hotspot: if it works there, yours drops UDP");
}

static void explain_silence(const struct check_run *check, const struct silence *silence, enum silence_cause cause,
                            struct check_result *result)
{
    switch (cause) {
    case SILENCE_FORWARD:
    case SILENCE_WAY_OUT:
    case SILENCE_BEYOND:
        explain_way_out(check, silence, cause, result);
        break;
    case SILENCE_SERVER:
        explain_server(check, result);
        break;
    case SILENCE_EITHER:
        explain_either(check, silence->without_proxy == SILENCE_STAYED, result);
        break;
    default:
        explain_way_in(check, cause, result);
    }
}

static const char *cause_name(enum silence_cause cause)
{
    static const char *const names[] = {"bound_address", "hint",    "forbidden", "way_in", "closed",
                                        "forward",       "way_out", "far_end",   "beyond", "unknown"};
    static_assert(ARRAY_LEN(names) == SILENCE_CAUSES, "each has a name");
    return names[cause];
}

/* The steps that follow send their datagrams inside the TCP connection. */
static bool continue_inside_tcp(struct check_run *check)
{
    association_close(&check->association);
    check->inside_tcp = association_open_framed(&check->association, &check->proxy);
    return check->inside_tcp;
}

/* Whether it works after all, by another address or inside TCP, so that the next steps can run. */
static bool say_silence(struct check_run *check, const char *to, int error, bool had_ended, struct check_result *result)
{
    const struct silence silence = try_other_ways(check, error, had_ended);
    enum silence_cause cause = silence_judge(&silence);
    if (silence.at_proxys_address == SILENCE_ANSWERED)
        result_say(result, CHECK_FAILED, "no answer from %s; but it answers when we send to the proxy's own address",
                   to);
    else if (silence.over_tcp == SILENCE_ANSWERED)
        result_say(result, CHECK_FAILED,
                   "no answer from %s%s%s; but it answers datagrams inside the TCP connection, so the tests below send "
                   "them there",
                   to, error ? ": " : "", error ? strerror(-error) : "");
    else if (cause == SILENCE_SERVER)
        result_say(result, CHECK_SKIPPED, "no answer from %s, with or without the proxy", to);
    else if (cause == SILENCE_BEYOND)
        result_say(result, CHECK_SKIPPED, "no answer from %s", to);
    else if (silence.ended)
        result_say(result, CHECK_FAILED, "no answer from %s; instead, the server ended the association", to);
    else
        result_say(result, CHECK_FAILED, "no answer from %s%s%s", to, error ? ": " : "", error ? strerror(-error) : "");
    result_data(result, "{s:s}", "cause", cause_name(cause));
    explain_silence(check, &silence, cause, result);
    return silence.at_proxys_address == SILENCE_ANSWERED ||
           (silence.over_tcp == SILENCE_ANSWERED && continue_inside_tcp(check));
}

/* ---- the step ---- */

static void note_answer(struct check_run *check, const struct stun_question *question)
{
    assert(question->answered);
    if (!(check->facts & FACT_ANSWERS)) {
        check->answer = *question;
        check->rtt_ms = question->rtt_us / 1000;
    }
    check->facts |= FACT_ANSWERS | (check->family == AF_INET ? FACT_ANSWERS_V4 : FACT_ANSWERS_V6);
}

/* A host may well lack one family. But a datagram that cannot be sent must not stop the others. */
static void say_other_family(struct check_run *check, const char *to, struct check_result *result)
{
    const struct server_line line = check_line(check, &check->association.channel);
    struct stun_question before = {.to = check->answer.to};
    const char *family = check_family_name(check->family);
    if (stun_ask(&line, &before, 1, STUN_PATIENCE)) {
        result_say(result, CHECK_INFO, "no answer from %s: the proxy's host may have no %s", to, family);
        return;
    }
    result_say(result, CHECK_WARNING, "no answer from %s, and then no more answers from any address", to);
    result_means(result, "games and calls break off as soon as a program tries %s", family);
    result_cause(result,
                 "the proxy's host may have no %s, and the server ends a whole association when one datagram "
                 "cannot be sent",
                 family);
    result_owner(result, "update the server, or use another one");
    result_user(result, "switch %s off in the client or on this machine, or use another server", family);
}

/* The server that has answered or, when none has, all of them. */
static void name_asked(const struct check_run *check, const struct stun_question *question, char text[CHECK_NAME_MAX])
{
    struct stun_question questions[CHECK_ASKED_MAX];
    size_t count = check_questions(check, questions);
    if (question->answered || count == 1)
        check_server_name(check, &question->to, text);
    else
        snprintf(text, CHECK_NAME_MAX, "%zu test servers", count);
}

void step_datagram(struct check_run *check, struct check_result *result)
{
    struct check_association *a = &check->association;
    struct stun_question question;
    bool had_ended = association_has_ended(a);
    char to[CHECK_NAME_MAX], seen[NETADDR_TEXT_MAX];
    bool answered = ask_servers(check, &a->channel, &question, STUN_PATIENCE);
    name_asked(check, &question, to);
    if (answered) {
        note_answer(check, &question);
        netaddr_format(&question.answer.mapped, seen);
        result_say(result, CHECK_OK, "%s answers in %.1f ms%s and sees us as %s", to, question.rtt_us / 1000.0,
                   check->inside_tcp ? " inside the TCP connection" : "", seen);
        result_data(result, "{s:s, s:s, s:i}", "server", to, "external", seen, "rtt_ms", question.rtt_us / 1000);
    } else if (check->facts & FACT_ANSWERS) {
        say_other_family(check, to, result);
    } else if (say_silence(check, to, question.error, had_ended, result) &&
               ask_servers(check, &a->channel, &question, TRIAL_PATIENCE)) {
        note_answer(check, &question);
    }
}
