#include "kernel/links.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/netaddr.h"

/* Every interface that is up has a link-local address: those that have no other carry nobody's traffic. */
static bool is_global(const struct sockaddr *address)
{
    union netaddr v6;
    if (!address || address->sa_family != AF_INET6)
        return address && address->sa_family == AF_INET;
    memcpy(&v6, address, sizeof(v6.v6));
    return !IN6_IS_ADDR_LINKLOCAL(&v6.v6.sin6_addr);
}

static bool has_address(const struct ifaddrs *all, const char *name)
{
    for (; all; all = all->ifa_next)
        if (strcmp(all->ifa_name, name) == 0 && is_global(all->ifa_addr))
            return true;
    return false;
}

/* Its index; 0: the program has nothing to do there. */
static uint32_t link_index(const struct ifaddrs *all, const struct ifaddrs *each)
{
    struct sockaddr_ll link;
    const unsigned wanted = IFF_UP, never = IFF_LOOPBACK | IFF_POINTOPOINT;
    if (!each->ifa_addr || each->ifa_addr->sa_family != AF_PACKET)
        return 0;
    memcpy(&link, each->ifa_addr, sizeof(link));
    const bool fits = (each->ifa_flags & (wanted | never)) == wanted && link.sll_hatype == ARPHRD_ETHER;
    return fits && has_address(all, each->ifa_name) ? (uint32_t)link.sll_ifindex : 0;
}

int links_read(struct links *links)
{
    struct ifaddrs *all;
    *links = (struct links){0};
    if (getifaddrs(&all) < 0)
        return -errno;
    for (const struct ifaddrs *each = all; each && links->count < LINKS_MAX; each = each->ifa_next) {
        const uint32_t index = link_index(all, each);
        if (!index)
            continue;
        links->list[links->count].index = index;
        snprintf(links->list[links->count].name, LINKS_NAME_MAX, "%s", each->ifa_name);
        links->count++;
    }
    freeifaddrs(all);
    return 0;
}

bool links_have(const struct links *links, uint32_t index)
{
    for (size_t i = 0; i < links->count; i++)
        if (links->list[i].index == index)
            return true;
    return false;
}

void links_format(const struct links *links, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < links->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? " " : "", links->list[i].name);
}
