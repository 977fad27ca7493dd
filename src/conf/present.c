#include "conf/present.h"

#include <errno.h>
#include <libgen.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/netaddr.h"
#include "conf/local_network.h"
#include "conf/spot.h"
#include "conf/user_names.h"

struct present {
    const struct config *config;
    yaml_document_t *document;
    struct report *report;
};

/* ---- users ---- */

static int present_compare_name(const void *name, const void *user)
{
    return strcmp(name, ((const struct user_name *)user)->name);
}

static void present_users(const struct present *check)
{
    const struct config *config = check->config;
    struct user_name *names = user_names_sorted(config, config->user_count);
    for (size_t i = 0; names && i < config->rule_count; i++)
        for (size_t j = 0; j < config->rules[i].user_count; j++) {
            const char *user = config->rules[i].users[j];
            if (bsearch(user, names, config->user_count, sizeof(*names), present_compare_name))
                continue;
            const struct spot spot = spot_of_value(check->document, "rules", i, "user", j);
            char text[128];
            log_escape(text, sizeof(text), user, strlen(user));
            report_warning(check->report, spot.place, spot.key,
                           "there is no user \"%s\", so nobody matches it; add the user, or correct the name", text);
        }
    free(names);
}

/* ---- addresses ---- */

/* Binds or connects a datagram socket to `address`. Returns an errno. */
static int present_try_address(const union netaddr *address, int (*try)(int, const struct sockaddr *, socklen_t))
{
    const int fd = socket(address->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const int error = fd < 0 || try(fd, &address->sa, netaddr_len(address)) < 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return error;
}

static void present_local_address(const struct present *check, const union netaddr *address, const struct spot *spot,
                                  const char *consequence)
{
    union netaddr host = *address;
    char text[NETADDR_TEXT_MAX];
    netaddr_set_port(&host, 0);
    if (host.sa.sa_family == AF_UNSPEC || present_try_address(&host, bind) != EADDRNOTAVAIL)
        return;
    report_warning(check->report, spot->place, spot->key,
                   "this host does not have the address %s now (list its addresses with: ip address); %s",
                   netaddr_format_host(&host, text), consequence);
}

static void present_route(const struct present *check, const union netaddr *address, const struct spot *spot,
                          const char *consequence)
{
    char text[NETADDR_TEXT_MAX];
    if (address->sa.sa_family == AF_UNSPEC)
        return;
    const int error = present_try_address(address, connect);
    if (error == ENETUNREACH || error == EHOSTUNREACH || error == EADDRNOTAVAIL)
        report_warning(check->report, spot->place, spot->key,
                       "this host has no route to %s now (check with: ip route get); %s",
                       netaddr_format_host(address, text), consequence);
}

/* ---- where sessions leave from ---- */

#define NOT_LEAVE "sessions that should use it fail"

static bool present_is_loopback(const union netaddr *address)
{
    return address->sa.sa_family == AF_INET ? ntohl(address->v4.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET
                                            : IN6_IS_ADDR_LOOPBACK(&address->v6.sin6_addr);
}

static void present_network(const struct present *check, const struct config_pool *pool, const struct spot *spot)
{
    const struct config_network network = {pool->addresses[0], pool->bits};
    const bool v4 = network.address.sa.sa_family == AF_INET;
    char text[NETADDR_TEXT_MAX];
    if (local_network_is(&network))
        return;
    netaddr_format_host(&network.address, text);
    report_warning(
        check->report, spot->place, spot->key,
        "this host does not have the whole network %s/%u now (to add it: ip %sroute add local %s/%u dev lo); "
        "sessions that should use it fail",
        text, network.bits, v4 ? "" : "-6 ", text, network.bits);
}

static void present_pool(const struct present *check, const struct config_pool *pool, const struct spot *spot)
{
    if (pool->kind == CONFIG_POOL_NETWORK) {
        present_network(check, pool, spot);
        return;
    }
    for (size_t i = 0; i < pool->count; i++) {
        if (present_is_loopback(&pool->addresses[i]))
            report_warning(check->report, spot->place, spot->key,
                           "a loopback address cannot reach other hosts; use another address of this host (list them "
                           "with: ip address)");
        else
            present_local_address(check, &pool->addresses[i], spot, NOT_LEAVE);
    }
}

static void present_interface(const struct present *check, const char *interface, const struct spot *spot)
{
    if (interface && if_nametoindex(interface) == 0)
        report_warning(check->report, spot->place, spot->key,
                       "this host does not have the interface \"%s\" now (list its interfaces with: ip link); the "
                       "server does not start without it",
                       interface);
}

static struct spot present_spot_in_group(const struct present *check, const char *group, const char *key)
{
    struct spot spot = {.place = place_in_group(check->document, group, key)};
    snprintf(spot.key, sizeof(spot.key), "%s.%s", group, key);
    return spot;
}

static void present_terms(const struct present *check, const struct config_terms *terms, const char *list, size_t i)
{
    if (!terms->address_v4.kind && !terms->address_v6.kind && !terms->interface)
        return;
    const struct spot v4 = spot_in_list(check->document, list, i, "address_v4");
    const struct spot v6 = spot_in_list(check->document, list, i, "address_v6");
    const struct spot interface = spot_in_list(check->document, list, i, "interface");
    present_pool(check, &terms->address_v4, &v4);
    present_pool(check, &terms->address_v6, &v6);
    present_interface(check, terms->interface, &interface);
}

static void present_outbound(const struct present *check)
{
    const struct config *config = check->config;
    const struct spot v4 = present_spot_in_group(check, "outbound", "address_v4");
    const struct spot v6 = present_spot_in_group(check, "outbound", "address_v6");
    const struct spot interface = present_spot_in_group(check, "outbound", "interface");
    present_pool(check, &config->outbound.address_v4, &v4);
    present_pool(check, &config->outbound.address_v6, &v6);
    present_interface(check, config->outbound.interface, &interface);
    for (size_t i = 0; i < config->listen_count; i++)
        present_terms(check, &config->listen[i].terms, "listen", i);
    for (size_t i = 0; i < config->inline_user_count; i++)
        present_terms(check, &config->users[i].terms, "users", i);
    for (size_t i = 0; i < config->rule_count; i++)
        present_terms(check, &config->rules[i].terms, "rules", i);
}

/* ---- where it listens, and which servers it asks ---- */

#define NOT_START "the server does not start without it"

static void present_listeners(const struct present *check)
{
    const struct config *config = check->config;
    for (size_t i = 0; i < config->listen_count; i++) {
        const struct spot spot = spot_in_list(check->document, "listen", i, "address");
        present_local_address(check, &config->listen[i].address, &spot, NOT_START);
    }
    const struct spot admin = present_spot_in_group(check, "admin", "address");
    if (netaddr_port(&config->admin.address))
        present_local_address(check, &config->admin.address, &admin, NOT_START);
}

static void present_servers(const struct present *check)
{
    const struct config *config = check->config;
    const struct spot dns = present_spot_in_group(check, "dns", "servers");
    for (size_t i = 0; i < config->dns.server_count; i++)
        present_route(check, &config->dns.servers[i], &dns, "this name server is not used");
    for (size_t i = 0; i < config->upstream_count; i++) {
        union netaddr address = config->upstreams[i].host.address;
        const struct spot spot = spot_in_list(check->document, "upstreams", i, "address");
        netaddr_set_port(&address, (uint16_t)config->upstreams[i].port);
        if (!config->upstreams[i].host.name)
            present_route(check, &address, &spot, "sessions that should use it fail");
    }
}

/* ---- folders ---- */

/* Only a warning: systemd may create the folder at the start (RuntimeDirectory=). */
static void present_folder(const struct present *check, const char *group, const char *key, const char *path)
{
    char *folder = path ? strdup(path) : NULL;
    const struct spot spot = present_spot_in_group(check, group, key);
    if (folder && access(dirname(folder), F_OK) < 0 && errno == ENOENT)
        report_warning(check->report, spot.place, spot.key,
                       "the folder %s does not exist; the server does not start without it", folder);
    free(folder);
}

void present_check(const struct config *config, yaml_document_t *document, struct report *report)
{
    const struct present check = {config, document, report};
    present_users(&check);
    present_listeners(&check);
    present_outbound(&check);
    present_servers(&check);
    present_folder(&check, "log", "file", config->log.target == LOG_TARGET_FILE ? config->log.file : NULL);
    present_folder(&check, "admin", "socket", config->admin.socket);
    present_folder(&check, "run", "pid_file", config->run.pid_file);
    present_folder(&check, "run", "handover", config->run.handover);
}
