/*
 * The sockets on which one worker accepts connections. On that worker's thread, or while that does not run.
 */
#ifndef CONESOCKS_DAEMON_LISTENERS_H
#define CONESOCKS_DAEMON_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct balance_place;
struct config;
struct env;
struct inherited_share;
struct worker_listener;

struct listeners {
    struct env *env;
    struct balance_place *place; /* NULL: the worker is the only one */
    uint64_t rest_logged_ms;     /* 0: never */
    bool paused;                 /* connections wait: see listeners_resume() */
    LIST_HEAD(, worker_listener) list;
};

/* Listens on the addresses in `config`: with its share of inherited sockets, and elsewhere with new ones. false after a
 * line in the log. */
bool listeners_open(struct listeners *listeners, const struct config *config, const struct inherited_share *share);
/* Changes to another configuration. `opened` has a new socket for each of its endpoints; -1: the worker listens there
 * already, or another one does. */
void listeners_change(struct listeners *listeners, const struct config *config, const int *opened);
/* Accepts from now on, after a start that was `paused`. */
void listeners_resume(struct listeners *listeners);
/* Copies the descriptors. 0 or an errno; `*fds` is to be freed, and those in it closed, even then. */
int listeners_copy(const struct listeners *listeners, int **fds, size_t *count);
/* Accepts what waits, up to as many as can wait at once. */
void listeners_accept_waiting(struct listeners *listeners);
void listeners_close(struct listeners *listeners);

#endif
