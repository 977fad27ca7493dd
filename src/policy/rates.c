/*
 * Of what a user has left, streams leave half to datagrams, so that a download at the limit does not break up a call;
 * in turn datagrams cannot take all that streams wait for.
 */
#include "policy/rates.h"

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "policy/bucket.h"

/* A flow that keeps to the rate loses nothing when it comes late by this much and then all at once. */
#define BURST_MS 200
/* Even the lowest rate lets the longest datagram pass, and as many as the kernel joins. */
#define BURST_BYTES_MIN     65536
#define BURST_DATAGRAMS_MIN 64
/* Between a stream's turns: short enough to be smooth, long enough to cost nothing. Where many wait, turns come faster.
 * A stream that waits long still checks now and then whether those before it have ended. */
#define REST_MS          50
#define REST_SHORTEST_MS 5
#define LOOK_MS          1000
/* Streams get at least this part of the rate, whatever datagrams take. */
#define SURE_PART 4
/* Of the burst, what credit leaves to datagrams that are admitted one by one. Less than streams leave: a download at
 * the limit does not use up what credit is taken from. */
#define CREDIT_LEAVES_PART 4
/* What a credit gets of the rest: many may be out at a time. At least an ordinary datagram. */
#define CREDIT_PART      8
#define CREDIT_BYTES_MIN 2048

/* One direction of a rate. */
struct rate_way {
    struct bucket bytes, datagrams;
};

/* What the sessions of one user share. The rate is part of the key: after a reload that changes it, sessions keep the
 * rate that they began with. */
struct user_rate {
    UT_hash_handle hh;
    struct user_rates *users;
    size_t sessions; /* under the lock */
    struct rate_way ways[RATES_WAYS];
    atomic_uint_fast64_t last_turn_ms[RATES_WAYS]; /* that streams wait for */
    struct rate rate;
    char user[];
};
static_assert(offsetof(struct user_rate, user) == offsetof(struct user_rate, rate) + sizeof(struct rate),
              "rate and user are one key");

struct user_rates {
    pthread_mutex_t lock; /* of the table */
    struct user_rate *table;
};

/* When a stream continues, after it has used up its user's rate. */
struct stream_turn {
    uint64_t at_ms;
    uint64_t sure; /* bytes that may pass then in any case */
};

struct rates {
    struct user_rate *shared; /* NULL: only its own rate counts */
    struct rate_way ways[RATES_WAYS];
    struct stream_turn turns[RATES_WAYS];
};

