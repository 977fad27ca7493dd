#include "check/steps/steps.h"

#include <assert.h>
#include <stdio.h>

#include "base/util.h"

/* ---- when a step is wanted ---- */

static bool server_has(const struct check_run *check, int family)
{
    return io_of_family(&check->server.addresses, family) != NULL;
}

static bool wants_proxy(const struct check_run *check, int family)
{
    (void)family;
    return check_wants_proxy(check);
}

/* No test server was named, and the proxy is on this machine. */
static bool wants_own_server(const struct check_run *check, int family)
{
    return wants_proxy(check, family) && !check->options.stun.count && !check->options.peer &&
           check_proxy_is_here(check);
}

/* No test server was named, and none of our own runs here. */
static bool wants_public_servers(const struct check_run *check, int family)
{
    return wants_proxy(check, family) && !check->options.stun.count && !check->options.peer && !check->server.own;
}

/* Only where a CONNECT by address works: then a failure by name is one of the name. */
static bool wants_names(const struct check_run *check, int family)
{
    return wants_proxy(check, family) && check->server.kind == TEST_SERVER_STUN && check->connected.answered;
}

static bool wants_datagram(const struct check_run *check, int family)
{
    /* Without a test server, one row tells that. */
    bool tells_that = family == AF_INET && !(check->facts & FACT_SERVER);
    return wants_proxy(check, family) && (server_has(check, family) || tells_that);
}

/* When no datagram comes back, the step before has told it. */
static bool has_answer(const struct check_run *check, int family)
{
    unsigned answers = family == AF_INET ? FACT_ANSWERS_V4 : family == AF_INET6 ? FACT_ANSWERS_V6 : FACT_ANSWERS;
    return wants_proxy(check, family) && check->facts & answers;
}

/* Not inside TCP, where these are no questions. */
static bool has_udp_answer(const struct check_run *check, int family)
{
    return has_answer(check, family) && !check->inside_tcp;
}

static bool has_both_answers(const struct check_run *check, int family)
{
    unsigned both = FACT_ANSWERS_V4 | FACT_ANSWERS_V6;
    return wants_proxy(check, family) && (check->facts & both) == both;
}

static bool has_peers_answer(const struct check_run *check, int family)
{
    return check->server.kind == TEST_SERVER_PEER && has_udp_answer(check, family);
}

static bool wants_nat(const struct check_run *check, int family)
{
    /* Without any answer, one row tells that. */
    bool tells_that = family == AF_INET && !has_answer(check, AF_INET6);
    return wants_datagram(check, family) && (has_answer(check, family) || tells_that);
}

static bool wants_lifetime(const struct check_run *check, int family)
{
    bool v6_alone = has_peers_answer(check, AF_INET6) && !has_peers_answer(check, AF_INET);
    return check->options.lifetime && wants_proxy(check, family) && v6_alone == (family == AF_INET6);
}

/* Asked for, or needed to tell the proxy from the machine that it shares with us. */
static bool wants_direct(const struct check_run *check, int family)
{
    bool in_doubt = check->nat[family == AF_INET6].type > NAT_OPEN && check_proxy_is_here(check);
    return server_has(check, family) && (check->options.direct || in_doubt);
}

bool check_is_step_wanted(const struct check_run *check, const struct check_step *step, int family)
{
    if ((step->times == STEP_ONCE) != (family == 0))
        return false;
    if (!step->is_wanted)
        return true;
    if (step->times == STEP_ONE_FAMILY && family == AF_INET6 && step->is_wanted(check, AF_INET))
        return false;
    return step->is_wanted(check, family);
}

/* ---- the table ---- */

/* What a step rests on: people are told the first that is missing. */
#define REACHED    (FACT_ADDRESS | FACT_REACHED)
#define LOGGED_IN  (REACHED | FACT_LOGGED_IN)
#define ASSOCIATED (LOGGED_IN | FACT_ASSOCIATED)
#define REPLIES    (ASSOCIATED | FACT_SERVER | FACT_ANSWERS)

#define USELESS "nothing works through this proxy"
#define NO_UDP  "no UDP through this proxy: most online games, voice chats and calls fail"

