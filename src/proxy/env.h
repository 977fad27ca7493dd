/*
 * What a session needs from its worker: one for each worker thread. Everything in it belongs to that thread, except the
 * snapshot of the configuration: all workers share it and it does not change. A reload replaces it (review.h).
 */
#ifndef CONESOCKS_PROXY_ENV_H
#define CONESOCKS_PROXY_ENV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include "base/log.h"
#include "base/metrics.h"
#include "conf/config.h"
#include "host/host.h"
#include "net/dgram_io.h"
#include "net/ports.h"
#include "policy/snapshot.h"
#include "policy/verdict.h"
#include "proxy/assoc/loan.h"
#include "proxy/memory_level.h"

struct event_base;
struct inbox;
struct kernel_worker;
struct payer;
struct logins;
struct pump_pool;
struct quota;
struct resolver;
struct session;

/* After a reload: which sessions have yet to be looked at (review_sessions). */
struct session_review {
    struct snapshot *before; /* held; NULL: none is under way */
    struct session *next;    /* this one and those behind it; NULL: none */
    struct event slice;
    void (*done)(void *arg);
    void *arg;
};

SLIST_HEAD(shared_socket_list, shared_socket);
TAILQ_HEAD(session_queue, session);
TAILQ_HEAD(negotiation_list, negotiation);

struct env {
    struct event_base *base;
    struct host *host;           /* what all workers share */
    struct snapshot *snapshot;   /* the active one: see env_use() */
    uint64_t generation;         /* goes up with each snapshot */
    const struct config *config; /* the snapshot's, like its rules: not to be kept from one event to the next */
    const struct rules *rules;   /* NULL: there are none */
    struct policy policy;
    struct logins *logins;
    struct quota *quota; /* the host's */
    struct resolver *resolver;
    struct inbox *inbox;
    struct pump_pool *pumps;
    struct port_range system_ports, relay_ports, external_ports;
    struct port_place full_ports; /* where an association last found no free port */
    uint16_t shared_port;         /* the relay port of all associations; 0: each has its own, of relay_ports */
    struct shared_socket_list shared_sockets; /* its listening sockets: see shared_socket.c */
    uint64_t (*clock_ms)(void);               /* monotonic: nothing expires when the wall clock jumps */
    uint32_t (*today)(void);                  /* by the wall clock, which decides days and months: base/calendar.h */
    struct metrics metrics;

    /* The datagram path's buffers: see assoc_impl.h. */
    struct dgram_io *dgrams;
    struct kernel_worker *kernel; /* its part of host->kernel_path; NULL: none */
    bool counts_icmp;             /* udp.icmp, as it was at the start: sockets live on */
    struct dgram_run received[DGRAM_BATCH_MAX];
    struct dgram_batch to_client, to_external[2];

    enum memory_level memory; /* how much there is left: see memory_pressure.h */
    uint64_t begun_shed_ms;   /* when sessions without an answer were last ended for want of memory; 0: never */
    struct loans loans;       /* what associations hold for their clients besides their sockets */

    uint64_t sweeps, swept_ms;     /* how many there have been, and the last one: see sessions_sweep() */
    struct session_queue sessions; /* alive, in the order of their ids */
    struct session_review review;
    struct {
        size_t sessions, associations, streams;
    } open;                          /* how many of each there are */
    struct payer *payers;            /* a table of those who have sessions here: see payer.h */
    struct negotiation_list dials;   /* on their way to a destination, the longest first */
    struct negotiation_list waiting; /* for a request, the longest first */
    struct session_queue ended;      /* to be freed once their callbacks have returned, by `reaper` */
    struct event reaper;
    struct log_limit strangers_log;     /* lines about connections that never asked for anything */
    struct log_limit refusals_log;      /* about what policy denies */
    struct log_limit private_relay_log; /* about clients that do not reach what they are told */
    struct log_limit untrusted_log;     /* about connections that a listener does not serve */
    struct log_limit upstreams_log;     /* about upstreams that do not answer */
    char refusal[128];                  /* of the last admission that failed: what was refused, and by which limit */
    struct log_limit limits_log[2];     /* about limits: one client's or user's, everybody's */
    uint64_t short_said_ms;             /* when a shortage of descriptors was logged; 0: never */
    uint64_t none_idle_before_ms;       /* until then no association is idle for long enough to be ended for another */
};

static inline uint64_t env_now(const struct env *env)
{
    return env->clock_ms();
}

/* Makes a snapshot the active one and holds it. Returns the previous one, which the caller releases; NULL: there was
 * none. Sessions of the previous one are the caller's to review. */
struct snapshot *env_use(struct env *env, struct snapshot *snapshot);

/* The port ranges of associations that begin under this configuration. */
void env_port_ranges(const struct config *config, const struct port_range *system, struct port_range *relay,
                     struct port_range *external);

/* Where BIND takes its ports from. */
struct port_range env_bind_ports(const struct env *env);

/* The bits of the TOS byte that datagrams carry on (udp.carry). */
uint8_t env_carried_tos(const struct env *env);

/* The family that a connection to a host with both kinds of addresses is tried over first. */
int env_first_family(const struct env *env);

#endif