static uint64_t smaller_of(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t larger_of(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void set_ways(struct rate_way ways[RATES_WAYS], const struct rate *rate)
{
    for (int i = 0; i < RATES_WAYS; i++) {
        ways[i].bytes.rate = rate->bytes;
        ways[i].bytes.burst = larger_of(rate->bytes * BURST_MS / 1000, BURST_BYTES_MIN);
        ways[i].datagrams.rate = rate->datagrams;
        ways[i].datagrams.burst = larger_of(rate->datagrams * BURST_MS / 1000, BURST_DATAGRAMS_MIN);
    }
}

static bool is_limited(const struct rate *rate)
{
    return rate->bytes || rate->datagrams;
}

/* ---- what is shared ---- */

struct user_rates *user_rates_new(void)
{
    struct user_rates *users = calloc(1, sizeof(*users));
    if (users)
        pthread_mutex_init(&users->lock, NULL);
    return users;
}

void user_rates_free(struct user_rates *users)
{
    if (!users)
        return;
    assert(!users->table);
    pthread_mutex_destroy(&users->lock);
    free(users);
}

static struct user_rate *user_rate_new(struct user_rates *users, const struct rate *rate, const char *user)
{
    size_t len = strlen(user);
    struct user_rate *shared = calloc(1, sizeof(*shared) + len + 1);
    if (!shared)
        return NULL;
    shared->users = users;
    shared->rate = *rate;
    memcpy(shared->user, user, len + 1);
    set_ways(shared->ways, rate);
    for (int i = 0; i < RATES_WAYS; i++)
        shared->ways[i].bytes.burst *= 2; /* one for streams, one for datagrams: see stream_part() */
    return shared;
}

/* The one that the user has, else `fresh`; the other is freed. NULL: no memory. */
static struct user_rate *user_rate_join(struct user_rate *fresh)
{
    struct user_rates *users = fresh->users;
    size_t key_len = sizeof(fresh->rate) + strlen(fresh->user);
    struct user_rate *shared;
    pthread_mutex_lock(&users->lock);
    HASH_FIND(hh, users->table, &fresh->rate, key_len, shared);
    if (!shared) {
        shared = fresh;
        HASH_ADD(hh, users->table, rate, key_len, shared);
        if (!shared->hh.tbl)
            shared = NULL;
    }
    if (shared)
        shared->sessions++;
    pthread_mutex_unlock(&users->lock);
    if (shared != fresh)
        free(fresh);
    return shared;
}

static void user_rate_leave(struct user_rate *shared)
{
    struct user_rates *users = shared->users;
    pthread_mutex_lock(&users->lock);
    assert(shared->sessions > 0);
    const bool last = --shared->sessions == 0;
    if (last)
        HASH_DEL(users->table, shared);
    pthread_mutex_unlock(&users->lock);
    if (last)
        free(shared);
}

/* ---- sessions ---- */

bool rates_new(struct rates **out, struct user_rates *users, const struct terms *terms, const char *user)
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
        struct user_rate *fresh = user_rate_new(users, &terms->user, user);
        rates->shared = fresh ? user_rate_join(fresh) : NULL;
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
        user_rate_leave(rates->shared);
    free(rates);
}

/* ---- datagrams ---- */

uint16_t rates_admit(struct rates *rates, enum rates_way way, uint16_t count, uint16_t size, uint16_t last,
                     uint64_t now_ms)
{
    struct rate_way *of_both[2] = {&rates->ways[way], rates->shared ? &rates->shared->ways[way] : NULL};
    uint64_t bytes_left = UINT64_MAX, datagrams_left = UINT64_MAX;
    for (size_t i = 0; i < 2 && of_both[i]; i++) {
        bytes_left = smaller_of(bytes_left, bucket_left(&of_both[i]->bytes, now_ms));
        datagrams_left = smaller_of(datagrams_left, bucket_left(&of_both[i]->datagrams, now_ms));
    }
    assert(count > 0);
    uint64_t passes = smaller_of(count, datagrams_left);
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

/* ---- credit ---- */

static uint64_t credit_part(const struct bucket *bucket, uint64_t least, uint64_t now_ms)
{
    const uint64_t left = bucket_left(bucket, now_ms), stays = bucket->burst / CREDIT_LEAVES_PART;
    if (bucket->rate == 0)
        return UINT64_MAX;
    const uint64_t rest = left > stays ? left - stays : 0;
    return rest < least ? 0 : larger_of(rest / CREDIT_PART, least);
}

struct rates_credit rates_reserve(struct rates *rates, enum rates_way way, uint64_t now_ms)
{
    struct rate_way *of_both[2] = {&rates->ways[way], rates->shared ? &rates->shared->ways[way] : NULL};
    struct rates_credit credit = {UINT64_MAX, UINT64_MAX};
    for (size_t i = 0; i < 2 && of_both[i]; i++) {
        credit.bytes = smaller_of(credit.bytes, credit_part(&of_both[i]->bytes, CREDIT_BYTES_MIN, now_ms));
        credit.datagrams = smaller_of(credit.datagrams, credit_part(&of_both[i]->datagrams, 1, now_ms));
    }
    if (credit.bytes == 0 || credit.datagrams == 0)
        return (struct rates_credit){0};
    for (size_t i = 0; i < 2 && of_both[i]; i++) {
        bucket_spend(&of_both[i]->bytes, credit.bytes, now_ms);
        bucket_spend(&of_both[i]->datagrams, credit.datagrams, now_ms);
    }
    return credit;
}

void rates_return(struct rates *rates, enum rates_way way, const struct rates_credit *unused)
{
    struct rate_way *of_both[2] = {&rates->ways[way], rates->shared ? &rates->shared->ways[way] : NULL};
    for (size_t i = 0; i < 2 && of_both[i]; i++) {
        bucket_return(&of_both[i]->bytes, unused->bytes);
        bucket_return(&of_both[i]->datagrams, unused->datagrams);
    }
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
    struct stream_turn *turn = &rates->turns[way];
    uint64_t sure = 0;
    if (now_ms >= turn->at_ms) {
        sure = turn->sure;
        turn->sure = 0;
    }
    return smaller_of(own, larger_of(stream_part(&rates->shared->ways[way].bytes, now_ms), sure));
}

void rates_charge(struct rates *rates, enum rates_way way, uint64_t bytes, uint64_t now_ms)
{
    bucket_spend(&rates->ways[way].bytes, bytes, now_ms);
    if (rates->shared)
        bucket_spend(&rates->shared->ways[way].bytes, bytes, now_ms);
}

/* One after the other, so that streams that wake at the same moment do not stay together. */
static struct stream_turn stream_take_turn(struct user_rate *shared, enum rates_way way, uint64_t now_ms)
{
    atomic_uint_fast64_t *line = &shared->last_turn_ms[way];
    uint64_t last = atomic_load_explicit(line, memory_order_relaxed), turn, pause;
    do {
        uint64_t waiting = last > now_ms ? last - now_ms : 0;
        pause = waiting < 10 * (REST_MS - REST_SHORTEST_MS) ? REST_MS - waiting / 10 : REST_SHORTEST_MS;
        turn = now_ms + waiting + pause;
    } while (!atomic_compare_exchange_weak_explicit(line, &last, turn, memory_order_relaxed, memory_order_relaxed));
    return (struct stream_turn){.at_ms = turn, .sure = shared->rate.bytes * pause / 1000 / SURE_PART};
}

uint32_t rates_rest(struct rates *rates, enum rates_way way, uint64_t now_ms)
{
    struct user_rate *shared = rates->shared;
    struct stream_turn *turn = &rates->turns[way];
    if (!shared || stream_part(&shared->ways[way].bytes, now_ms) > 0)
        return REST_MS;
    if (turn->at_ms <= now_ms)
        *turn = stream_take_turn(shared, way, now_ms);
    return (uint32_t)smaller_of(turn->at_ms - now_ms, LOOK_MS);
}
