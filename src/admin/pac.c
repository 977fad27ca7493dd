#include "admin/pac.h"

#include <stdbool.h>
#include <stdio.h>

#include "conf/config.h"

static bool pac_is_loopback(const union netaddr *address)
{
    if (address->sa.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    return address->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* Whether a listener for every address can be reached at `local`: it accepts that family; "::" accepts both. */
static bool pac_listener_takes(const struct config_listener *listener, const union netaddr *local)
{
    return netaddr_is_any(&listener->address) && local->sa.sa_family != AF_UNSPEC &&
           (listener->address.sa.sa_family == AF_INET6 || local->sa.sa_family == AF_INET);
}

static bool pac_serves_browsers(const struct config_listener *listener)
{
    return !listener->need_password || listener->trusted_count > 0;
}

/* How well a listener suits a browser that has reached `local`; 0: not at all. Browsers cannot log in to a SOCKS server
 * that a script names. */
static int pac_fitness(const struct config_listener *listener, const union netaddr *local)
{
    bool here = local->sa.sa_family == AF_UNSPEC || pac_is_loopback(local);
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED || (here && config_is_interface(&listener->address)))
        return 0;
    int fit = netaddr_equal_host(&listener->address, local) || pac_listener_takes(listener, local) ? 3
              : here || !pac_is_loopback(&listener->address)                                       ? 2
                                                                                                   : 1;
    return 2 * fit + pac_serves_browsers(listener);
}

static const struct config_listener *pac_choose_listener(const struct config *config, const union netaddr *local)
{
    const struct config_listener *best = NULL;
    for (size_t i = 0; i < config->listen_count; i++) {
        int fit = pac_fitness(&config->listen[i], local);
        if (fit > 0 && (!best || fit > pac_fitness(best, local)))
            best = &config->listen[i];
    }
    return best;
}

static union netaddr pac_address(const struct config_listener *listener, const union netaddr *local)
{
    union netaddr address = listener->address;
    if (pac_listener_takes(listener, local))
        address = *local;
    else if (netaddr_is_any(&address))
        netaddr_parse(&address, address.sa.sa_family == AF_INET ? "127.0.0.1" : "::1", 0);
    netaddr_set_port(&address, netaddr_port(&listener->address));
    return address;
}

static void pac_write_script(const struct config_listener *listener, const union netaddr *local, FILE *out)
{
    if (!listener) {
        fputs("// No listener of this proxy accepts browsers: each one requires the PROXY protocol.\n"
              "function FindProxyForURL(url, host) {\n    return \"DIRECT\";\n}\n",
              out);
        return;
    }
    char text[NETADDR_TEXT_MAX];
    const union netaddr address = pac_address(listener, local);
    netaddr_format(&address, text);
    if (!pac_serves_browsers(listener))
        fputs("// This proxy requires a login, and browsers cannot log in to a SOCKS server. Add their networks to "
              "listen[].trusted.\n",
              out);
    fprintf(out,
            "function FindProxyForURL(url, host) {\n"
            "    if (host == \"localhost\" || host == \"::1\" || host == \"[::1]\" || shExpMatch(host, \"127.*\"))\n"
            "        return \"DIRECT\";\n"
            "    return \"SOCKS5 %s; SOCKS %s\";\n"
            "}\n",
            text, text);
}

char *pac_format(const struct config *config, const union netaddr *local)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    pac_write_script(pac_choose_listener(config, local), local, out);
    fclose(out);
    return text;
}
