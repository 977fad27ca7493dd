#include "check/steps/steps.h"

#include "base/util.h"
#include "check/scope.h"

/* ---- who wants what ---- */

static bool has_far_end(const struct check *check, int family)
{
    return io_of_family(&check->far_end.addresses, family) != NULL;
}

static bool wants_v4(const struct check *check)
{
    /* Without any far end one row says so. */
    return check_wants_proxy(check) && (has_far_end(check, AF_INET) || !(check->facts & FACT_FAR_END));
}

/* These say nothing by not being there; that no datagram comes back is said in the row before them. */
static bool wants_details(const struct check *check)
{
    return check_wants_proxy(check) && check->facts & FACT_ANSWERS;
}

static bool wants_v6(const struct check *check)
{
    return check_wants_proxy(check) && has_far_end(check, AF_INET6);
}

static bool wants_nat_v6(const struct check *check)
{
    return wants_v6(check) && check->facts & FACT_ANSWERS_V6;
}

static bool wants_nat_v4(const struct check *check)
{
    return wants_v4(check) && (check->facts & FACT_ANSWERS_V4 || !wants_nat_v6(check));
}

/* Asked for, or needed to tell the proxy from the machine that it shares with us. */
static bool wants_direct(const struct check *check, int family, const struct nat_verdict *nat)
{
    bool in_doubt = nat->type > NAT_OPEN && check_proxy_is_here(check);
    return has_far_end(check, family) && (check->options.direct || in_doubt);
}

static bool wants_direct_v4(const struct check *check)
{
    return wants_direct(check, AF_INET, &check->nat_v4);
}

static bool wants_direct_v6(const struct check *check)
{
    return wants_direct(check, AF_INET6, &check->nat_v6);
}

/* Nothing was named. */
static bool wants_own(const struct check *check)
{
    return check_wants_proxy(check) && !check->options.stun && !check->options.peer && check_proxy_is_here(check);
}

static bool has_peer(const struct check *check, int family)
{
    unsigned answers = family == AF_INET ? FACT_ANSWERS_V4 : FACT_ANSWERS_V6;
    return check_wants_proxy(check) && check->far_end.kind == FAR_END_PEER && check->facts & answers;
}

static bool wants_peer_v4(const struct check *check)
{
    return has_peer(check, AF_INET);
}

static bool wants_peer_v6(const struct check *check)
{
    return has_peer(check, AF_INET6);
}

static bool wants_peer_v6_alone(const struct check *check)
{
    return has_peer(check, AF_INET6) && !has_peer(check, AF_INET);
}

/* What does not depend on the family is done once. */
static bool wants_one_v4(const struct check *check)
{
    return check_wants_proxy(check) && check->facts & FACT_ANSWERS_V4;
}

static bool wants_one_v6(const struct check *check)
{
    return check_wants_proxy(check) && check->facts & FACT_ANSWERS_V6 && !wants_one_v4(check);
}

static bool wants_lifetime_v4(const struct check *check)
{
    return check->options.lifetime && check_wants_proxy(check) && !wants_peer_v6_alone(check);
}

static bool wants_lifetime_v6(const struct check *check)
{
    return check->options.lifetime && wants_peer_v6_alone(check);
}

/* ---- the table ---- */

/* Each with what it rests on: the first that is missing is the reason to name. */
#define REACHED    (FACT_ADDRESS | FACT_REACHED)
#define LOGGED_IN  (REACHED | FACT_LOGGED_IN)
#define ASSOCIATED (LOGGED_IN | FACT_ASSOCIATED)
#define TALKS      (ASSOCIATED | FACT_FAR_END | FACT_ANSWERS)

