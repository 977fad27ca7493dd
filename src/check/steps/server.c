/* The test server: the one that was named, or one of our own on this machine. */
#include <netdb.h>
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "check/peer/peer_wire.h"
#include "check/scope.h"
#include "check/steps/steps.h"

/* Two of IPv4, so that filtering can be measured in full; IPv6 has one loopback address. */
static const char *const own_hosts[] = {"127.0.0.1", "127.0.0.2", "::1"};

void step_server(struct check_run *check, struct check_result *result)
{
    struct test_server *server = &check->server;
    char host[256];
    uint16_t port = PEER_PORT; /* and STUN's */
    const char *text = check->options.peer ? check->options.peer : check->options.stun;
    if (!text)
        return; /* the steps that would need one tell that */
    const char *wrong = host_port_parse(text, host, &port);
    int error = wrong ? 0 : io_resolve(host, port, &server->addresses);
    if (wrong || error) {
        result_say(result, CHECK_FAILED, "%s: %s", text, wrong ? wrong : gai_strerror(error));
        result_fix(result, "use a name that this machine can resolve, or an IP address");
        return;
    }
    server->kind = check->options.peer ? TEST_SERVER_PEER : TEST_SERVER_STUN;
    server->key = check->options.peer ? check->options.key : NULL;
    snprintf(server->name, sizeof(server->name), "%s", text);
    check->facts |= FACT_SERVER;
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
            server->addresses.list[server->addresses.count++] = address;
    }
    check->facts |= FACT_SERVER;
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
    result_say(result, CHECK_SKIPPED, "%s; UDP cannot be tested", problem);
    result_fix(result, "use a STUN server with two addresses: --stun HOST; or run conesocks check --listen on another "
                       "machine beyond the proxy, then use --peer HOST --key KEY here");
}
