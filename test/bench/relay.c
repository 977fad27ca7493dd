#include "relay.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define EVENTS 64
#define BUFFER (1024 * 1024)

static const struct relay_technique *technique;
static struct relay_association *associations;
static int epoll_fd;
static uint64_t round_number;

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_relay: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static void watch(struct relay_watch *watch, struct relay_association *association, int fd)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = watch};
    *watch = (struct relay_watch){.association = association, .fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
        fail("epoll_ctl");
}

static int open_udp(struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = BUFFER;
    socklen_t len = sizeof(*address);
    *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (fd < 0 || bind(fd, (struct sockaddr *)address, len) < 0 ||
        getsockname(fd, (struct sockaddr *)address, &len) < 0)
        fail("cannot open a UDP socket");
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    return fd;
}

static void accept_client(int listener)
{
    int control = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (control < 0)
        return;
    struct relay_association *association = calloc(1, sizeof(*association));
    if (!association)
        fail("calloc");
    association->client.fd = association->external.fd = -1;
    association->next = associations;
    association->link = &associations;
    if (associations)
        associations->link = &association->next;
    associations = association;
    watch(&association->control, association, control);
}

static void end(struct relay_association *association)
{
    *association->link = association->next;
    if (association->next)
        association->next->link = association->link;
    close(association->control.fd);
    if (association->stage == RELAY_OPEN) {
        close(association->client.fd);
        close(association->external.fd);
    }
    free(association);
}

static bool choose(struct relay_association *association)
{
    uint8_t greeting[3];
    association->stage = RELAY_CHOSEN;
    return recv(association->control.fd, greeting, sizeof(greeting), MSG_DONTWAIT) == sizeof(greeting) &&
           send(association->control.fd, "\5", 2, MSG_NOSIGNAL) == 2;
}

/* UDP ASSOCIATE alone; an address of the client's in the request is not looked at. */
static bool open_relay(struct relay_association *association)
{
    int control = association->control.fd;
    uint8_t request[10], reply[10] = {5, 7, 0, 1};
    if (recv(control, request, sizeof(request), MSG_DONTWAIT) != sizeof(request))
        return false;
    if (request[1] == 3 && request[3] == 1) {
        struct sockaddr_in relay, external;
        int client = open_udp(&relay), outside = open_udp(&external);
        watch(&association->client, association, client);
        watch(&association->external, association, outside);
        technique->prepare(association);
        association->stage = RELAY_OPEN;
        reply[1] = 0;
        memcpy(reply + 4, &relay.sin_addr, 4);
        memcpy(reply + 8, &relay.sin_port, 2);
    }
    return send(control, reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply) && reply[1] == 0;
}

/* False when the client is done, or said what the yardstick does not understand: messages in parts, for one. */
static bool on_control(struct relay_association *association)
{
    switch (association->stage) {
    case RELAY_GREETED:
        return choose(association);
    case RELAY_CHOSEN:
        return open_relay(association);
    default:
        return false;
    }
}

static bool is_data(const struct relay_watch *ready)
{
    return ready && ready != &ready->association->control;
}

static void relay(struct relay_watch *ready)
{
    struct relay_association *association = ready->association;
    ready->busy = ready->last_round + 1 == round_number;
    ready->last_round = round_number;
    if (ready == &association->client)
        technique->up(association);
    else
        technique->down(association);
}

/* What may end an association is kept for the end of the round, when no other event of it is left. */
static void serve(int listener)
{
    struct epoll_event events[EVENTS], accepting = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting);
    for (;; round_number++) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1), kept = 0;
        for (int i = 0; i < count; i++) {
            if (is_data(events[i].data.ptr))
                relay(events[i].data.ptr);
            else
                events[kept++] = events[i];
        }
        for (int i = 0; i < kept; i++) {
            struct relay_watch *ready = events[i].data.ptr;
            if (!ready)
                accept_client(listener);
            else if (!on_control(ready->association))
                end(ready->association);
        }
    }
}

static bool parse_fault(const char *name)
{
    static const char *const names[] = {"none", "content", "origin", "association", "loss", "order"};
    for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            relay_fault = (enum relay_fault)i;
            return true;
        }
    }
    return false;
}

static int listen_at(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, SOMAXCONN) < 0)
        fail("cannot listen");
    return fd;
}

int main(int argc, char **argv)
{
    static const struct relay_technique *const techniques[] = {&relay_plain, &relay_segments};
    for (size_t i = 0; argc >= 3 && i < sizeof(techniques) / sizeof(techniques[0]); i++)
        if (strcmp(techniques[i]->name, argv[2]) == 0)
            technique = techniques[i];
    int port = argc >= 3 ? atoi(argv[1]) : 0;
    if (!technique || port < 1 || port > UINT16_MAX || argc > 4 || (argc == 4 && !parse_fault(argv[3]))) {
        fputs(
            "Usage: bench_relay PORT plain|segments [content|origin|association|loss|order]\n"
            "\n"
            "Relays UDP ASSOCIATE on 127.0.0.1 and does nothing else: the yardstick for what a relay costs at least.\n"
            "The third word, with plain, spoils one answer in 50, to see whether a load generator notices.\n",
            stderr);
        return 2;
    }
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        fail("epoll_create1");
    serve(listen_at((uint16_t)port));
}
