#include "daemon/handover.h"

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
#include "base/util.h"
#include "daemon/follow.h"
#include "daemon/handover_wire.h"
#include "daemon/worker.h"
#include "net/inbox.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/env.h"

static const struct timeval rest = {.tv_usec = 250 * 1000};
/* So long nobody else has a chance; it takes less than a second. */
#define TAKER_MS (10 * 1000)

struct handover {
    struct event acceptable, rested, answer;
    struct inbox *inbox;
    struct handover_goods goods;
    void (*over)(void *arg);
    void *arg;
    int fd;                                      /* -1: it is another's now */
    int taker;                                   /* who asks; -1: nobody */
    int leader;                                  /* our end of a connection to it, for later: see follow.h; or -1 */
    pid_t taker_id;                              /* its process */
    uint64_t given_ms;                           /* when it had all */
    size_t awaited;                              /* workers that have not answered yet */
    void (*answered)(struct handover *handover); /* when all have */
    bool ends;
    struct part {
        struct worker_listeners listeners;
        struct handover *handover;
    } parts[];
};

int handover_listen(const char *path)
{
    int fd = unix_socket_listen(path, SOCK_SEQPACKET, 0600);
    if (fd < 0)
        log_error("run.handover: cannot listen on %s: %s%s", path, strerror(-fd),
                  fd == -EADDRINUSE ? ". conesocks is running already; --take-over takes its place"
                  : fd == -ENOENT   ? ". Its folder has to be there"
                  : fd == -ENOTSOCK ? ". It is something else: remove it, or name another path"
                                    : "");
    return fd < 0 ? -1 : fd;
}

/* ---- giving ---- */

static bool send_message(int to, enum handover_kind kind, const int *fds, size_t fd_count, size_t count)
{
    struct handover_message message = {HANDOVER_VERSION, kind, (uint32_t)count};
    struct iovec part = {&message, sizeof(message)};
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(HANDOVER_DESCRIPTORS_MAX * sizeof(int))];
    } control = {0};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        control.header = (struct cmsghdr){CMSG_LEN(fd_count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(&control.header), fds, fd_count * sizeof(int));
        packet.msg_control = &control;
        packet.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
    }
    return sendmsg(to, &packet, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)sizeof(message);
}

static bool give_sockets(const struct handover *handover, enum handover_kind kind, const struct worker_sockets *sockets,
                         size_t *given)
{
    for (size_t done = 0; done < sockets->count;) {
        size_t left = sockets->count - done;
        size_t count = left < HANDOVER_DESCRIPTORS_MAX ? left : HANDOVER_DESCRIPTORS_MAX;
        if (!send_message(handover->taker, kind, sockets->fds + done, count, count))
            return false;
        done += count;
        *given += count;
    }
    return true;
}

static bool give_listeners(const struct handover *handover, size_t *given)
{
    for (size_t i = 0; i < handover->goods.worker_count; i++) {
        const struct worker_listeners *listeners = &handover->parts[i].listeners;
        if (!give_sockets(handover, HANDOVER_LISTENERS, &listeners->tcp, given) ||
            !give_sockets(handover, HANDOVER_UDP, &listeners->udp, given))
            return false;
    }
    return true;
}

static bool give_one(const struct handover *handover, enum handover_kind kind, int fd, size_t *given)
{
    *given += fd >= 0;
    return fd < 0 || send_message(handover->taker, kind, &fd, 1, 1);
}

static bool give_followers(struct handover *handover, size_t *given)
{
    const struct followers *followers = handover->goods.followers;
    int ends[2];
    for (size_t i = 0; i < followers->count; i++)
        if (!give_one(handover, HANDOVER_FOLLOWER, followers->fds[i], given))
            return false;
    errno = follow_connect(ends);
    if (errno)
        return false;
    handover->leader = ends[1];
    bool sent = give_one(handover, HANDOVER_FOLLOWER, ends[0], given);
    int error = errno;
    close(ends[0]);
    errno = error;
    return sent;
}

