#include "net/ports.h"

#include <errno.h>
#include <event2/util.h>
#include <stdatomic.h>
#include <stdio.h>

#define RANDOM_TRIES 64

/* Of each family and port the second, on the caller's clock, from which it is free; OPEN while a socket of ours has it.
 */
#define OPEN UINT32_MAX
static atomic_uint_least32_t free_from[2][UINT16_MAX + 1];

static atomic_uint_least32_t *slot_of(const union netaddr *local)
{
    return &free_from[local->sa.sa_family == AF_INET6][netaddr_port(local)];
}

void ports_init_system(struct ports *ports)
{
    *ports = (struct ports){.first = 32768, .last = 60999}; /* Linux's own default */
    FILE *file = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
    if (!file)
        return;
    unsigned first, last;
    if (fscanf(file, "%u %u", &first, &last) == 2 && first > 0 && first <= last && last <= UINT16_MAX) {
        ports->first = (uint16_t)first;
        ports->last = (uint16_t)last;
    }
    fclose(file);
}

/* 0, or -EADDRINUSE: somebody has it, or it has to rest; or another negative errno. */
static int try_port(int fd, const union netaddr *local, uint64_t now_ms, bool rested)
{
    atomic_uint_least32_t *slot = slot_of(local);
    uint_least32_t before = atomic_load(slot);
    if (before == OPEN || (rested && before > now_ms / 1000) || !atomic_compare_exchange_strong(slot, &before, OPEN))
        return -EADDRINUSE;
    if (bind(fd, &local->sa, netaddr_len(local)) == 0)
        return 0;
    int error = errno;
    atomic_store(slot, before);
    return -error;
}

int ports_bind(const struct ports *ports, int fd, union netaddr *local, uint64_t now_ms)
{
    uint32_t count = (uint32_t)ports->last - ports->first + 1, pick = 0;
    uint32_t tries = RANDOM_TRIES + count + (ports->must_rest ? 0 : count);
    /* Random as long as that is likely to hit, then each port once in turn, and once more for the unrested. */
    for (uint32_t i = 0; i < tries; i++) {
        if (i < RANDOM_TRIES)
            evutil_secure_rng_get_bytes(&pick, sizeof(pick));
        else
            pick++;
        uint16_t port = (uint16_t)(ports->first + pick % count);
        if (port == ports->except)
            continue;
        netaddr_set_port(local, port);
        int error = try_port(fd, local, now_ms, i < RANDOM_TRIES + count);
        if (error != -EADDRINUSE)
            return error;
    }
    return -EADDRINUSE;
}

void ports_release(const struct ports *ports, const union netaddr *local, uint64_t used_until_ms)
{
    uint64_t rest_s = (ports->rest_ms + 999) / 1000;
    atomic_store(slot_of(local), rest_s ? (uint_least32_t)(used_until_ms / 1000 + 1 + rest_s) : 0);
}
