/* A far end on this machine, for a proxy on this machine. */
#include <stdio.h>
#include <unistd.h>

#include "base/util.h"
#include "check/steps/steps.h"

/* Two of IPv4, so that filtering can be told in full; IPv6 has one loopback address. */
static const char *const hosts[] = {"127.0.0.1", "127.0.0.2", "::1"};

static bool is_loopback(const union netaddr *address)
{
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    return host && (len == 4 ? host[0] == 127 : (bool)IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr));
}

/* With IPv6, or, where the system has none, without. */
static struct peer_server *open_server(const char *key, char *problem, size_t problem_size)
{
    struct peer_host places[ARRAY_LEN(hosts)] = {0};
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        netaddr_parse(&places[i].address, hosts[i], 0);
    struct peer_server *server = peer_server_open(places, ARRAY_LEN(hosts), 0, key, NULL, problem, problem_size);
    return server ? server : peer_server_open(places, ARRAY_LEN(hosts) - 1, 0, key, NULL, problem, problem_size);
}

/* Whether the proxy gets there. One that is reached at a loopback address may still be elsewhere: in a container, or
 * behind a forwarded port. */
static bool is_reached_by_proxy(struct check *check)
{
    const union netaddr target = peer_server_address(check->far_end.own, 0);
    const struct socks5_addr destination = socks5_addr_of(&target);
    struct negotiation n;
    struct stun_message answer;
    uint64_t deadline = clock_ms() + CHECK_TCP_TIMEOUT;
    negotiate(&n, &check->url, &check->proxy, SOCKS5_COMMAND_CONNECT, &destination, deadline);
    bool reached = n.end == NEGOTIATION_GRANTED && stun_ask_stream(n.fd, check->far_end.own_key, deadline, &answer);
    if (n.fd >= 0)
        close(n.fd);
    return reached;
}

static void say_none(struct check_result *result, const char *why)
{
    result_say(result, CHECK_SKIPPED, "%s, so that nothing can be told of datagrams", why);
    result_fix(result, "name a STUN server with two addresses, --stun HOST, or run conesocks check --listen on another "
                       "machine, beyond the proxy, and name that: --peer HOST --key KEY");
}

static void use_own(struct check *check)
{
    struct far_end *far_end = &check->far_end;
    far_end->kind = FAR_END_PEER;
    far_end->key = far_end->own_key;
    snprintf(far_end->name, sizeof(far_end->name), "this machine");
    for (size_t i = 0; i < ARRAY_LEN(hosts); i += 2) {
        union netaddr address = peer_server_address(far_end->own, i);
        if (address.sa.sa_family != AF_UNSPEC)
            far_end->addresses.list[far_end->addresses.count++] = address;
    }
    check->facts |= FACT_FAR_END;
}

void step_own(struct check *check, int family, struct check_result *result)
{
    (void)family;
    struct far_end *far_end = &check->far_end;
    char problem[256] = "the system gives no random bytes";
    if (!is_loopback(&check->proxy)) {
        say_none(result, "at this address the proxy does not let clients reach its own machine");
        return;
    }
    if (peer_make_key(far_end->own_key))
        far_end->own = open_server(far_end->own_key, problem, sizeof(problem));
    if (!far_end->own || !peer_server_start(far_end->own)) {
        say_none(result, problem);
    } else if (!is_reached_by_proxy(check)) {
        say_none(result, "the proxy does not connect to this machine: it may run in a container, or its rules deny it");
    } else {
        use_own(check);
        result_say(result, CHECK_OK,
                   "on this machine: what follows is what the proxy itself does; --stun or --peer tells what the "
                   "network adds to it");
        result_data(result, "kind", json_string("own"));
    }
}
