/*
 * The verdict against a model: a NAT of every kind, in front of a STUN server that does what RFC 5780 says or does not,
 * over a way that loses some answers. What is concluded must be what the NAT is, or "unknown".
 */
#include "check/nat.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "test.h"

/* ---- the model ---- */

enum dependence { ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT, ADDRESS_AND_PORT_DEPENDENT, DEPENDENCES };

enum honesty {
    HONEST,
    FROM_WHERE_IT_WAS_ASKED, /* CHANGE-REQUEST means nothing to it */
    NEVER_FROM_ELSEWHERE,    /* its other address is firewalled */
    HONESTIES,
};

struct model {
    enum dependence mapping, filtering;
    enum honesty honesty;
    unsigned lost; /* bits: the mapping answers of the three other places, and the two proofs */
    bool sent_to[NAT_PLACES];
};

#define LOST_PROOF_BOTH (1u << 3)
#define LOST_PROOF_PORT (1u << 4)
#define LOST_ALL        (1u << 5)

static int address_of(enum nat_place place)
{
    return place >= NAT_OTHER_ADDRESS;
}

/* Two places that a dependence does not tell apart. */
static bool are_one(enum dependence dependence, enum nat_place one, enum nat_place two)
{
    return dependence == ENDPOINT_INDEPENDENT || one == two ||
           (dependence == ADDRESS_DEPENDENT && address_of(one) == address_of(two));
}

/* The external port by which `place` is talked to. */
static uint16_t port_for(const struct model *m, enum nat_place place)
{
    for (int first = 0; first < NAT_PLACES; first++)
        if (are_one(m->mapping, (enum nat_place)first, place))
            return (uint16_t)(1000 + first);
    return 0;
}

/* Whether the NAT forwards what `from` sends to the port that the primary place sees. */
static bool passes(const struct model *m, enum nat_place from)
{
    for (int to = 0; to < NAT_PLACES; to++)
        if (m->sent_to[to] && port_for(m, (enum nat_place)to) == port_for(m, NAT_PRIMARY) &&
            are_one(m->filtering, (enum nat_place)to, from))
            return true;
    return false;
}

static enum nat_seen ask_from(const struct model *m, enum nat_place from)
{
    if (m->honesty == FROM_WHERE_IT_WAS_ASKED)
        return NAT_NOT_ASKED;
    return m->honesty == HONEST && passes(m, from) ? NAT_ARRIVED : NAT_SILENT;
}

static union netaddr external(uint16_t port)
{
    return netaddr_from_bytes((const uint8_t *)"addr", 4, port);
}

static struct nat_observations observe(struct model *m)
{
    struct nat_observations seen = {0};
    m->sent_to[NAT_PRIMARY] = true;
    seen.mapped[NAT_PRIMARY] = external(port_for(m, NAT_PRIMARY));
    seen.from_other_both = ask_from(m, NAT_OTHER_BOTH);
    seen.from_other_port = ask_from(m, NAT_OTHER_PORT);
    for (unsigned place = NAT_OTHER_PORT; place < NAT_PLACES; place++) {
        m->sent_to[place] = true;
        if (!(m->lost & 1u << (place - 1)))
            seen.mapped[place] = external(port_for(m, (enum nat_place)place));
    }
    seen.proof_other_both = m->lost & LOST_PROOF_BOTH ? NAT_SILENT : ask_from(m, NAT_OTHER_BOTH);
    seen.proof_other_port = m->lost & LOST_PROOF_PORT ? NAT_SILENT : ask_from(m, NAT_OTHER_PORT);
    return seen;
}

/* ---- what must hold ---- */

static bool fits(enum nat_behaviour said, enum dependence is)
{
    return said == NAT_UNKNOWN || said == NAT_ENDPOINT_INDEPENDENT + is ||
           (said == NAT_DEPENDENT && is != ENDPOINT_INDEPENDENT);
}

