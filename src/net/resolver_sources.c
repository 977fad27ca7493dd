#include "net/resolver_sources.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

bool resolver_sources_init(struct resolver_sources *sources, const char *hosts_path, const char *resolv_conf_path)
{
    assert(!sources->hosts_path && !sources->resolv_conf_path);
    sources->hosts_path = strdup(hosts_path ? hosts_path : "/etc/hosts");
    sources->resolv_conf_path = strdup(resolv_conf_path ? resolv_conf_path : "/etc/resolv.conf");
    return sources->hosts_path && sources->resolv_conf_path;
}

void resolver_sources_clear(struct resolver_sources *sources)
{
    hosts_clear(&sources->hosts);
    free(sources->configured);
    free(sources->hosts_path);
    free(sources->resolv_conf_path);
}

bool resolver_servers_equal(const union netaddr *a, size_t a_count, const union netaddr *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!netaddr_equal(&a[i], &b[i]))
            return false;
    return true;
}

const union netaddr *resolver_sources_servers(const struct resolver_sources *sources, size_t *count)
{
    const struct resolv_conf *conf = &sources->resolv_conf;
    *count = sources->configured_count ? sources->configured_count : conf->server_count;
    return sources->configured_count ? sources->configured : conf->servers;
}

void resolver_sources_configure(struct resolver_sources *sources, union netaddr *copy, size_t count)
{
    assert(copy);
    free(sources->configured);
    sources->configured = copy;
    sources->configured_count = count;
}

bool resolver_sources_changed(struct resolver_sources *sources, struct resolv_conf *before)
{
    struct resolv_conf *conf = &sources->resolv_conf;
    *before = *conf;
    return resolv_conf_follow(conf, sources->resolv_conf_path, &sources->resolv_conf_stamp, sources->told) &&
           !resolver_servers_equal(conf->servers, conf->server_count, before->servers, before->server_count);
}

void resolver_sources_undo(struct resolver_sources *sources, const struct resolv_conf *before)
{
    sources->resolv_conf = *before;
    file_look_again(&sources->resolv_conf_stamp);
}
