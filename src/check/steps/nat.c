/* Which type of NAT, through the proxy and without it. */
#include <assert.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "check/steps/nat_text.h"
#include "check/stranger.h"

/* So many servers that report a second address are asked to answer from it: often none does, and waiting takes long. */
#define PROBED_MAX 2

struct nat_run {
    struct check_run *check;
    bool direct; /* without the proxy */
    bool opened; /* there was an association or, without the proxy, a socket */
    struct nat_evidence evidence;
    struct stun_question asked[CHECK_ASKED_MAX];
    size_t count;
    struct nat_probe probe; /* of a server with two addresses */
    union netaddr disguise; /* of a stranger's address; AF_UNSPEC: none */
};

/* ---- measuring ---- */

/* A channel that has not sent anything: an association or, without the proxy, a socket. Always to be closed. */
static bool open_way(struct nat_run *run, struct check_association *a)
{
    if (!run->direct)
        return (run->opened = check_associate(run->check, a));
    union netaddr any = netaddr_any(run->check->family);
    *a = (struct check_association)CHECK_ASSOCIATION_NONE;
    a->channel = (struct channel){.kind = CHANNEL_DIRECT, .fd = io_udp(&any, true)};
    return (run->opened = a->channel.fd >= 0);
}

/* Asks one server to answer from its other address and port (RFC 5780). */
static bool probe_server(struct nat_run *run, const union netaddr *server)
{
    struct check_association association;
    bool opened = open_way(run, &association);
    if (opened) {
        struct server_line line = check_line(run->check, &association.channel);
        line.to = *server;
        nat_probe(&run->probe, &line);
        run->evidence.server = run->probe.seen;
        if (run->disguise.sa.sa_family == AF_UNSPEC)
            run->disguise = run->probe.disguise;
    }
    association_close(&association);
    return opened;
}

/* What the servers see of a fresh association. */
static void gather_views(struct nat_run *run)
{
    struct check_association association;
    struct nat_evidence *e = &run->evidence;
    if (open_way(run, &association)) {
        const struct server_line line = check_line(run->check, &association.channel);
        stun_ask_some(&line, run->asked, run->count, 2, STUN_PATIENCE);
    }
    association_close(&association);
    for (size_t i = 0; i < run->count; i++) {
        const struct stun_message *answer = &run->asked[i].answer;
        if (run->asked[i].answered && answer->class == STUN_SUCCESS && answer->mapped.sa.sa_family != AF_UNSPEC)
            e->views[e->view_count++] = (struct nat_view){.from = run->asked[i].to, .mapped = answer->mapped};
    }
}

/* That of a server which tells the truth, as far as the others show. */
static const struct nat_view *believed_view(const struct nat_evidence *e)
{
    return e->view_count > 1 && nat_conclude(e).odd == &e->views[0] ? &e->views[1] : &e->views[0];
}

/* An association that has sent to one server only: some proxies let everybody in once there are two. false: it gets no
 * answer. Always to be closed. */
static bool open_target(struct nat_run *run, struct check_association *association, struct stranger_target *target)
{
    const struct nat_evidence *e = &run->evidence;
    if (!open_way(run, association))
        return false;
    struct stun_question question = {.to = believed_view(e)->from};
    *target = (struct stranger_target){.line = check_line(run->check, &association->channel),
                                       .relay = association->channel.relay};
    if (stun_ask(&target->line, &question, 1, STUN_PATIENCE) != 1)
        return false;
    target->external = question.answer.mapped;
    for (size_t i = 0; i < e->view_count && target->server_count < ARRAY_LEN(target->servers); i++)
        target->servers[target->server_count++] = e->views[i].from;
    return target->external.sa.sa_family == e->views[0].from.sa.sa_family;
}

static void gather_from_here(struct nat_run *run, const struct stranger_target *target)
{
    struct nat_evidence *e = &run->evidence;
    struct stranger_found found;
    stranger_from_here(&found, target);
    e->here = found.seen;
    e->way = found.way;
    e->last_is_ours = found.view.from.sa.sa_family != AF_UNSPEC;
    if (e->last_is_ours) {
        /* It is another association's address. What counts is whether it is the same for us and for that server. */
        bool same = netaddr_equal(&found.view.mapped, &target->external);
        e->views[e->view_count] =
            (struct nat_view){.from = found.view.from, .mapped = same ? believed_view(e)->mapped : found.view.mapped};
        e->view_count++;
    }
    if (run->disguise.sa.sa_family == AF_UNSPEC)
        run->disguise = found.disguise;
}

static void gather_from_client(struct nat_run *run, const struct stranger_target *target)
{
    struct check_association other;
    if (check_associate(run->check, &other)) {
        struct server_line line = check_line(run->check, &other.channel);
        line.to = target->servers[0];
        stranger_from_client(&run->evidence.client, target, &line);
    }
    association_close(&other);
}

