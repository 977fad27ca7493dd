/* Reads what this process uses: CPU time, memory, descriptors. For /metrics. */
#ifndef CONESOCKS_ADMIN_PROCESS_H
#define CONESOCKS_ADMIN_PROCESS_H

#include <stdint.h>

/* An unknown value is 0. */
struct process_use {
    double cpu_seconds;
    uint64_t resident_bytes, virtual_bytes;
    uint64_t open_fds, max_fds; /* open_fds needs Linux 6.2 */
};

/* Opened early, because the sandbox later denies opening them; -1: not there. */
struct process_files {
    int statm, descriptors;
};

/* `proc` is /proc/self. */
struct process_files process_open(const char *proc);
void process_close(struct process_files *files);
struct process_use process_read(const struct process_files *files);

#endif
