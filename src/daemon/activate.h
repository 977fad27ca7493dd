/*
 * Makes another configuration the active one in one worker, after a reload. On that worker's thread.
 */
#ifndef CONESOCKS_DAEMON_ACTIVATE_H
#define CONESOCKS_DAEMON_ACTIVATE_H

struct snapshot;
struct worker;

/* `opened` has a new socket for each listener, which the worker takes over; -1: it listens there already. Sessions end
 * if the snapshot does not allow them; all others continue. `done` is called on the worker's thread once all were
 * reviewed. */
void activate(struct worker *worker, struct snapshot *snapshot, const int *opened, void (*done)(void *arg), void *arg);

#endif
