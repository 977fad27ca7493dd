#include "proxy/assoc/shared_port.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "conesocks/socks5.h"
#include "net/inbox.h"
#include "net/sock.h"
#include "proxy/assoc/handover_link.h"
#include "proxy/env.h"

/* One event's share. */
#define RECEIVE_MAX 32

/* A listening socket: one worker's, at one local address, as long as that worker has associations there. */
struct door {
    SLIST_ENTRY(door) link; /* of env->doors */
    struct env *env;
    union netaddr relay;
    size_t shares;
    bool copied; /* for another process */
    bool kept;   /* by a share of its own, for another process has it, too: left to that it could be nobody's to read */
    struct dgram_socket socket;
    struct event readable;
};

struct share {
    struct door *door;
    struct shared_port_entry *entry;
    enum shared_port_state state;
    bool bound;
    share_deliver *deliver;
    void *arg;
};

/* ---- handing over ---- */

/* A run on its way to another worker. */
struct parcel {
    struct inbox_item item;
    struct shared_port_entry *entry;
    struct dgram_run run;
    uint8_t bytes[];
};

static void deliver(struct shared_port_entry *entry, const struct dgram_run *run)
{
    const struct env *env = shared_port_entry_worker(entry);
    const struct share *share = shared_port_entry_owner(entry);
    if (share)
        share->deliver(share->arg, run);
    shared_port_table_release(env->host->shared_port, entry);
}

static void on_parcel(struct inbox_item *item)
{
    struct parcel *parcel = container_of(item, struct parcel, item);
    deliver(parcel->entry, &parcel->run);
    free(parcel);
}

static void drop(struct env *env, enum drop_reason reason, const struct dgram_run *run)
{
    metrics_add(&env->metrics.udp_dropped_total[reason], run->count);
}

static void send_parcel(struct env *env, struct shared_port_entry *entry, const struct dgram_run *run)
{
    size_t len = (size_t)run->stride * (run->count - 1U) + run->last;
    struct parcel *parcel = malloc(sizeof(*parcel) + len);
    if (!parcel) {
        drop(env, DROP_QUEUE_FULL, run);
        shared_port_table_release(env->host->shared_port, entry);
        return;
    }
    *parcel = (struct parcel){.item = {.run = on_parcel}, .entry = entry, .run = *run};
    memcpy(parcel->bytes, run->data, len);
    parcel->run.data = parcel->bytes;
    const struct env *to = shared_port_entry_worker(entry);
    inbox_post(to->inbox, &parcel->item);
}

/* Whether it can be a client's: only such a run makes its sender one. */
static bool is_valid(const struct dgram_run *run)
{
    struct socks5_udp_header header;
    for (size_t i = 0; i < run->count; i++)
        if (socks5_udp_header_decode(dgram_run_at(run, i), dgram_run_len(run, i), &header) > 0 && header.fragment == 0)
            return true;
    return false;
}

void shared_port_route(struct env *env, const union netaddr *relay, const struct dgram_run *run)
{
    struct shared_port_entry *entry;
    bool valid = is_valid(run);
    enum shared_port_match match =
        shared_port_table_find(env->host->shared_port, relay, &run->peer, valid, env_now(env), &entry);
    if ((match == SHARED_PORT_STRANGER || match == SHARED_PORT_OTHER_ADDRESS || match == SHARED_PORT_OTHER_PORT) &&
        handover_link_pass_run(env->host, relay, run))
        return;
    switch (match) {
    case SHARED_PORT_FOUND:
        if (shared_port_entry_worker(entry) == env)
            deliver(entry, run);
        else
            send_parcel(env, entry, run);
        break;
    case SHARED_PORT_STRANGER:
        drop(env, DROP_STRANGER, run);
        break;
    case SHARED_PORT_OTHER_ADDRESS:
        drop(env, DROP_OTHER_ADDRESS, run);
        break;
    case SHARED_PORT_OTHER_PORT:
        drop(env, valid ? DROP_OTHER_PORT : DROP_BAD_HEADER, run);
        break;
    case SHARED_PORT_FULL:
    case SHARED_PORT_MATCHES:
        drop(env, DROP_QUEUE_FULL, run);
        break;
    }
}

/* ---- listening ---- */

static size_t take_at_door(struct door *door)
{
    struct env *env = door->env;
    size_t count = dgram_io_recv(env->dgrams, &door->socket, env->received, RECEIVE_MAX);
    for (size_t i = 0; i < count; i++)
        shared_port_route(env, &door->relay, &env->received[i]);
    return count;
}

static void on_door(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    take_at_door(arg);
}

/* Takes over `fd`, even when there is no memory; -1: another process listens there. */
static struct door *add_door(struct env *env, const union netaddr *relay, int fd)
{
    struct door *door = calloc(1, sizeof(*door));
    bool heard = door && fd < 0;
    if (door) {
        *door = (struct door){.env = env, .relay = *relay, .socket = {.fd = -1}};
        event_assign(&door->readable, env->base, fd, EV_READ | EV_PERSIST, on_door, door);
    }
    if (door && fd >= 0) {
        door->socket = dgram_io_adopt(env->dgrams, fd);
        heard = event_add(&door->readable, NULL) == 0;
    }
    if (!heard || !own_ports_add(env->host->own_ports, OWN_PORT_RELAY, relay)) {
        if (door && heard)
            event_del(&door->readable);
        if (fd >= 0)
            close(fd);
        free(door);
        return NULL;
    }
    SLIST_INSERT_HEAD(&env->doors, door, link);
    return door;
}

