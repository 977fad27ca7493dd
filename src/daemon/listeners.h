/*
 * The sockets at which one worker accepts connections. On that worker's thread, but for what comes before and after it.
 */
#ifndef CONESOCKS_DAEMON_LISTENERS_H
#define CONESOCKS_DAEMON_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct config;
struct config_listener;
struct env;
struct inherited_share;
struct listener;

struct listeners {
    struct env *env;
    uint64_t rest_said_ms; /* 0: never */
    bool paused;           /* connections wait: see listeners_resume() */
    SLIST_HEAD(, listener) list;
};

/* Listens where `config` says: at inherited sockets, and elsewhere at new ones. false after a line in the log. */
bool listeners_open(struct listeners *listeners, const struct config *config, const struct inherited_share *share);
/* The same for another configuration, whose new sockets are `opened`: -1 where there is one already. */
void listeners_change(struct listeners *listeners, const struct config *config, const int *opened);
/* Accepts from now on, after a start that was `paused`. */
void listeners_resume(struct listeners *listeners);
/* Copies of the descriptors. 0 or an errno; `*fds` is to be freed, and what is in it to be closed, even then. */
int listeners_copy(const struct listeners *listeners, int **fds, size_t *count);
/* Accepts what waits, as much as can have waited when it began. */
void listeners_accept_waiting(struct listeners *listeners);
void listeners_close(struct listeners *listeners);

#endif
