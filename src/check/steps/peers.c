/* May one association talk to several peers, and to both IP versions, side by side? */
#include <assert.h>
#include <stdio.h>

#include "base/util.h"
#include "check/nat_probe.h"
#include "check/steps/steps.h"

static bool ask_at(struct check_run *check, struct check_association *association, const union netaddr *place,
                   struct stun_question *question)
{
    const struct server_line line = check_line(check, &association->channel);
    *question = (struct stun_question){.to = *place};
    return stun_ask(&line, question, 1, PEER_PATIENCE) == 1 && question->answer.class == STUN_SUCCESS;
}

/* ---- several peers ---- */

enum peers { PEERS_UNKNOWN, PEERS_ALL, PEERS_FIRST_ONLY };

/* Another address that answers: another test server's, or the second one of this one. */
static bool find_other_place(const struct check_run *check, const struct stun_question *first, union netaddr *other)
{
    struct stun_question questions[CHECK_ASKED_MAX];
    size_t count = check_questions(check, questions);
    for (size_t i = 0; i < count; i++) {
        if (!netaddr_equal_host(&questions[i].to, &first->to)) {
            *other = questions[i].to;
            return true;
        }
    }
    *other = first->answer.other_address;
    if (nat_probe_lacks(&first->to, other))
        return false;
    netaddr_set_port(other, netaddr_port(&first->to));
    return true;
}

/* A peer that is silent here, and answers an association that asks nobody else, is not to blame. */
static bool answers_alone(struct check_run *check, const union netaddr *place)
{
    struct check_association association;
    struct stun_question question;
    bool answers = check_associate(check, &association) && ask_at(check, &association, place, &question);
    association_close(&association);
    return answers;
}

static enum peers try_peers(struct check_run *check, const union netaddr *first)
{
    struct check_association association;
    struct stun_question question;
    union netaddr other;
    enum peers peers = PEERS_UNKNOWN;
    if (check_associate(check, &association) && ask_at(check, &association, first, &question) &&
        find_other_place(check, &question, &other))
        peers = ask_at(check, &association, &other, &question) ? PEERS_ALL
                : answers_alone(check, &other)                 ? PEERS_FIRST_ONLY
                                                               : PEERS_UNKNOWN;
    association_close(&association);
    return peers;
}

void step_peers(struct check_run *check, struct check_result *result)
{
    enum peers peers = try_peers(check, io_of_family(&check->server.addresses, check->family));
    if (peers == PEERS_UNKNOWN)
        return; /* there is no second peer; the NAT type tells that */
    result_data(result, "{s:b}", "all", peers == PEERS_ALL);
    if (peers == PEERS_ALL) {
        result_say(result, CHECK_OK, "each peer that an association has sent to can answer");
        return;
    }
    check->first_peer_only |= check->family == AF_INET6 ? FACT_ANSWERS_V6 : FACT_ANSWERS_V4;
    result_say(result, CHECK_FAILED, "only the first address that an association has sent to can answer");
    result_advise(result,
                  "the server drops answers from other addresses (dante over IPv6 does so); another association gets "
                  "them",
                  "update the server, or use another one");
    result_user(result, "use another server for games and calls%s",
                check->family == AF_INET6 ? ", or connect to this one by IPv4" : "");
}

/* ---- both families ---- */

enum { ROUND_V4, ROUND_V6, ROUND_V4_AGAIN, ROUND_V6_AGAIN, ROUNDS };

void step_families(struct check_run *check, struct check_result *result)
{
    static const int family_of[ROUNDS] = {AF_INET, AF_INET6, AF_INET, AF_INET6};
    struct check_association association;
    struct stun_question rounds[ROUNDS] = {0};
    char before[NETADDR_TEXT_MAX], after[NETADDR_TEXT_MAX];
    bool opened = check_associate(check, &association);
    for (size_t i = 0; opened && i < ROUNDS; i++)
        ask_at(check, &association, io_of_family(&check->server.addresses, family_of[i]), &rounds[i]);
    association_close(&association);
    if (!rounds[ROUND_V4].answered || !rounds[ROUND_V6].answered) {
        result_say(result, CHECK_SKIPPED, "the test server did not answer in both");
        return;
    }
    for (size_t i = ROUND_V4_AGAIN; i < ROUNDS; i++) {
        const struct stun_question *first = &rounds[i - ROUND_V4_AGAIN], *again = &rounds[i];
        if (again->answered && netaddr_equal(&first->answer.mapped, &again->answer.mapped))
            continue;
        netaddr_format(&first->answer.mapped, before);
        netaddr_format(&again->answer.mapped, after);
        result_say(result, CHECK_WARNING, "the external port %s of %s %s after a datagram to the other IP version",
                   before, check_family_name(family_of[i]), again->answered ? "has changed" : "gets no answer");
        result_data(result, "{s:b}", "kept", false);
        result_explain(result, &(struct advice){
                                   .means = "games and calls that use IPv4 and IPv6 at the same time break off",
                                   .cause = "the server has one socket for both IP versions, and replaces it each time",
                                   .owner = "update the server, or switch one IP version off in it (3proxy: -4)",
                                   .user = "switch IPv6 off in the client or on this machine, or use another server"});
        return;
    }
    result_data(result, "{s:b}", "kept", true);
    result_say(result, CHECK_OK, "IPv4 and IPv6 work side by side; each keeps its external port");
}