const struct check_step check_steps[] = {
    {"far_end", "Test server", 0, STEP_ONCE, NULL, step_server, NULL, NULL, false},
    {"name", "Proxy's name", 0, STEP_ONCE, wants_proxy, step_name, NULL, USELESS, false},
    {"tcp", "TCP connection", FACT_ADDRESS, STEP_ONCE, wants_proxy, step_tcp, NULL, USELESS, false},
    {"login", "Login", REACHED, STEP_ONCE, wants_proxy, step_login, NULL, USELESS, false},
    {"own", "Test server", LOGGED_IN, STEP_ONCE, wants_own_server, step_own_server, NULL, NULL, false},
    {"public", "Test server", LOGGED_IN, STEP_ONCE, wants_public_servers, step_public_servers, NULL, NULL, false},
    {"connect", "CONNECT", LOGGED_IN, STEP_ONCE, wants_proxy, step_connect, "websites, logins and downloads work",
     "websites, logins and downloads fail, and most games cannot start", false},
    {"names", "Names", LOGGED_IN, STEP_ONCE, wants_names, step_names, "programs can leave names to the proxy", NULL,
     false},
    {"associate", "UDP ASSOCIATE", LOGGED_IN, STEP_ONCE, wants_proxy, step_associate,
     "the proxy offers UDP, which games, voice chats and calls need", NO_UDP, false},
    {"datagram", "UDP", ASSOCIATED | FACT_SERVER, STEP_EACH_FAMILY, wants_datagram, step_datagram,
     "games, voice chats and calls can send and receive", NO_UDP, false},
    {"origin", "Reply's sender", REPLIES, STEP_ONCE, has_udp_answer, step_origin,
     "programs know who sent them something", "programs cannot tell who sent them something: many games and calls fail",
     false},
    {"port", "Client's port", REPLIES, STEP_ONCE, has_udp_answer, step_port,
     "nobody can take over your game's connection", NULL, false},
    {"peers", "Peers", REPLIES, STEP_EACH_FAMILY, has_answer, step_peers,
     "games and calls can talk to several servers and players",
     "games and calls that talk to more than one server or player fail", false},
    {"families", "IPv4 and IPv6", REPLIES, STEP_ONCE, has_both_answers, step_families, "IPv4 and IPv6 can be mixed",
     NULL, false},
    {"nat", "NAT type", REPLIES, STEP_EACH_FAMILY, wants_nat, step_nat, NULL, NULL, true},
    {"loss", "Packet loss", REPLIES, STEP_ONE_FAMILY, has_peers_answer, step_loss, "nothing stutters", NULL, false},
    {"sizes", "Sizes", REPLIES, STEP_EACH_FAMILY, has_peers_answer, step_sizes, "datagrams of every size pass",
     "browsers (HTTP/3), calls and some games fail: their datagrams are too large for this way", false},
    {"delay", "Delay", REPLIES, STEP_ONE_FAMILY, has_answer, step_delay, NULL,
     "games and calls stutter: answers are missing", false},
    {"apart", "Associations", REPLIES, STEP_ONE_FAMILY, has_answer, step_apart,
     "several games, programs and devices work at the same time", NULL, false},
    {"hairpin", "Hairpin", REPLIES, STEP_ONE_FAMILY, has_answer, step_hairpin,
     "players who use this proxy together can join each other", NULL, false},
    {"end", "End of session", REPLIES, STEP_ONE_FAMILY, has_udp_answer, step_end,
     "nothing stays open after a program has ended", NULL, false},
    {"lifetime", "Silence", REPLIES, STEP_ONE_FAMILY, wants_lifetime, step_lifetime,
     "a pause in a game or call does not cut it off", NULL, false},
    {"direct", "No proxy", FACT_SERVER, STEP_EACH_FAMILY, wants_direct, step_direct, NULL, NULL, false},
};

const size_t check_step_count = ARRAY_LEN(check_steps);

/* ---- what several steps share ---- */

bool check_associate(struct check_run *check, struct check_association *association)
{
    if (check->inside_tcp)
        return association_open_framed(association, &check->proxy);
    if (!association_open(association, &check->proxy, NULL))
        return false;
    /* Where the first one's datagrams had to be sent to another address than the proxy names, so have these. */
    union netaddr relay = check->association.relay;
    netaddr_set_port(&relay, netaddr_port(&association->relay));
    return association_redirect(association, &relay);
}

struct server_line check_line(struct check_run *check, struct channel *channel)
{
    const union netaddr *to = check->family ? io_of_family(&check->server.addresses, check->family) : &check->answer.to;
    assert(to && to->sa.sa_family != AF_UNSPEC);
    return (struct server_line){
        .channel = channel, .to = *to, .key = check->server.key, .rtt_ms = check->rtt_ms, .room = &check->datagram};
}

size_t check_questions(const struct check_run *check, struct stun_question questions[CHECK_ASKED_MAX])
{
    const struct stun_places *places = &check->server.places;
    const union netaddr *first = io_of_family(&check->server.addresses, check->family);
    size_t count = 0;
    if (first)
        questions[count++] = (struct stun_question){.to = *first};
    for (size_t i = 0; i < places->count && count < CHECK_ASKED_MAX; i++) {
        const union netaddr *address = &places->list[i].address;
        if (address->sa.sa_family == check->family && !netaddr_equal(address, first))
            questions[count++] = (struct stun_question){.to = *address};
    }
    return count;
}

void check_use_server(struct check_run *check, const union netaddr *address)
{
    struct io_addresses *in_use = &check->server.addresses;
    for (size_t i = 0; i < in_use->count; i++)
        if (in_use->list[i].sa.sa_family == address->sa.sa_family)
            in_use->list[i] = *address;
}

const char *check_server_name(const struct check_run *check, const union netaddr *address, char text[CHECK_NAME_MAX])
{
    const struct stun_places *places = &check->server.places;
    const struct stun_servers *servers = &check->server.stun;
    char plain[NETADDR_TEXT_MAX];
    union netaddr literal;
    netaddr_format(address, plain);
    snprintf(text, CHECK_NAME_MAX, "%s", plain);
    for (size_t i = 0; i < places->count; i++) {
        unsigned server = places->list[i].server;
        if (netaddr_equal(&places->list[i].address, address) && server < servers->count &&
            !netaddr_parse(&literal, servers->list[server].host, 0))
            snprintf(text, CHECK_NAME_MAX, "%s (%s)", servers->list[server].text, plain);
    }
    return text;
}

bool check_wants_proxy(const struct check_run *check)
{
    return check->options.proxy || !check->options.direct;
}

bool check_proxy_is_here(const struct check_run *check)
{
    return check->facts & FACT_REACHED && io_is_own_address(&check->proxy.address);
}

const char *check_family_name(int family)
{
    return family == AF_INET ? "IPv4" : "IPv6";
}

struct nat_verdict *check_nat(struct check_run *check, int family)
{
    assert(family == AF_INET || family == AF_INET6);
    return &check->nat[family == AF_INET6];
}
