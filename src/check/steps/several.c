/* Several associations at once: are they kept apart, do they reach each other, and do they end when they should? */
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/peer/peer_wire.h"
#include "check/steps/steps.h"

static struct stun_question question_to(const struct check *check, int family)
{
    return (struct stun_question){.to = *io_of_family(&check->far_end.addresses, family), .key = check->far_end.key};
}

/* What the far end sees as this association's address. false: it does not answer. */
static bool learn_external(struct check *check, struct association *association, int family, union netaddr *external)
{
    struct stun_question question = question_to(check, family);
    if (stun_ask(&association->channel, &question, 1, STUN_PATIENCE, &check->datagram) != 1)
        return false;
    *external = question.answer.mapped;
    return true;
}

/* Opens `count` of them and learns their addresses. How many of them can be used; all are to be closed. */
static size_t open_several(struct check *check, struct association *list, union netaddr *externals, size_t count,
                           int family)
{
    size_t usable = 0;
    for (size_t i = 0; i < count; i++)
        list[i].channel.fd = list[i].negotiation.fd = -1;
    while (usable < count && check_associate(check, &list[usable]) &&
           learn_external(check, &list[usable], family, &externals[usable]))
        usable++;
    return usable;
}

static void close_several(struct association *list, size_t count)
{
    for (size_t i = 0; i < count; i++)
        association_close(&list[i]);
}

/* ---- apart ---- */

#define SEVERAL 4

static bool all_differ(const union netaddr *addresses, size_t count)
{
    for (size_t i = 0; i < count; i++)
        for (size_t j = i + 1; j < count; j++)
            if (netaddr_equal(&addresses[i], &addresses[j]))
                return false;
    return true;
}

void step_apart(struct check *check, int family, struct check_result *result)
{
    struct association list[SEVERAL];
    union netaddr externals[SEVERAL], again;
    size_t usable = open_several(check, list, externals, SEVERAL, family), steady = 0;
    /* Once more, in the order in which they were opened: an older one must not have lost its port to a newer one. */
    for (size_t i = 0; i < usable; i++)
        steady += learn_external(check, &list[i], family, &again) && netaddr_equal(&again, &externals[i]);
    close_several(list, SEVERAL);
    result_data(result, "associations", json_integer((json_int_t)usable));
    if (usable < SEVERAL) {
        result_say(result, CHECK_WARNING, "of %d associations at once %zu work", SEVERAL, usable);
        result_cause(result, "the proxy limits them, or has too few ports; tun bridges open one for each flow");
        result_fix(result, "allow more of them; conesocks: see limits and udp.ports");
    } else if (!all_differ(externals, usable)) {
        result_say(result, CHECK_WARNING, "several associations share one external address and port");
        result_cause(result, "the proxy uses one socket for all its clients: none of them can be reached from outside");
    } else if (steady < usable) {
        result_say(result, CHECK_WARNING,
                   "an association's external port has changed, or it has stopped to work, when "
                   "another one was opened");
    } else {
        result_say(result, CHECK_OK, "%d associations at once have a port each, and keep it", SEVERAL);
    }
}

/* ---- hairpin ---- */

#define HAIRPIN_TRIES 3
#define HAIRPIN_WAIT  700 /* ms */

/* What comes to `to` from anybody but the far end, if it is the hairpin's. */
static bool hear_hairpin(struct check *check, struct channel *to, uint32_t seed, union netaddr *origin)
{
    uint64_t deadline = clock_ms() + check_patience(check, HAIRPIN_WAIT);
    while (clock_ms() < deadline) {
        if (channel_receive(to, &check->datagram, deadline) == 0 && check->datagram.len == 64 &&
            peer_pattern_is(check->datagram.payload, 64, seed)) {
            *origin = check->datagram.origin;
            return true;
        }
    }
    return false;
}

static bool try_hairpin(struct check *check, struct association list[2], const union netaddr externals[2],
                        union netaddr *origin)
{
    uint8_t bytes[64];
    for (uint32_t seed = 1; seed <= HAIRPIN_TRIES; seed++) {
        peer_pattern(bytes, sizeof(bytes), 1000 + seed); /* opens the filter, where there is one */
        channel_send(&list[1].channel, &externals[0], bytes, sizeof(bytes));
        peer_pattern(bytes, sizeof(bytes), seed);
        channel_send(&list[0].channel, &externals[1], bytes, sizeof(bytes));
        if (hear_hairpin(check, &list[1].channel, seed, origin))
            return true;
    }
    return false;
}

static void say_hairpin(struct check_result *result, bool heard, const union netaddr *origin,
                        const union netaddr *external)
{
    char seen[NETADDR_TEXT_MAX], expected[NETADDR_TEXT_MAX];
    if (heard && netaddr_equal(origin, external)) {
        result_say(result, CHECK_OK, "two clients of this proxy reach each other at their external addresses");
    } else if (heard) {
        result_say(result, CHECK_WARNING,
                   "what one client sends to another's external address comes from %s, not from %s",
                   netaddr_format(origin, seen), netaddr_format(external, expected));
        result_cause(result, "the proxy, or a NAT behind it, turns it round without its external address (RFC 4787 "
                             "REQ-9): peers then take it for a stranger's");
    } else {
        result_say(result, CHECK_WARNING,
                   "two clients of this proxy do not reach each other at their external addresses");
        result_cause(result,
                     "the proxy refuses its own addresses, filters, or stands behind a NAT that does not turn such "
                     "packets round (hairpinning, RFC 4787 REQ-9)");
        result_fix(result, "players behind the same proxy may not see each other. On a router, switch on NAT loopback; "
                           "conesocks does it itself where udp.advertise_v4 and udp.external_ports are set");
    }
    result_data(result, "reached", json_boolean(heard));
    result_data(result, "source_is_external", heard ? json_boolean(netaddr_equal(origin, external)) : json_null());
}

void step_hairpin(struct check *check, int family, struct check_result *result)
{
    struct association list[2];
    union netaddr externals[2], origin;
    if (open_several(check, list, externals, 2, family) == 2) {
        bool heard = try_hairpin(check, list, externals, &origin);
        say_hairpin(result, heard, &origin, &externals[0]);
    } else {
        result_say(result, CHECK_SKIPPED, "it takes two associations at once, and there is no second one");
    }
    close_several(list, 2);
}

/* ---- the end ---- */

#define END_TIME     300  /* ms, for the proxy to see that the connection has ended */
#define END_PATIENCE 1200 /* two questions */

void step_end(struct check *check, int family, struct check_result *result)
{
    struct association association;
    union netaddr external;
    if (open_several(check, &association, &external, 1, family) != 1) {
        result_say(result, CHECK_SKIPPED, "no other association works");
        close_several(&association, 1);
        return;
    }
    close(association.negotiation.fd);
    association.negotiation.fd = -1;
    usleep(END_TIME * 1000);
    struct stun_question question = question_to(check, family);
    bool alive = stun_ask(&association.channel, &question, 1, (unsigned)check_patience(check, END_PATIENCE),
                          &check->datagram) == 1;
    close_several(&association, 1);
    result_data(result, "ended", json_boolean(!alive));
    if (!alive) {
        result_say(result, CHECK_OK, "when the control connection ends, so does the association");
        return;
    }
    result_say(result, CHECK_WARNING, "datagrams are relayed on after the control connection has ended");
    result_cause(result,
                 "the server does not do what RFC 1928 section 7 says: it holds ports for clients that are gone, "
                 "and lets in what is sent to them");
}
