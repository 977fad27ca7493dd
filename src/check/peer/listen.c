#include "check/peer/listen.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check/check.h"
#include "check/peer/peer_server.h"
#include "check/peer/peer_wire.h"
#include "check/proxy_url.h"

#define KEY_MIN 8
#define ALONE   ", alone on its network: filtering by address cannot be told from none here, that takes two"

struct places {
    struct peer_host list[PEER_SERVER_PLACES_MAX];
    size_t count;
};

/* Others cannot reach it, or not without a scope. */
static bool is_local(const union netaddr *address)
{
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    if (len == 4)
        return host[0] == 127 || (host[0] == 169 && host[1] == 254);
    return IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr) || IN6_IS_ADDR_LINKLOCAL(&address->v6.sin6_addr);
}

static void find_places(struct places *places)
{
    struct ifaddrs *all;
    if (getifaddrs(&all) < 0)
        return;
    for (const struct ifaddrs *one = all; one && places->count < PEER_SERVER_PLACES_MAX; one = one->ifa_next) {
        union netaddr address = {.sa.sa_family = AF_UNSPEC};
        if (!one->ifa_addr || !(one->ifa_flags & IFF_UP))
            continue;
        if (one->ifa_addr->sa_family == AF_INET)
            memcpy(&address.v4, one->ifa_addr, sizeof(address.v4));
        else if (one->ifa_addr->sa_family == AF_INET6)
            memcpy(&address.v6, one->ifa_addr, sizeof(address.v6));
        if (address.sa.sa_family != AF_UNSPEC && !is_local(&address))
            places->list[places->count++] =
                (struct peer_host){.address = address, .link = if_nametoindex(one->ifa_name)};
    }
    freeifaddrs(all);
}

/* [ADDRESS][:PORT]. NULL, or what is wrong with it. */
static const char *parse_where(const char *where, struct places *places, uint16_t *port)
{
    char host[256], text[16];
    bool everywhere = where[0] == ':' && strchr(where + 1, ':') == NULL;
    if (everywhere && snprintf(text, sizeof(text), "0.0.0.0%s", where) >= (int)sizeof(text))
        return "a port is a number from 1 to 65534";
    const char *wrong = host_port_parse(everywhere ? text : where, host, port);
    if (wrong || everywhere)
        return wrong;
    places->count = 1;
    return netaddr_parse(&places->list[0].address, host, 0) ? NULL : "the address is none: a name does not do here";
}

static void introduce(const struct places *places, uint16_t port, const char *key)
{
    char text[NETADDR_TEXT_MAX];
    const union netaddr *first = &places->list[0].address;
    printf("The far end for a check from another machine, at\n");
    for (size_t i = 0; i < places->count; i++)
        printf("  %s%s\n", netaddr_format_host(&places->list[i].address, text),
               peer_host_other(places->list, places->count, i) == i ? ALONE : "");
    printf("UDP %u and %u, TCP %u: let these in through the firewall. Then run there:\n\n", port, port + 1u, port);
    union netaddr at = *first;
    netaddr_set_port(&at, port);
    printf("  conesocks check --proxy socks5://HOST:PORT --peer %s --key %s\n\n",
           port == PEER_PORT ? netaddr_format_host(first, text) : netaddr_format(&at, text), key);
    printf("If this machine is behind a NAT, name its public address there instead.\n");
    printf("Who does not know the key gets no answer. End it with Control-C.\n");
    fflush(stdout);
}

static void tell_arrived(void *context, const union netaddr *guest)
{
    (void)context;
    char text[NETADDR_TEXT_MAX];
    printf("asked by %s\n", netaddr_format(guest, text));
    fflush(stdout);
}

static void tell_refused(void *context, const union netaddr *sender)
{
    (void)context;
    char text[NETADDR_TEXT_MAX];
    printf("not answered: %s, which does not have the key (told at most every ten seconds)\n",
           netaddr_format(sender, text));
    fflush(stdout);
}

int check_listen(const char *where, const char *key)
{
    char made[PEER_KEY_LEN + 1], problem[256];
    struct places places = {0};
    uint16_t port = PEER_PORT;
    const char *wrong = where ? parse_where(where, &places, &port) : NULL;
    if (!wrong && port == UINT16_MAX)
        wrong = "the port after it is needed, too: a port is a number from 1 to 65534";
    if (!wrong && key && strlen(key) < KEY_MIN)
        wrong = "a key has 8 characters at least, or strangers will guess it";
    if (wrong) {
        fprintf(stderr, "conesocks check: --listen: %s\n", wrong);
        return CHECK_USAGE;
    }
    if (!key && !peer_make_key(made)) {
        fprintf(stderr, "conesocks check: the system gives no random bytes for a key: name one with --key\n");
        return CHECK_UNKNOWN;
    }
    if (places.count == 0)
        find_places(&places);
    if (places.count == 0) {
        fprintf(stderr, "conesocks check: this host has no address that others could reach: name one with --listen\n");
        return CHECK_UNKNOWN;
    }
    const struct peer_server_watch watch = {.arrived = tell_arrived, .refused = tell_refused};
    struct peer_server *server =
        peer_server_open(places.list, places.count, port, key ? key : made, &watch, problem, sizeof(problem));
    if (!server) {
        fprintf(stderr, "conesocks check: %s\n", problem);
        return CHECK_UNKNOWN;
    }
    introduce(&places, port, key ? key : made);
    peer_server_run(server);
    peer_server_close(server);
    return CHECK_UNKNOWN;
}
