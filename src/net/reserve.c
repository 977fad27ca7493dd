#include "net/reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

/* For the admin listener's connections, a configuration's files, a handover's messages. */
#define RESERVE 32
/* A small limit is shared out: a sixteenth of it is the reserve's. */
#define RESERVE_SHARE  16
#define SHORT_SHOWN_MS 5000

/* The reserve's first number; INT_MAX: there is no reserve. What is next does not change either while threads run. */
static int reserve_from = INT_MAX;
static size_t limit_now, headroom, open_at_first;
static int any_descriptor = -1; /* to be copied */
static atomic_uint_fast64_t short_until_ms;
static atomic_int questions; /* sockets that ask name servers */
static atomic_bool ran_out;  /* a session got none, and since then nobody has looked */

void reserve_set(size_t copies)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX) /* no limit that could be reached */
        return;
    if (any_descriptor < 0)
        any_descriptor = eventfd(0, EFD_CLOEXEC);
    if (any_descriptor < 0)
        return;
    limit_now = (size_t)limit.rlim_cur;
    const size_t share = limit_now / RESERVE_SHARE, reserve = RESERVE + copies < share ? RESERVE + copies : share;
    reserve_from = (int)(limit_now - reserve);
    headroom = reserve / 2;
    open_at_first = (size_t)any_descriptor + 1;
}

int reserve_keep(int fd)
{
    if (fd < reserve_from)
        return fd;
    close(fd);
    atomic_store_explicit(&ran_out, true, memory_order_relaxed);
    return -EMFILE;
}

/* The lowest number that is free. */
static int probe(void)
{
    int fd = fcntl(any_descriptor, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return errno == EMFILE ? INT_MAX : 0;
    close(fd);
    return fd;
}

int reserve_move(int fd)
{
    if (fd < reserve_from)
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 0), error = errno;
    close(fd);
    return moved < 0 ? -error : reserve_keep(moved);
}

void reserve_count_question(int change)
{
    atomic_fetch_add_explicit(&questions, change, memory_order_relaxed);
}

bool reserve_has_room(size_t held)
{
    if (reserve_from == INT_MAX)
        return true;
    const size_t before_headroom = (size_t)reserve_from - headroom;
    const size_t counted = open_at_first + held + (size_t)atomic_load_explicit(&questions, memory_order_relaxed);
    /* What nobody counts is less than the other half: then it costs no system call to know. */
    if (counted < before_headroom / 2 && !atomic_load_explicit(&ran_out, memory_order_relaxed))
        return true;
    if (counted >= before_headroom || (size_t)probe() >= before_headroom)
        return false;
    atomic_store_explicit(&ran_out, false, memory_order_relaxed);
    return true;
}

void reserve_note_shortage(uint64_t now_ms)
{
    atomic_store_explicit(&short_until_ms, now_ms + SHORT_SHOWN_MS, memory_order_relaxed);
}

bool reserve_is_short(uint64_t now_ms, size_t held)
{
    return now_ms < atomic_load_explicit(&short_until_ms, memory_order_relaxed) || !reserve_has_room(held);
}

unsigned reserve_limit(void)
{
    return (unsigned)limit_now;
}
