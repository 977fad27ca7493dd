/* For builds without libbpf, clang or bpftool: there is no kernel path, and opening it says so. */
#include <errno.h>
#include <stdio.h>

#include "kernel/kernel_path.h"

bool kernel_path_is_built(void)
{
    return false;
}

struct kernel_path *kernel_path_open(char why[KERNEL_PATH_TEXT_MAX])
{
    snprintf(why, KERNEL_PATH_TEXT_MAX, "this conesocks was built without it (libbpf, clang and bpftool are needed)");
    return NULL;
}

void kernel_path_close(struct kernel_path *path)
{
    (void)path;
}

void kernel_path_revoke(struct kernel_path *path)
{
    (void)path;
}

const char *kernel_path_why_paused(const struct kernel_path *path)
{
    (void)path;
    return NULL;
}

void kernel_path_missing(const struct kernel_path *path, char interfaces[KERNEL_PATH_TEXT_MAX])
{
    (void)path;
    interfaces[0] = '\0';
}

void kernel_path_view(const struct kernel_path *path, struct kernel_path_view *view)
{
    (void)path;
    *view = (struct kernel_path_view){0};
}

const char *kernel_path_reason(size_t reason)
{
    (void)reason;
    return "";
}

struct kernel_worker *kernel_worker_new(struct kernel_path *path, unsigned index)
{
    (void)path, (void)index;
    return NULL;
}

void kernel_worker_free(struct kernel_worker *worker)
{
    (void)worker;
}

void kernel_worker_revoke(struct kernel_worker *worker)
{
    (void)worker;
}

bool kernel_worker_is_paused(const struct kernel_worker *worker)
{
    (void)worker;
    return false;
}

struct kernel_slot *kernel_slot_new(struct kernel_worker *worker, const struct kernel_slot_setup *setup)
{
    (void)worker, (void)setup;
    errno = ENOSPC;
    return NULL;
}

void kernel_slot_move_client(struct kernel_slot *slot, uint16_t port)
{
    (void)slot, (void)port;
}

bool kernel_slot_sent(struct kernel_worker *worker, struct kernel_slot *slot, const union netaddr *peer)
{
    (void)worker, (void)slot, (void)peer;
    return false;
}

void kernel_slot_caught_up(struct kernel_slot *slot, enum kernel_way way, uint32_t count, int fd)
{
    (void)slot, (void)way, (void)count, (void)fd;
}

bool kernel_slot_is_stuck(struct kernel_slot *slot, enum kernel_way way, int fd)
{
    (void)slot, (void)way, (void)fd;
    return false;
}

void kernel_slot_take(struct kernel_slot *slot, struct kernel_carried *carried)
{
    (void)slot;
    *carried = (struct kernel_carried){0};
}

void kernel_slot_allow(struct kernel_slot *slot, enum kernel_way way, const struct kernel_credit *credit)
{
    (void)slot, (void)way, (void)credit;
}

void kernel_slot_withdraw(struct kernel_slot *slot, enum kernel_way way, struct kernel_credit *unused)
{
    (void)slot, (void)way;
    *unused = (struct kernel_credit){0};
}

bool kernel_slot_needs_credit(const struct kernel_slot *slot, enum kernel_way way)
{
    (void)slot, (void)way;
    return false;
}

void kernel_slot_free(struct kernel_worker *worker, struct kernel_slot *slot, struct kernel_carried *carried)
{
    (void)worker;
    kernel_slot_take(slot, carried);
}
