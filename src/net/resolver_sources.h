/*
 * Where a resolver gets its answers from: the hosts file, and the name servers of the configuration or of resolv.conf.
 * Both files are read again when they change.
 */
#ifndef CONESOCKS_NET_RESOLVER_SOURCES_H
#define CONESOCKS_NET_RESOLVER_SOURCES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/netaddr.h"
#include "net/resolver_files.h"

struct resolver_sources {
    union netaddr *configured; /* name servers */
    size_t configured_count;   /* 0: resolv.conf's are used */
    char *hosts_path, *resolv_conf_path;
    struct file_stamp hosts_stamp, resolv_conf_stamp;
    atomic_uint_fast64_t *told; /* of hosts_follow() */
    struct hosts hosts;
    struct resolv_conf resolv_conf;
};

/* NULL: /etc/hosts, /etc/resolv.conf. false: no memory; to be cleared nevertheless. */
bool resolver_sources_init(struct resolver_sources *sources, const char *hosts_path, const char *resolv_conf_path);
void resolver_sources_clear(struct resolver_sources *sources);

/* The name servers that are to be asked. */
const union netaddr *resolver_sources_servers(const struct resolver_sources *sources, size_t *count);
/* Uses these from now on, those of resolv.conf when there are none. `copy` is owned by the sources afterwards. */
void resolver_sources_configure(struct resolver_sources *sources, union netaddr *copy, size_t count);
/* Reads resolv.conf if it has changed. true: it names other servers, as `before` tells. */
bool resolver_sources_changed(struct resolver_sources *sources, struct resolv_conf *before);
/* Takes that back, so that the next look tries again. */
void resolver_sources_undo(struct resolver_sources *sources, const struct resolv_conf *before);

bool resolver_servers_equal(const union netaddr *a, size_t a_count, const union netaddr *b, size_t b_count);

#endif
