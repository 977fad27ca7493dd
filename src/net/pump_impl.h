/*
 * The two ways in which a pump moves bytes.
 */
#ifndef CONESOCKS_NET_PUMP_IMPL_H
#define CONESOCKS_NET_PUMP_IMPL_H

#include <errno.h>
#include <sys/socket.h>

#include "net/pump.h"

#define PUMP_BUFFER_SIZE (256 * 1024)
#define PUMP_PIPES_KEPT  32 /* per worker, for the next that needs one */

struct pump_pool {
    struct descriptor_reserve *reserve;
    bool splice;
    bool saves_memory;
    size_t pipe_count, pipe_count_least; /* now, and since the last trim */
    int pipes[PUMP_PIPES_KEPT][2];
    uint8_t buffer[PUMP_BUFFER_SIZE];
};

/* One round: reads what is there, writes it. Only when an earlier round has left nothing; `limit` is not 0. */
enum pump_state pump_copy(struct pump *pump, struct pump_pool *pool, size_t limit);
/* Writes what an earlier round could not write. PUMP_GOES_ON: all of it. */
enum pump_state pump_copy_rest(struct pump *pump);

/* Takes a pipe for the pump; false: there is none. */
bool pump_take_pipe(struct pump *pump, struct pump_pool *pool);
/* Gives the pump's pipe back; one that still holds bytes is closed. */
void pump_return_pipe(struct pump *pump, struct pump_pool *pool);
/* One round through the pump's pipe, with the same conditions. false: nothing came. That is the end, or urgent data, at
 * which splice() stops; the copying read tells which, and takes that. */
bool pump_splice(struct pump *pump, size_t limit, enum pump_state *state);
/* Writes what is in the pipe. PUMP_GOES_ON: all of it. */
enum pump_state pump_splice_rest(struct pump *pump);

/* A shortage on this host is no fault of either end. */
static inline enum pump_state pump_broken(struct pump *pump, enum pump_failed failed, int error)
{
    pump->failed = error == ENOMEM || error == ENOBUFS ? PUMP_FAILED_NOTHING : failed;
    pump->error = error;
    return PUMP_BROKEN;
}

static inline enum pump_state pump_hand_on_end(struct pump *pump)
{
    const bool shuts = !pump->hides_end && !pump->to_is_closed_next;
    if (shuts && shutdown(pump->to, SHUT_WR) < 0 && errno != ENOTCONN)
        return pump_broken(pump, PUMP_FAILED_TO, errno);
    return PUMP_DONE;
}

#endif
