/*
 * The ports of one range at one local address: which are in use, which rest, and which may be given. Every operation
 * takes the same time, whatever the state. It makes no system calls but for memory, and the time is a parameter.
 */
#ifndef CONESOCKS_NET_PORT_TABLE_H
#define CONESOCKS_NET_PORT_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct port_table;

/* The present time, in seconds, and how long a port rests after its use. */
struct port_time {
    uint32_t now_s, rest_s;
};

/* `first` to `last`, both included; all have rested. NULL: no memory. */
struct port_table *port_table_new(uint16_t first, uint16_t last);
void port_table_free(struct port_table *table);

/* Takes a random port of those that have rested (`random` is any number), else the one that has rested longest, which
 * is `early` then. 0, -EADDRINUSE (all are in use) or -ENOMEM. */
int port_table_take(struct port_table *table, struct port_time time, uint32_t random, uint16_t *port, bool *early);
/* Takes this port, if it has rested. */
int port_table_take_one(struct port_table *table, struct port_time time, uint16_t port);
/* Puts back a port. It rests from `quiet_from_s` on; 0: it does not have to. */
void port_table_put(struct port_table *table, struct port_time time, uint16_t port, uint32_t quiet_from_s);

uint32_t port_table_total(const struct port_table *table);
uint32_t port_table_used(const struct port_table *table);
uint32_t port_table_resting(struct port_table *table, struct port_time time);
/* Bytes that it uses, which grow with the number of different ports that were taken. */
size_t port_table_memory(const struct port_table *table);

#endif