const struct check_step check_steps[] = {
    {"far_end", "Far end", 0, NULL, step_far_end, 0},
    {"name", "Name", 0, check_wants_proxy, step_name, 0},
    {"tcp", "TCP", FACT_ADDRESS, check_wants_proxy, step_tcp, 0},
    {"login", "Login", REACHED, check_wants_proxy, step_login, 0},
    {"own", "Far end", LOGGED_IN, wants_own, step_own, 0},
    {"connect", "CONNECT", LOGGED_IN, check_wants_proxy, step_connect, 0},
    {"associate", "UDP ASSOCIATE", LOGGED_IN, check_wants_proxy, step_associate, 0},
    {"datagram_v4", "Datagrams, IPv4", ASSOCIATED | FACT_FAR_END, wants_v4, step_datagram, AF_INET},
    {"datagram_v6", "Datagrams, IPv6", ASSOCIATED | FACT_FAR_END, wants_v6, step_datagram, AF_INET6},
    {"origin", "Origin", TALKS, wants_details, step_origin, 0},
    {"port", "Client's port", TALKS, wants_details, step_port, 0},
    {"nat_v4", "NAT, IPv4", TALKS, wants_nat_v4, step_nat, AF_INET},
    {"nat_v6", "NAT, IPv6", TALKS, wants_nat_v6, step_nat, AF_INET6},
    {"loss_v4", "Loss", TALKS, wants_peer_v4, step_loss, AF_INET},
    {"loss_v6", "Loss", TALKS, wants_peer_v6_alone, step_loss, AF_INET6},
    {"sizes_v4", "Sizes, IPv4", TALKS, wants_peer_v4, step_sizes, AF_INET},
    {"sizes_v6", "Sizes, IPv6", TALKS, wants_peer_v6, step_sizes, AF_INET6},
    {"delay_v4", "Delay", TALKS, wants_one_v4, step_delay, AF_INET},
    {"delay_v6", "Delay", TALKS, wants_one_v6, step_delay, AF_INET6},
    {"apart_v4", "Several", TALKS, wants_one_v4, step_apart, AF_INET},
    {"apart_v6", "Several", TALKS, wants_one_v6, step_apart, AF_INET6},
    {"hairpin_v4", "Hairpin", TALKS, wants_one_v4, step_hairpin, AF_INET},
    {"hairpin_v6", "Hairpin", TALKS, wants_one_v6, step_hairpin, AF_INET6},
    {"end_v4", "End", TALKS, wants_one_v4, step_end, AF_INET},
    {"end_v6", "End", TALKS, wants_one_v6, step_end, AF_INET6},
    {"lifetime_v4", "Lifetime", TALKS, wants_lifetime_v4, step_lifetime, AF_INET},
    {"lifetime_v6", "Lifetime", TALKS, wants_lifetime_v6, step_lifetime, AF_INET6},
    {"direct_v4", "Without, IPv4", FACT_FAR_END, wants_direct_v4, step_direct, AF_INET},
    {"direct_v6", "Without, IPv6", FACT_FAR_END, wants_direct_v6, step_direct, AF_INET6},
};

const size_t check_step_count = ARRAY_LEN(check_steps);

/* ---- what several steps share ---- */

uint64_t check_patience(const struct check *check, unsigned ms)
{
    return ms + check->answer.rtt_ms;
}

bool check_associate(const struct check *check, struct association *association)
{
    if (!association_open(association, &check->url, &check->proxy, NULL, clock_ms() + CHECK_TCP_TIMEOUT))
        return false;
    /* Where the first one's datagrams had to be sent to another address than the proxy says, so have these. */
    union netaddr relay = check->association.relay;
    netaddr_set_port(&relay, netaddr_port(&association->relay));
    return association_redirect(association, &relay);
}

bool check_wants_proxy(const struct check *check)
{
    return check->options.proxy || !check->options.direct;
}

bool check_proxy_is_here(const struct check *check)
{
    return check->facts & FACT_REACHED && scope_is_ours(&check->proxy);
}

const char *check_family_name(int family)
{
    return family == AF_INET ? "IPv4" : "IPv6";
}
