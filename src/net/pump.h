/*
 * One direction of a TCP relay: moves bytes from one socket to the other, and forwards the end as a half-close.
 * Small pieces are copied. A steady stream is spliced through a pipe, unless the kernel cannot do that or there is no
 * pipe. Urgent data stays in its place if `from` has SO_OOBINLINE, and is then ordinary data.
 */
#ifndef CONESOCKS_NET_PUMP_H
#define CONESOCKS_NET_PUMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* What a worker's pumps share: a buffer, and pipes that wait for their next use. */
struct descriptor_reserve;
struct pump_pool;
/* `splice`: whether to. NULL: no memory. */
/* `reserve`: descriptors that its pipes leave free. */
struct pump_pool *pump_pool_new(bool splice, struct descriptor_reserve *reserve);
void pump_pool_free(struct pump_pool *pool);
/* Closes the pipes that nobody has needed since the last call. */
void pump_pool_trim(struct pump_pool *pool);

/* Takes what has come from a TCP connection and forgets it, without copying. Returns what recv(2) does. */
ssize_t pump_pool_discard(struct pump_pool *pool, int fd);

/* While it is on, no pump takes a pipe and none is kept: pumps copy, and keep less. */
void pump_pool_save_memory(struct pump_pool *pool, bool on);

enum pump_state {
    PUMP_WAITS_TO_READ,  /* run again when `from` is readable */
    PUMP_WAITS_TO_WRITE, /* run again when `to` is writable */
    PUMP_GOES_ON,        /* had its share, or its limit: run again when `from` is readable, which it probably is */
    PUMP_DONE,           /* all was read and written, and the end was forwarded */
    PUMP_BROKEN,         /* see `error` and `failed` */
};

/* What has failed. */
enum pump_failed {
    PUMP_FAILED_NOTHING, /* no socket: there is no memory */
    PUMP_FAILED_FROM,    /* all that came before was written */
    PUMP_FAILED_TO,      /* what the pump holds, and what `from` still has, cannot be written */
};

struct pump {
    int from, to;
    enum pump_state state;
    enum pump_failed failed;
    int error;      /* positive errno, when broken */
    uint64_t taken; /* bytes read so far */
    uint64_t bytes; /* written so far */

    /* Bytes that were read but not yet written, in one of two places; neither is held while there are none. */
    uint8_t *rest;
    size_t rest_at, rest_len;
    int pipe[2]; /* read end, write end; -1 */
    size_t in_pipe;
    bool flows; /* the last read was a large one */

    /* For the owner to set. */
    bool from_ended;        /* the end of `from` has come behind what there is to read */
    bool hides_end;         /* it is not forwarded: more should have come */
    bool to_is_closed_next; /* after PUMP_DONE the owner closes `to` at once, which forwards the end */
};

/* Ready to run; holds no resource until `to` does not take what came. */
void pump_init(struct pump *pump, int from, int to);
/* Has it write `bytes` first, which were read from `from` before; they are freed by free(3). */
void pump_begin_with(struct pump *pump, uint8_t *bytes, size_t len);
/* Gives back what it holds; the sockets are the owner's. */
void pump_deinit(struct pump *pump, struct pump_pool *pool);
/* How many bytes it holds back. */
size_t pump_held(const struct pump *pump);
/* How many descriptors it holds: those of a pipe, or none. */
size_t pump_descriptors(const struct pump *pump);
/* Moves what can be moved now, a bounded share of it, and returns the new state. No more than `limit` bytes are read;
 * what was read before may be written with any. */
enum pump_state pump_run(struct pump *pump, struct pump_pool *pool, uint64_t limit);
#define PUMP_NO_LIMIT UINT64_MAX
/* Takes what `from` has and forgets it. false: nothing more will come. */
bool pump_discard(struct pump *pump, struct pump_pool *pool);

#endif
