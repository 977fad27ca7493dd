/* What a server costs: CPU time, memory and descriptors of a process and all its descendants, from /proc. */
#ifndef CONESOCKS_BENCH_USAGE_H
#define CONESOCKS_BENCH_USAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct usage {
    bool alive;       /* the process itself, whatever its children do */
    uint64_t cpu_ns;  /* user and system, with ended threads and children that were waited for */
    uint64_t pss_kib; /* memory, shared pages divided among those that share them */
    uint64_t descriptors;
    uint64_t tasks; /* threads of all processes */
};

struct usage usage_of_tree(pid_t root);

/* The same without memory and descriptors, which take the kernel a while to count. */
struct usage usage_cpu_of_tree(pid_t root);

/* This process. */
uint64_t usage_own_cpu_ns(void);

#endif
