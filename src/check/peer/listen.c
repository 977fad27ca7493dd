#include "check/peer/listen.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/peer/peer_server.h"
#include "check/peer/peer_wire.h"
#include "check/proxy_url.h"
#include "check/result.h"
#include "check/scope.h"

#define KEY_MIN 8
#define ALONE   " (the only address on its network: with it alone, filtering by address cannot be measured)"

struct listen_hosts {
    struct peer_host list[PEER_SERVER_PLACES_MAX];
    size_t count;
};

static void find_hosts(struct listen_hosts *hosts)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *one = all; one && hosts->count < PEER_SERVER_PLACES_MAX; one = one->ifa_next) {
        int family = one->ifa_addr && one->ifa_flags & IFF_UP ? one->ifa_addr->sa_family : AF_UNSPEC;
        union netaddr address = {.sa.sa_family = AF_UNSPEC};
        if (family == AF_INET)
            memcpy(&address.v4, one->ifa_addr, sizeof(address.v4));
        else if (family == AF_INET6)
            memcpy(&address.v6, one->ifa_addr, sizeof(address.v6));
        if (scope_is_beyond_link(&address))
            hosts->list[hosts->count++] = (struct peer_host){.address = address, .link = if_nametoindex(one->ifa_name)};
    }
    freeifaddrs(all);
}

/* [ADDRESS][:PORT]. NULL, or what is wrong with it. */
static const char *parse_where(const char *where, struct listen_hosts *hosts, uint16_t *port)
{
    char host[256], text[16];
    bool everywhere = where[0] == ':' && strchr(where + 1, ':') == NULL;
    if (everywhere && snprintf(text, sizeof(text), "0.0.0.0%s", where) >= (int)sizeof(text))
        return "a port is a number from 1 to 65534";
    const char *wrong = host_port_parse(everywhere ? text : where, host, port);
    if (wrong || everywhere)
        return wrong;
    hosts->count = 1;
    return netaddr_parse(&hosts->list[0].address, host, 0) ? NULL : "give an address, not a name";
}

static void print_introduction(const struct listen_hosts *hosts, uint16_t port, const char *key)
{
    char text[NETADDR_TEXT_MAX];
    union netaddr first = hosts->list[0].address;
    printf("Test server for `conesocks check` on another machine. It listens on:\n");
    for (size_t i = 0; i < hosts->count; i++)
        printf("  %s%s\n", netaddr_format_host(&hosts->list[i].address, text),
               peer_host_other(hosts->list, hosts->count, i) == i ? ALONE : "");
    printf("Open these ports in the firewall: UDP %u and %u, TCP %u.\n", port, port + 1u, port);
    netaddr_set_port(&first, port);
    printf("Then run on the other machine:\n\n  conesocks check --proxy socks5://HOST:PORT --peer %s --key %s\n\n",
           port == PEER_PORT ? netaddr_format_host(&first, text) : netaddr_format(&first, text), key);
    printf("If this machine is behind a NAT, use its public address there.\n"
           "Requests without the key get no answer. Press Control-C to stop.\n");
    fflush(stdout);
}

static void print_sender(const union netaddr *sender, bool has_key)
{
    char text[NETADDR_TEXT_MAX];
    netaddr_format(sender, text);
    if (has_key)
        printf("request from %s\n", text);
    else
        printf("no answer to %s: it does not have the key (shown at most every ten seconds)\n", text);
    fflush(stdout);
}

static int listen_fail(int status, const char *option, const char *problem)
{
    fprintf(stderr, "conesocks check: %s%s\n", option, problem);
    return status;
}

int check_listen(const char *where, const char *key)
{
    char made[PEER_KEY_LEN + 1], problem[256];
    struct listen_hosts hosts = {0};
    uint16_t port = PEER_PORT;
    const char *wrong = where ? parse_where(where, &hosts, &port) : NULL;
    if (!wrong && port == UINT16_MAX)
        wrong = "the test server also needs the port after it: use a port from 1 to 65534";
    if (!wrong && key && strlen(key) < KEY_MIN)
        wrong = "the key is too short: use at least 8 characters, so that strangers cannot guess it";
    if (wrong)
        return listen_fail(CHECK_USAGE, "--listen: ", wrong);
    if (!key && !peer_make_key(made))
        return listen_fail(CHECK_UNKNOWN, "", "the system has no random bytes for a key: give one with --key");
    if (hosts.count == 0)
        find_hosts(&hosts);
    if (hosts.count == 0)
        return listen_fail(CHECK_UNKNOWN, "", "this host has no address that others can reach: give one with --listen");
    struct peer_server *server =
        peer_server_open(hosts.list, hosts.count, port, key ? key : made, print_sender, problem, sizeof(problem));
    if (!server)
        return listen_fail(CHECK_UNKNOWN, "", problem);
    print_introduction(&hosts, port, key ? key : made);
    peer_server_run(server);
    peer_server_close(server);
    return CHECK_UNKNOWN;
}
