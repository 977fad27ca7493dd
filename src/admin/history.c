#include "admin/history.h"

#include <assert.h>
#include <stdlib.h>

#include "admin/json.h"
#include "base/util.h"

#define FIELDS(X)                                                                                                      \
    X(stream_up_bytes, totals->stream_up_bytes_total)                                                                  \
    X(stream_down_bytes, totals->stream_down_bytes_total)                                                              \
    X(udp_up_bytes, totals->udp_up_bytes_total)                                                                        \
    X(udp_down_bytes, totals->udp_down_bytes_total)                                                                    \
    X(udp_up_datagrams, totals->udp_up_datagrams_total)                                                                \
    X(udp_down_datagrams, totals->udp_down_datagrams_total)                                                            \
    X(dropped, history_all_dropped(totals))                                                                            \
    X(lookups, totals->lookups_total)                                                                                  \
    X(lookups_failed, totals->lookups_failed_total)

enum field {
#define X(name, total) FIELD_##name,
    FIELDS(X)
#undef X
        FIELD_COUNT
};

struct sample {
    uint64_t of[FIELD_COUNT];
};

struct history {
    uint64_t sampled_ms;
    struct sample totals; /* at that time */
    size_t next, count;   /* of the ring */
    struct sample ring[HISTORY_SAMPLES];
};

static uint64_t history_all_dropped(const struct metrics *totals)
{
    uint64_t sum = 0;
    for (int i = 0; i < DROP_REASON_COUNT; i++)
        sum += totals->udp_dropped_total[i];
    return sum;
}

static struct sample history_read_totals(const struct metrics *totals)
{
    return (struct sample){{
#define X(name, total) [FIELD_##name] = total,
        FIELDS(X)
#undef X
    }};
}

struct history *history_new(uint64_t now_ms, const struct metrics *totals)
{
    struct history *history = calloc(1, sizeof(*history));
    if (history)
        *history = (struct history){.sampled_ms = now_ms, .totals = history_read_totals(totals)};
    return history;
}

void history_free(struct history *history)
{
    free(history);
}

static void history_append(struct history *history, const struct sample *sample)
{
    history->ring[history->next] = *sample;
    history->next = (history->next + 1) % HISTORY_SAMPLES;
    history->count += history->count < HISTORY_SAMPLES;
}

void history_sample(struct history *history, uint64_t now_ms, const struct metrics *totals)
{
    /* Rounded: a timer may fire a little early or late. */
    const uint64_t periods = (now_ms - history->sampled_ms + HISTORY_PERIOD_MS / 2) / HISTORY_PERIOD_MS;
    const struct sample now = history_read_totals(totals);
    struct sample share, last;
    if (periods == 0)
        return;
    for (size_t field = 0; field < FIELD_COUNT; field++) {
        uint64_t passed = now.of[field] - history->totals.of[field];
        share.of[field] = passed / periods;
        last.of[field] = passed - share.of[field] * (periods - 1);
    }
    for (uint64_t i = periods > HISTORY_SAMPLES ? periods - HISTORY_SAMPLES : 0; i + 1 < periods; i++)
        history_append(history, &share);
    history_append(history, &last);
    history->sampled_ms += periods * HISTORY_PERIOD_MS;
    history->totals = now;
}

static json_t *history_sample_json(const struct sample *sample)
{
    json_t *json = json_array();
    for (size_t field = 0; field < FIELD_COUNT; field++)
        json = json_with(json, json_number(sample->of[field]));
    return json;
}

char *history_json(const struct history *history)
{
    static const char *const names[] = {
#define X(name, total) #name,
        FIELDS(X)
#undef X
    };
    json_t *fields = json_array(), *samples = json_array();
    for (size_t field = 0; field < FIELD_COUNT; field++)
        fields = json_with(fields, json_string(names[field]));
    static_assert(ARRAY_LEN(names) == FIELD_COUNT, "a name for each field");
    assert(history->count <= HISTORY_SAMPLES);
    const size_t oldest = history->next + HISTORY_SAMPLES - history->count;
    for (size_t i = 0; i < history->count; i++)
        samples = json_with(samples, history_sample_json(&history->ring[(oldest + i) % HISTORY_SAMPLES]));
    json_t *json = json_object();
    json = json_with_key(json, "period_seconds", json_number(HISTORY_PERIOD_MS / 1000));
    json = json_with_key(json, "fields", fields);
    return json_text(json_with_key(json, "samples", samples));
}
