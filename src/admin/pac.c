#include "admin/pac.h"

#include <stdbool.h>
#include <stdio.h>

#include "conf/config.h"

static bool is_loopback(const union netaddr *address)
{
    if (address->sa.sa_family == AF_INET)
        return ntohl(address->v4.sin_addr.s_addr) >> 24 == 127;
    return address->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

/* A listener for every address is reached where this one was, if it takes that family; :: takes both. */
static bool takes(const struct config_listener *listener, const union netaddr *local)
{
    return netaddr_is_any(&listener->address) && local->sa.sa_family != AF_UNSPEC &&
           (listener->address.sa.sa_family == AF_INET6 || local->sa.sa_family == AF_INET);
}

/* How well a browser is served that has reached `local`; 0: not at all. Browsers cannot log in to a SOCKS server that a
 * script names. */
static int fitness(const struct config_listener *listener, const union netaddr *local)
{
    bool here = local->sa.sa_family == AF_UNSPEC || is_loopback(local);
    if (listener->proxy_protocol == CONFIG_PROXY_PROTOCOL_REQUIRED)
        return 0;
    int fit = netaddr_equal_host(&listener->address, local) || takes(listener, local) ? 3
              : here || !is_loopback(&listener->address)                              ? 2
                                                                                      : 1;
    return 2 * fit + !listener->need_password;
}

static const struct config_listener *choose(const struct config *config, const union netaddr *local)
{
    const struct config_listener *best = NULL;
    for (size_t i = 0; i < config->listen_count; i++) {
        int fit = fitness(&config->listen[i], local);
        if (fit > 0 && (!best || fit > fitness(best, local)))
            best = &config->listen[i];
    }
    return best;
}

static union netaddr address_for(const struct config_listener *listener, const union netaddr *local)
{
    union netaddr address = listener->address;
    if (takes(listener, local))
        address = *local;
    else if (netaddr_is_any(&address))
        netaddr_parse(&address, address.sa.sa_family == AF_INET ? "127.0.0.1" : "::1", 0);
    netaddr_set_port(&address, netaddr_port(&listener->address));
    return address;
}

static void write_script(const struct config_listener *listener, const union netaddr *local, FILE *out)
{
    if (!listener) {
        fputs("// No listener of this proxy is for browsers: each one wants the PROXY protocol first.\n"
              "function FindProxyForURL(url, host) {\n    return \"DIRECT\";\n}\n",
              out);
        return;
    }
    char text[NETADDR_TEXT_MAX];
    const union netaddr address = address_for(listener, local);
    netaddr_format(&address, text);
    if (listener->need_password)
        fputs("// This proxy asks for a login, and browsers cannot log in to a SOCKS server.\n", out);
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
    write_script(choose(config, local), local, out);
    fclose(out);
    return text;
}
