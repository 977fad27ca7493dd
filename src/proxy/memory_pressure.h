/*
 * What a worker does under memory pressure (limits.memory): it shrinks buffers and ends sessions. Attempts to
 * connect and handshakes end first, then idle associations, then streams whose reader does not read. The daemon
 * measures memory and gives the orders; admission.c refuses new sessions meanwhile.
 */
#ifndef CONESOCKS_PROXY_MEMORY_PRESSURE_H
#define CONESOCKS_PROXY_MEMORY_PRESSURE_H

#include <stdbool.h>
#include <stddef.h>

#include "proxy/memory_level.h"

struct env;

struct memory_pressure_order {
    enum memory_level level;
    bool recedes;  /* enough memory was freed, and the level will fall: no session needs to end */
    size_t excess; /* when critical: how many bytes to win back from streams at once */
    bool measure;  /* return what the sessions hold */
};

/* To be called when the level changes, and again and again while it is not ample. Returns what the worker's sessions
 * hold then, our memory and the kernel's, or 0 when that was not to be measured: it asks each socket. */
size_t memory_pressure_relieve(struct env *env, const struct memory_pressure_order *order);

#endif
