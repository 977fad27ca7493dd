#include "net/ports.h"

#include <errno.h>
#include <event2/util.h>
#include <stdio.h>

void ports_init_system(struct ports *ports)
{
    *ports = (struct ports){32768, 60999}; /* Linux's own default */
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (!file)
        return;
    unsigned first, last;
    if (fscanf(file, "%u %u", &first, &last) == 2 && first > 0 && first <= last && last <= UINT16_MAX)
        *ports = (struct ports){(uint16_t)first, (uint16_t)last};
    fclose(file);
}

int ports_bind(struct ports *ports, int fd, union netaddr *local)
{
    uint32_t count = (uint32_t)ports->last - ports->first + 1;
    uint32_t random_tries = 64, pick = 0;
    /* Random as long as that is likely to hit, then each port once in turn: exhaustion is noticed, not waited for. */
    for (uint32_t i = 0; i < random_tries + count; i++) {
        if (i < random_tries)
            evutil_secure_rng_get_bytes(&pick, sizeof(pick));
        else
            pick++;
        netaddr_set_port(local, (uint16_t)(ports->first + pick % count));
        if (bind(fd, &local->sa, netaddr_len(local)) == 0)
            return 0;
        if (errno != EADDRINUSE)
            return -errno;
    }
    return -EADDRINUSE;
}
