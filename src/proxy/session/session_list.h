/*
 * Lists a worker's sessions as plain values: the worker copies a page of them, and another thread shows it.
 *
 * Ids grow over all workers, and each worker keeps its sessions in that order. A page of all workers has the lowest ids
 * of the workers' pages, so a reader of all pages sees each session that lives meanwhile exactly once.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_LIST_H
#define CONESOCKS_PROXY_SESSION_SESSION_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conf/config.h"
#include "proxy/assoc/flow.h"
#include "proxy/assoc/kernel_reason.h"
#include "proxy/session/session_view.h"
#include "proxy/stream/stream.h"

struct env;

/* Bytes of a user's or an upstream's name. */
#define SESSION_LIST_NAME_MAX 255

/* Texts are what a client or the configuration chose, byte for byte. */
struct session_list_row {
    uint64_t id, age_ms;
    enum session_kind kind;
    union netaddr client;
    char user[SESSION_LIST_NAME_MAX + 1];     /* "": no login, or it is not complete */
    char upstream[SESSION_LIST_NAME_MAX + 1]; /* "": none */
    union {
        struct {
            struct assoc_flow flow; /* its `dropped` is NULL: the counts are here */
            uint32_t dropped[DROP_REASON_COUNT];
            uint64_t idle_ms;
            struct assoc_mapping mappings[CONFIG_CLIENT_PORTS_MAX];
            size_t mapping_count;                  /* how many ports its client uses */
            char exits[SESSION_LIST_NAME_MAX + 1]; /* see assoc_exits() */
            enum config_filtering filtering;
            struct kernel_use kernel;
        } assoc;
        struct {
            char destination[STREAM_DESTINATION_MAX]; /* "": log.destinations is off */
            union netaddr remote;                     /* AF_UNSPEC: not shown, not reached, or not known */
            uint64_t up_bytes, down_bytes;
        } stream;
    };
};

struct session_list_counts {
    size_t associations, streams, negotiating;
};

#define SESSION_LIST_SERVERS_MAX 8

struct session_list {
    struct session_list_counts counts;
    union netaddr servers[SESSION_LIST_SERVERS_MAX]; /* name servers */
    size_t server_count, lookups;                    /* that are under way */
    bool more;                                       /* sessions after the last of the rows */
    size_t row_count, row_max;
    size_t merged; /* rows that session_list_merge() has handed out */
    struct session_list_row rows[];
};

/* One with room for that many rows. NULL: no memory. */
struct session_list *session_list_new(size_t row_max);

/* Fills it: sessions with a greater id than `after`, in order. */
void session_list_take(struct session_list *list, const struct env *env, uint64_t after);

/* Points `rows` to the up to `max` (not 0) rows of all lists, one of each worker, that come first. Returns how many
 * they are; `*next` is the last one's id when others come after it, or 0. */
size_t session_list_merge(struct session_list *const *lists, size_t list_count, const struct session_list_row **rows,
                          size_t max, uint64_t *next);

#endif
