#include "policy/rates.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/bucket.h"

/* A flow that keeps to the rate may come late by this, and then all at once, without a loss. */
#define BURST_MS 200
/* At any rate the longest datagram passes, and as many as the kernel joins. */
#define BURST_BYTES_MIN     65536
#define BURST_DATAGRAMS_MIN 64
/* Between a stream's turns: short enough to be smooth, long enough to cost nothing. Where many wait, turns come faster;
 * still a stream looks now and then whether those before it have gone. */
#define REST_MS          50
#define REST_SHORTEST_MS 5
#define LOOK_MS          1000
/* This part of the rate is sure to streams, whatever datagrams take. */
#define SURE_PART 4

struct way {
    struct bucket bytes, datagrams;
};

/* What a user's sessions share. One reload may change a user's rate, so it is part of the key: sessions keep theirs. */
struct shared {
    UT_hash_handle hh;
    size_t sessions;
    struct way ways[RATES_WAYS];
    atomic_uint_fast64_t last_turn_ms[RATES_WAYS]; /* that streams wait for */
    struct rate rate;
    char user[];
};

/* What a stream waits for that has used up its user's rate. */
struct turn {
    uint64_t at_ms;
    uint64_t sure; /* may pass then in any case */
};

struct rates {
    struct shared *shared; /* NULL: only its own rate counts */
    struct way ways[RATES_WAYS];
    struct turn turns[RATES_WAYS];
};

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t most(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void set_ways(struct way ways[RATES_WAYS], const struct rate *rate)
{
    for (int i = 0; i < RATES_WAYS; i++) {
        ways[i].bytes.rate = rate->bytes;
        ways[i].bytes.burst = most(rate->bytes * BURST_MS / 1000, BURST_BYTES_MIN);
        ways[i].datagrams.rate = rate->datagrams;
        ways[i].datagrams.burst = most(rate->datagrams * BURST_MS / 1000, BURST_DATAGRAMS_MIN);
    }
}

static bool is_limited(const struct rate *rate)
{
    return rate->bytes || rate->datagrams;
}

/* ---- what is shared ---- */

static pthread_mutex_t users_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared *users;

static struct shared *new_shared(const struct rate *rate, const char *user)
{
    size_t len = strlen(user);
    struct shared *shared = calloc(1, sizeof(*shared) + len + 1);
    if (!shared)
        return NULL;
    shared->rate = *rate;
    memcpy(shared->user, user, len + 1);
    set_ways(shared->ways, rate);
    for (int i = 0; i < RATES_WAYS; i++)
        shared->ways[i].bytes.burst *= 2; /* one for streams, one for datagrams: see stream_part() */
    return shared;
}

/* The user's, if there is one, else `fresh`. NULL: no memory. */
static struct shared *join(struct shared *fresh)
{
    size_t key_len = sizeof(fresh->rate) + strlen(fresh->user);
    struct shared *shared;
    pthread_mutex_lock(&users_lock);
    HASH_FIND(hh, users, &fresh->rate, key_len, shared);
    if (!shared) {
        shared = fresh;
        HASH_ADD(hh, users, rate, key_len, shared);
        if (!shared->hh.tbl)
            shared = NULL;
    }
    if (shared)
        shared->sessions++;
    pthread_mutex_unlock(&users_lock);
    if (shared != fresh)
        free(fresh);
    return shared;
}

static void leave(struct shared *shared)
{
    pthread_mutex_lock(&users_lock);
    bool last = --shared->sessions == 0;
    if (last)
        HASH_DEL(users, shared);
    pthread_mutex_unlock(&users_lock);
    if (last)
        free(shared);
}

/* ---- sessions ---- */

bool rates_new(struct rates **out, const struct terms *terms, const char *user)
{
    bool shares = user && is_limited(&terms->user);
    *out = NULL;
    if (!shares && !is_limited(&terms->session))
        return true;
    struct rates *rates = calloc(1, sizeof(*rates));
    if (!rates)
        return false;
    set_ways(rates->ways, &terms->session);
    if (shares) {
        struct shared *fresh = new_shared(&terms->user, user);
        rates->shared = fresh ? join(fresh) : NULL;
        if (!rates->shared) {
            free(rates);
            return false;
        }
    }
    *out = rates;
    return true;
}

void rates_free(struct rates *rates)
{
    if (!rates)
        return;
    if (rates->shared)
        leave(rates->shared);
    free(rates);
}

/* ---- datagrams ---- */

uint16_t rates_admit(struct rates *rates, enum rates_way way, uint16_t count, uint16_t size, uint16_t last,
                     uint64_t now_ms)
{
    struct way *of_both[2] = {&rates->ways[way], rates->shared ? &rates->shared->ways[way] : NULL};
    uint64_t bytes_left = UINT64_MAX, datagrams_left = UINT64_MAX;
    for (size_t i = 0; i < 2 && of_both[i]; i++) {
        bytes_left = least(bytes_left, bucket_left(&of_both[i]->bytes, now_ms));
        datagrams_left = least(datagrams_left, bucket_left(&of_both[i]->datagrams, now_ms));
    }
    uint64_t passes = least(count, datagrams_left);
    uint64_t bytes = passes == count ? (uint64_t)size * (count - 1U) + last : size * passes;
    if (bytes > bytes_left) {
        passes = bytes_left / size;
        bytes = size * passes;
    }
    for (size_t i = 0; i < 2 && of_both[i]; i++) {
        bucket_spend(&of_both[i]->bytes, bytes, now_ms);
        bucket_spend(&of_both[i]->datagrams, passes, now_ms);
    }
    return (uint16_t)passes;
}

/* ---- streams ---- */

/* What streams may take of what the user has left. */
static uint64_t stream_part(const struct bucket *shared, uint64_t now_ms)
{
    uint64_t left = bucket_left(shared, now_ms), for_datagrams = shared->burst / 2;
    return left > for_datagrams ? left - for_datagrams : 0;
}

uint64_t rates_allow(struct rates *rates, enum rates_way way, uint64_t now_ms)
{
    uint64_t own = bucket_left(&rates->ways[way].bytes, now_ms);
    if (!rates->shared)
        return own;
    struct turn *turn = &rates->turns[way];
    uint64_t sure = 0;
    if (now_ms >= turn->at_ms) {
        sure = turn->sure;
        turn->sure = 0;
    }
    return least(own, most(stream_part(&rates->shared->ways[way].bytes, now_ms), sure));
}

void rates_charge(struct rates *rates, enum rates_way way, uint64_t bytes, uint64_t now_ms)
{
    bucket_spend(&rates->ways[way].bytes, bytes, now_ms);
    if (rates->shared)
        bucket_spend(&rates->shared->ways[way].bytes, bytes, now_ms);
}

/* One after the other, so that streams that wake at the same moment do not stay together. */
static struct turn take_turn(struct shared *shared, enum rates_way way, uint64_t now_ms)
{
    atomic_uint_fast64_t *line = &shared->last_turn_ms[way];
    uint64_t last = atomic_load_explicit(line, memory_order_relaxed), turn, pause;
    do {
        uint64_t waiting = last > now_ms ? last - now_ms : 0;
        pause = waiting < 10 * (REST_MS - REST_SHORTEST_MS) ? REST_MS - waiting / 10 : REST_SHORTEST_MS;
        turn = now_ms + waiting + pause;
    } while (!atomic_compare_exchange_weak_explicit(line, &last, turn, memory_order_relaxed, memory_order_relaxed));
    return (struct turn){.at_ms = turn, .sure = shared->rate.bytes * pause / 1000 / SURE_PART};
}

uint32_t rates_rest(struct rates *rates, enum rates_way way, uint64_t now_ms)
{
    struct shared *shared = rates->shared;
    struct turn *turn = &rates->turns[way];
    if (!shared || stream_part(&shared->ways[way].bytes, now_ms) > 0)
        return REST_MS;
    if (turn->at_ms <= now_ms)
        *turn = take_turn(shared, way, now_ms);
    return (uint32_t)least(turn->at_ms - now_ms, LOOK_MS);
}
