/*
 * The destinations that a worker has sent to recently, and how often: decides which sends install a flow. Its size is
 * fixed: destinations share places. One that is not installed yet keeps its place for a while, so that destinations
 * that are sent to in turns do not replace each other forever.
 */
#ifndef CONESOCKS_KERNEL_FLOW_TABLE_H
#define CONESOCKS_KERNEL_FLOW_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/flow.h"

#define FLOW_TABLE_PLACES 8192
/* A lookup of a name sends once: that is not worth the system calls of an installation. */
#define FLOW_TABLE_FIRST 2
/* User space sees so many more although the flow was installed, or could not be. It may have had to give way to others,
 * or what prevented it may be over. */
#define FLOW_TABLE_AGAIN 32
/* So many sends to others leave a destination its place until it is installed. */
#define FLOW_TABLE_PATIENCE 16

struct flow_table;
struct flow_place {
    uint64_t hash; /* of the flow and its generation */
    uint32_t sends;
    bool installed; /* the last attempt has succeeded */
    uint8_t passed; /* sends to others that have been passed over for it */
};

/* NULL: no memory. */
struct flow_table *flow_table_new(void);
/* NULL is fine. */
void flow_table_free(struct flow_table *table);

/* Counts a send. The place is valid until the next call. */
struct flow_place *flow_table_count(struct flow_table *table, const struct flow_key *key, uint32_t generation);
/* Whether this send is one that installs. */
bool flow_place_is_due(const struct flow_place *place);

#endif
