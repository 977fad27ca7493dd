#include "policy/snapshot.h"

#include <stdlib.h>

static void discard(struct snapshot *snapshot)
{
    rules_free(snapshot->rules);
    users_deinit(&snapshot->users);
    free(snapshot);
}

static bool derive(struct snapshot *snapshot, const struct config *config)
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
    if (!derive(snapshot, config)) {
        discard(snapshot);
        return NULL;
    }
    snapshot->config = config;
    atomic_init(&snapshot->holders, 1);
    return snapshot;
}

struct snapshot *snapshot_hold(struct snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->holders, 1, memory_order_relaxed);
    return snapshot;
}

void snapshot_release(struct snapshot *snapshot)
{
    /* What others have read of it, they have read before it goes. */
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot->holders, 1, memory_order_acq_rel) > 1)
        return;
    struct config *config = snapshot->config;
    discard(snapshot);
    config_free(config);
}
