/*
 * What the one CPU did that this program is pinned to. What the kernel does for packets is no process's time, or that
 * of whichever process is interrupted: so the busy time is what the idle time leaves.
 */
#ifndef CONESOCKS_BENCH_WHOLE_CPU_H
#define CONESOCKS_BENCH_WHOLE_CPU_H

#include <stdint.h>

/* Ends the program when it may run on several CPUs. */
void whole_cpu_init(void);

/* Time that the CPU has been idle. Only as root is it exact; others learn it in steps of 10 ms. */
uint64_t whole_cpu_idle_ns(void);

/* Time of the kernel's thread that handles packets which come faster than they are handled. */
uint64_t whole_cpu_ksoftirqd_ns(void);

#endif
