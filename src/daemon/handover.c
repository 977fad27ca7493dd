#include "daemon/handover.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "handover"
#include "admin/admin.h"
#include "admin/unix_socket.h"
#include "base/clock.h"
#include "base/log.h"
#include "daemon/crew.h"
#include "daemon/follow.h"
#include "daemon/handover_wire.h"
#include "daemon/listeners.h"
#include "daemon/worker.h"
#include "net/acceptor.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/assoc/shared_socket.h"
#include "proxy/env.h"

/* A taker keeps others waiting for at most so long; it needs less than a second. */
#define TAKER_MS (10 * 1000)

/* Copies of descriptors, to be sent and closed. */
struct handover_sockets {
    int *fds; /* to be freed */
    size_t count;
};

struct handover {
    struct acceptor acceptor;
    struct event answer;
    struct handover_goods goods;
    void (*over)(void *arg);
    void *arg;
    int fd;                     /* at which we wait; -1: another process has it now */
    int taker;                  /* the connection to the process that asks; -1: none does */
    pid_t taker_id;             /* that process */
    uint64_t given_ms;          /* when it had been given all */
    int leader;                 /* our end of a connection to it, for later: see follow.h; -1: none */
    struct crew_round *round;   /* under way: the workers copy their sockets, or give them up */
    int link_fd;                /* for `link` */
    struct handover_link *link; /* the first worker's, once another process serves; NULL: none */
    bool ends;
    struct handover_part {
        struct handover_sockets tcp, udp; /* for connections; of shared_socket.h */
        int error;                        /* an errno: these are not all */
    } parts[];                            /* one for each worker */
};

int handover_listen(const char *path)
{
    int fd = unix_socket_listen(path, SOCK_SEQPACKET, 0600);
    if (fd < 0)
        log_error("run.handover: cannot listen on %s: %s%s", path, strerror(-fd),
                  fd == -EADDRINUSE ? ". conesocks is running already; start with --take-over to replace it"
                  : fd == -ENOENT   ? ". Create its folder first"
                  : fd == -ENOTSOCK ? ". It is not a socket: remove it, or name another path"
                                    : "");
    return fd < 0 ? -1 : fd;
}

/* ---- giving ---- */

