#include "net/resolver_local.h"

#include <string.h>

/* Whether a name is the zone or lies in it. */
static bool name_is_within(const char *name, const char *zone)
{
    size_t len = strlen(name), tail = strlen(zone);
    return len >= tail && strcmp(name + len - tail, zone) == 0 && (len == tail || name[len - tail - 1] == '.');
}

/* RFC 6761, RFC 7686: a question for one of Tor's names would give away where its client wants to go. */
static bool name_is_never_asked(const char *name)
{
    return name_is_within(name, "onion") || name_is_within(name, "invalid");
}

/* A name in the hosts file is not asked for in the other family either: "0.0.0.0 example.com" is there to hide it. */
bool resolver_find_local(const struct hosts *hosts, const char *name, int family,
                         union netaddr addresses[RESOLVER_ADDRESSES_MAX], size_t *count)
{
    static const uint8_t loopback_v4[4] = {127, 0, 0, 1}, loopback_v6[16] = {[15] = 1};
    *count = 0;
    if (name_is_within(name, "localhost")) { /* whatever a file or a server says (RFC 6761) */
        addresses[(*count)++] = family == AF_INET ? netaddr_from_bytes(loopback_v4, sizeof(loopback_v4), 0)
                                                  : netaddr_from_bytes(loopback_v6, sizeof(loopback_v6), 0);
        return true;
    }
    size_t entry_count = 0;
    const struct hosts_entry *entries = hosts_find(hosts, name, &entry_count);
    for (size_t i = 0; i < entry_count && *count < RESOLVER_ADDRESSES_MAX; i++)
        if (entries[i].address.sa.sa_family == family)
            addresses[(*count)++] = entries[i].address;
    return entry_count > 0 || name_is_never_asked(name);
}
