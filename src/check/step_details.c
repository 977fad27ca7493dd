/* What a client has to rely on when datagrams come back: whose they are, and that they are only its own. */
#include <unistd.h>

#include "check/step.h"

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

#define PORT_PATIENCE 2000 /* ms: three times it is sent */

/* Whether another socket of ours gets an answer by the association that is in use. */
static bool answers_another_port(struct check *check)
{
    const struct association *a = &check->association;
    union netaddr local = io_local(a->channel.fd);
    struct channel other = {.kind = CHANNEL_RELAYED, .relay = a->relay};
    netaddr_set_port(&local, 0);
    other.fd = io_udp(&local);
    if (other.fd < 0)
        return false;
    struct stun_question question = {.to = check->answer.to, .key = check->far_end.key};
    stun_ask(&other, &question, 1, PORT_PATIENCE, &check->datagram);
    close(other.fd);
    return question.answered;
}

void step_port(struct check *check, int family, struct check_result *result)
{
    (void)family;
    struct stun_question question = {.to = check->answer.to, .key = check->far_end.key};
    bool other = answers_another_port(check);
    bool still = stun_ask(&check->association.channel, &question, 1, STUN_PATIENCE, &check->datagram) > 0;
    result_data(result, "other_port_answered", json_boolean(other));
    result_data(result, "first_port_kept", json_boolean(still));
    if (!still) {
        result_say(result, CHECK_WARNING,
                   "it follows whichever port sent last: the first one gets no answers any more");
        result_cause(result,
                     "everybody behind the same address as a client can take over its datagrams by sending one");
        result_fix(result, "update the server, or use another, where clients share an address");
    } else if (other) {
        result_say(result, CHECK_INFO,
                   "learned from the first datagram; other ports of the client's address are answered, "
                   "too");
    } else {
        result_say(result, CHECK_OK, "learned from the first datagram and kept; another port of ours gets no answer");
    }
}