static bool give_all(struct handover *handover)
{
    const struct handover_goods *goods = &handover->goods;
    const struct admin_sockets admin = goods->admin ? admin_sockets(goods->admin) : ADMIN_SOCKETS_NONE;
    size_t given = 0;
    for (size_t i = 0; i < goods->worker_count; i++) {
        if (handover->parts[i].listeners.error) {
            errno = handover->parts[i].listeners.error;
            return false;
        }
    }
    return give_listeners(handover, &given) && give_one(handover, HANDOVER_ADMIN_TCP, admin.tcp, &given) &&
           give_one(handover, HANDOVER_ADMIN_SOCKET, admin.local, &given) &&
           give_one(handover, HANDOVER_PID_FILE, goods->pid_file, &given) &&
           give_one(handover, HANDOVER_SOCKET, handover->fd, &given) && give_followers(handover, &given) &&
           send_message(handover->taker, HANDOVER_ALL, NULL, 0, given);
}

static void close_sockets(struct worker_sockets *sockets)
{
    for (size_t i = 0; i < sockets->count; i++)
        close(sockets->fds[i]);
    free(sockets->fds);
    *sockets = (struct worker_sockets){0};
}

/* The copies that were made to be sent. */
static void close_copies(struct handover *handover)
{
    for (size_t i = 0; i < handover->goods.worker_count; i++) {
        close_sockets(&handover->parts[i].listeners.tcp);
        close_sockets(&handover->parts[i].listeners.udp);
    }
}

static void forget_taker(struct handover *handover)
{
    event_del(&handover->answer);
    close(handover->taker);
    handover->taker = -1;
    if (handover->leader >= 0)
        close(handover->leader);
    handover->leader = -1;
}

static void on_copied(struct handover *handover)
{
    if (!handover->ends) {
        handover->given_ms = clock_coarse_ms();
        /* Before it has anything: whoever has all and is not heard would serve beside us. */
        bool heard = event_add(&handover->answer, NULL) == 0;
        if (!heard || !give_all(handover)) {
            log_error("cannot give process %d the listeners: %s; nothing has changed", (int)handover->taker_id,
                      heard ? strerror(errno) : "no memory");
            forget_taker(handover);
        }
    }
    close_copies(handover);
}

static void on_gone(struct handover *handover)
{
    int taker = handover->taker;
    if (handover->ends)
        return;
    handover->taker = -1;
    if (!send_message(taker, HANDOVER_GONE, NULL, 0, 0))
        (void)shutdown(taker, SHUT_RDWR); /* it waits, and takes our end as well */
    worker_hear(handover->goods.workers[0], taker);
    handover->over(handover->arg);
}

/* ---- asking the workers ---- */

static void on_answered(struct inbox_item *item)
{
    struct handover *handover = container_of(item, struct part, listeners.item)->handover;
    if (--handover->awaited == 0)
        handover->answered(handover);
}

/* On the worker's thread. */
static void hand_back(struct worker_listeners *listeners)
{
    struct handover *handover = container_of(listeners, struct part, listeners)->handover;
    listeners->item.run = on_answered;
    inbox_post(handover->inbox, &listeners->item);
}

static void ask_workers(struct handover *handover, void (*ask)(struct worker_listeners *listeners),
                        void (*answered)(struct handover *handover))
{
    handover->awaited = handover->goods.worker_count;
    handover->answered = answered;
    for (size_t i = 0; i < handover->goods.worker_count; i++)
        ask(&handover->parts[i].listeners);
}

/* ---- who asks ---- */

