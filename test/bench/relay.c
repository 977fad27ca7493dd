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

/* The client speaks first and briefly, so waiting for it holds nobody up. Answers to UDP ASSOCIATE alone. */
static bool negotiate(int control, const struct sockaddr_in *relay)
{
    uint8_t greeting[3], request[10], reply[10] = {5, 0, 0, 1};
    if (recv(control, greeting, sizeof(greeting), MSG_WAITALL) != sizeof(greeting) ||
        send(control, "\5", 2, MSG_NOSIGNAL) != 2 ||
        recv(control, request, sizeof(request), MSG_WAITALL) != sizeof(request))
        return false;
    reply[1] = request[1] == 3 && request[3] == 1 ? 0 : 7;
    memcpy(reply + 4, &relay->sin_addr, 4);
    memcpy(reply + 8, &relay->sin_port, 2);
    return send(control, reply, sizeof(reply), MSG_NOSIGNAL) == sizeof(reply) && reply[1] == 0;
}

static void accept_client(int listener)
{
    struct sockaddr_in relay, external;
    int control = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    if (control < 0)
        return;
    struct relay_association *association = calloc(1, sizeof(*association));
    if (!association)
        fail("calloc");
    int client = open_udp(&relay), outside = open_udp(&external);
    watch(&association->control, association, control);
    watch(&association->client, association, client);
    watch(&association->external, association, outside);
    association->next = associations;
    association->link = &associations;
    if (associations)
        associations->link = &association->next;
    associations = association;
    technique->prepare(association);
    if (!negotiate(control, &relay))
        shutdown(control, SHUT_RDWR); /* the next round finds it ended */
}

static void end(struct relay_association *association)
{
    *association->link = association->next;
    if (association->next)
        association->next->link = association->link;
    close(association->control.fd);
    close(association->client.fd);
    close(association->external.fd);
    free(association);
}

static void handle(struct relay_watch *ready)
{
    struct relay_association *association = ready->association;
    ready->busy = ready->last_round + 1 == round_number;
    ready->last_round = round_number;
    if (ready == &association->client)
        technique->up(association);
    else if (ready == &association->external)
        technique->down(association);
}

/* Ends come last: other events of the round may be of the same association. */
static void serve(int listener)
{
    struct epoll_event events[EVENTS], accepting = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &accepting);
    for (;; round_number++) {
        int count = epoll_wait(epoll_fd, events, EVENTS, -1);
        bool accepts = false;
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr)
                handle(events[i].data.ptr);
            else
                accepts = true;
        }
        for (int i = 0; i < count; i++) {
            struct relay_watch *ready = events[i].data.ptr;
            if (ready && ready == &ready->association->control)
                end(ready->association);
        }
        if (accepts)
            accept_client(listener);
    }
}

static bool parse_fault(const char *name)
{
    static const char *const names[] = {"none", "content", "origin", "association", "loss"};
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
            "Usage: bench_relay PORT plain|segments [content|origin|association|loss]\n"
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
