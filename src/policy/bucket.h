/*
 * A token bucket that any number of threads may use without a lock. The caller brings the time.
 *
 * It stores no tokens. It compares two counts: the tokens earned since the clock's zero, `rate` a second, and `spent`.
 * If `spent` is not ahead, `burst` tokens are left; each token that it is ahead is one less. Unspent tokens do not add
 * up beyond that, so a bucket that is all zero is full.
 *
 * Looking and spending are two steps. Threads that look at the same moment may together spend more than is left. Then
 * nothing is left until that is earned, so over time exactly the rate passes.
 */
#ifndef CONESOCKS_POLICY_BUCKET_H
#define CONESOCKS_POLICY_BUCKET_H

#include <stdatomic.h>
#include <stdint.h>

struct bucket {
    uint64_t rate; /* a second; 0: any amount. At most BUCKET_RATE_MAX */
    uint64_t burst;
    atomic_uint_fast64_t spent;
};

/* With this rate the counts overflow after 40 years. */
#define BUCKET_RATE_MAX UINT64_C(14000000000)

static inline uint64_t bucket_earned(const struct bucket *bucket, uint64_t now_ms)
{
    return now_ms / 1000 * bucket->rate + now_ms % 1000 * bucket->rate / 1000;
}

/* How much may be spent now. */
static inline uint64_t bucket_left(const struct bucket *bucket, uint64_t now_ms)
{
    if (bucket->rate == 0)
        return UINT64_MAX;
    uint64_t earned = bucket_earned(bucket, now_ms);
    uint64_t spent = atomic_load_explicit(&bucket->spent, memory_order_relaxed);
    if (spent <= earned)
        return bucket->burst;
    return spent - earned < bucket->burst ? bucket->burst - (spent - earned) : 0;
}

/* Spends it, whether or not it was left. */
static inline void bucket_spend(struct bucket *bucket, uint64_t amount, uint64_t now_ms)
{
    if (bucket->rate == 0 || amount == 0)
        return;
    uint64_t earned = bucket_earned(bucket, now_ms), after;
    uint64_t spent = atomic_load_explicit(&bucket->spent, memory_order_relaxed);
    do
        after = (spent > earned ? spent : earned) + amount;
    while (!atomic_compare_exchange_weak_explicit(&bucket->spent, &spent, after, memory_order_relaxed,
                                                  memory_order_relaxed));
}

/* Takes back what bucket_spend() was given, of which nothing came. */
static inline void bucket_return(struct bucket *bucket, uint64_t amount)
{
    if (bucket->rate)
        atomic_fetch_sub_explicit(&bucket->spent, amount, memory_order_relaxed);
}

#endif
