#include "check/nat_probe.h"

#include "base/util.h"
#include "check/peer/stun_ask.h"

static bool is_success(const struct stun_question *q)
{
    return q->answered && q->answer.class == STUN_SUCCESS;
}

/* NULL when the server says that it has, at another address, what the probes need. */
static const char *what_it_lacks(const union netaddr *primary, const union netaddr *other)
{
    if (other->sa.sa_family == AF_UNSPEC)
        return "the STUN server has no second address (no OTHER-ADDRESS: RFC 5780)";
    if (other->sa.sa_family != primary->sa.sa_family || netaddr_is_any(other))
        return "the STUN server's second address is of another family, or none";
    if (netaddr_equal_host(other, primary))
        return "the STUN server has two ports, but only one address";
    return netaddr_port(other) == netaddr_port(primary) ? "the STUN server has two addresses, but only one port" : NULL;
}

static void set_places(union netaddr places[NAT_PLACES], const union netaddr *primary, const union netaddr *other)
{
    places[NAT_PRIMARY] = places[NAT_OTHER_PORT] = *primary;
    places[NAT_OTHER_ADDRESS] = places[NAT_OTHER_BOTH] = *other;
    netaddr_set_port(&places[NAT_OTHER_PORT], netaddr_port(other));
    netaddr_set_port(&places[NAT_OTHER_ADDRESS], netaddr_port(primary));
}

/* Who answered, by the server's own word where it gives one: some proxies name the wrong origin. */
static bool same_place(const struct stun_question *first, const struct stun_question *q)
{
    const union netaddr *place = &first->answer.response_origin, *other = &q->answer.response_origin;
    bool told = place->sa.sa_family != AF_UNSPEC && other->sa.sa_family != AF_UNSPEC;
    return told ? netaddr_equal(place, other) : netaddr_equal(&q->origin, &q->to);
}

/* An answer from where the question went says that the server does not do what it was asked for. */
static enum nat_seen seen_from_elsewhere(const struct stun_question *first, const struct stun_question *q)
{
    if (!q->answered)
        return NAT_SILENT;
    return is_success(q) && !same_place(first, q) ? NAT_ARRIVED : NAT_NOT_ASKED;
}

/* What the proxy says of its origin is what the server says of it, or the server says nothing. */
static bool is_as_told(const struct stun_question *q)
{
    const union netaddr *told = &q->answer.response_origin;
    union netaddr origin = q->origin;
    netaddr_unmap(&origin);
    return told->sa.sa_family == AF_UNSPEC || netaddr_equal(told, &origin);
}

/* Asks the primary place to answer from two others. */
static void ask_for_elsewhere(struct channel *channel, const struct stun_question *first,
                              enum nat_seen *from_other_both, enum nat_seen *from_other_port, union netaddr *disguise,
                              struct datagram *room)
{
    struct stun_question questions[] = {
        {.to = first->to, .key = first->key, .change_address = true, .change_port = true},
        {.to = first->to, .key = first->key, .change_port = true}};
    stun_ask(channel, questions, ARRAY_LEN(questions), STUN_PATIENCE, room);
    *from_other_both = seen_from_elsewhere(first, &questions[0]);
    *from_other_port = seen_from_elsewhere(first, &questions[1]);
    /* Where the first one's is wrong, all are, and that is another matter: a far end behind a NAT knows no better. */
    for (size_t i = 0; i < ARRAY_LEN(questions) && is_as_told(first); i++)
        if (is_success(&questions[i]) && !is_as_told(&questions[i]))
            *disguise = questions[i].origin;
}

/* Two ports of one address; also of one that a NAT stands for, so that the other address is not the one it names. */
static bool has_one_address(const struct stun_question *first)
{
    const union netaddr *origin = &first->answer.response_origin, *other = &first->answer.other_address;
    if (other->sa.sa_family != first->to.sa.sa_family || netaddr_port(other) == netaddr_port(&first->to))
        return false;
    bool told = origin->sa.sa_family == other->sa.sa_family;
    return netaddr_equal_host(other, told ? origin : &first->to) || (told && !netaddr_equal_host(origin, &first->to));
}

/* What its other port sees, and whether it is let in: of other addresses that says nothing. */
static void probe_other_port(struct nat_probe *probe, struct channel *channel, const struct stun_question *first,
                             struct datagram *room)
{
    struct nat_observations *seen = &probe->seen;
    struct stun_question elsewhere = {.to = first->to, .key = first->key, .change_port = true};
    struct stun_question there = {.to = first->to, .key = first->key};
    netaddr_set_port(&there.to, netaddr_port(&first->answer.other_address));
    stun_ask(channel, &elsewhere, 1, STUN_PATIENCE, room);
    seen->from_other_port = seen_from_elsewhere(first, &elsewhere);
    stun_ask(channel, &there, 1, STUN_PATIENCE, room);
    if (is_success(&there))
        seen->mapped[NAT_OTHER_PORT] = there.answer.mapped;
    if (seen->from_other_port == NAT_ARRIVED)
        return;
    stun_ask(channel, &elsewhere, 1, STUN_PATIENCE, room);
    seen->proof_other_port = seen_from_elsewhere(first, &elsewhere);
}

void nat_probe(struct nat_probe *probe, struct channel *channel, const union netaddr *stun_server, const char *key,
               struct datagram *room)
{
    *probe = (struct nat_probe){0};
    struct nat_observations *seen = &probe->seen;
    union netaddr places[NAT_PLACES];
    struct stun_question first = {.to = *stun_server, .key = key};
    stun_ask(channel, &first, 1, STUN_PATIENCE, room);
    probe->answered = is_success(&first);
    if (!probe->answered)
        return;
    seen->mapped[NAT_PRIMARY] = first.answer.mapped;
    probe->other_address = first.answer.other_address;
    probe->one_address = has_one_address(&first);
    probe->lacks = what_it_lacks(stun_server, &probe->other_address);
    if (probe->one_address)
        probe_other_port(probe, channel, &first, room);
    if (probe->one_address || probe->lacks)
        return;

    /* Filtering comes first: what is sent to the other places opens filters towards them. */
    ask_for_elsewhere(channel, &first, &seen->from_other_both, &seen->from_other_port, &probe->disguise, room);

    set_places(places, stun_server, &probe->other_address);
    struct stun_question questions[NAT_PLACES - 1];
    for (size_t i = 0; i < ARRAY_LEN(questions); i++)
        questions[i] = (struct stun_question){.to = places[i + 1], .key = key};
    stun_ask(channel, questions, ARRAY_LEN(questions), STUN_PATIENCE, room);
    for (size_t i = 0; i < ARRAY_LEN(questions); i++)
        if (is_success(&questions[i]))
            seen->mapped[i + 1] = questions[i].answer.mapped;

    if (seen->from_other_both != NAT_ARRIVED || seen->from_other_port != NAT_ARRIVED)
        ask_for_elsewhere(channel, &first, &seen->proof_other_both, &seen->proof_other_port, &probe->disguise, room);
    if (seen->from_other_both == NAT_NOT_ASKED && seen->from_other_port == NAT_NOT_ASKED)
        probe->lacks = "the STUN server does not answer from its other address when it is asked to (CHANGE-REQUEST)";
}
