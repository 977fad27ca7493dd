#include "net/dial.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/tcp.h"
#include "net/sock.h"

#define CANDIDATES_MAX   16 /* of one family; a name with more loses the rest */
#define ATTEMPTS_MAX     4  /* at once: each is a descriptor, and a connection that the other side may see */
#define ATTEMPT_DELAY_MS 250
/* An attempt that has been silent for so long gives its place to an address that has not been tried. Two SYNs have left
 * by then, and the second has had a second. */
#define ATTEMPT_PATIENCE_MS 2000

struct candidate {
    union netaddr to;
    struct sock_way way;
};

struct attempt {
    struct dial *dial;
    struct event answered;
    union netaddr to;
    int fd;       /* -1: none */
    bool overdue; /* silent for ATTEMPT_PATIENCE_MS */
};

struct dial {
    struct event_base *base;
    struct dial_options options;
    dial_done *done;
    void *arg;
    struct event step_timer, deadline;
    struct candidate candidates[FAMILY_COUNT][CANDIDATES_MAX];
    size_t added[FAMILY_COUNT], tried[FAMILY_COUNT];
    int next_family;
    bool all_added;
    int error;
    size_t running;
    struct attempt attempts[ATTEMPTS_MAX];
};

static void dial_on_step(evutil_socket_t fd, short what, void *arg);
static void dial_on_deadline(evutil_socket_t fd, short what, void *arg);

static void dial_step_after(struct dial *dial, uint64_t ms)
{
    struct timeval delay = timeval_from_ms(ms);
    if (ms == 0) { /* in this turn of the loop, but not from inside the caller */
        event_active(&dial->step_timer, EV_TIMEOUT, 0);
        return;
    }
    event_add(&dial->step_timer, &delay);
}

struct dial *dial_new(struct event_base *base, const struct dial_options *options, dial_done *done, void *arg)
{
    struct dial *dial = calloc(1, sizeof(*dial));
    if (!dial)
        return NULL;
    dial->base = base;
    dial->options = *options;
    dial->done = done;
    dial->arg = arg;
    dial->next_family = options->ipv4_first ? FAMILY_V4 : FAMILY_V6;
    for (size_t i = 0; i < ATTEMPTS_MAX; i++)
        dial->attempts[i] = (struct attempt){.dial = dial, .fd = -1};
    event_assign(&dial->step_timer, base, -1, 0, dial_on_step, dial);
    event_assign(&dial->deadline, base, -1, 0, dial_on_deadline, dial);
    struct timeval timeout = timeval_from_ms(options->timeout_ms);
    event_add(&dial->deadline, &timeout);
    return dial;
}

/* Returns its descriptor, or -1. */
static int attempt_end(struct attempt *attempt)
{
    int fd = attempt->fd;
    if (fd < 0)
        return fd;
    assert(attempt->dial->running > 0);
    event_del(&attempt->answered);
    attempt->fd = -1;
    attempt->dial->running--;
    return fd;
}

static void attempt_close(struct attempt *attempt)
{
    int fd = attempt_end(attempt);
    if (fd >= 0)
        close(fd);
}

void dial_cancel(struct dial *dial)
{
    for (size_t i = 0; i < ATTEMPTS_MAX; i++)
        attempt_close(&dial->attempts[i]);
    assert(dial->running == 0);
    event_del(&dial->step_timer);
    event_del(&dial->deadline);
    free(dial);
}

static void dial_finish(struct dial *dial, const struct dial_outcome *outcome)
{
    dial_done *done = dial->done;
    void *arg = dial->arg;
    dial_cancel(dial);
    done(arg, outcome);
}

static void dial_fail(struct dial *dial)
{
    const struct dial_outcome outcome = {.fd = -1, .error = dial->error};
    dial_finish(dial, &outcome);
}

void dial_add(struct dial *dial, int family, const union netaddr *addresses, size_t count, const struct sock_way *way)
{
    assert(!dial->all_added);
    int slot = family_index(family);
    for (size_t i = 0; i < count && dial->added[slot] < CANDIDATES_MAX; i++) {
        struct candidate *candidate = &dial->candidates[slot][dial->added[slot]++];
        candidate->to = addresses[i];
        if (way)
            candidate->way = *way;
    }
    if (dial->running == 0 || !event_pending(&dial->step_timer, EV_TIMEOUT, NULL))
        dial_step_after(dial, 0);
}

size_t dial_descriptors(const struct dial *dial)
{
    return dial->running;
}

void dial_all_added(struct dial *dial)
{
    dial->all_added = true;
    if (dial->running == 0)
        dial_step_after(dial, 0);
}

