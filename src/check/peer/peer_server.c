#include "check/peer/peer_server.h"

#include <assert.h>
#include <errno.h>
#include <netinet/ip.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "check/io.h"
#include "check/peer/peer_server_impl.h"
#include "net/sock.h"

/* How often ports of the system's choice are tried until they are free at every address. */
#define PORT_TRIES 20
/* So many datagrams of one socket, then the next. */
#define BATCH 32

bool peer_make_key(char key[PEER_KEY_LEN + 1])
{
    static const char letters[32] = "abcdefghijkmnpqrstuvwxyz23456789"; /* no l, o, 0, 1 */
    uint8_t random[PEER_KEY_LEN];
    if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
        return false;
    for (size_t i = 0; i < PEER_KEY_LEN; i++)
        key[i] = letters[random[i] % sizeof(letters)];
    key[PEER_KEY_LEN] = '\0';
    return true;
}

/* ---- sockets ---- */

/* `address` gets the port. A descriptor, or a negative errno. */
static int open_udp(union netaddr *address)
{
    const int allow_fragments = IP_PMTUDISC_DONT;
    bool v6 = address->sa.sa_family == AF_INET6;
    int fd = io_udp(address, false);
    if (fd < 0)
        return fd;
    /* What is too large for the path may come in pieces: the check wants to know whether it arrives. */
    setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &allow_fragments,
               sizeof(allow_fragments));
    *address = sock_local(fd);
    return fd;
}

static void close_places(struct peer_server *server)
{
    for (; server->place_count > 0; server->place_count--) {
        const struct peer_place *place = &server->places[server->place_count - 1];
        const int sockets[] = {place->udp[0], place->udp[1], place->tcp};
        for (size_t i = 0; i < 3; i++)
            if (sockets[i] >= 0)
                close(sockets[i]);
    }
}

/* Opens both ports of one address; those that are 0 are the system's choice. 0 or a negative errno: then `failed` is
 * the address that could not be had. */
static int open_place(struct peer_place *place, const union netaddr *host, const uint16_t ports[2],
                      union netaddr *failed)
{
    *place = (struct peer_place){.address = {*host, *host}, .udp = {-1, -1}, .tcp = -1};
    for (unsigned i = 0; i < 2; i++) {
        netaddr_set_port(&place->address[i], ports[i]);
        *failed = place->address[i];
        place->udp[i] = open_udp(&place->address[i]);
        if (place->udp[i] < 0)
            return place->udp[i];
    }
    *failed = place->address[0];
    place->tcp = sock_listen(&place->address[0], false);
    return place->tcp < 0 ? place->tcp : 0;
}

/* Opens all of them, at the ports that the first one has. */
static int open_places(struct peer_server *server, const struct peer_host *hosts, size_t count, uint16_t port,
                       union netaddr *failed)
{
    uint16_t ports[2] = {port, port ? (uint16_t)(port + 1) : 0};
    assert(server->place_count == 0);
    for (size_t i = 0; i < count; i++) {
        struct peer_place *place = &server->places[server->place_count++];
        int error = open_place(place, &hosts[i].address, ports, failed);
        if (error) {
            close_places(server);
            return error;
        }
        place->other = (unsigned)peer_host_other(hosts, count, i);
        ports[0] = netaddr_port(&place->address[0]);
        ports[1] = netaddr_port(&place->address[1]);
    }
    return 0;
}

size_t peer_host_other(const struct peer_host *hosts, size_t count, size_t n)
{
    size_t at = n;
    assert(n < count);
    do
        at = (at + 1) % count;
    while (hosts[at].address.sa.sa_family != hosts[n].address.sa.sa_family || hosts[at].link != hosts[n].link);
    return at;
}

