#include "policy/snapshot.h"

#include <assert.h>
#include <stdlib.h>

static void snapshot_discard(struct snapshot *snapshot)
{
    rules_free(snapshot->rules);
    users_deinit(&snapshot->users);
    free(snapshot);
}

static bool snapshot_derive(struct snapshot *snapshot, const struct config *config)
{
    if (config->rule_count && !(snapshot->rules = rules_compile(config->rules, config->rule_count)))
        return false;
    return users_init(&snapshot->users, config->users, config->user_count);
}

struct snapshot *snapshot_new(struct config *config)
{
    struct snapshot *snapshot = calloc(1, sizeof(*snapshot));
    if (!snapshot)
        return NULL;
    if (!snapshot_derive(snapshot, config)) {
        snapshot_discard(snapshot);
        return NULL;
    }
    snapshot->config = config;
    atomic_init(&snapshot->holders, 1);
    return snapshot;
}

struct snapshot *snapshot_hold(struct snapshot *snapshot)
{
    const unsigned holders = atomic_fetch_add_explicit(&snapshot->holders, 1, memory_order_relaxed);
    assert(holders > 0);
    return snapshot;
}

void snapshot_release(struct snapshot *snapshot)
{
    if (!snapshot)
        return;
    /* Acquire and release: all that other threads read of it was read before it is freed. */
    const unsigned holders = atomic_fetch_sub_explicit(&snapshot->holders, 1, memory_order_acq_rel);
    assert(holders > 0);
    if (holders > 1)
        return;
    struct config *config = snapshot->config;
    snapshot_discard(snapshot);
    config_free(config);
}
