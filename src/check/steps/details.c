/* What clients rely on when datagrams come back: the right origin, and that nobody else can take them over. */
#include <unistd.h>

#include "check/steps/steps.h"
#include "net/sock.h"

static const char update_server[] = "update the server, or use another one";
static const char use_another_server[] = "use another server for games and calls";

/* ---- the origin ---- */

#define ELSEWHERE_PATIENCE 1500 /* ms */

/* An IPv4 address inside an IPv6 one is the right one, but clients compare bytes. */
static bool is_mapped(const union netaddr *address)
{
    union netaddr plain = *address;
    netaddr_unmap(&plain);
    return plain.sa.sa_family != address->sa.sa_family;
}

/* Asks the server to answer from its other port. true: the proxy gives the address that was asked as the origin of that
 * answer. Unknown unless the server itself reports where it has answered from. */
static bool names_asked_server(struct check_run *check, union netaddr *seems)
{
    const struct stun_message *first = &check->answer.answer;
    const struct server_line line = check_line(check, &check->association.channel);
    struct stun_question elsewhere = {.to = check->answer.to, .request.change_port = true};
    const union netaddr *from = &elsewhere.answer.response_origin;
    bool can_answer =
        first->other_address.sa.sa_family != AF_UNSPEC && netaddr_equal(&first->response_origin, &check->answer.to);
    if (!can_answer || stun_ask(&line, &elsewhere, 1, ELSEWHERE_PATIENCE) != 1)
        return false; /* filtered, perhaps */
    *seems = elsewhere.origin;
    netaddr_unmap(seems);
    return elsewhere.answer.class == STUN_SUCCESS && from->sa.sa_family != AF_UNSPEC &&
           !netaddr_equal(from, &check->answer.to) && netaddr_equal(seems, &check->answer.to);
}

void step_origin(struct check_run *check, struct check_result *result)
{
    const struct stun_question *answer = &check->answer;
    const union netaddr *relay = &check->association.relay;
    char origin_text[NETADDR_TEXT_MAX], sender_text[NETADDR_TEXT_MAX], expected[NETADDR_TEXT_MAX];
    union netaddr origin = answer->origin, seems;
    netaddr_unmap(&origin);
    netaddr_format(&answer->origin, origin_text);
    netaddr_format(&answer->sender, sender_text);
    result_data(result, "{s:s, s:s}", "origin", origin_text, "sender", sender_text);
    if (!netaddr_equal(&answer->sender, relay)) {
        result_say(result, CHECK_FAILED, "the answer came from %s, but we sent to %s", sender_text,
                   netaddr_format(relay, expected));
        result_advise(result,
                      "the server answers from another socket than it listens on, or a NAT in front of it changes the "
                      "port; most clients and NATs drop such datagrams",
                      "make the NAT keep the port number; without a NAT, the server is at fault");
    } else if (!netaddr_equal(&origin, &answer->to)) {
        result_say(result, CHECK_FAILED, "the answer's header names %s as its sender, but %s answered", origin_text,
                   netaddr_format(&answer->to, expected));
        result_advise(result,
                      "the server does not tell who sent a datagram: programs that talk to several peers mix them up",
                      update_server);
    } else if (names_asked_server(check, &seems)) {
        result_say(result, CHECK_WARNING,
                   "an answer from another address contains the wrong sender, the address that was asked: %s",
                   netaddr_format(&seems, origin_text));
        result_explain(
            result,
            &(struct advice){.means = "people who join your game, or call you, get no answer",
                             .cause = "the server gives the address that the client has sent to as the sender, or a "
                                      "NAT or program in front of it replaces the sender",
                             .owner = update_server,
                             .user = use_another_server});
    } else if (is_mapped(&answer->origin)) {
        result_say(result, CHECK_WARNING, "the answer's header contains an IPv4 address in IPv6 form, ::ffff:a.b.c.d");
        result_means(result, "some programs do not recognise the answers, and fail");
        result_advise(result,
                      "the server uses IPv6 sockets for everything and does not convert the address; some clients then "
                      "do not recognise their peer",
                      update_server);
    } else {
        result_say(result, CHECK_OK, "answers come from the proxy's UDP address and name their sender");
    }
}

