#include "proxy/assoc/shared_socket.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "conesocks/socks5.h"
#include "host/shared_port_table.h"
#include "net/inbox.h"
#include "net/sock.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/env.h"

/* One event's share. */
#define SHARED_SOCKET_RECEIVE_MAX 32

/* A listening socket of one worker at one local address. It is open for as long as that worker has associations there.
 */
struct shared_socket {
    SLIST_ENTRY(shared_socket) link; /* of env->shared_sockets */
    struct env *env;
    union netaddr relay;
    size_t members;
    bool copied; /* for another process */
    bool kept;   /* counted as a member: another process has it, too, and may not read from it yet */
    struct dgram_socket socket;
    struct event readable;
};

/* ---- handing over ---- */

/* A run on its way to another worker. */
struct shared_parcel {
    struct inbox_item item;
    struct shared_port_entry *entry;
    struct dgram_run run;
    uint8_t bytes[];
};

static void shared_deliver(struct shared_port_entry *entry, const struct dgram_run *run)
{
    const struct env *env = shared_port_entry_worker(entry);
    struct shared_member *member = shared_port_entry_owner(entry);
    assert(env);
    if (member) /* else the association has ended meanwhile */
        member->deliver(member, run);
    shared_port_table_release(env->host->shared_port, entry);
}

static void shared_parcel_run(struct inbox_item *item)
{
    struct shared_parcel *parcel = container_of(item, struct shared_parcel, item);
    shared_deliver(parcel->entry, &parcel->run);
    free(parcel);
}

static void shared_drop(struct env *env, enum drop_reason reason, const struct dgram_run *run)
{
    metrics_add(&env->metrics.udp_dropped_total[reason], run->count);
}

static void shared_parcel_send(struct env *env, struct shared_port_entry *entry, const struct dgram_run *run)
{
    assert(run->count > 0);
    size_t len = (size_t)run->stride * (run->count - 1U) + run->last;
    struct shared_parcel *parcel = malloc(sizeof(*parcel) + len);
    if (!parcel) {
        shared_drop(env, DROP_QUEUE_FULL, run);
        shared_port_table_release(env->host->shared_port, entry);
        return;
    }
    *parcel = (struct shared_parcel){.item = {.run = shared_parcel_run}, .entry = entry, .run = *run};
    memcpy(parcel->bytes, run->data, len);
    parcel->run.data = parcel->bytes;
    parcel->run.headroom = 0;
    const struct env *to = shared_port_entry_worker(entry);
    inbox_post(to->inbox, &parcel->item);
}

/* Whether it can be a client's: only such a run makes its sender one. */
static bool run_has_valid_header(const struct dgram_run *run)
{
    struct socks5_udp_header header;
    for (size_t i = 0; i < run->count; i++)
        if (socks5_udp_header_decode(dgram_run_at(run, i), dgram_run_len(run, i), &header) > 0 && header.fragment == 0)
            return true;
    return false;
}

void shared_socket_route(struct env *env, const union netaddr *relay, const struct dgram_run *run)
{
    struct shared_port_entry *entry;
    bool is_valid = run_has_valid_header(run);
    enum shared_port_match match =
        shared_port_table_find(env->host->shared_port, relay, &run->peer, is_valid, env_now(env), &entry);
    if ((match == SHARED_PORT_STRANGER || match == SHARED_PORT_OTHER_ADDRESS || match == SHARED_PORT_OTHER_PORT) &&
        handover_link_pass_run(env->host, relay, run))
        return;
    switch (match) {
    case SHARED_PORT_FOUND:
        if (shared_port_entry_worker(entry) == env)
            shared_deliver(entry, run);
        else
            shared_parcel_send(env, entry, run);
        break;
    case SHARED_PORT_STRANGER:
        shared_drop(env, DROP_STRANGER, run);
        break;
    case SHARED_PORT_OTHER_ADDRESS:
        shared_drop(env, DROP_OTHER_ADDRESS, run);
        break;
    case SHARED_PORT_OTHER_PORT:
        shared_drop(env, is_valid ? DROP_OTHER_PORT : DROP_BAD_HEADER, run);
        break;
    case SHARED_PORT_FULL:
    case SHARED_PORT_MATCHES:
        shared_drop(env, DROP_QUEUE_FULL, run);
        break;
    }
}

/* ---- listening ---- */

static size_t shared_socket_receive(struct shared_socket *shared)
{
    struct env *env = shared->env;
    size_t count = dgram_io_recv(env->dgrams, &shared->socket, env->received, SHARED_SOCKET_RECEIVE_MAX);
    for (size_t i = 0; i < count; i++)
        shared_socket_route(env, &shared->relay, &env->received[i]);
    return count;
}

static void shared_socket_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    shared_socket_receive(arg);
}

