/*
 * The admin listener: shows over HTTP how it goes, and changes nothing. It runs on the main thread and knows of the
 * server only what a `struct admin_source` tells.
 */
#ifndef CONESOCKS_ADMIN_ADMIN_H
#define CONESOCKS_ADMIN_ADMIN_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "net/ports.h"

struct admin;
struct config;
struct event_base;
struct metrics;

/* Which part of all sessions is asked for: at most `limit` of those with a greater id than `after`. */
struct admin_query {
    uint64_t after;
    uint32_t limit; /* 1 to ADMIN_LIMIT_MAX */
};
#define ADMIN_LIMIT_DEFAULT 100
#define ADMIN_LIMIT_MAX     1000

/*
 * Takes an answer over: a text for free(), or NULL when there is none to be had (no memory). To be called exactly once
 * for each question, on the main thread: before the call that asked returns, later, or even after admin_free(), for who
 * asked may be gone by then and `arg` knows.
 */
typedef void admin_done(void *arg, char *json);

/* What the numbers of the workers do not tell. */
struct admin_facts {
    time_t started;
    uint64_t reloads, reloads_failed;
    struct port_usage ports[PORT_RANGES_MAX];
    size_t port_count; /* of them */
};

/* The server, as it is seen from here: each function is called on the main thread, with `arg` first. */
struct admin_source {
    void *arg;
    /* The configuration in force, until the next event. */
    const struct config *(*config)(void *arg);
    /* Adds up what the workers have counted. */
    void (*metrics)(void *arg, struct metrics *sum);
    void (*facts)(void *arg, struct admin_facts *facts);
    /* Why it is not alive, or should get no new clients, in a few words that last until the next event; NULL: all is
     * well. */
    const char *(*sick)(void *arg);
    const char *(*unready)(void *arg);
    /* JSON: see conesocks(8). `query` lasts until the call returns. */
    void (*status)(void *arg, const struct admin_query *query, admin_done *done, void *done_arg);
    void (*history)(void *arg, admin_done *done, void *done_arg);
};

/* Listening sockets: at the TCP address and in the file system; -1: none. */
struct admin_sockets {
    int tcp, local;
};
#define ADMIN_SOCKETS_NONE ((struct admin_sockets){-1, -1})

/*
 * Listens where `config` says; to be called before privileges are given up. `opened` are sockets that listen there
 * already, from the process whose place we take: they are taken over. `source` is copied. A failure is said in the
 * log, as an error or, unless `must` is set, as a warning. NULL: failed, or there is nowhere to listen.
 */
struct admin *admin_new(struct event_base *base, const struct config *config, const struct admin_source *source,
                        struct admin_sockets opened, bool must);
/* For another process to take over. */
struct admin_sockets admin_sockets(const struct admin *admin);
/* Listens no longer, and leaves the Unix socket in place, where another process listens by now. Who is connected gets
 * his answer. NULL is fine. */
void admin_let_go(struct admin *admin);
/* Closes all, and removes the Unix socket where that is permitted. NULL is fine. */
void admin_free(struct admin *admin);

#endif
