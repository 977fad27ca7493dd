#include "proxy/assoc/internal_shared.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/util.h"
#include "host/shared_port_table.h"
#include "net/sock.h"
#include "proxy/assoc/assoc_impl.h"
#include "proxy/assoc/branch_list.h"
#include "proxy/assoc/client_port.h"
#include "proxy/assoc/internal_udp.h"
#include "proxy/assoc/shared_socket.h"
#include "proxy/assoc/udp_socket.h"

struct internal_shared {
    struct shared_member member;
    struct assoc *assoc;
    struct shared_socket *socket;
    struct shared_port_entry *entry;
    enum shared_port_state state; /* of the entry */
    bool is_bound;                /* the association's socket; it is bound when the client's port is known */
};

/* ---- the client's port ---- */

static void internal_shared_set(struct internal_shared *shared, const union netaddr *client,
                                enum shared_port_state state)
{
    assert(shared->entry);
    shared_port_table_set_client(shared->assoc->env->host->shared_port, shared->entry, client, state);
    shared->state = state;
}

static void internal_shared_review_ports(struct assoc *assoc)
{
    shared_port_table_set_room(assoc->env->host->shared_port, assoc->internal.shared->entry, branch_has_room(assoc));
}

static bool internal_shared_bind(struct assoc *assoc)
{
    struct internal_shared *shared = assoc->internal.shared;
    if (!shared->is_bound)
        shared->is_bound = sock_udp_bind(assoc->internal.socket.fd, &assoc->flow.relay) == 0;
    return shared->is_bound;
}

static bool internal_shared_set_client(struct assoc *assoc, const union netaddr *client, bool hold)
{
    if (!internal_shared_bind(assoc))
        return false;
    const bool is_connected = sock_udp_connect(assoc->internal.socket.fd, client) == 0;
    assoc->holds_client = hold && is_connected;
    internal_shared_set(assoc->internal.shared, client, assoc->holds_client ? SHARED_PORT_HELD : SHARED_PORT_WAITING);
    return true;
}

static void internal_shared_allow_rebind(struct assoc *assoc)
{
    struct internal_shared *shared = assoc->internal.shared;
    if (!client_port_is_known(&assoc->flow.client))
        return;
    assoc->holds_client = false;
    if (shared->state != SHARED_PORT_QUIET)
        internal_shared_set(shared, &assoc->flow.client, SHARED_PORT_QUIET);
}

/* ---- from the client ---- */

/* Between bind and connect the socket receives from anybody. Datagrams that are not the client's are routed. */
static void internal_shared_on_readable(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct assoc *assoc = arg;
    struct env *env = assoc->env;
    const uint64_t now = env_now(env);
    const bool is_refused = !assoc_may_go_on(assoc);
    assoc_assert_batches_are_empty(env);
    size_t count = dgram_io_recv(env->dgrams, &assoc->internal.socket, env->received, ASSOC_RECEIVE_MAX);
    for (size_t i = 0; i < count; i++) {
        const struct dgram_run *run = &env->received[i];
        if (!netaddr_equal(&run->peer, &assoc->flow.client)) {
            assoc_flush_up(assoc);
            shared_socket_route(env, &assoc->flow.relay, run);
        } else if (is_refused) {
            assoc_drop(assoc, DROP_REFUSED, run->count);
        } else {
            assoc_take_from_client(assoc, run, now);
        }
    }
    assoc_flush_up(assoc);
}

/* The table has made the sender the client. Corrects the table if the association has not accepted it. */
static void internal_shared_restore(struct assoc *assoc)
{
    const union netaddr *client = &assoc->flow.client;
    enum shared_port_state state = !client_port_is_known(client) ? SHARED_PORT_WAITING
                                   : assoc->holds_client         ? SHARED_PORT_HELD
                                                                 : SHARED_PORT_QUIET;
    internal_shared_set(assoc->internal.shared, client, state);
}

static void internal_shared_deliver(struct shared_member *member, const struct dgram_run *run)
{
    struct assoc *assoc = container_of(member, struct internal_shared, member)->assoc;
    assoc_assert_batches_are_empty(assoc->env);
    if (!assoc_may_go_on(assoc)) {
        assoc_drop(assoc, DROP_REFUSED, run->count);
        return;
    }
    assoc_take_from_client(assoc, run, env_now(assoc->env));
    assoc_flush_up(assoc);
    if (!netaddr_equal(&assoc->flow.client, &run->peer))
        internal_shared_restore(assoc);
}

/* ---- life ---- */

static void internal_shared_free(struct internal_shared *shared)
{
    const struct env *env = shared->assoc->env;
    assert(!shared->assoc->internal.ops || shared->assoc->internal.shared == shared);
    if (shared->entry)
        shared_port_table_remove(env->host->shared_port, shared->entry, env_now(env));
    if (shared->socket)
        shared_socket_leave(shared->socket);
    free(shared);
}

static void internal_shared_close(struct assoc *assoc)
{
    event_del(&assoc->internal.readable);
    close(assoc->internal.socket.fd);
    internal_shared_free(assoc->internal.shared);
}

static const struct internal_ops internal_shared_ops = {
    .start = internal_udp_start,
    .send = internal_udp_send,
    .send_named = internal_udp_send_named,
    .set_client = internal_shared_set_client,
    .allow_rebind = internal_shared_allow_rebind,
    .review_ports = internal_shared_review_ports,
    .set_buffers = internal_udp_set_buffers,
    .memory = internal_udp_memory,
    .close = internal_shared_close,
    .descriptors = 1,
};

/* A descriptor or a negative errno. */
static int internal_shared_join(struct internal_shared *shared)
{
    struct assoc *assoc = shared->assoc;
    const union netaddr *relay = &assoc->flow.relay;
    int error = shared_socket_join(&shared->socket, assoc->env, relay);
    if (error)
        return error;
    int fd = sock_udp_open(assoc->env->host->reserve, relay->sa.sa_family, true);
    if (fd < 0)
        return fd;
    shared->entry = shared_port_table_add(assoc->env->host->shared_port, relay, &assoc->subject.client,
                                          assoc->hint_port, assoc->env, &shared->member);
    if (shared->entry)
        return fd;
    close(fd);
    return -ENOMEM;
}

int internal_shared_open(struct assoc *assoc)
{
    struct env *env = assoc->env;
    struct internal *internal = &assoc->internal;
    struct internal_shared *shared = calloc(1, sizeof(*shared));
    if (!shared)
        return -ENOMEM;
    assert(env->shared_port != 0);
    netaddr_set_port(&assoc->flow.relay, env->shared_port);
    *shared = (struct internal_shared){
        .member = {.deliver = internal_shared_deliver}, .assoc = assoc, .state = SHARED_PORT_WAITING};
    int fd = internal_shared_join(shared);
    if (fd < 0) {
        internal_shared_free(shared);
        return fd;
    }
    internal->socket = udp_socket_adopt(env, fd, assoc->flow.relay.sa.sa_family);
    event_assign(&internal->readable, env->base, fd, EV_READ | EV_PERSIST, internal_shared_on_readable, assoc);
    internal->shared = shared;
    internal->ops = &internal_shared_ops;
    if (branch_has_room(assoc))
        internal_shared_review_ports(assoc);
    return 0;
}