/* Takes over `fd`, even when there is no memory. `fd` -1: another process listens there. */
static struct shared_socket *shared_socket_add(struct env *env, const union netaddr *relay, int fd)
{
    struct shared_socket *shared = calloc(1, sizeof(*shared));
    bool is_heard = shared && fd < 0;
    if (shared) {
        *shared = (struct shared_socket){.env = env, .relay = *relay, .socket = {.fd = -1}};
        event_assign(&shared->readable, env->base, fd, EV_READ | EV_PERSIST, shared_socket_on_readable, shared);
    }
    if (shared && fd >= 0) {
        shared->socket = dgram_io_adopt(env->dgrams, fd, relay->sa.sa_family);
        is_heard = event_add(&shared->readable, NULL) == 0;
    }
    if (!is_heard || !own_ports_add(env->host->own_ports, OWN_PORT_RELAY, relay)) {
        if (shared && is_heard)
            event_del(&shared->readable);
        if (fd >= 0)
            close(fd);
        free(shared);
        return NULL;
    }
    SLIST_INSERT_HEAD(&env->shared_sockets, shared, link);
    return shared;
}

static int shared_socket_open(struct shared_socket **out, struct env *env, const union netaddr *relay)
{
    int fd = sock_udp_open(env->host->reserve, relay->sa.sa_family, true);
    int error = fd < 0 ? fd : sock_udp_bind(fd, relay);
    if (error) {
        if (fd >= 0)
            close(fd);
        return error == -EADDRINUSE ? -EBUSY : error;
    }
    if (handover_link_give_socket(env->host, fd)) {
        close(fd);
        fd = -1;
    }
    *out = shared_socket_add(env, relay, fd);
    return *out ? 0 : -ENOMEM;
}

int shared_socket_join(struct shared_socket **out, struct env *env, const union netaddr *relay)
{
    struct shared_socket *shared;
    int error = 0;
    SLIST_FOREACH(shared, &env->shared_sockets, link)
    {
        if (netaddr_equal(&shared->relay, relay))
            break;
    }
    if (!shared)
        error = shared_socket_open(&shared, env, relay);
    if (!error) {
        shared->members++;
        *out = shared;
    }
    return error;
}

static void shared_socket_close(struct shared_socket *shared)
{
    event_del(&shared->readable);
    if (shared->socket.fd >= 0)
        close(shared->socket.fd);
    shared->socket.fd = -1;
}

void shared_socket_leave(struct shared_socket *shared)
{
    assert(shared->members > 0);
    if (--shared->members > 0)
        return;
    /* What waits in it may be for other workers. Connected to its own address, it receives nothing more. */
    if (shared->socket.fd >= 0 && !shared->copied && sock_udp_connect(shared->socket.fd, &shared->relay) == 0)
        while (shared_socket_receive(shared) > 0)
            ;
    SLIST_REMOVE(&shared->env->shared_sockets, shared, shared_socket, link);
    own_ports_remove(shared->env->host->own_ports, OWN_PORT_RELAY, &shared->relay);
    shared_socket_close(shared);
    free(shared);
}

/* ---- another process ---- */

static void shared_socket_keep(struct shared_socket *shared)
{
    shared->members += !shared->kept;
    shared->kept = true;
}

int shared_sockets_copy(struct env *env, int **fds, size_t *count)
{
    struct shared_socket *shared;
    size_t size = 1;
    *count = 0;
    SLIST_FOREACH(shared, &env->shared_sockets, link)
    {
        size++;
    }
    *fds = calloc(size, sizeof(int));
    if (!*fds)
        return ENOMEM;
    SLIST_FOREACH(shared, &env->shared_sockets, link)
    {
        int fd = shared->socket.fd < 0 ? -1 : fcntl(shared->socket.fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 && shared->socket.fd >= 0)
            return errno;
        if (fd < 0)
            continue;
        (*fds)[(*count)++] = fd;
        shared->copied = true;
        shared_socket_keep(shared);
    }
    return 0;
}

void shared_sockets_give_up(struct env *env)
{
    struct shared_socket *shared;
    SLIST_FOREACH(shared, &env->shared_sockets, link)
    {
        if (shared->socket.fd >= 0 && (shared->copied || handover_link_give_socket(env->host, shared->socket.fd)))
            shared_socket_close(shared);
    }
}

void shared_socket_adopt(struct env *env, int fd)
{
    const union netaddr relay = sock_local(fd);
    if (handover_link_give_socket(env->host, fd)) {
        close(fd);
        return;
    }
    sock_udp_join_nothing(fd); /* as dgram_io_adopt() expects */
    struct shared_socket *shared = shared_socket_add(env, &relay, fd);
    if (shared)
        shared_socket_keep(shared);
}

void shared_sockets_close(struct env *env)
{
    struct shared_socket *next;
    for (struct shared_socket *shared = SLIST_FIRST(&env->shared_sockets); shared; shared = next) {
        next = SLIST_NEXT(shared, link);
        if (shared->kept)
            shared_socket_leave(shared);
    }
}
