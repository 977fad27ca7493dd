/* The test server: what was named, one of our own on this machine, or public STUN servers. */
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "check/peer/peer_wire.h"
#include "check/scope.h"
#include "check/steps/steps.h"

#define RESOLVE_PATIENCE 4000 /* ms, for the proxy to look names up, and for their answers */

/* Two of IPv4, so that filtering can be measured in full; IPv6 has one loopback address. */
static const char *const own_hosts[] = {"127.0.0.1", "127.0.0.2", "::1"};

/* ---- named, or public ---- */

/* The first address of each family is used until another one answers. */
static void use_first_places(struct check_run *check)
{
    const struct stun_places *places = &check->server.places;
    for (size_t i = 0; i < places->count; i++) {
        const union netaddr *address = &places->list[i].address;
        if (!io_of_family(&check->server.addresses, address->sa.sa_family))
            check->server.addresses.list[check->server.addresses.count++] = *address;
    }
    check->facts |= FACT_SERVER;
}

/* Lists the servers whose names have no address, and why. Returns how many. */
static size_t list_failed(const struct stun_servers *servers, char *text, size_t size)
{
    size_t used = 0, failed = 0;
    for (size_t i = 0; i < servers->count; i++) {
        const struct stun_server *one = &servers->list[i];
        if (one->error && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s: %s", failed ? "; " : "", one->text,
                                     gai_strerror(one->error));
        failed += one->error != 0;
    }
    return failed;
}

/* Looks all names up. Those without an address are then in `failed`. false: none has one. */
static bool resolve_servers(struct check_run *check, char *failed, size_t size)
{
    struct test_server *server = &check->server;
    server->kind = TEST_SERVER_STUN;
    stun_servers_list(&server->stun, server->name, sizeof(server->name));
    stun_servers_resolve(&server->stun, &server->places);
    list_failed(&server->stun, failed, size);
    if (server->places.count > 0)
        use_first_places(check);
    return server->places.count > 0;
}

static void resolve_named(struct check_run *check, struct check_result *result)
{
    char failed[1024] = "";
    check->server.stun = check->options.stun;
    if (!resolve_servers(check, failed, sizeof(failed))) {
        result_say(result, CHECK_FAILED, "%s", failed);
        result_fix(result, "use a name that this machine can resolve, or an IP address");
    } else if (*failed) {
        result_say(result, CHECK_INFO, "%s", failed);
    }
}

static void resolve_peer(struct check_run *check, struct check_result *result)
{
    struct test_server *server = &check->server;
    struct io_addresses found;
    char host[256];
    uint16_t port = PEER_PORT;
    const char *wrong = host_port_parse(check->options.peer, host, &port);
    int error = wrong ? 0 : io_resolve(host, port, &found);
    if (wrong || error) {
        result_say(result, CHECK_FAILED, "%s: %s", check->options.peer, wrong ? wrong : gai_strerror(error));
        result_fix(result, "use a name that this machine can resolve, or an IP address");
        return;
    }
    server->kind = TEST_SERVER_PEER;
    server->key = check->options.key;
    snprintf(server->name, sizeof(server->name), "%s", check->options.peer);
    for (size_t i = 0; i < found.count; i++)
        server->places.list[server->places.count++] = (struct stun_place){.address = found.list[i]};
    use_first_places(check);
}

/* Sends to the names, so that the proxy looks them up; the answers name the addresses. false: none has come. */
static bool resolve_by_proxy(struct check_run *check)
{
    struct test_server *server = &check->server;
    struct stun_question questions[STUN_SERVERS_MAX] = {0};
    const struct server_line line = {
        .channel = &check->association.channel, .to = netaddr_any(AF_INET), .room = &check->datagram};
    if (!(check->facts & FACT_ASSOCIATED))
        return false;
    for (size_t i = 0; i < server->stun.count; i++) {
        const struct stun_server *one = &server->stun.list[i];
        questions[i].name = (struct socks5_addr){.atyp = SOCKS5_ATYP_NAME,
                                                 .host_len = (uint8_t)strlen(one->host),
                                                 .host = (const uint8_t *)one->host,
                                                 .port = one->port};
    }
    stun_ask_some(&line, questions, server->stun.count, 2, RESOLVE_PATIENCE);
    for (size_t i = 0; i < server->stun.count; i++)
        if (questions[i].answered && questions[i].origin.sa.sa_family != AF_UNSPEC)
            server->places.list[server->places.count++] =
                (struct stun_place){.address = questions[i].origin, .server = (unsigned)i};
    if (server->places.count > 0)
        use_first_places(check);
    return server->places.count > 0;
}

