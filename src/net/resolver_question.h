/*
 * One question at all name servers: which one is asked, when it is asked again, when another one is. An answer that is
 * late counts as long as the question lives.
 */
#ifndef CONESOCKS_NET_RESOLVER_QUESTION_H
#define CONESOCKS_NET_RESOLVER_QUESTION_H

#include <stddef.h>
#include <stdint.h>

#include "net/resolver_message.h"

struct descriptor_reserve;
struct event_base;
struct metrics;
struct resolver_question;

/* A question is sent so often at most, and has as many sockets, each at another server. */
#define RESOLVER_SENDS_MAX 4

/* What is known about a server: one that is silent is asked last. */
struct name_server {
    union netaddr address;
    unsigned misses;   /* questions in a row that it left without an answer in time */
    uint64_t probe_ms; /* when a silent one is asked again, next to another server */
};

struct name_servers {
    struct event_base *base;
    struct metrics *metrics; /* NULL: none */
    struct descriptor_reserve *reserve;
    unsigned spare; /* earned by questions that were answered at once, spent by those that were lost twice */
    size_t count;   /* never 0 */
    struct name_server list[];
};

/* NULL: no memory. Free with free(3) when no question is left. */
struct name_servers *name_servers_new(struct event_base *base, const union netaddr *addresses, size_t count,
                                      struct metrics *metrics, struct descriptor_reserve *reserve);

/* `answer` lives during the call; its status is TIMED_OUT, too. The question is gone afterwards. */
typedef void resolver_question_done(void *arg, const struct resolver_answer *answer);

/* `name` has no final dot. `done` is never called before this returns. NULL: no memory. */
struct resolver_question *resolver_question_ask(struct name_servers *servers, const char *name, int family,
                                                uint64_t timeout_ms, resolver_question_done *done, void *arg);
/* `done` is not called. */
void resolver_question_free(struct resolver_question *question);

#endif