/* The mode of the socket says the same, unless somebody has changed it. */
static bool may_take(int taker, pid_t *id)
{
    struct ucred peer;
    socklen_t len = sizeof(peer);
    if (getsockopt(taker, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
        return false;
    *id = peer.pid;
    if (peer.uid == 0 || peer.uid == geteuid())
        return true;
    log_warning("process %d of user id %u asks for the listeners: refused", (int)peer.pid, (unsigned)peer.uid);
    return false;
}

static void on_answer(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct handover *handover = arg;
    struct handover_message message = {0};
    bool serves = recv(fd, &message, sizeof(message), 0) == (ssize_t)sizeof(message) &&
                  message.version == HANDOVER_VERSION && message.kind == HANDOVER_SERVES;
    if (!serves) {
        log_warning("process %d has not come to serve; nothing has changed", (int)handover->taker_id);
        forget_taker(handover);
        return;
    }
    log_info("process %d serves now", (int)handover->taker_id);
    event_del(&handover->acceptable);
    event_del(&handover->rested);
    close(handover->fd);
    handover->fd = -1;
    handover_link_set_next(handover->goods.host, fd);
    ask_workers(handover, worker_give_up, on_gone);
}

/* Makes room for another one. false: the one that is there still has its time, or has just answered, or does not hear
 * that it is too late: then it could come to serve all the same. */
static bool give_up(struct handover *handover)
{
    char answer;
    if (handover->awaited > 0 || clock_coarse_ms() - handover->given_ms < TAKER_MS ||
        recv(handover->taker, &answer, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
        !send_message(handover->taker, HANDOVER_TOO_LATE, NULL, 0, 0))
        return false;
    log_warning("process %d has not come to serve for too long: it is told to end", (int)handover->taker_id);
    forget_taker(handover);
    return true;
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct handover *handover = arg;
    pid_t id;
    int taker = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (taker < 0 && (errno == EMFILE || errno == ENFILE)) { /* trying again at once would only burn CPU */
        event_del(&handover->acceptable);
        event_add(&handover->rested, &rest);
    }
    if (taker < 0)
        return;
    if (!may_take(taker, &id)) {
        close(taker);
        return;
    }
    if ((handover->taker >= 0 && !give_up(handover)) || handover->awaited > 0) { /* awaited: for one that has left */
        log_warning("process %d asks for the listeners, but process %d is about to take over: refused", (int)id,
                    (int)handover->taker_id);
        close(taker);
        return;
    }
    log_info("process %d is about to take over", (int)id);
    handover->taker = taker;
    handover->taker_id = id;
    event_assign(&handover->answer, event_get_base(&handover->acceptable), taker, EV_READ, on_answer, handover);
    ask_workers(handover, worker_copy_listeners, on_copied);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct handover *handover = arg;
    event_add(&handover->acceptable, NULL);
}

/* ---- life ---- */

struct handover *handover_new(struct event_base *base, int fd, const struct handover_goods *goods,
                              void (*over)(void *arg), void *arg)
{
    struct handover *handover = calloc(1, sizeof(*handover) + goods->worker_count * sizeof(struct part));
    struct inbox *inbox = handover ? inbox_new(base) : NULL;
    if (!inbox) {
        close(fd);
        free(handover);
        return NULL;
    }
    *handover = (struct handover){
        .inbox = inbox, .goods = *goods, .over = over, .arg = arg, .fd = fd, .taker = -1, .leader = -1};
    for (size_t i = 0; i < goods->worker_count; i++)
        handover->parts[i] =
            (struct part){.listeners = {.worker = goods->workers[i], .done = hand_back}, .handover = handover};
    event_assign(&handover->rested, base, -1, 0, on_rested, handover);
    event_assign(&handover->acceptable, base, fd, EV_READ | EV_PERSIST, on_acceptable, handover);
    event_assign(&handover->answer, base, -1, EV_READ, on_answer, handover);
    event_add(&handover->acceptable, NULL);
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
    inbox_free(handover->inbox);
    event_del(&handover->acceptable);
    event_del(&handover->rested);
    if (handover->taker >= 0)
        forget_taker(handover);
    if (handover->leader >= 0)
        close(handover->leader);
    if (handover->fd >= 0)
        close(handover->fd);
    free(handover);
}