void step_public_servers(struct check_run *check, struct check_result *result)
{
    struct stun_servers *servers = &check->server.stun;
    char failed[1024] = "";
    if (check->options.no_stun || stun_servers_add(servers, stun_servers_built_in)) {
        result_say(result, CHECK_SKIPPED, "none: %s",
                   check->options.no_stun ? "no STUN server is to be asked" : "none was built in");
        result_fix(result, "name a test server: --stun HOST, or --peer HOST --key KEY");
        return;
    }
    check->server.is_public = true;
    if (resolve_servers(check, failed, sizeof(failed))) {
        result_say(result, *failed ? CHECK_INFO : CHECK_OK, "public STUN servers: %s%s%s", check->server.name,
                   *failed ? "; no address: " : "", failed);
    } else if (resolve_by_proxy(check)) {
        result_say(result, CHECK_INFO, "public STUN servers: %s; this machine cannot resolve them, but the proxy can",
                   check->server.name);
    } else {
        result_say(result, CHECK_SKIPPED, "%s", failed); /* nothing is wrong with the proxy */
        result_fix(result, "use a STUN server by its IP address: --stun ADDRESS");
    }
}

void step_server(struct check_run *check, struct check_result *result)
{
    if (check->options.peer) {
        resolve_peer(check, result);
    } else if (check->options.stun.count) {
        resolve_named(check, result);
    } else if (!check_wants_proxy(check)) {
        step_public_servers(check, result);
    }
}

/* ---- our own, for a proxy on this machine ---- */

/* With IPv6 or, where the system has none, without. */
static struct peer_server *open_own_server(const char *key, char *problem, size_t problem_size)
{
    struct peer_host hosts[ARRAY_LEN(own_hosts)] = {0};
    for (size_t i = 0; i < ARRAY_LEN(own_hosts); i++)
        netaddr_parse(&hosts[i].address, own_hosts[i], 0);
    struct peer_server *server = peer_server_open(hosts, ARRAY_LEN(own_hosts), 0, key, NULL, problem, problem_size);
    return server ? server : peer_server_open(hosts, ARRAY_LEN(own_hosts) - 1, 0, key, NULL, problem, problem_size);
}

/* One that is reached at a loopback address may still be elsewhere: in a container, or behind a forwarded port. */
static bool is_reached_by_proxy(const struct check_run *check)
{
    const union netaddr target = peer_server_address(check->server.own, 0);
    const struct socks5_addr destination = socks5_addr_of(&target);
    struct proxy_answer connected;
    struct stun_message answer;
    proxy_ask(&connected, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, PROXY_TIMEOUT);
    if (connected.outcome != PROXY_GRANTED)
        return false;
    bool reached = stun_ask_stream(connected.fd, check->server.own_key, clock_ms() + PROXY_TIMEOUT, &answer);
    close(connected.fd);
    return reached;
}

static void use_own_server(struct check_run *check)
{
    struct test_server *server = &check->server;
    server->kind = TEST_SERVER_PEER;
    server->key = server->own_key;
    snprintf(server->name, sizeof(server->name), "this machine");
    for (size_t i = 0; i < ARRAY_LEN(own_hosts); i += 2) {
        union netaddr address = peer_server_address(server->own, i);
        if (address.sa.sa_family != AF_UNSPEC)
            server->places.list[server->places.count++] = (struct stun_place){.address = address};
    }
    use_first_places(check);
}

void step_own_server(struct check_run *check, struct check_result *result)
{
    struct test_server *server = &check->server;
    char problem[256] = "the system has no random bytes";
    if (scope_of(&check->proxy.address) != SCOPE_HOST) {
        snprintf(problem, sizeof(problem),
                 "the proxy lets clients reach its own machine only when they use a loopback address, such as "
                 "127.0.0.1");
    } else if (peer_make_key(server->own_key) &&
               (server->own = open_own_server(server->own_key, problem, sizeof(problem))) &&
               peer_server_start(server->own)) {
        if (is_reached_by_proxy(check)) {
            use_own_server(check);
            result_say(result, CHECK_OK,
                       "on this machine, so the results show the proxy alone; --stun or --peer also tests the network");
            result_data(result, "{s:s}", "kind", "own");
            return;
        }
        snprintf(problem, sizeof(problem),
                 "the proxy cannot connect to this machine: it may run in a container, or its rules forbid it");
    }
    peer_server_close(server->own);
    server->own = NULL;
    result_say(result, CHECK_INFO, "not on this machine: %s", problem);
}
