#include "proxy/memory_pressure.h"

#include <assert.h>
#include <stdint.h>

#include "net/pump.h"
#include "proxy/assoc/assoc.h"
#include "proxy/env.h"
#include "proxy/session/payer.h"
#include "proxy/session/sessions.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"
#include "proxy/stream/stream.h"

/* One call's share; the next call is not far. */
#define SHED_MAX    16
#define GIVE_UP_MAX 64
/* Associations end no sooner after something that may have sufficed. */
#define QUIET_SHED_AFTER_MS 2000

static void visit_set_room(void *arg, struct stream *stream, struct assoc *assoc)
{
    const struct env *env = arg;
    (void)stream;
    if (assoc)
        assoc_set_room(assoc, memory_level_room(env->memory));
}

static void visit_add_memory(void *arg, struct stream *stream, struct assoc *assoc)
{
    size_t *sum = arg;
    *sum += stream ? stream_memory(stream) : 0;
    *sum += assoc ? assoc_memory(assoc) : 0;
}

/* Of what associations may hold for their clients. */
static size_t loans_withheld(enum memory_level level)
{
    return level == MEMORY_AMPLE ? 0 : level == MEMORY_SHORT ? LOANS_MAX / 4 * 3 : LOANS_MAX / 16 * 15;
}

struct stuck {
    struct stream *stream;
    uint64_t since_ms;
};

static void visit_find_stuck(void *arg, struct stream *stream, struct assoc *assoc)
{
    struct stuck *longest = arg;
    (void)assoc;
    if (!stream || stream_stuck_since(stream) >= longest->since_ms)
        return;
    longest->stream = stream;
    longest->since_ms = stream_stuck_since(stream);
}

static void memory_pressure_give_up_stuck(struct env *env, size_t excess)
{
    size_t won = 0;
    for (int i = 0; i < GIVE_UP_MAX && won < excess; i++) {
        struct stuck longest = {NULL, UINT64_MAX};
        struct payer *heaviest = shed_find_heaviest(env);
        if (heaviest)
            payer_visit(heaviest, visit_find_stuck, &longest);
        if (!longest.stream)
            sessions_visit(env, visit_find_stuck, &longest);
        if (!longest.stream)
            return;
        won += stream_memory(longest.stream);
        metrics_add(&env->metrics.shed_streams_total, 1);
        stream_give_up(longest.stream, "its reader did not read when memory ran out (limits.memory)");
    }
}

/* It takes a moment until the kernel and malloc have given back what was freed: meanwhile no association ends. */
static void memory_pressure_shed(struct env *env)
{
    static const struct shortage of_memory = {.kind = SHORTAGE_MEMORY};
    const uint64_t now = env_now(env);
    bool begun = false;
    for (int i = 0; i < SHED_MAX && shed_begun(env, &of_memory); i++)
        begun = true;
    if (begun)
        env->begun_shed_ms = now;
    if (env->begun_shed_ms && now - env->begun_shed_ms < QUIET_SHED_AFTER_MS)
        return;
    for (int i = 0; i < SHED_MAX && shed_idle(env, &of_memory); i++)
        ;
}

size_t memory_pressure_relieve(struct env *env, const struct memory_pressure_order *order)
{
    if (order->level != env->memory) {
        env->memory = order->level;
        pump_pool_save_memory(env->pumps, order->level != MEMORY_AMPLE);
        sessions_visit(env, visit_set_room, env);
        env->loans.withheld = loans_withheld(order->level);
    }
    if (order->level != MEMORY_AMPLE && !order->recedes)
        memory_pressure_shed(env);
    assert(env->loans.withheld <= LOANS_MAX && env->loans.lent <= LOANS_MAX);
    payers_call_loans(env, LOANS_MAX - env->loans.withheld);
    if (order->level == MEMORY_CRITICAL)
        memory_pressure_give_up_stuck(env, order->excess);
    size_t held = 0;
    if (order->measure)
        sessions_visit(env, visit_add_memory, &held);
    return held;
}
