#include "daemon/balance.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "net/inbox.h"
#include "net/sock.h"
#include "proxy/env.h"
#include "proxy/session/accept.h"

/* What one worker spends on it has a limit: beyond so many connections a second chance spreads them well enough. */
#define LOOKS_PER_SECOND 256
/* Per cent of a CPU. */
#define MUCH_BUSIER 25

struct balance_place {
    struct balance *balance;
    struct env *env; /* of others only what any thread may touch: counters, inbox */
    atomic_bool takes;
    atomic_uint on_the_way; /* connections handed over to it whose sessions have not begun */
    atomic_uint busy;       /* see struct balance_load */

    /* For its own thread. */
    bool has_left;
    uint64_t cpu_us, noted_ms; /* see balance_note_work() */
    uint64_t second;           /* in which it has looked at others so often */
    uint32_t looks;
};

struct balance {
    size_t size, room;
    struct balance_place places[]; /* these do not move, nor change in number, once workers run */
};

struct handed_over {
    struct inbox_item item;
    struct balance_place *to;
    struct snapshot *snapshot; /* held, for `listener` is a part of it */
    const struct config_listener *listener;
    union netaddr peer;
    int fd;
};

/* ---- life ---- */

struct balance *balance_new(size_t room)
{
    assert(room > 0);
    struct balance *balance = calloc(1, sizeof(*balance) + room * sizeof(struct balance_place));
    if (balance)
        balance->room = room;
    return balance;
}

void balance_free(struct balance *balance)
{
    free(balance);
}

struct balance_place *balance_join(struct balance *balance, struct env *env)
{
    assert(balance->size < balance->room);
    struct balance_place *place = &balance->places[balance->size++];
    place->balance = balance;
    place->env = env;
    return place;
}

void balance_take_from_others(struct balance_place *place, bool takes)
{
    if (place)
        atomic_store_explicit(&place->takes, takes, memory_order_relaxed);
}

void balance_leave(struct balance_place *place)
{
    if (!place)
        return;
    balance_take_from_others(place, false);
    place->has_left = true;
}

/* ---- the choice ---- */

void balance_note_work(struct balance_place *place, uint64_t cpu_us)
{
    if (!place)
        return;
    const uint64_t now = env_now(place->env);
    if (now > place->noted_ms) {
        const uint64_t percent = (cpu_us - place->cpu_us) / 10 / (now - place->noted_ms);
        atomic_store_explicit(&place->busy, percent < 100 ? (unsigned)percent : 100, memory_order_relaxed);
    }
    place->cpu_us = cpu_us;
    place->noted_ms = now;
}

/* With few sessions each counts; with many, a difference of an eighth is chance and not worth the transfer. */
bool balance_is_worthwhile(struct balance_load own, struct balance_load other)
{
    const uint64_t chance = other.sessions / 8;
    if (own.sessions > other.sessions + chance)
        return true;
    return own.sessions + chance >= other.sessions && own.busy >= other.busy + MUCH_BUSIER;
}

/* Of another worker it is nearly exact: its counters are read while it changes them. */
static struct balance_load balance_load(struct balance_place *place)
{
    struct metrics *metrics = &place->env->metrics;
    const uint64_t ended = atomic_load_explicit(&metrics->sessions_ended_total, memory_order_relaxed);
    const uint64_t begun = atomic_load_explicit(&metrics->sessions_total, memory_order_relaxed);
    const uint64_t coming = atomic_load_explicit(&place->on_the_way, memory_order_relaxed);
    return (struct balance_load){
        .sessions = coming + (begun > ended ? begun - ended : 0),
        .busy = atomic_load_explicit(&place->busy, memory_order_relaxed),
    };
}

static bool balance_is_less(struct balance_load one, struct balance_load other)
{
    return one.sessions == other.sessions ? one.busy < other.busy : one.sessions < other.sessions;
}

/* NULL: nobody else takes connections. */
static struct balance_place *balance_find_least(struct balance *balance, const struct balance_place *own,
                                                struct balance_load *load)
{
    struct balance_place *least = NULL;
    for (size_t i = 0; i < balance->size; i++) {
        struct balance_place *place = &balance->places[i];
        if (place == own || !atomic_load_explicit(&place->takes, memory_order_relaxed))
            continue;
        const struct balance_load found = balance_load(place);
        if (!least || balance_is_less(found, *load)) {
            least = place;
            *load = found;
        }
    }
    return least;
}

static bool balance_may_look(struct balance_place *place)
{
    const uint64_t second = env_now(place->env) / 1000;
    if (second != place->second) {
        place->second = second;
        place->looks = 0;
    }
    return place->looks++ < LOOKS_PER_SECOND;
}

/* ---- the transfer ---- */

/* The listener as the configuration has it that is active in the worker which takes the connection. During a reload
 * that may be another one; a listener that it does not have is taken as the other worker has it. */
static const struct config_listener *handed_over_listener(const struct handed_over *handed, const struct env *env)
{
    if (handed->snapshot == env->snapshot)
        return handed->listener;
    const union netaddr local = sock_local(handed->fd);
    const struct config_listener *listener = config_listener_for(env->config, &local, sock_interface(handed->fd));
    return listener ? listener : handed->listener;
}

/* On the thread of the worker that takes it. */
static void handed_over_arrive(struct inbox_item *item)
{
    struct handed_over *handed = container_of(item, struct handed_over, item);
    struct balance_place *place = handed->to;
    if (place->has_left)
        close(handed->fd);
    else
        accept_session(place->env, handed->fd, &handed->peer, handed_over_listener(handed, place->env));
    atomic_fetch_sub_explicit(&place->on_the_way, 1, memory_order_relaxed);
    snapshot_release(handed->snapshot);
    free(handed);
}

bool balance_hand_over(struct balance_place *place, int fd, const union netaddr *peer,
                       const struct config_listener *listener)
{
    if (!place || place->balance->size < 2)
        return false;
    struct balance_load least = {0};
    const struct balance_load own = balance_load(place);
    if (own.sessions == 0 || !balance_may_look(place))
        return false;
    struct balance_place *to = balance_find_least(place->balance, place, &least);
    if (!to || !balance_is_worthwhile(own, least))
        return false;
    struct handed_over *handed = malloc(sizeof(*handed));
    if (!handed)
        return false;
    *handed = (struct handed_over){
        .item.run = handed_over_arrive,
        .to = to,
        .snapshot = snapshot_hold(place->env->snapshot),
        .listener = listener,
        .peer = *peer,
        .fd = fd,
    };
    atomic_fetch_add_explicit(&to->on_the_way, 1, memory_order_relaxed);
    metrics_add(&place->env->metrics.connections_handed_over_total, 1);
    inbox_post(to->env->inbox, &handed->item);
    return true;
}
