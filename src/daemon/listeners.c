#include "daemon/listeners.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "worker"
#include "base/log.h"
#include "conf/config.h"
#include "daemon/inherited.h"
#include "net/sock.h"
#include "proxy/env.h"
#include "proxy/session/session.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"

#define ACCEPT_MAX      32   /* connections taken before others have their turn */
#define LAST_ACCEPT_MAX 4096 /* before a listener closes: as many as can wait */

/* A listener that finds no descriptor rests this long: trying again at once would only burn CPU. */
static const struct timeval accept_rest = {.tv_usec = 250 * 1000};
#define REST_SAID_MS (60 * 1000) /* it can happen four times a second, for hours */

struct listener {
    SLIST_ENTRY(listener) link;
    struct listeners *all;
    int fd;
    const struct config_listener *config; /* of the snapshot in force */
    struct event acceptable, rested;
};

/* ---- accepting ---- */

static void rest(struct listener *listener, int error)
{
    struct listeners *all = listener->all;
    uint64_t now = env_now(all->env);
    metrics_add(&all->env->metrics.accept_failed_total, 1);
    event_del(&listener->acceptable);
    event_add(&listener->rested, &accept_rest);
    if (all->rest_said_ms && now - all->rest_said_ms < REST_SAID_MS)
        return;
    all->rest_said_ms = now;
    log_warning(
        "cannot accept a connection: %s; new ones wait. For \"Too many open files\" raise the limit (ulimit -n, "
        "or LimitNOFILE= in the systemd unit)",
        strerror(error));
}

static void accept_some(struct listener *listener, int max)
{
    for (int i = 0, ended = 0; i < max; i++) {
        union netaddr peer;
        int accepted = sock_accept(listener->fd, &peer);
        if (accepted == -EAGAIN)
            return;
        if (accepted == -EMFILE || accepted == -ENFILE || accepted == -ENOBUFS || accepted == -ENOMEM) {
            const struct shortage shortage = shortage_of_error(-accepted);
            if (ended++ < MAKE_ROOM_MAX && shed_session(listener->all->env, NULL, &shortage))
                continue;
            rest(listener, -accepted);
            return;
        }
        ended = 0;
        if (accepted >= 0)
            session_new(listener->all->env, accepted, &peer, listener->config);
        /* Any other error is that connection's own (accept(2)): the next one may be fine. */
    }
}

static void on_acceptable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    accept_some(arg, ACCEPT_MAX);
}

static void on_rested(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct listener *listener = arg;
    event_add(&listener->acceptable, NULL);
    accept_some(listener, ACCEPT_MAX);
}

/* Takes over the socket. false: no memory. */
static bool listen_on(struct listeners *all, const struct config_listener *wanted, int fd)
{
    struct listener *listener = calloc(1, sizeof(*listener));
    if (listener) {
        *listener = (struct listener){.all = all, .fd = fd, .config = wanted};
        event_assign(&listener->acceptable, all->env->base, fd, EV_READ | EV_PERSIST, on_acceptable, listener);
        event_assign(&listener->rested, all->env->base, -1, 0, on_rested, listener);
    }
    if (!listener || (!all->paused && event_add(&listener->acceptable, NULL) < 0)) {
        log_error("a worker cannot accept connections: no memory");
        close(fd);
        free(listener);
        return false;
    }
    SLIST_INSERT_HEAD(&all->list, listener, link);
    return true;
}

static bool listen_on_inherited(struct listeners *all, const struct config_listener *wanted,
                                const struct inherited_share *share)
{
    size_t position = 0;
    int fd;
    while ((fd = inherited_next(share, &wanted->address, &position)) >= 0)
        if (!listen_on(all, wanted, fd))
            return false;
    if (fd != -ENOENT)
        log_error("cannot listen at an inherited socket: %s", strerror(-fd));
    return fd == -ENOENT;
}

bool listeners_open(struct listeners *listeners, const struct config *config, const struct inherited_share *share)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        const struct config_listener *wanted = &config->listen[i];
        if (inherited_has(share->inherited, &wanted->address)) {
            if (!listen_on_inherited(listeners, wanted, share))
                return false;
            continue;
        }
        /* Shared even when this worker is the only one: listeners may overlap, now or after a reload. */
        int fd = sock_listen_as(&wanted->address, inherited_owner(share->inherited));
        if (fd < 0) {
            char text[NETADDR_TEXT_MAX];
            log_error("cannot listen on %s: %s", netaddr_format(&wanted->address, text), strerror(-fd));
            return false;
        }
        if (!listen_on(listeners, wanted, fd))
            return false;
    }
    return true;
}

static void stop_listening(struct listeners *all, struct listener *listener)
{
    SLIST_REMOVE(&all->list, listener, listener, link);
    event_del(&listener->acceptable);
    event_del(&listener->rested);
    close(listener->fd);
    free(listener);
}

void listeners_close(struct listeners *listeners)
{
    while (!SLIST_EMPTY(&listeners->list))
        stop_listening(listeners, SLIST_FIRST(&listeners->list));
}

/* ---- change and end ---- */

static const struct config_listener *find_listener(const struct config *config, const union netaddr *address)
{
    for (size_t i = 0; i < config->listen_count; i++)
        if (netaddr_equal(&config->listen[i].address, address))
            return &config->listen[i];
    return NULL;
}

/* Connections that wait at a listener that goes would be reset: the one that overlaps it takes them, as it takes those
 * that come later. */
static void retire(struct listeners *listeners, struct listener *listener, const struct config *config)
{
    for (size_t i = 0; i < config->listen_count; i++) {
        if (!netaddr_overlaps(&config->listen[i].address, &listener->config->address))
            continue;
        listener->config = &config->listen[i];
        accept_some(listener, LAST_ACCEPT_MAX);
        break;
    }
    stop_listening(listeners, listener);
}

void listeners_change(struct listeners *listeners, const struct config *config, const int *opened)
{
    struct listener *next;
    for (struct listener *listener = SLIST_FIRST(&listeners->list); listener; listener = next) {
        const struct config_listener *wanted = find_listener(config, &listener->config->address);
        next = SLIST_NEXT(listener, link);
        if (wanted)
            listener->config = wanted;
        else
            retire(listeners, listener, config);
    }
    for (size_t i = 0; i < config->listen_count; i++)
        if (opened[i] >= 0)
            (void)listen_on(listeners, &config->listen[i], opened[i]); /* which has said why not */
}

void listeners_resume(struct listeners *listeners)
{
    struct listener *listener;
    listeners->paused = false;
    SLIST_FOREACH(listener, &listeners->list, link)
    {
        event_add(&listener->acceptable, NULL);
    }
}

int listeners_copy(const struct listeners *listeners, int **fds, size_t *count)
{
    struct listener *listener;
    size_t size = 1;
    *count = 0;
    SLIST_FOREACH(listener, &listeners->list, link)
    {
        size++;
    }
    *fds = calloc(size, sizeof(int));
    if (!*fds)
        return ENOMEM;
    SLIST_FOREACH(listener, &listeners->list, link)
    {
        int fd = fcntl(listener->fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return errno;
        (*fds)[(*count)++] = fd;
    }
    return 0;
}

void listeners_accept_waiting(struct listeners *listeners)
{
    struct listener *listener;
    SLIST_FOREACH(listener, &listeners->list, link)
    {
        accept_some(listener, LAST_ACCEPT_MAX);
    }
}
