/* A load: how it drives the server, and what it found. */
#ifndef CONESOCKS_BENCH_LOAD_H
#define CONESOCKS_BENCH_LOAD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/netaddr.h"
#include "client.h"
#include "histogram.h"
#include "usage.h"

#define NS_PER_S  UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

/* What is counted, and so what the server's CPU time is divided by. */
enum unit { PER_MILLION_DATAGRAMS, PER_GB, PER_CYCLE, NOT_DIVIDED };

struct report {
    uint64_t elapsed_ns;
    uint64_t relayed; /* datagrams that went through the server, or bytes, or cycles */
    uint64_t sent, lost, late, stray, reordered;
    uint64_t whole_sent, whole_answered; /* from the very first datagram to the last: what the server has counted */
    uint64_t wrong_content, wrong_association, wrong_origin;
    uint64_t server_cpu_ns, own_cpu_ns;
    uint64_t idle_ns, ksoftirqd_ns; /* of the whole CPU, when that is looked at */
    double growth;                  /* by what cost is multiplied from the beginning to the end; 0: not looked at */
    struct histogram latency;
    double kib_each, descriptors_each; /* memory and descriptors of the server per association or connection */
    double tasks_each;
};

struct settings {
    union netaddr proxy;     /* AF_UNSPEC: none, clients send to the targets themselves, without SOCKS headers */
    union netaddr target_at; /* the targets' address, port 0 */
    int target_netns;        /* the network namespace that the targets are in, < 0: this one */
    bool whole_cpu;          /* report the busy time of this program's CPU, other programs included */
    pid_t pid;               /* the server's, 0 when unknown: then nothing is known of its costs */
    uint64_t duration_ns;
    unsigned count; /* of associations or connections where a load makes many; 0 = as the load has it */
    unsigned size;  /* payload bytes of a datagram; 0 = as the load has it */
};

struct load {
    const char *name, *help;
    void (*run)(const struct load *load, const struct settings *settings, struct report *report);
    enum unit unit;
    unsigned count;  /* associations or connections */
    unsigned window; /* datagrams of an association in flight */
    unsigned size;   /* payload bytes of a datagram */
    unsigned rate;   /* datagrams a second of each association, whether or not the earlier ones have come back */
    unsigned before; /* cycles that precede the ones that count: a server that has been running for a while */
    bool down;       /* bulk towards the client */
    bool segments;   /* both ends use UDP_SEGMENT and UDP_GRO */
};

void load_echo(const struct load *load, const struct settings *settings, struct report *report);
void load_quiet(const struct load *load, const struct settings *settings, struct report *report);
void load_scale(const struct load *load, const struct settings *settings, struct report *report);
void load_flow(const struct load *load, const struct settings *settings, struct report *report);
void load_churn(const struct load *load, const struct settings *settings, struct report *report);
void load_churn_growth(const struct load *load, const struct settings *settings, struct report *report);
void load_flood(const struct load *load, const struct settings *settings, struct report *report);
void load_idle(const struct load *load, const struct settings *settings, struct report *report);
void load_connect_bulk(const struct load *load, const struct settings *settings, struct report *report);
void load_connect_churn(const struct load *load, const struct settings *settings, struct report *report);
void load_connect_idle(const struct load *load, const struct settings *settings, struct report *report);

/* ---- what the loads share ---- */

uint64_t now_ns(void);

/* How long a load runs before it counts: queues, caches and windows are then what they stay. */
uint64_t warm_up_ns(const struct settings *settings);

/* Whether there is no server. */
bool settings_direct(const struct settings *settings);

/* Between these two the report counts; both ends of the server's CPU time are taken close to the clock. */
void report_begin(struct report *report, const struct settings *settings);
void report_end(struct report *report, const struct settings *settings);

/* Puts the server's memory and descriptors into the report, `count` of something after `before` was taken. */
struct usage report_before(const struct settings *settings);
void report_each(struct report *report, const struct settings *settings, const struct usage *before, unsigned count);

/* The first few wrong datagrams are told in full, the others only counted. */
void report_wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A free port that the server is to reach. */
int target_udp(const struct settings *settings, union netaddr *address);
int target_listen(const struct settings *settings, union netaddr *address);

/* Waits until something arrives at `fd`; false when `timeout_ms` pass. */
bool wait_readable(int fd, int timeout_ms);

#endif