static int open_door(struct door **out, struct env *env, const union netaddr *relay)
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
    *out = add_door(env, relay, fd);
    return *out ? 0 : -ENOMEM;
}

static int enter_door(struct door **out, struct env *env, const union netaddr *relay)
{
    struct door *door;
    int error = 0;
    SLIST_FOREACH(door, &env->doors, link)
    {
        if (netaddr_equal(&door->relay, relay))
            break;
    }
    if (!door)
        error = open_door(&door, env, relay);
    if (!error) {
        door->shares++;
        *out = door;
    }
    return error;
}

static void close_door(struct door *door)
{
    event_del(&door->readable);
    if (door->socket.fd >= 0)
        close(door->socket.fd);
    door->socket.fd = -1;
}

static void leave_door(struct door *door)
{
    if (--door->shares > 0)
        return;
    /* What it holds may be for other workers. Connected to nobody, it gets no more. */
    if (door->socket.fd >= 0 && !door->copied && sock_udp_connect(door->socket.fd, &door->relay) == 0)
        while (take_at_door(door) > 0)
            ;
    SLIST_REMOVE(&door->env->doors, door, door, link);
    own_ports_remove(door->env->host->own_ports, OWN_PORT_RELAY, &door->relay);
    close_door(door);
    free(door);
}

/* ---- another process ---- */

static void keep(struct door *door)
{
    door->shares += !door->kept;
    door->kept = true;
}

int shared_port_copy(struct env *env, int **fds, size_t *count)
{
    struct door *door;
    size_t size = 1;
    *count = 0;
    SLIST_FOREACH(door, &env->doors, link)
    {
        size++;
    }
    *fds = calloc(size, sizeof(int));
    if (!*fds)
        return ENOMEM;
    SLIST_FOREACH(door, &env->doors, link)
    {
        int fd = door->socket.fd < 0 ? -1 : fcntl(door->socket.fd, F_DUPFD_CLOEXEC, 0);
        if (fd < 0 && door->socket.fd >= 0)
            return errno;
        if (fd < 0)
            continue;
        (*fds)[(*count)++] = fd;
        door->copied = true;
        keep(door);
    }
    return 0;
}

void shared_port_give_up(struct env *env)
{
    struct door *door;
    SLIST_FOREACH(door, &env->doors, link)
    {
        if (door->socket.fd >= 0 && (door->copied || handover_link_give_socket(env->host, door->socket.fd)))
            close_door(door);
    }
}

void shared_port_adopt(struct env *env, int fd)
{
    const union netaddr relay = sock_local(fd);
    if (handover_link_give_socket(env->host, fd)) {
        close(fd);
        return;
    }
    sock_udp_join_nothing(fd); /* unless this process wants that, too */
    struct door *door = add_door(env, &relay, fd);
    if (door)
        keep(door);
}

void shared_port_close(struct env *env)
{
    struct door *next;
    for (struct door *door = SLIST_FIRST(&env->doors); door; door = next) {
        next = SLIST_NEXT(door, link);
        if (door->kept)
            leave_door(door);
    }
}

/* ---- shares ---- */

int share_new(struct share **out, struct env *env, const union netaddr *relay, const union netaddr *host,
              uint16_t hint_port, share_deliver *deliver_to, void *arg)
{
    struct share *share = calloc(1, sizeof(*share));
    if (!share)
        return -ENOMEM;
    *share = (struct share){.state = SHARED_PORT_WAITING, .deliver = deliver_to, .arg = arg};
    int error = enter_door(&share->door, env, relay), fd = -1;
    if (!error)
        error = fd = sock_udp_open(env->host->reserve, relay->sa.sa_family, true);
    if (fd >= 0) {
        share->entry = shared_port_table_add(env->host->shared_port, relay, host, hint_port, env, share);
        error = share->entry ? 0 : -ENOMEM;
    }
    if (!error) {
        *out = share;
        return fd;
    }
    if (fd >= 0)
        close(fd);
    share_free(share);
    return error;
}

void share_free(struct share *share)
{
    if (!share)
        return;
    if (share->entry)
        shared_port_table_remove(share->door->env->host->shared_port, share->entry, env_now(share->door->env));
    if (share->door)
        leave_door(share->door);
    free(share);
}

int share_bind(struct share *share, int fd)
{
    int error = share->bound ? 0 : sock_udp_bind(fd, &share->door->relay);
    share->bound = !error;
    return error;
}

int share_connect(struct share *share, int fd, const union netaddr *client, bool held)
{
    int error = sock_udp_connect(fd, client);
    share_set(share, client, held && !error ? SHARED_PORT_HELD : SHARED_PORT_WAITING);
    return error;
}

void share_set(struct share *share, const union netaddr *client, enum shared_port_state state)
{
    shared_port_table_set_client(share->door->env->host->shared_port, share->entry, client, state);
    share->state = state;
}

void share_set_quiet(struct share *share, const union netaddr *client)
{
    if (share->state != SHARED_PORT_QUIET)
        share_set(share, client, SHARED_PORT_QUIET);
}
