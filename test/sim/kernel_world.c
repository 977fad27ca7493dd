#include "kernel_world.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "world.h"

#define SLOTS_MAX 4
#define PEERS_MAX 16

struct kernel_slot {
    bool is_open;
    size_t peer_count;
    struct {
        union netaddr address;
        unsigned sent;
    } peers[PEERS_MAX];
    struct kernel_carried carried;
    struct kernel_credit credit[KERNEL_WAYS];
};

struct kernel_worker {
    struct kernel_slot slots[SLOTS_MAX];
};

int kernel_world_error;
bool kernel_world_paused;
union netaddr kernel_world_client, kernel_world_relay, kernel_world_external;
struct kernel_slot_setup kernel_world_setup;
unsigned kernel_world_revoked;
int kernel_world_stuck = -1;

static struct kernel_worker fake;
static char calls[4096];

void kernel_world_begin(void)
{
    memset(&fake, 0, sizeof(fake));
    calls[0] = '\0';
    kernel_world_error = 0;
    kernel_world_paused = false;
    kernel_world_revoked = 0;
    world_env.kernel = &fake;
}

static void __attribute__((format(printf, 1, 2))) note(const char *format, ...)
{
    va_list list;
    const size_t len = strlen(calls);
    va_start(list, format);
    vsnprintf(calls + len, sizeof(calls) - len, format, list);
    va_end(list);
}

const char *kernel_world_calls(void)
{
    static char taken[sizeof(calls)];
    memcpy(taken, calls, sizeof(calls));
    if (taken[0])
        taken[strlen(taken) - 1] = '\0'; /* the last space */
    calls[0] = '\0';
    return taken;
}

size_t kernel_world_slots(void)
{
    size_t count = 0;
    for (size_t i = 0; i < SLOTS_MAX; i++)
        count += fake.slots[i].is_open;
    return count;
}

static struct kernel_slot *open_slot(void)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (fake.slots[i].is_open)
            return &fake.slots[i];
    }
    abort();
}

struct kernel_credit kernel_world_credit(enum kernel_way way)
{
    return open_slot()->credit[way];
}

void kernel_world_relays(enum kernel_way way, uint64_t datagrams, uint64_t bytes, uint64_t at_ms)
{
    struct kernel_slot *slot = open_slot();
    slot->carried.way[way].datagrams += datagrams;
    slot->carried.way[way].bytes += bytes;
    slot->carried.way[way].last_ms = at_ms;
    if (datagrams > slot->credit[way].datagrams || bytes > slot->credit[way].bytes)
        abort(); /* the program would not */
    slot->credit[way].datagrams -= datagrams;
    slot->credit[way].bytes -= bytes;
}

/* ---- kernel/kernel_path.h ---- */

void kernel_worker_revoke(struct kernel_worker *worker)
{
    (void)worker;
    kernel_world_revoked++;
}

bool kernel_worker_is_paused(const struct kernel_worker *worker)
{
    (void)worker;
    return kernel_world_paused;
}

struct kernel_slot *kernel_slot_new(struct kernel_worker *worker, const struct kernel_slot_setup *setup)
{
    note("new ");
    if (kernel_world_error) {
        errno = kernel_world_error;
        return NULL;
    }
    kernel_world_client = *setup->client;
    kernel_world_relay = *setup->relay;
    kernel_world_external = *setup->external;
    kernel_world_setup = *setup;
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (worker->slots[i].is_open)
            continue;
        const uint64_t credit = setup->is_limited ? 0 : UINT64_MAX;
        worker->slots[i] = (struct kernel_slot){.is_open = true, .credit = {{credit, credit}, {credit, credit}}};
        return &worker->slots[i];
    }
    abort();
}

void kernel_slot_move_client(struct kernel_slot *slot, uint16_t port)
{
    (void)slot;
    note("move:%u ", port);
}

/* Notes how many datagrams user space has sent by then, too. */
bool kernel_slot_sent(struct kernel_worker *worker, struct kernel_slot *slot, const union netaddr *peer)
{
    (void)worker;
    char text[NETADDR_TEXT_MAX];
    note("sent:%s@%zu ", netaddr_format(peer, text), world_sent_count());
    size_t i = 0;
    while (i < slot->peer_count && !netaddr_equal(&slot->peers[i].address, peer))
        i++;
    if (i == slot->peer_count)
        slot->peers[slot->peer_count++].address = *peer;
    return ++slot->peers[i].sent >= 2;
}

void kernel_slot_caught_up(struct kernel_slot *slot, enum kernel_way way, uint32_t count, int fd)
{
    (void)slot, (void)fd;
    note("%s:%u@%zu ", way == KERNEL_UP ? "up" : "down", count, world_sent_count());
}

bool kernel_slot_is_stuck(struct kernel_slot *slot, enum kernel_way way, int fd)
{
    (void)slot;
    if (fd < 0)
        abort();
    return kernel_world_stuck == (int)way;
}

void kernel_slot_take(struct kernel_slot *slot, struct kernel_carried *carried)
{
    *carried = slot->carried;
    for (int way = 0; way < KERNEL_WAYS; way++)
        slot->carried.way[way].datagrams = slot->carried.way[way].bytes = 0;
}

static uint64_t added(uint64_t a, uint64_t b)
{
    return b < UINT64_MAX - a ? a + b : UINT64_MAX;
}

void kernel_slot_allow(struct kernel_slot *slot, enum kernel_way way, const struct kernel_credit *credit)
{
    slot->credit[way].datagrams = added(slot->credit[way].datagrams, credit->datagrams);
    slot->credit[way].bytes = added(slot->credit[way].bytes, credit->bytes);
}

void kernel_slot_withdraw(struct kernel_slot *slot, enum kernel_way way, struct kernel_credit *unused)
{
    *unused = slot->credit[way];
    slot->credit[way] = (struct kernel_credit){0};
}

bool kernel_slot_needs_credit(const struct kernel_slot *slot, enum kernel_way way)
{
    return slot->credit[way].datagrams == 0 || slot->credit[way].bytes < 65535;
}

/* Notes how many sockets are open, too. */
void kernel_slot_free(struct kernel_worker *worker, struct kernel_slot *slot, struct kernel_carried *carried)
{
    (void)worker;
    note("free@%zu ", world_open_sockets());
    kernel_slot_take(slot, carried);
    slot->is_open = false;
}
