/*
 * One direction of a TCP relay: reads from one socket, writes to the other, hands end-of-stream on as a half-close.
 * A fast and a plain implementation stand behind this header.
 */
#ifndef CONESOCKS_NET_PUMP_H
#define CONESOCKS_NET_PUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a worker's pumps share. */
struct pump_pool;
struct pump_pool *pump_pool_new(void);
void pump_pool_free(struct pump_pool *pool);

enum pump_state {
    PUMP_WAITS_TO_READ,  /* run again when `from` is readable */
    PUMP_WAITS_TO_WRITE, /* run again when `to` is writable */
    PUMP_GOES_ON,        /* had its fair share: run again when `from` is readable, which it probably is */
    PUMP_DONE,           /* the end was handed on */
    PUMP_BROKEN,         /* `error` says how */
};

struct pump {
    int from, to;
    enum pump_state state;
    int error;      /* positive errno, when broken */
    uint64_t bytes; /* written so far */
    bool ended;     /* `from` said end of stream */
    uint8_t *rest;  /* read but not yet written; NULL nearly always */
    size_t rest_at, rest_len;
};

/* Ready to run; holds no resource until it has something that `to` did not take. */
void pump_init(struct pump *pump, int from, int to);
/* Gives back what it holds; the sockets are the owner's. */
void pump_deinit(struct pump *pump);
/* Moves what can be moved now, a bounded share of it, and returns the new state. */
enum pump_state pump_run(struct pump *pump, struct pump_pool *pool);

#endif