/* ---- the client's port ---- */

/*
 * The association's own socket and another one of the same address ask in turn, so quickly that the second question
 * arrives before the first one's answer. Which answers reach which socket shows what the server does with it.
 */
enum { FIRST, OTHER, SOCKETS };

#define ROUNDS    6 /* the first one does not count: a server may have answered before it saw the other socket */
#define ROUND_MS  200
#define LAST_WAIT 1500
#define TURN_MS   20

struct crossing {
    struct server_line lines[SOCKETS];
    struct stun_question asked[SOCKETS][ROUNDS];
    unsigned came[SOCKETS][SOCKETS]; /* how many answers to whose questions, at whose socket */
};

static void crossing_count_answer(struct crossing *c, int at)
{
    for (int whose = 0; whose < SOCKETS; whose++)
        if (stun_take(&c->lines[at], &c->asked[whose][1], ROUNDS - 1))
            c->came[whose][at]++;
}

static void crossing_listen_until(struct crossing *c, uint64_t end)
{
    while (clock_ms() < end)
        for (int at = 0; at < SOCKETS; at++)
            while (clock_ms() < end &&
                   channel_receive(c->lines[at].channel, c->lines[at].room, clock_ms() + TURN_MS) == 0)
                crossing_count_answer(c, at);
}

/* false: no other socket could be opened, or the association does not answer its own one to begin with. */
static bool crossing_run(struct crossing *c, struct check_run *check, struct check_association *a)
{
    struct stun_question first = {.answered = false};
    union netaddr local = sock_local(a->channel.fd);
    netaddr_set_port(&local, 0);
    struct channel other = {.kind = CHANNEL_RELAYED, .relay = a->relay, .fd = io_udp(&local, true)};
    *c = (struct crossing){.lines = {check_line(check, &a->channel), check_line(check, &other)}};
    if (other.fd < 0)
        return false;
    bool begun = stun_ask(&c->lines[FIRST], &first, 1, STUN_PATIENCE) > 0;
    for (int i = 0; begun && i < ROUNDS; i++) {
        for (int whose = 0; whose < SOCKETS; whose++)
            stun_send(&c->lines[whose], &c->asked[whose][i]);
        crossing_listen_until(c, clock_ms() + (i < ROUNDS - 1 ? ROUND_MS : LAST_WAIT));
    }
    close(other.fd);
    return begun;
}

static void say_crossing(const struct crossing *c, struct check_result *result)
{
    bool others = c->came[OTHER][FIRST] + c->came[OTHER][OTHER] > 0;
    result_data(result, "{s:b, s:b}", "kept", c->came[FIRST][FIRST] > 0 && c->came[FIRST][OTHER] == 0,
                "other_port_relayed", others);
    if (c->came[FIRST][OTHER] > 0) {
        result_say(result, CHECK_WARNING,
                   "answers go to the port that sent last, even if it is another port of the same address");
        result_explain(
            result,
            &(struct advice){
                .means = "others in your network, or behind your provider's NAT, can take over your game or call",
                .cause = "the server sends answers to the port of a client's address that sent last",
                .owner = update_server,
                .user = use_another_server});
    } else if (c->came[FIRST][FIRST] == 0) {
        result_say(result, CHECK_WARNING, "answers stop when another port of the same address sends a datagram");
        result_explain(
            result, &(struct advice){
                        .means = "others in your network, or behind your provider's NAT, can cut off your game or call "
                                 "with one datagram",
                        .cause = "the server drops a client's association when another port of its address sends",
                        .owner = update_server,
                        .user = use_another_server});
    } else if (others) {
        result_say(result, CHECK_INFO,
                   "learned from the first datagram and kept; other ports of the same address are "
                   "relayed too");
    } else {
        result_say(result, CHECK_OK,
                   "learned from the first datagram and kept; other ports of the same address are "
                   "ignored");
    }
}

void step_port(struct check_run *check, struct check_result *result)
{
    struct check_association association;
    struct crossing c;
    if (check_associate(check, &association) && crossing_run(&c, check, &association))
        say_crossing(&c, result);
    else
        result_say(result, CHECK_SKIPPED, "the proxy granted no second association, or it did not work");
    association_close(&association);
}
