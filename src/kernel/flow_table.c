#include "kernel/flow_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

struct flow_table {
    struct flow_place places[FLOW_TABLE_PLACES];
    struct flow_place passed_over; /* for a flow that gets none of them now */
};

struct flow_table *flow_table_new(void)
{
    return calloc(1, sizeof(struct flow_table));
}

void flow_table_free(struct flow_table *table)
{
    free(table);
}

static uint64_t hash_add(uint64_t hash, uint32_t word)
{
    hash = (hash ^ word) * 0x9e3779b97f4a7c15U;
    return hash ^ hash >> 32;
}

/* A client that makes two flows collide only makes its own slower. */
static uint64_t flow_hash(const struct flow_key *key, uint32_t generation)
{
    uint32_t words[sizeof(*key) / sizeof(uint32_t)];
    static_assert(sizeof(words) == sizeof(*key), "no bytes are left over");
    memcpy(words, key, sizeof(words));
    uint64_t hash = hash_add(1, generation);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        hash = hash_add(hash, words[i]);
    return hash;
}

struct flow_place *flow_table_count(struct flow_table *table, const struct flow_key *key, uint32_t generation)
{
    const uint64_t hash = flow_hash(key, generation);
    struct flow_place *place = &table->places[hash % FLOW_TABLE_PLACES];
    const bool is_others = place->hash != hash && place->sends > 0;
    if (is_others && place->sends < FLOW_TABLE_FIRST && place->passed < FLOW_TABLE_PATIENCE) {
        place->passed++;
        place = &table->passed_over;
        place->sends = 0;
    }
    if (is_others || place->sends == 0)
        *place = (struct flow_place){.hash = hash};
    place->sends++;
    return place;
}

bool flow_place_is_due(const struct flow_place *place)
{
    return place->sends == FLOW_TABLE_FIRST || place->sends % FLOW_TABLE_AGAIN == 0;
}