/* A host that refuses is there; one that does not answer may be; no route tells least. */
static int dial_error_weight(int error)
{
    switch (error) {
    case 0:
        return 0;
    case ECONNREFUSED:
    case ECONNRESET:
        return 4;
    case ETIMEDOUT:
        return 3;
    case EHOSTUNREACH:
    case EADDRINUSE:    /* no port is left here, or */
    case EADDRNOTAVAIL: /* this host does not have the outbound address: the way there may be fine */
        return 2;
    default:
        return 1;
    }
}

static void dial_note_error(struct dial *dial, int error)
{
    if (dial_error_weight(error) > dial_error_weight(dial->error))
        dial->error = error;
}

static bool dial_is_full(const struct dial *dial)
{
    return dial->running == ATTEMPTS_MAX;
}

static void attempt_fail(struct attempt *attempt, int error)
{
    dial_note_error(attempt->dial, error);
    attempt_close(attempt);
    dial_step_after(attempt->dial, 0);
}

static void attempt_on_overdue(struct attempt *attempt)
{
    attempt->overdue = true;
    event_remove_timer(&attempt->answered);
    if (dial_is_full(attempt->dial))
        dial_step_after(attempt->dial, 0);
}

static void attempt_succeed(struct attempt *attempt, const union netaddr *local)
{
    struct dial *dial = attempt->dial;
    const struct dial_outcome outcome = {.fd = attempt->fd, .to = attempt->to, .local = *local};
    if (dial->options.watch)
        dial->options.watch(dial->arg, attempt->fd);
    attempt_end(attempt);
    dial_finish(dial, &outcome);
}

/* A socket that has failed is readable as well; one that is only writable needs no question. */
static void attempt_on_answered(evutil_socket_t fd, short what, void *arg)
{
    struct attempt *attempt = arg;
    if (what & EV_TIMEOUT) {
        attempt_on_overdue(attempt);
        return;
    }
    const int error = what & EV_READ ? sock_error(fd) : 0;
    if (error) {
        attempt_fail(attempt, error);
        return;
    }
    const union netaddr local = sock_local(fd);
    if (netaddr_port(&local) == netaddr_port(&attempt->to) && tcp_is_connected_to_itself(fd)) {
        sock_abort(attempt_end(attempt));
        attempt_fail(attempt, ECONNREFUSED);
        return;
    }
    attempt_succeed(attempt, &local);
}

/* A place for one more attempt; NULL: all are taken by attempts that may still succeed. */
static struct attempt *dial_find_place(struct dial *dial)
{
    struct attempt *overdue = NULL;
    for (size_t i = 0; i < ATTEMPTS_MAX; i++) {
        struct attempt *attempt = &dial->attempts[i];
        if (attempt->fd < 0)
            return attempt;
        if (attempt->overdue)
            overdue = attempt;
    }
    if (overdue) {
        dial_note_error(dial, ETIMEDOUT);
        attempt_close(overdue);
    }
    return overdue;
}

/* 0, or the errno of an attempt that failed at once. */
static int attempt_start(struct attempt *attempt, const struct candidate *candidate)
{
    assert(attempt->fd < 0);
    struct dial *dial = attempt->dial;
    const struct timeval patience = timeval_from_ms(ATTEMPT_PATIENCE_MS);
    int fd = sock_connect(dial->options.reserve, &candidate->to, &candidate->way);
    if (fd < 0)
        return -fd;
    *attempt = (struct attempt){.dial = dial, .to = candidate->to, .fd = fd};
    dial->running++;
    event_assign(&attempt->answered, dial->base, fd, EV_READ | EV_CLOSED | EV_WRITE | EV_PERSIST, attempt_on_answered,
                 attempt);
    event_add(&attempt->answered, &patience);
    return 0;
}

static bool dial_left(const struct dial *dial, int family)
{
    return dial->tried[family] < dial->added[family];
}

/* The next candidate, families alternating. */
static const struct candidate *dial_next_candidate(struct dial *dial)
{
    int family = dial_left(dial, dial->next_family) ? dial->next_family : 1 - dial->next_family;
    assert(dial_left(dial, family));
    dial->next_family = 1 - family;
    return &dial->candidates[family][dial->tried[family]++];
}

static void dial_on_step(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dial *dial = arg;
    while (dial_left(dial, FAMILY_V4) || dial_left(dial, FAMILY_V6)) {
        struct attempt *place = dial_find_place(dial);
        if (!place)
            return; /* until one of them fails, or is overdue */
        int error = attempt_start(place, dial_next_candidate(dial));
        if (error == 0) {
            dial_step_after(dial, ATTEMPT_DELAY_MS);
            return;
        }
        dial_note_error(dial, error);
    }
    if (dial->all_added && dial->running == 0)
        dial_fail(dial);
}

static void dial_on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dial *dial = arg;
    dial_note_error(dial, ETIMEDOUT);
    dial_fail(dial);
}
