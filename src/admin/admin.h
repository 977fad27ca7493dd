/*
 * The admin listener: an HTTP server that shows the state of the proxy and changes nothing. It runs on the main thread.
 * `struct admin_source` is all that it knows of the server.
 */
#ifndef CONESOCKS_ADMIN_ADMIN_H
#define CONESOCKS_ADMIN_ADMIN_H

#include <stdbool.h>
#include <stdint.h>

#include "admin/facts.h"

struct admin;
struct config;
struct event_base;
struct metrics;

/* A page of sessions: at most `limit` of those whose id is greater than `after`. */
struct admin_query {
    uint64_t after;
    uint32_t limit; /* 1 to ADMIN_LIMIT_MAX */
};
#define ADMIN_LIMIT_DEFAULT 100
#define ADMIN_LIMIT_MAX     1000

/*
 * Gets the answer to a question: a text for free(), or NULL (no memory). Must be called exactly once for each question,
 * on the main thread. It may be called before the question's call returns, later, or even after admin_free(): `arg`
 * knows whether the client is still there.
 */
typedef void admin_done(void *arg, char *json);

/* How the admin listener reads the server. Each function is called on the main thread, with `arg` first. */
struct admin_source {
    void *arg;
    /* The active configuration; valid until the next event. */
    const struct config *(*config)(void *arg);
    /* Adds up what the workers have counted. */
    void (*metrics)(void *arg, struct metrics *sum);
    void (*facts)(void *arg, struct admin_facts *facts);
    /* Why the server does not work (/healthz), or should get no new clients (/readyz). The text is valid until the next
     * event. NULL: it is fine. */
    const char *(*sick)(void *arg);
    const char *(*unready)(void *arg);
    /* JSON, described in conesocks(8). `query` is valid until the call returns. */
    void (*status)(void *arg, const struct admin_query *query, admin_done *done, void *done_arg);
    void (*history)(void *arg, admin_done *done, void *done_arg);
};

/* Listening sockets: at the TCP address and in the file system; -1: none. */
struct admin_sockets {
    int tcp, local;
};
#define ADMIN_SOCKETS_NONE ((struct admin_sockets){-1, -1})

/*
 * Listens at the addresses of `config`. Call it before privileges are dropped. `opened` are listening sockets of the
 * previous process at the same addresses; this takes them over. `source` is copied. A failure is logged, as an error if
 * `must` is set, else as a warning. NULL: it failed, or the configuration has no admin listener.
 */
struct admin *admin_new(struct event_base *base, const struct config *config, const struct admin_source *source,
                        struct admin_sockets opened, bool must);
/* The listening sockets, for another process to take over. */
struct admin_sockets admin_sockets(const struct admin *admin);
/* Stops listening, but leaves the Unix socket's file, because another process listens there now. Connected clients
 * still get their answers. NULL is allowed. */
void admin_let_go(struct admin *admin);
/* Closes everything, and removes the Unix socket if it may. NULL is allowed. */
void admin_free(struct admin *admin);

#endif
