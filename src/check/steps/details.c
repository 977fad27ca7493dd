/* What a client has to rely on when datagrams come back: whose they are, and that they are only its own. */
#include <unistd.h>

#include "check/steps/steps.h"

/* ---- the origin ---- */

/* An IPv4 address inside an IPv6 one is the right one, but clients compare bytes. */
static bool is_mapped(const union netaddr *address)
{
    union netaddr plain = *address;
    netaddr_unmap(&plain);
    return plain.sa.sa_family != address->sa.sa_family;
}

void step_origin(struct check *check, int family, struct check_result *result)
{
    (void)family;
    const struct stun_question *answer = &check->answer;
    const union netaddr *relay = &check->association.relay;
    char is[NETADDR_TEXT_MAX], expected[NETADDR_TEXT_MAX];
    union netaddr origin = answer->origin;
    netaddr_unmap(&origin);
    result_data(result, "origin", json_string(netaddr_format(&answer->origin, is)));
    result_data(result, "sender", json_string(netaddr_format(&answer->sender, is)));
    if (!netaddr_equal(&answer->sender, relay)) {
        result_say(result, CHECK_FAILED, "the answer came from %s, but was sent for at %s",
                   netaddr_format(&answer->sender, is), netaddr_format(relay, expected));
        result_cause(result,
                     "the server answers from another socket than it listens on, or a NAT in front of it changes "
                     "the port; most clients drop such datagrams, as do NATs on their side");
        result_fix(result, "have each port keep its number on the way out; otherwise the server is at fault");
    } else if (!netaddr_equal(&origin, &answer->to)) {
        result_say(result, CHECK_FAILED, "the answer's header names %s, but %s was asked",
                   netaddr_format(&answer->origin, is), netaddr_format(&answer->to, expected));
        result_cause(result, "the server does not tell who a datagram is from: programs that talk to several others at "
                             "once cannot tell them apart");
        result_fix(result, "update the server, or use another");
    } else if (is_mapped(&answer->origin)) {
        result_say(result, CHECK_WARNING, "the answer's header names an IPv4 origin in its IPv6 form, ::ffff:a.b.c.d");
        result_cause(result,
                     "the server opens IPv6 sockets for all, and does not convert; some clients do not know the "
                     "address again");
        result_fix(result, "update the server, or use another");
    } else {
        result_say(result, CHECK_OK, "answers come from the relay's address, and name who they are from");
    }
}

/* ---- the client's port ---- */

/*
 * The association's own socket and another one of the same address ask in turn, so quickly that the second question is
 * there before the first one's answer. Whose answers come to whom tells what the server makes of it.
 */
enum { FIRST, OTHER, SOCKETS };

#define ROUNDS    6 /* the first one does not count: a server may have answered before it saw the other socket */
#define ROUND_MS  200
#define LAST_WAIT 1500
#define TURN_MS   20

struct crossing {
    struct channel *sockets[SOCKETS];
    struct stun_question asked[SOCKETS][ROUNDS];
    unsigned came[SOCKETS][SOCKETS]; /* how many answers to whose questions, at whose socket */
};

static void count_answer(struct crossing *c, int at, const struct datagram *datagram)
{
    for (int whose = 0; whose < SOCKETS; whose++)
        if (stun_take(&c->asked[whose][1], ROUNDS - 1, datagram))
            c->came[whose][at]++;
}

static void listen_until(struct crossing *c, uint64_t end, struct datagram *room)
{
    while (clock_ms() < end)
        for (int at = 0; at < SOCKETS; at++)
            while (clock_ms() < end && channel_receive(c->sockets[at], room, clock_ms() + TURN_MS) == 0)
                count_answer(c, at, room);
}

/* false: there is no other socket to be had, or the association does not answer its own one to begin with. */
static bool cross(struct check *check, struct association *a, struct crossing *c)
{
    struct stun_question first = {.to = check->answer.to, .key = check->far_end.key};
    union netaddr local = io_local(a->channel.fd);
    netaddr_set_port(&local, 0);
    struct channel other = {.kind = CHANNEL_RELAYED, .relay = a->relay, .fd = io_udp(&local)};
    *c = (struct crossing){.sockets = {&a->channel, &other}};
    if (other.fd < 0)
        return false;
    bool begun = stun_ask(&a->channel, &first, 1, STUN_PATIENCE, &check->datagram) > 0;
    for (int i = 0; begun && i < ROUNDS; i++) {
        for (int whose = 0; whose < SOCKETS; whose++) {
            c->asked[whose][i] = (struct stun_question){.to = first.to, .key = first.key};
            stun_send(c->sockets[whose], &c->asked[whose][i]);
        }
        listen_until(c, clock_ms() + (i < ROUNDS - 1 ? ROUND_MS : LAST_WAIT), &check->datagram);
    }
    close(other.fd);
    return begun;
}

static void say_crossing(const struct crossing *c, struct check_result *result)
{
    bool others = c->came[OTHER][FIRST] + c->came[OTHER][OTHER] > 0;
    result_data(result, "kept", json_boolean(c->came[FIRST][FIRST] > 0 && c->came[FIRST][OTHER] == 0));
    result_data(result, "other_port_relayed", json_boolean(others));
    if (c->came[FIRST][OTHER] > 0) {
        result_say(result, CHECK_WARNING, "answers go to whichever port of the client's address sent last");
        result_cause(result,
                     "everybody behind the same address as a client can take over its datagrams by sending one");
    } else if (c->came[FIRST][FIRST] == 0) {
        result_say(result, CHECK_WARNING, "no more answers come once another port of the client's address has sent");
        result_cause(result, "everybody behind the same address as a client can silence it by sending one datagram");
    } else if (others) {
        result_say(result, CHECK_INFO,
                   "learned from the first datagram and kept; other ports of the client's address are relayed, too");
    } else {
        result_say(result, CHECK_OK, "learned from the first datagram and kept; another port of ours is not relayed");
    }
    if (result->status == CHECK_WARNING)
        result_fix(result, "update the server, or use another, where clients share an address");
}

void step_port(struct check *check, int family, struct check_result *result)
{
    (void)family;
    struct association association;
    struct crossing c;
    if (check_associate(check, &association) && cross(check, &association, &c))
        say_crossing(&c, result);
    else
        result_say(result, CHECK_SKIPPED, "another association for it could not be had, or did not answer");
    association_close(&association);
}
