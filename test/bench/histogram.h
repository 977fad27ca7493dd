/* Durations in nanoseconds, counted in buckets of 3 % width: percentiles without keeping every sample. */
#ifndef CONESOCKS_BENCH_HISTOGRAM_H
#define CONESOCKS_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS   32 /* per power of two */
#define HISTOGRAM_BUCKETS (60 * HISTOGRAM_STEPS)

struct histogram {
    uint64_t total;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *histogram, uint64_t value);

/* The smallest value that `share` (0 to 1) of the samples do not exceed, to the bucket's middle; 0 without samples. */
uint64_t histogram_percentile(const struct histogram *histogram, double share);

#endif
