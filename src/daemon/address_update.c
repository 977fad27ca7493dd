#include "daemon/address_update.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/util.h"
#include "daemon/crew.h"
#include "daemon/worker.h"
#include "policy/own_hosts.h"
#include "proxy/env.h"

struct address_update {
    size_t worker_count;
    struct address_parcel {
        struct inbox_item item; /* the worker's while there is a set in `fresh` */
        struct worker *worker;
        _Atomic(struct own_hosts *) fresh; /* held, on its way to the worker; NULL: none */
    } parcels[];
};

/* On the worker's thread. */
static void address_parcel_take(struct inbox_item *item)
{
    struct address_parcel *parcel = container_of(item, struct address_parcel, item);
    struct policy *policy = &worker_env(parcel->worker)->policy;
    own_hosts_release(policy->own_hosts);
    policy->own_hosts = atomic_exchange(&parcel->fresh, NULL);
    assert(policy->own_hosts);
}

static void address_parcel_send(struct address_parcel *parcel, struct own_hosts *hosts)
{
    struct own_hosts *passed_over = atomic_exchange(&parcel->fresh, own_hosts_hold(hosts));
    own_hosts_release(passed_over);
    if (!passed_over) /* else the item is still on its way */
        worker_post(parcel->worker, &parcel->item);
}

void address_update_send(struct address_update *update, struct own_hosts *hosts)
{
    for (size_t i = 0; i < update->worker_count; i++)
        address_parcel_send(&update->parcels[i], hosts);
}

struct address_update *address_update_new(const struct crew *crew)
{
    const size_t count = crew_size(crew);
    struct address_update *update = calloc(1, sizeof(*update) + count * sizeof(struct address_parcel));
    if (!update)
        return NULL;
    update->worker_count = count;
    for (size_t i = 0; i < count; i++) {
        update->parcels[i].item.run = address_parcel_take;
        update->parcels[i].worker = crew_worker(crew, i);
    }
    return update;
}

void address_update_free(struct address_update *update)
{
    if (!update)
        return;
    for (size_t i = 0; i < update->worker_count; i++)
        own_hosts_release(atomic_load(&update->parcels[i].fresh));
    free(update);
}