static void require_true(const struct model *m, const struct nat_verdict *verdict)
{
    enum nat_type is = m->mapping != ENDPOINT_INDEPENDENT     ? NAT_STRICT
                       : m->filtering == ENDPOINT_INDEPENDENT ? NAT_OPEN
                                                              : NAT_MODERATE;
    if (!fits(verdict->mapping, m->mapping) || !fits(verdict->filtering, m->filtering) ||
        (verdict->type != NAT_TYPE_UNKNOWN && verdict->type != is))
        fail_msg("mapping %d filtering %d honesty %d lost %x: said %s, %s, %s", m->mapping, m->filtering, m->honesty,
                 m->lost, nat_behaviour_name(verdict->mapping), nat_behaviour_name(verdict->filtering),
                 nat_type_name(verdict->type));
    if (m->lost == 0) {
        assert_int_equal(verdict->mapping, NAT_ENDPOINT_INDEPENDENT + m->mapping);
        if (m->honesty == HONEST)
            assert_int_equal(verdict->type, is);
        if (m->honesty == HONEST && m->mapping == ENDPOINT_INDEPENDENT)
            assert_int_equal(verdict->filtering, NAT_ENDPOINT_INDEPENDENT + m->filtering);
    }
}

static void every_nat(void **state)
{
    (void)state;
    for (int mapping = 0; mapping < DEPENDENCES; mapping++)
        for (int filtering = 0; filtering < DEPENDENCES; filtering++)
            for (int honesty = 0; honesty < HONESTIES; honesty++)
                for (unsigned lost = 0; lost < LOST_ALL; lost++) {
                    struct model m = {.mapping = (enum dependence)mapping,
                                      .filtering = (enum dependence)filtering,
                                      .honesty = (enum honesty)honesty,
                                      .lost = lost};
                    const struct nat_observations seen = observe(&m);
                    const struct nat_verdict verdict = nat_judge(&seen);
                    require_true(&m, &verdict);
                }
}

static void nothing_seen(void **state)
{
    (void)state;
    const struct nat_observations seen = {0};
    const struct nat_verdict verdict = nat_judge(&seen);
    assert_int_equal(verdict.mapping, NAT_UNKNOWN);
    assert_int_equal(verdict.filtering, NAT_UNKNOWN);
    assert_int_equal(verdict.type, NAT_TYPE_UNKNOWN);
}

/* A server with one address: what it sees is no mapping, and what it does not send no filter. */
static void a_server_with_one_address(void **state)
{
    (void)state;
    const struct nat_observations seen = {.mapped[NAT_PRIMARY] = external(1000)};
    assert_int_equal(nat_judge(&seen).type, NAT_TYPE_UNKNOWN);
}

static void names(void **state)
{
    (void)state;
    static const struct {
        struct nat_verdict verdict;
        const char *cone, *type;
    } rows[] = {
        {{NAT_ENDPOINT_INDEPENDENT, NAT_ENDPOINT_INDEPENDENT, NAT_OPEN}, "Full cone", "Open / A / 1"},
        {{NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_DEPENDENT, NAT_MODERATE}, "Restricted cone", "Moderate / B / 2"},
        {{NAT_ENDPOINT_INDEPENDENT, NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_MODERATE},
         "Port-restricted cone",
         "Moderate / B / 2"},
        {{NAT_ENDPOINT_INDEPENDENT, NAT_DEPENDENT, NAT_MODERATE},
         "Restricted or port-restricted cone",
         "Moderate / B / 2"},
        {{NAT_ADDRESS_DEPENDENT, NAT_UNKNOWN, NAT_STRICT}, "Symmetric", "Strict / C / 3"},
        {{NAT_UNKNOWN, NAT_UNKNOWN, NAT_TYPE_UNKNOWN}, "Unknown", "unknown"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        assert_string_equal(nat_cone_name(&rows[i].verdict), rows[i].cone);
        assert_string_equal(nat_type_name(rows[i].verdict.type), rows[i].type);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_nat),
        cmocka_unit_test(nothing_seen),
        cmocka_unit_test(a_server_with_one_address),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
