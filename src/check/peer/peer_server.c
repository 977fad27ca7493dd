#include "check/peer/peer_server.h"

#include <errno.h>
#include <limits.h>
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
        key[i] = letters[random[i] % 32];
    key[PEER_KEY_LEN] = '\0';
    return true;
}

/* ---- sockets ---- */

/* A bound socket, or -1. `address` gets the port. */
static int open_socket(union netaddr *address, int type)
{
    const int one = 1, room = 1 << 20, whole_path = IP_PMTUDISC_DONT;
    bool v6 = address->sa.sa_family == AF_INET6;
    socklen_t len = netaddr_len(address);
    int fd = socket(address->sa.sa_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (v6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    if (type == SOCK_STREAM) {
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    } else {
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room));
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        io_want_fragments(fd, address->sa.sa_family);
        /* What is too large for the path may come in pieces: whether it comes is what is asked. */
        setsockopt(fd, v6 ? IPPROTO_IPV6 : IPPROTO_IP, v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER, &whole_path,
                   sizeof(whole_path));
    }
    if (bind(fd, &address->sa, len) == 0 && getsockname(fd, &address->sa, &len) == 0 &&
        (type != SOCK_STREAM || listen(fd, SOMAXCONN) == 0))
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static void close_socket(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_place(struct peer_place *place)
{
    close_socket(&place->udp[0]);
    close_socket(&place->udp[1]);
    close_socket(&place->tcp);
}

/* Both ports of one address; those that are 0 are the system's choice. */
static bool open_place(struct peer_place *place, const union netaddr *host, const uint16_t ports[2])
{
    *place = (struct peer_place){.udp = {-1, -1}, .tcp = -1};
    for (unsigned i = 0; i < 2; i++) {
        place->address[i] = *host;
        netaddr_set_port(&place->address[i], ports[i]);
        place->udp[i] = open_socket(&place->address[i], SOCK_DGRAM);
    }
    if (place->udp[0] >= 0 && place->udp[1] >= 0)
        place->tcp = open_socket(&place->address[0], SOCK_STREAM);
    return place->tcp >= 0;
}

static void close_places(struct peer_server *server)
{
    while (server->place_count > 0)
        close_place(&server->places[--server->place_count]);
}

/* All of them, at the ports that the first one has. On failure `failed` is the one that could not be had. */
static bool open_places(struct peer_server *server, const struct peer_host *hosts, size_t count, uint16_t port,
                        union netaddr *failed)
{
    uint16_t ports[2] = {port, port ? (uint16_t)(port + 1) : 0};
    for (size_t i = 0; i < count; i++) {
        struct peer_place *place = &server->places[server->place_count++];
        if (!open_place(place, &hosts[i].address, ports)) {
            int error = errno;
            *failed = place->address[place->udp[0] >= 0 && place->udp[1] < 0];
            close_places(server);
            errno = error;
            return false;
        }
        place->other = (unsigned)peer_host_other(hosts, count, i);
        ports[0] = netaddr_port(&place->address[0]);
        ports[1] = netaddr_port(&place->address[1]);
    }
    return true;
}

size_t peer_host_other(const struct peer_host *hosts, size_t count, size_t n)
{
    size_t at = n;
    do
        at = (at + 1) % count;
    while (hosts[at].address.sa.sa_family != hosts[n].address.sa.sa_family || hosts[at].link != hosts[n].link);
    return at;
}

struct peer_server *peer_server_open(const struct peer_host *hosts, size_t count, uint16_t port, const char *key,
                                     const struct peer_server_watch *watch, char *problem, size_t problem_size)
{
    struct peer_server *server = calloc(1, sizeof(*server));
    union netaddr failed = {.sa.sa_family = AF_UNSPEC};
    char text[NETADDR_TEXT_MAX];
    bool opened = false;
    if (!server || count == 0 || count > PEER_SERVER_PLACES_MAX ||
        (server->stop = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0) {
        snprintf(problem, problem_size, "no address, or no memory");
        free(server);
        return NULL;
    }
    server->key = key;
    if (watch)
        server->watch = *watch;
    for (size_t i = 0; i < PEER_SERVER_CONVERSATIONS_MAX; i++)
        server->conversations[i].fd = -1;
    for (int tries = port ? 1 : PORT_TRIES; tries > 0 && !opened; tries--)
        opened = open_places(server, hosts, count, port, &failed);
    if (opened)
        return server;
    snprintf(problem, problem_size, "cannot listen on %s: %s", netaddr_format(&failed, text), strerror(errno));
    peer_server_close(server);
    return NULL;
}

union netaddr peer_server_address(const struct peer_server *server, size_t n)
{
    return n < server->place_count ? server->places[n].address[0] : (union netaddr){.sa.sa_family = AF_UNSPEC};
}

/* ---- serving ---- */

static void receive(struct peer_server *server, unsigned place, unsigned port, uint64_t now_ms)
{
    for (int i = 0; i < BATCH; i++) {
        struct peer_errand to = {.place = place, .port = port};
        _Alignas(struct cmsghdr) uint8_t control[IO_CONTROL_ROOM];
        struct iovec bytes = {.iov_base = server->buffer, .iov_len = sizeof(server->buffer)};
        struct msghdr message = {.msg_name = &to.from,
                                 .msg_namelen = sizeof(to.from),
                                 .msg_iov = &bytes,
                                 .msg_iovlen = 1,
                                 .msg_control = control,
                                 .msg_controllen = sizeof(control)};
        ssize_t len = recvmsg(server->places[place].udp[port], &message, MSG_DONTWAIT);
        if (len < 0)
            return;
        peer_server_take(server, &to, server->buffer, (size_t)len, io_fragment(&message), now_ms);
    }
}

/* Every socket of ours, in the order in which serve() looks at them. */
static nfds_t list_sockets(const struct peer_server *server, struct pollfd *list)
{
    nfds_t n = 0;
    list[n++] = (struct pollfd){.fd = server->stop, .events = POLLIN};
    for (unsigned i = 0; i < server->place_count; i++) {
        list[n++] = (struct pollfd){.fd = server->places[i].udp[0], .events = POLLIN};
        list[n++] = (struct pollfd){.fd = server->places[i].udp[1], .events = POLLIN};
        list[n++] = (struct pollfd){.fd = server->places[i].tcp, .events = POLLIN};
    }
    for (unsigned i = 0; i < PEER_SERVER_CONVERSATIONS_MAX; i++)
        list[n++] = (struct pollfd){.fd = server->conversations[i].fd, .events = POLLIN};
    return n;
}

static void serve(struct peer_server *server, const struct pollfd *ready, uint64_t now_ms)
{
    for (unsigned i = 0; i < server->place_count; i++, ready += 3) {
        if (ready[0].revents)
            receive(server, i, 0, now_ms);
        if (ready[1].revents)
            receive(server, i, 1, now_ms);
        if (ready[2].revents)
            peer_server_accept(server, i, now_ms);
    }
    for (unsigned i = 0; i < PEER_SERVER_CONVERSATIONS_MAX; i++) {
        struct peer_conversation *conversation = &server->conversations[i];
        if (conversation->fd >= 0 && conversation->fd == ready[i].fd && ready[i].revents)
            peer_server_converse(server, conversation);
        if (conversation->fd >= 0 && conversation->until_ms <= now_ms)
            peer_server_hang_up(conversation);
    }
}

void peer_server_run(struct peer_server *server)
{
    for (;;) {
        struct pollfd list[1 + 3 * PEER_SERVER_PLACES_MAX + PEER_SERVER_CONVERSATIONS_MAX];
        nfds_t count = list_sockets(server, list);
        uint64_t now_ms = clock_ms(), due_ms = peer_server_answer_pending(server, now_ms);
        uint64_t wait_ms = due_ms - now_ms < 1000 ? due_ms - now_ms : 1000; /* conversations end in time, too */
        if (poll(list, count, (int)wait_ms) < 0 && errno != EINTR)
            return;
        if (list[0].revents)
            return;
        serve(server, list + 1, clock_ms());
    }
}

static void *run(void *server)
{
    peer_server_run(server);
    return NULL;
}

bool peer_server_start(struct peer_server *server)
{
    server->threaded = pthread_create(&server->thread, NULL, run, server) == 0;
    return server->threaded;
}

void peer_server_close(struct peer_server *server)
{
    if (!server)
        return;
    if (server->threaded && eventfd_write(server->stop, 1) == 0)
        pthread_join(server->thread, NULL);
    for (size_t i = 0; i < PEER_SERVER_CONVERSATIONS_MAX; i++)
        peer_server_hang_up(&server->conversations[i]);
    close_places(server);
    close(server->stop);
    free(server);
}