/* Asks servers that report a second address, until one shows whether strangers get through. */
static void gather_from_servers(struct nat_run *run)
{
    size_t probed = 0;
    for (size_t i = 0; i < run->count && probed < PROBED_MAX; i++) {
        const struct stun_question *q = &run->asked[i];
        if (!q->answered || nat_probe_lacks(&q->to, &q->answer.other_address))
            continue;
        probed++;
        if (probe_server(run, &q->to) && nat_judge(&run->probe.seen).filtering != NAT_UNKNOWN)
            return;
    }
}

static bool is_settled(const struct nat_evidence *evidence)
{
    return nat_conclude(evidence).verdict.type != NAT_TYPE_UNKNOWN;
}

/* The quickest way comes first. */
static void gather_from_strangers(struct nat_run *run)
{
    struct nat_evidence *e = &run->evidence;
    struct check_association association = CHECK_ASSOCIATION_NONE;
    struct stranger_target target;
    bool probed = run->count == 1, opened = !run->direct && open_target(run, &association, &target);
    if (opened)
        gather_from_here(run, &target);
    if (!is_settled(e) && !probed)
        gather_from_servers(run);
    if (opened && !is_settled(e))
        gather_from_client(run, &target);
    association_close(&association);
}

static void gather(struct nat_run *run)
{
    gather_views(run);
    if (run->evidence.view_count > 0 && !is_settled(&run->evidence))
        gather_from_strangers(run);
}

/* A single server is probed first, because it may have two addresses; if it has not, its answers show what is missing.
 */
static struct nat_verdict run_nat(struct nat_run *run, struct check_result *result)
{
    struct check_run *check = run->check;
    struct nat_verdict verdict = {.type = NAT_TYPE_UNKNOWN};
    run->count = check_questions(check, run->asked);
    bool probed = run->count == 1 && probe_server(run, &run->asked[0].to);
    if (probed) {
        verdict = nat_judge(&run->probe.seen);
        if (verdict.type == NAT_TYPE_UNKNOWN && run->probe.answered && !check->server.own && !run->direct) {
            gather(run);
            probed = !is_settled(&run->evidence);
        }
    } else {
        gather(run);
    }
    if (probed) {
        nat_say_probed(check, &run->probe, &verdict, result);
        return verdict;
    }
    const struct nat_conclusion conclusion = nat_conclude(&run->evidence);
    if (run->opened)
        nat_say_concluded(check, &run->evidence, &conclusion, &run->disguise, result);
    return conclusion.verdict;
}

/* ---- the steps ---- */

/* The test server is not to blame then. */
static void say_first_peer_only(const struct check_run *check, const struct nat_verdict *verdict,
                                struct check_result *result)
{
    unsigned family = check->family == AF_INET6 ? FACT_ANSWERS_V6 : FACT_ANSWERS_V4;
    if (!(check->first_peer_only & family) || verdict->type != NAT_TYPE_UNKNOWN)
        return;
    result_say(result, CHECK_SKIPPED, "unknown: answers of a second address do not arrive (see Peers)");
    result_fix(result, "use a server that lets every peer answer");
}

/* Most clients do not do that, so it must not contradict what the step "UDP" has found. */
static void say_inside_tcp(struct check_result *result)
{
    char *means = result->means;
    if (!means)
        return;
    result->means = NULL;
    result_means(result, "with UDP over TCP, %s", means);
    free(means);
}

void step_nat(struct check_run *check, struct check_result *result)
{
    struct nat_run run = {.check = check};
    struct nat_verdict *verdict = check_nat(check, check->family);
    *verdict = run_nat(&run, result);
    if (!run.opened)
        result_say(result, CHECK_SKIPPED, "the proxy granted no second association");
    nat_explain(&run.disguise, &run.asked[0].to, verdict, result);
    say_first_peer_only(check, verdict, result);
    if (check->inside_tcp)
        say_inside_tcp(result);
}

/* ---- without ---- */

static void compare_with_proxy(const struct nat_verdict *through, const struct nat_verdict *direct,
                               struct check_result *result)
{
    if (through->type <= NAT_OPEN || direct->type == NAT_TYPE_UNKNOWN)
        return;
    if (direct->type < through->type)
        result_cause(result, "without the proxy, this machine's network is better: the proxy server is at fault");
    else
        result_cause(
            result,
            "without the proxy, the result for this machine is no better: its firewall or a NAT in front of it is at "
            "fault; but if udp.external_ports are open there, the server filters (conesocks: udp.filtering)");
}

void step_direct(struct check_run *check, struct check_result *result)
{
    struct nat_run run = {.check = check, .direct = true};
    const struct nat_verdict verdict = run_nat(&run, result);
    if (!run.opened)
        result_say(result, CHECK_INFO, "this machine has no %s", check_family_name(check->family));
    if (!check_wants_proxy(check))
        return;
    result->status = CHECK_INFO; /* the proxy is tested; this explains its result */
    if (check_proxy_is_here(check))
        compare_with_proxy(check_nat(check, check->family), &verdict, result);
}