struct peer_server *peer_server_open(const struct peer_host *hosts, size_t count, uint16_t port, const char *key,
                                     peer_server_watch *watch, char *problem, size_t problem_size)
{
    struct peer_server *server = calloc(1, sizeof(*server));
    union netaddr failed;
    char text[NETADDR_TEXT_MAX];
    int error = -1;
    assert(count > 0 && count <= PEER_SERVER_PLACES_MAX && key);
    if (!server || (server->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        snprintf(problem, problem_size, "out of memory or file descriptors");
        free(server);
        return NULL;
    }
    server->key = key;
    server->watch = watch;
    for (size_t i = 0; i < PEER_SERVER_CONNECTIONS_MAX; i++)
        server->connections[i].fd = -1;
    for (int tries = port ? 1 : PORT_TRIES; tries > 0 && error; tries--)
        error = open_places(server, hosts, count, port, &failed);
    if (!error)
        return server;
    snprintf(problem, problem_size, "cannot listen on %s: %s", netaddr_format(&failed, text), strerror(-error));
    peer_server_close(server);
    return NULL;
}

union netaddr peer_server_address(const struct peer_server *server, size_t n)
{
    return n < server->place_count ? server->places[n].address[0] : (union netaddr){.sa.sa_family = AF_UNSPEC};
}

/* ---- serving ---- */

static void receive_batch(struct peer_server *server, unsigned place, unsigned port, uint64_t now_ms)
{
    for (int i = 0; i < BATCH; i++) {
        struct peer_errand came = {.place = place, .port = port};
        size_t fragment;
        ssize_t len = io_receive_from(server->places[place].udp[port], server->buffer, sizeof(server->buffer),
                                      &came.from, &fragment);
        if (len < 0)
            return;
        peer_server_take(server, &came, server->buffer, (size_t)len, fragment, now_ms);
    }
}

/* Every socket of ours, in the order in which serve_ready() looks at them. */
static nfds_t list_sockets(const struct peer_server *server, struct pollfd *list)
{
    nfds_t n = 0;
    list[n++] = (struct pollfd){.fd = server->stop, .events = POLLIN};
    for (unsigned i = 0; i < server->place_count; i++) {
        list[n++] = (struct pollfd){.fd = server->places[i].udp[0], .events = POLLIN};
        list[n++] = (struct pollfd){.fd = server->places[i].udp[1], .events = POLLIN};
        list[n++] = (struct pollfd){.fd = server->places[i].tcp, .events = POLLIN};
    }
    for (unsigned i = 0; i < PEER_SERVER_CONNECTIONS_MAX; i++)
        list[n++] = (struct pollfd){.fd = server->connections[i].fd, .events = POLLIN};
    return n;
}

static void serve_ready(struct peer_server *server, const struct pollfd *ready, uint64_t now_ms)
{
    for (unsigned i = 0; i < server->place_count; i++, ready += 3) {
        if (ready[0].revents)
            receive_batch(server, i, 0, now_ms);
        if (ready[1].revents)
            receive_batch(server, i, 1, now_ms);
        if (ready[2].revents)
            peer_server_accept(server, i, now_ms);
    }
    for (unsigned i = 0; i < PEER_SERVER_CONNECTIONS_MAX; i++) {
        struct peer_connection *connection = &server->connections[i];
        if (connection->fd >= 0 && connection->fd == ready[i].fd && ready[i].revents)
            peer_server_read(server, connection);
        if (connection->fd >= 0 && connection->until_ms <= now_ms)
            peer_connection_close(connection);
    }
}

void peer_server_run(struct peer_server *server)
{
    for (;;) {
        struct pollfd list[1 + 3 * PEER_SERVER_PLACES_MAX + PEER_SERVER_CONNECTIONS_MAX];
        nfds_t count = list_sockets(server, list);
        uint64_t now_ms = clock_ms(), due_ms = peer_server_answer_pending(server, now_ms);
        uint64_t wait_ms = due_ms - now_ms < 1000 ? due_ms - now_ms : 1000; /* connections end in time, too */
        assert(count <= sizeof(list) / sizeof(list[0]));
        if (poll(list, count, (int)wait_ms) < 0 && errno != EINTR)
            return;
        if (list[0].revents)
            return;
        serve_ready(server, list + 1, clock_ms());
    }
}

static void *serve_on_thread(void *server)
{
    peer_server_run(server);
    return NULL;
}

bool peer_server_start(struct peer_server *server)
{
    assert(!server->threaded);
    server->threaded = pthread_create(&server->thread, NULL, serve_on_thread, server) == 0;
    return server->threaded;
}

void peer_server_close(struct peer_server *server)
{
    if (!server)
        return;
    if (server->threaded && eventfd_write(server->stop, 1) == 0)
        pthread_join(server->thread, NULL);
    for (size_t i = 0; i < PEER_SERVER_CONNECTIONS_MAX; i++)
        peer_connection_close(&server->connections[i]);
    close_places(server);
    close(server->stop);
    free(server);
}
