#include "daemon/listeners.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "worker"
#include "base/log.h"
#include "conf/config.h"
#include "daemon/balance.h"
#include "daemon/inherited.h"
#include "daemon/spread.h"
#include "net/acceptor.h"
#include "net/sock.h"
#include "proxy/env.h"
#include "proxy/session/accept.h"
#include "proxy/session/shed.h"
#include "proxy/session/shortage.h"

#define ACCEPT_MAX         32          /* connections accepted before other events have their turn */
#define LAST_ACCEPT_MAX    4096        /* before a listener closes: as many as can wait */
#define REST_LOG_PERIOD_MS (60 * 1000) /* a rest may happen four times a second, for hours */

struct worker_listener {
    LIST_ENTRY(worker_listener) link;
    struct listeners *all;
    int fd;
    union netaddr address;                /* with port */
    const struct config_listener *config; /* of the active snapshot */
    struct acceptor acceptor;
};

/* ---- accepting ---- */

static void listener_rest(struct worker_listener *listener, int error)
{
    struct listeners *all = listener->all;
    uint64_t now = env_now(all->env);
    metrics_add(&all->env->metrics.accept_failed_total, 1);
    acceptor_rest(&listener->acceptor);
    if (all->rest_logged_ms && now - all->rest_logged_ms < REST_LOG_PERIOD_MS)
        return;
    all->rest_logged_ms = now;
    log_warning(
        "cannot accept a connection: %s; new connections wait. For \"Too many open files\" raise the limit (ulimit -n, "
        "or LimitNOFILE= in the systemd unit)",
        strerror(error));
}

/* `spreads`: other workers may take some. */
static void listener_accept(struct worker_listener *listener, int max, bool spreads)
{
    assert(listener->fd >= 0 && listener->config);
    for (int i = 0, ended = 0; i < max; i++) {
        union netaddr peer;
        int accepted = sock_accept(listener->fd, &peer);
        if (accepted == -EAGAIN)
            return;
        if (accepted < 0 && acceptor_is_short(-accepted)) {
            const struct shortage shortage = shortage_of_error(-accepted);
            if (ended++ < MAKE_ROOM_MAX && shed_session(listener->all->env, NULL, &shortage))
                continue;
            listener_rest(listener, -accepted);
            return;
        }
        ended = 0;
        if (accepted >= 0 && !(spreads && balance_hand_over(listener->all->place, accepted, &peer, listener->config)))
            accept_session(listener->all->env, accepted, &peer, listener->config);
        /* Any other error is that connection's own (accept(2)): the next one may be fine. */
    }
}

static void listener_on_ready(void *arg)
{
    listener_accept(arg, ACCEPT_MAX, true);
}

/* Takes over the socket. false: no memory. */
static bool listeners_add(struct listeners *all, const struct config *config, size_t endpoint, int fd)
{
    struct worker_listener *listener = calloc(1, sizeof(*listener));
    if (listener) {
        *listener = (struct worker_listener){.all = all,
                                             .fd = fd,
                                             .address = config->endpoints[endpoint].address,
                                             .config = config_endpoint_listener(config, endpoint)};
        acceptor_init(&listener->acceptor, all->env->base, fd, listener_on_ready, listener);
    }
    if (!listener || (!all->paused && !acceptor_start(&listener->acceptor))) {
        log_error("cannot accept connections on a listener: no memory");
        close(fd);
        free(listener);
        return false;
    }
    LIST_INSERT_HEAD(&all->list, listener, link);
    return true;
}

static bool listeners_add_inherited(struct listeners *all, const struct config *config, size_t endpoint,
                                    const struct inherited_share *share)
{
    size_t position = 0;
    int fd;
    while ((fd = inherited_next(share, config, endpoint, &position)) >= 0)
        if (!listeners_add(all, config, endpoint, fd))
            return false;
    if (fd != -ENOENT)
        log_error("cannot listen on an inherited socket: %s", strerror(-fd));
    return fd == -ENOENT;
}

/* The address is shared even when this worker is the only one: listeners may overlap, now or after a reload. */
static bool listeners_add_new(struct listeners *all, const struct config *config, size_t endpoint, uid_t owner)
{
    const union netaddr *address = &config->endpoints[endpoint].address;
    const int fd = sock_listen_as(address, owner);
    if (fd >= 0)
        return listeners_add(all, config, endpoint, fd);
    char text[NETADDR_TEXT_MAX];
    log_error("cannot listen on %s: %s", netaddr_format(address, text), strerror(-fd));
    return false;
}

bool listeners_open(struct listeners *listeners, const struct config *config, const struct inherited_share *share)
{
    for (size_t i = 0; i < config->endpoint_count; i++) {
        bool opened = true;
        if (inherited_has(share->inherited, &config->endpoints[i].address))
            opened = listeners_add_inherited(listeners, config, i, share);
        else if (spread_has(config, i, share->worker, share->worker_count))
            opened = listeners_add_new(listeners, config, i, inherited_owner(share->inherited));
        if (!opened)
            return false;
    }
    balance_take_from_others(listeners->place, !listeners->paused);
    return true;
}

static void listeners_remove(struct worker_listener *listener)
{
    LIST_REMOVE(listener, link);
    acceptor_stop(&listener->acceptor);
    close(listener->fd);
    free(listener);
}

void listeners_close(struct listeners *listeners)
{
    balance_take_from_others(listeners->place, false);
    while (!LIST_EMPTY(&listeners->list))
        listeners_remove(LIST_FIRST(&listeners->list));
}

/* ---- change and end ---- */

/* Closing would reset the connections that wait. A listener that overlaps this one gets those that come later, so it
 * takes those that wait as well. */
static void listeners_retire(struct worker_listener *listener, const struct config *config)
{
    const struct config_listener *overlapping = config_listener_overlapping(config, &listener->address);
    if (overlapping) {
        listener->config = overlapping;
        listener_accept(listener, LAST_ACCEPT_MAX, false);
    }
    listeners_remove(listener);
}

void listeners_change(struct listeners *listeners, const struct config *config, const int *opened)
{
    struct worker_listener *next;
    for (struct worker_listener *listener = LIST_FIRST(&listeners->list); listener; listener = next) {
        const struct config_listener *wanted = config_listener_at(config, &listener->address);
        next = LIST_NEXT(listener, link);
        if (wanted)
            listener->config = wanted;
        else
            listeners_retire(listener, config);
    }
    for (size_t i = 0; i < config->endpoint_count; i++)
        if (opened[i] >= 0)
            (void)listeners_add(listeners, config, i, opened[i]); /* it has logged why not */
}

void listeners_resume(struct listeners *listeners)
{
    struct worker_listener *listener;
    assert(listeners->paused);
    listeners->paused = false;
    balance_take_from_others(listeners->place, true);
    LIST_FOREACH(listener, &listeners->list, link)
    {
        (void)acceptor_start(&listener->acceptor);
    }
}

int listeners_copy(const struct listeners *listeners, int **fds, size_t *count)
{
    struct worker_listener *listener;
    size_t size = 1;
    *count = 0;
    LIST_FOREACH(listener, &listeners->list, link)
    {
        size++;
    }
    *fds = calloc(size, sizeof(int));
    if (!*fds)
        return ENOMEM;
    LIST_FOREACH(listener, &listeners->list, link)
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
    struct worker_listener *listener;
    LIST_FOREACH(listener, &listeners->list, link)
    {
        listener_accept(listener, LAST_ACCEPT_MAX, false);
    }
}