static bool handover_send(int to, enum handover_kind kind, const int *fds, size_t fd_count, size_t count)
{
    struct handover_message message = {HANDOVER_VERSION, kind, (uint32_t)count};
    struct iovec part = {&message, sizeof(message)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(HANDOVER_DESCRIPTORS_MAX * sizeof(int))];
    } control = {0};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
    assert(fd_count <= HANDOVER_DESCRIPTORS_MAX);
    if (fd_count > 0) {
        control.header = (struct cmsghdr){CMSG_LEN(fd_count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
        packet.msg_control = &control;
        packet.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    }
    return sendmsg(to, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(message);
}

static bool handover_give_sockets(const struct handover *handover, enum handover_kind kind,
                                  const struct handover_sockets *sockets, size_t *given)
{
    for (size_t done = 0; done < sockets->count;) {
        size_t left = sockets->count - done;
        size_t count = left < HANDOVER_DESCRIPTORS_MAX ? left : HANDOVER_DESCRIPTORS_MAX;
        if (!handover_send(handover->taker, kind, sockets->fds + done, count, count))
            return false;
        done += count;
        *given += count;
    }
    return true;
}

static bool handover_give_parts(const struct handover *handover, size_t *given)
{
    for (size_t i = 0; i < crew_size(handover->goods.crew); i++) {
        const struct handover_part *part = &handover->parts[i];
        if (!handover_give_sockets(handover, HANDOVER_LISTENERS, &part->tcp, given) ||
            !handover_give_sockets(handover, HANDOVER_UDP, &part->udp, given))
            return false;
    }
    return true;
}

static bool handover_give_one(const struct handover *handover, enum handover_kind kind, int fd, size_t *given)
{
    *given += fd >= 0;
    return fd < 0 || handover_send(handover->taker, kind, &fd, 1, 1);
}

static bool handover_give_followers(struct handover *handover, size_t *given)
{
    const struct followers *followers = handover->goods.followers;
    int ends[2];
    for (size_t i = 0; i < followers->count; i++)
        if (!handover_give_one(handover, HANDOVER_FOLLOWER, followers->fds[i], given))
            return false;
    errno = follow_connect(ends);
    if (errno)
        return false;
    assert(handover->leader < 0);
    handover->leader = ends[1];
    bool sent = handover_give_one(handover, HANDOVER_FOLLOWER, ends[0], given);
    int error = errno;
    close(ends[0]);
    errno = error;
    return sent;
}

static bool handover_give_all(struct handover *handover)
{
    const struct handover_goods *goods = &handover->goods;
    const struct admin_sockets admin = goods->admin ? admin_sockets(goods->admin) : ADMIN_SOCKETS_NONE;
    size_t given = 0;
    for (size_t i = 0; i < crew_size(goods->crew); i++) {
        if (handover->parts[i].error) {
            errno = handover->parts[i].error;
            return false;
        }
    }
    return handover_give_parts(handover, &given) &&
           handover_give_one(handover, HANDOVER_ADMIN_TCP, admin.tcp, &given) &&
           handover_give_one(handover, HANDOVER_ADMIN_SOCKET, admin.local, &given) &&
           handover_give_one(handover, HANDOVER_PID_FILE, goods->pid_file, &given) &&
           handover_give_one(handover, HANDOVER_SOCKET, handover->fd, &given) &&
           handover_give_followers(handover, &given) && handover_send(handover->taker, HANDOVER_ALL, NULL, 0, given);
}

static void handover_close_sockets(struct handover_sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        close(sockets->fds[i]);
    free(sockets->fds);
    *sockets = (struct handover_sockets){0};
}

static void handover_close_copies(struct handover *handover)
{
    for (size_t i = 0; i < crew_size(handover->goods.crew); i++) {
        handover_close_sockets(&handover->parts[i].tcp);
        handover_close_sockets(&handover->parts[i].udp);
    }
}

static void handover_close_leader(struct handover *handover)
{
    if (handover->leader >= 0)
        close(handover->leader);
    handover->leader = -1;
}

static void handover_close_taker(struct handover *handover)
{
    event_del(&handover->answer);
    close(handover->taker);
    handover->taker = -1;
    handover_close_leader(handover);
}

/* ---- rounds of the workers ---- */

/* On the worker's thread. */
static void handover_copy_sockets(struct crew_turn *turn)
{
    struct handover *handover = turn->arg;
    struct handover_part *part = &handover->parts[turn->number];
    assert(!part->tcp.fds && !part->udp.fds);
    part->error = listeners_copy(worker_listeners(turn->worker), &part->tcp.fds, &part->tcp.count);
    if (!part->error)
        part->error = shared_sockets_copy(worker_env(turn->worker), &part->udp.fds, &part->udp.count);
    crew_turn_end(turn);
}

static void handover_on_copied(void *arg)
{
    struct handover *handover = arg;
    if (!handover->ends) {
        handover->given_ms = clock_coarse_ms();
        /* Before it has anything: a process that has all, and whose answer is not heard, would serve beside us. */
        bool heard = event_add(&handover->answer, NULL) == 0;
        if (!heard || !handover_give_all(handover)) {
            log_error("cannot give process %d the listeners: %s; nothing has changed", (int)handover->taker_id,
                      heard ? strerror(errno) : "no memory");
            handover_close_taker(handover);
        }
    }
    handover_close_copies(handover);
}

/* On the worker's thread. */
static void handover_give_up_sockets(struct crew_turn *turn)
{
    shared_sockets_give_up(worker_env(turn->worker));
    crew_turn_end(turn);
}

/* On the worker's thread. */
static void handover_open_link(struct crew_turn *turn)
{
    struct handover *handover = turn->arg;
    if (turn->number == 0)
        handover->link = handover_link_new(worker_env(turn->worker), handover->link_fd);
    crew_turn_end(turn);
}

static void handover_on_linked(void *arg)
{
    (void)arg;
}

static void handover_on_given_up(void *arg)
{
    struct handover *handover = arg;
    const int taker = handover->taker;
    if (handover->ends)
        return;
    assert(taker >= 0);
    handover->taker = -1;
    if (!handover_send(taker, HANDOVER_GONE, NULL, 0, 0))
        (void)shutdown(taker, SHUT_RDWR); /* it waits, and takes our end as an answer as well */
    handover->link_fd = taker;
    crew_round_begin(handover->round, handover_open_link, handover_on_linked);
    handover->over(handover->arg);
}

/* ---- a process that asks ---- */

/* The mode of the socket has the same effect, unless somebody has changed it. */
static bool handover_may_take(int taker, pid_t *id)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(taker, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    *id = peer.pid;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    log_warning("refusing to give the listeners to process %d: it runs as user id %u", (int)peer.pid,
                (unsigned)peer.uid);
    return false;
}

static void handover_on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct handover *handover = arg;
    struct handover_message message = {0};
    bool serves = recv(fd, &message, sizeof(message), 0) == (ssize_t)sizeof(message) &&
                  message.version == HANDOVER_VERSION && message.kind == HANDOVER_SERVES;
    if (!serves) {
        log_warning("process %d has not taken over; nothing has changed", (int)handover->taker_id);
        handover_close_taker(handover);
        return;
    }
    log_info("process %d serves now", (int)handover->taker_id);
    acceptor_stop(&handover->acceptor);
    close(handover->fd);
    handover->fd = -1;
    handover_link_set_next(handover->goods.host, fd);
    crew_round_begin(handover->round, handover_give_up_sockets, handover_on_given_up);
}

/* Makes room for another taker. false: the present one still has time, or has just answered, or cannot be told that it
 * is too late: then it might serve all the same. */
static bool handover_give_up_taker(struct handover *handover)
{
    char answer;
    if (crew_round_is_under_way(handover->round) || clock_coarse_ms() - handover->given_ms < TAKER_MS ||
        recv(handover->taker, &answer, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
        !handover_send(handover->taker, HANDOVER_TOO_LATE, NULL, 0, 0))
        return false;
    log_warning("telling process %d to exit: it did not start to serve in time", (int)handover->taker_id);
    handover_close_taker(handover);
    return true;
}

static void handover_on_ready(void *arg)
{
    struct handover *handover = arg;
    pid_t id;
    int taker = accept4(handover->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (taker < 0 && acceptor_is_short(errno))
        acceptor_rest(&handover->acceptor);
    if (taker < 0)
        return;
    if (!handover_may_take(taker, &id)) {
        close(taker);
        return;
    }
    const bool is_free = handover->taker < 0 || handover_give_up_taker(handover);
    if (!is_free || crew_round_is_under_way(handover->round)) { /* a round for a taker that has left */
        log_warning("refusing to give the listeners to process %d: process %d is about to take over", (int)id,
                    (int)handover->taker_id);
        close(taker);
        return;
    }
    log_info("process %d is about to take over", (int)id);
    handover->taker = taker;
    handover->taker_id = id;
    event_assign(&handover->answer, event_get_base(&handover->answer), taker, EV_READ, handover_on_answer, handover);
    crew_round_begin(handover->round, handover_copy_sockets, handover_on_copied);
}

/* ---- life ---- */

struct handover *handover_new(struct event_base *base, int fd, const struct handover_goods *goods,
                              void (*over)(void *arg), void *arg)
{
    struct handover *handover = calloc(1, sizeof(*handover) + crew_size(goods->crew) * sizeof(struct handover_part));
    struct crew_round *round = handover ? crew_round_new(goods->crew, handover) : NULL;
    if (!round) {
        close(fd);
        free(handover);
        return NULL;
    }
    *handover = (struct handover){
        .goods = *goods, .over = over, .arg = arg, .fd = fd, .taker = -1, .leader = -1, .link_fd = -1, .round = round};
    event_assign(&handover->answer, base, -1, EV_READ, handover_on_answer, handover);
    acceptor_init(&handover->acceptor, base, fd, handover_on_ready, handover);
    (void)acceptor_start(&handover->acceptor);
    return handover;
}

bool handover_is_over(const struct handover *handover)
{
    return handover && handover->fd < 0;
}

bool handover_is_promised(const struct handover *handover)
{
    return handover && handover->taker >= 0;
}

int handover_take_leader(struct handover *handover)
{
    int leader = handover->leader;
    handover->leader = -1;
    return leader;
}

void handover_free(struct handover *handover)
{
    if (!handover)
        return;
    handover->ends = true;
    crew_round_free(handover->round);
    acceptor_stop(&handover->acceptor);
    if (handover->taker >= 0)
        handover_close_taker(handover);
    handover_close_leader(handover);
    handover_link_free(handover->link);
    if (handover->fd >= 0)
        close(handover->fd);
    free(handover);
}
