#include "check/nat_probe.h"

#include <assert.h>

#include "base/util.h"

static bool is_success(const struct stun_question *q)
{
    return q->answered && q->answer.class == STUN_SUCCESS;
}

const char *nat_probe_lacks(const union netaddr *primary, const union netaddr *other)
{
    if (other->sa.sa_family == AF_UNSPEC)
        return "the STUN server has no second address (it sends no OTHER-ADDRESS, RFC 5780)";
    if (other->sa.sa_family != primary->sa.sa_family || netaddr_is_any(other))
        return "the STUN server's second address is not usable: it is of the other IP version, or a wildcard";
    if (netaddr_equal_host(other, primary))
        return "the STUN server has only one address";
    return netaddr_port(other) == netaddr_port(primary) ? "the STUN server has only one port" : NULL;
}

static void set_places(union netaddr places[NAT_PLACES], const union netaddr *primary, const union netaddr *other)
{
    places[NAT_PRIMARY] = places[NAT_OTHER_PORT] = *primary;
    places[NAT_OTHER_ADDRESS] = places[NAT_OTHER_BOTH] = *other;
    netaddr_set_port(&places[NAT_OTHER_PORT], netaddr_port(other));
    netaddr_set_port(&places[NAT_OTHER_ADDRESS], netaddr_port(primary));
}

/* Whether both answers left from one address, as the server itself reports: some proxies name the wrong origin. */
static bool is_from_same_place(const struct stun_question *first, const struct stun_question *q)
{
    const union netaddr *place = &first->answer.response_origin, *other = &q->answer.response_origin;
    bool told = place->sa.sa_family != AF_UNSPEC && other->sa.sa_family != AF_UNSPEC;
    return told ? netaddr_equal(place, other) : netaddr_equal(&q->origin, &q->to);
}

/* An answer from where the question went means that the server ignores CHANGE-REQUEST. */
static enum nat_seen seen_from_elsewhere(const struct stun_question *first, const struct stun_question *q)
{
    if (!q->answered)
        return NAT_SILENT;
    return is_success(q) && !is_from_same_place(first, q) ? NAT_ARRIVED : NAT_NOT_ASKED;
}

/* Whether the proxy names the origin that the server reports, or the server reports none. */
static bool is_origin_right(const struct stun_question *q)
{
    const union netaddr *told = &q->answer.response_origin;
    union netaddr origin = q->origin;
    netaddr_unmap(&origin);
    return told->sa.sa_family == AF_UNSPEC || netaddr_equal(told, &origin);
}

/* A question to the primary place. */
static struct stun_question question_to(const struct server_line *line, bool change_address, bool change_port)
{
    return (struct stun_question){
        .to = line->to, .request.change_address = change_address, .request.change_port = change_port};
}

/* Asks the primary place to answer from two others. */
static void ask_for_elsewhere(const struct server_line *line, const struct stun_question *first,
                              enum nat_seen *from_other_both, enum nat_seen *from_other_port, union netaddr *disguise)
{
    struct stun_question questions[] = {question_to(line, true, true), question_to(line, false, true)};
    stun_ask(line, questions, ARRAY_LEN(questions), STUN_PATIENCE);
    *from_other_both = seen_from_elsewhere(first, &questions[0]);
    *from_other_port = seen_from_elsewhere(first, &questions[1]);
    /* When the first answer's origin is wrong, all are, for another reason: a server behind a NAT knows no better. */
    for (size_t i = 0; i < ARRAY_LEN(questions) && is_origin_right(first); i++)
        if (is_success(&questions[i]) && !is_origin_right(&questions[i]))
            *disguise = questions[i].origin;
}

/* Whether it has two ports of one address; that of a NAT in front of it counts, although it names another one. */
static bool has_one_address(const struct stun_question *first)
{
    const union netaddr *origin = &first->answer.response_origin, *other = &first->answer.other_address;
    if (other->sa.sa_family != first->to.sa.sa_family || netaddr_port(other) == netaddr_port(&first->to))
        return false;
    bool told = origin->sa.sa_family == other->sa.sa_family;
    return netaddr_equal_host(other, told ? origin : &first->to) || (told && !netaddr_equal_host(origin, &first->to));
}

/* With one address: what its other port sees, and whether it is let in. That tells nothing about other addresses. */
static void probe_other_port(struct nat_probe *probe, const struct server_line *line, const struct stun_question *first)
{
    struct nat_observations *seen = &probe->seen;
    struct stun_question elsewhere = question_to(line, false, true), there = question_to(line, false, false);
    netaddr_set_port(&there.to, netaddr_port(&first->answer.other_address));
    stun_ask(line, &elsewhere, 1, STUN_PATIENCE);
    seen->from_other_port = seen_from_elsewhere(first, &elsewhere);
    stun_ask(line, &there, 1, STUN_PATIENCE);
    if (is_success(&there))
        seen->mapped[NAT_OTHER_PORT] = there.answer.mapped;
    if (seen->from_other_port == NAT_ARRIVED)
        return;
    stun_ask(line, &elsewhere, 1, STUN_PATIENCE);
    seen->proof_other_port = seen_from_elsewhere(first, &elsewhere);
}

/* What the three other places see as our address. */
static void probe_mapping(struct nat_probe *probe, const struct server_line *line)
{
    union netaddr places[NAT_PLACES];
    struct stun_question questions[NAT_PLACES - 1];
    set_places(places, &line->to, &probe->other_address);
    for (size_t i = 0; i < ARRAY_LEN(questions); i++)
        questions[i] = (struct stun_question){.to = places[i + 1]};
    stun_ask(line, questions, ARRAY_LEN(questions), STUN_PATIENCE);
    for (size_t i = 0; i < ARRAY_LEN(questions); i++)
        if (is_success(&questions[i]))
            probe->seen.mapped[i + 1] = questions[i].answer.mapped;
}

void nat_probe(struct nat_probe *probe, const struct server_line *line)
{
    *probe = (struct nat_probe){0};
    struct nat_observations *seen = &probe->seen;
    struct stun_question first = question_to(line, false, false);
    assert(line->to.sa.sa_family != AF_UNSPEC);
    stun_ask(line, &first, 1, STUN_PATIENCE);
    probe->answered = is_success(&first);
    if (!probe->answered)
        return;
    seen->mapped[NAT_PRIMARY] = first.answer.mapped;
    probe->other_address = first.answer.other_address;
    probe->one_address = has_one_address(&first);
    probe->lacks = nat_probe_lacks(&line->to, &probe->other_address);
    if (probe->one_address)
        probe_other_port(probe, line, &first);
    if (probe->one_address || probe->lacks)
        return;
    /* Filtering comes first: what is sent to the other places opens filters towards them. */
    ask_for_elsewhere(line, &first, &seen->from_other_both, &seen->from_other_port, &probe->disguise);
    probe_mapping(probe, line);
    if (seen->from_other_both != NAT_ARRIVED || seen->from_other_port != NAT_ARRIVED)
        ask_for_elsewhere(line, &first, &seen->proof_other_both, &seen->proof_other_port, &probe->disguise);
    if (seen->from_other_both == NAT_NOT_ASKED && seen->from_other_port == NAT_NOT_ASKED)
        probe->lacks = "the STUN server does not answer from its other address on request (CHANGE-REQUEST)";
}
