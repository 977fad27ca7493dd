/*
 * A token bucket without a lock, for any number of threads; time is the caller's.
 *
 * Tokens are counted from the clock's zero, not stored: `rate` a second have been earned by now, and `spent` follows
 * behind or runs ahead by at most `burst`. What was not spent in time is forfeit, so a bucket of zero is a full one.
 *
 * Looking and spending are two steps. Threads that look at the same moment can together spend what only one of them
 * should have; that is a debt, and nobody finds anything left until it is earned. So over time no more than the rate
 * passes, exactly.
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

/* With this, 40 years' tokens can be counted. */
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

/* Takes it, whether or not it was left. */
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

#endif
