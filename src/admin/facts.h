/* What the admin listener shows besides the counters and sessions of the workers: the start, reloads, the use of port
 * ranges, the kernel path. */
#ifndef CONESOCKS_ADMIN_FACTS_H
#define CONESOCKS_ADMIN_FACTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "kernel/kernel_path.h"
#include "net/ports.h"

struct admin_kernel_path {
    const char *why_not; /* why user space relays everything; NULL: the path is active */
    struct kernel_path_view view;
};

static inline struct admin_kernel_path admin_kernel_path_of(const struct kernel_path *path, const char *why_not)
{
    struct admin_kernel_path shown = {.why_not = path ? kernel_path_why_paused(path) : why_not};
    if (path)
        kernel_path_view(path, &shown.view);
    return shown;
}

struct admin_facts {
    time_t started;
    uint64_t reloads, reloads_failed;
    struct port_usage ports[PORT_RANGES_MAX];
    size_t port_count; /* of them */
    struct admin_kernel_path kernel_path;
    bool kernel_path_configured; /* udp.kernel_path is not off; whether it works is kernel_path's */
};

#endif
