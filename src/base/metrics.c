#include "base/metrics.h"

#include <assert.h>
#include <inttypes.h>

static const struct {
    const char *name, *help, *advice;
} drop_reasons[] = {
#define X(enumerator, name, help, advice) {#name, help, advice},
    DROP_REASONS(X)
#undef X
};

static_assert(sizeof(drop_reasons) / sizeof(drop_reasons[0]) == DROP_REASON_COUNT, "one row for each reason");

const char *drop_reason_name(enum drop_reason reason)
{
    return drop_reasons[reason].name;
}

const char *drop_reason_help(enum drop_reason reason)
{
    return drop_reasons[reason].help;
}

const char *drop_reason_advice(enum drop_reason reason)
{
    return drop_reasons[reason].advice;
}

static uint64_t read_counter(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void metrics_sum(struct metrics *sum, const struct metrics *part)
{
#define X(name, help) metrics_add(&sum->name, read_counter(&part->name));
    METRICS(X)
#undef X
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        metrics_add(&sum->udp_dropped_total[i], read_counter(&part->udp_dropped_total[i]));
    for (int i = 0; i <= LOOKUP_TIME_COUNT; i++)
        metrics_add(&sum->lookup_times[i], read_counter(&part->lookup_times[i]));
    metrics_add(&sum->lookup_microseconds, read_counter(&part->lookup_microseconds));
}

void metrics_lookup(struct metrics *metrics, uint64_t microseconds)
{
    static const uint64_t bounds[LOOKUP_TIME_COUNT] = LOOKUP_TIMES_MS;
    int i = 0;
    while (i < LOOKUP_TIME_COUNT && microseconds > bounds[i] * 1000)
        i++;
    metrics_add(&metrics->lookup_times[i], 1);
    metrics_add(&metrics->lookup_microseconds, microseconds);
}

/* Returns the length so far, or `size` once the text is full. */
static size_t metrics_append(char *text, size_t size, size_t used, const char *prefix, const char *name, uint64_t value)
{
    if (value == 0 || used >= size)
        return used;
    int n = snprintf(text + used, size - used, "%s%s%s %" PRIu64, used ? " " : "", prefix, name, value);
    if (n >= 0 && (size_t)n < size - used)
        return used + (size_t)n;
    text[used] = '\0'; /* half a number would be a wrong number */
    return size;
}

const char *metrics_format(const struct metrics *metrics, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
#define X(name, help) used = metrics_append(text, size, used, "", #name, read_counter(&metrics->name));
    METRICS(X)
#undef X
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        used = metrics_append(text, size, used, "udp_dropped_", drop_reason_name((enum drop_reason)i),
                              read_counter(&metrics->udp_dropped_total[i]));
    return text;
}
