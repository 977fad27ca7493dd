#include "net/reserve.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

/* For the admin listener's connections, a configuration's files, a handover's messages. */
#define RESERVE 32
/* A small limit is shared out: a sixteenth of it is the reserve's. */
#define RESERVE_SHARE  16
#define SHORT_SHOWN_MS 5000

/*
 * The kernel gives the lowest number that is free, and sessions keep none of the highest numbers: so a new descriptor
 * with such a number means that all others are taken, by sessions or by libraries that nobody counts.
 */
struct descriptor_reserve {
    /* These do not change while workers run. */
    int first; /* number of the reserve; INT_MAX: there is no reserve */
    size_t limit, headroom, open_at_first;
    int any_descriptor; /* to be copied; -1: none yet */

    atomic_uint_fast64_t short_until_ms;
    atomic_int questions; /* sockets that ask name servers */
    atomic_size_t queries;
    atomic_bool ran_out; /* a session got none, and since then nobody has looked */
};

struct descriptor_reserve *reserve_new(void)
{
    struct descriptor_reserve *reserve = calloc(1, sizeof(*reserve));
    if (!reserve)
        return NULL;
    reserve->first = INT_MAX;
    reserve->any_descriptor = -1;
    return reserve;
}

void reserve_free(struct descriptor_reserve *reserve)
{
    if (!reserve)
        return;
    assert(atomic_load(&reserve->questions) == 0);
    assert(atomic_load(&reserve->queries) == 0);
    if (reserve->any_descriptor >= 0)
        close(reserve->any_descriptor);
    free(reserve);
}

void reserve_set(struct descriptor_reserve *reserve, size_t copies)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX) /* no limit that could be reached */
        return;
    if (reserve->any_descriptor < 0)
        reserve->any_descriptor = eventfd(0, EFD_CLOEXEC);
    if (reserve->any_descriptor < 0)
        return;
    reserve->limit = (size_t)limit.rlim_cur;
    const size_t share = reserve->limit / RESERVE_SHARE, wanted = RESERVE + copies;
    const size_t size = wanted < share ? wanted : share;
    reserve->first = (int)(reserve->limit - size);
    reserve->headroom = size / 2;
    reserve->open_at_first = (size_t)reserve->any_descriptor + 1;
}

/* Whether `fd` is one that sessions may not keep. */
static bool reserve_owns(const struct descriptor_reserve *reserve, int fd)
{
    return reserve && fd >= reserve->first;
}

int reserve_keep(struct descriptor_reserve *reserve, int fd)
{
    if (!reserve_owns(reserve, fd))
        return fd;
    close(fd);
    atomic_store_explicit(&reserve->ran_out, true, memory_order_relaxed);
    return -EMFILE;
}

/* The lowest number that is free. */
static int reserve_probe(const struct descriptor_reserve *reserve)
{
    int fd = fcntl(reserve->any_descriptor, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return errno == EMFILE ? INT_MAX : 0;
    close(fd);
    return fd;
}

int reserve_move(struct descriptor_reserve *reserve, int fd)
{
    assert(fd >= 0);
    if (!reserve_owns(reserve, fd))
        return fd;
    int moved = fcntl(fd, F_DUPFD_CLOEXEC, 0), error = errno;
    close(fd);
    return moved < 0 ? -error : reserve_keep(reserve, moved);
}

void reserve_count_question(struct descriptor_reserve *reserve, int change)
{
    if (!reserve)
        return;
    int before = atomic_fetch_add_explicit(&reserve->questions, change, memory_order_relaxed);
    assert(before + change >= 0);
}

void reserve_count_query(struct descriptor_reserve *reserve, int change)
{
    if (!reserve)
        return;
    size_t before = atomic_fetch_add_explicit(&reserve->queries, (size_t)change, memory_order_relaxed);
    assert(change > 0 || before > 0);
}

size_t reserve_queries(const struct descriptor_reserve *reserve)
{
    return reserve ? atomic_load_explicit(&reserve->queries, memory_order_relaxed) : 0;
}

bool reserve_has_room(struct descriptor_reserve *reserve, size_t held)
{
    if (!reserve || reserve->first == INT_MAX)
        return true;
    const size_t before_headroom = (size_t)reserve->first - reserve->headroom;
    const size_t questions = (size_t)atomic_load_explicit(&reserve->questions, memory_order_relaxed);
    const size_t counted = reserve->open_at_first + held + questions;
    /* What nobody counts is less than the other half: then it costs no system call to know. */
    if (counted < before_headroom / 2 && !atomic_load_explicit(&reserve->ran_out, memory_order_relaxed))
        return true;
    if (counted >= before_headroom || (size_t)reserve_probe(reserve) >= before_headroom)
        return false;
    atomic_store_explicit(&reserve->ran_out, false, memory_order_relaxed);
    return true;
}

void reserve_note_shortage(struct descriptor_reserve *reserve, uint64_t now_ms)
{
    if (reserve)
        atomic_store_explicit(&reserve->short_until_ms, now_ms + SHORT_SHOWN_MS, memory_order_relaxed);
}

bool reserve_is_short(struct descriptor_reserve *reserve, uint64_t now_ms, size_t held)
{
    return (reserve && now_ms < atomic_load_explicit(&reserve->short_until_ms, memory_order_relaxed)) ||
           !reserve_has_room(reserve, held);
}

unsigned reserve_limit(const struct descriptor_reserve *reserve)
{
    return reserve ? (unsigned)reserve->limit : 0;
}
