#include "client.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "udp.h"

void bench_die(int status, const char *format, ...)
{
    va_list args;
    fputs("load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(status);
}

static int dial(const union netaddr *proxy)
{
    int fd = socket(proxy->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        bench_die(EXIT_SERVER, "socket: %s", strerror(errno));
    /* A server that keeps silent must not hold the run up. */
    struct timeval patience = {.tv_sec = 5};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
    char text[NETADDR_TEXT_MAX];
    if (connect(fd, &proxy->sa, netaddr_len(proxy)) < 0)
        bench_die(EXIT_SERVER, "cannot connect to the proxy at %s: %s", netaddr_format(proxy, text), strerror(errno));
    return fd;
}

static void tell(int fd, const uint8_t *message, size_t len)
{
    if (send(fd, message, len, MSG_NOSIGNAL) != (ssize_t)len)
        bench_die(EXIT_SERVER, "cannot send to the proxy: %s", strerror(errno));
}

/* Reads no byte beyond the message: those belong to the stream. */
static void hear(int fd, uint8_t *message, size_t len)
{
    ssize_t got = recv(fd, message, len, MSG_WAITALL);
    if (got != (ssize_t)len)
        bench_die(EXIT_SERVER, "the proxy answered %zd bytes where %zu were expected: %s", got < 0 ? 0 : got, len,
                  got < 0 ? strerror(errno) : "it closed the connection");
}

int client_greet(const union netaddr *proxy)
{
    static const uint8_t none = SOCKS5_METHOD_NONE;
    uint8_t message[SOCKS5_GREETING_MAX];
    int fd = dial(proxy);
    tell(fd, message, socks5_greeting_encode(message, sizeof(message), &(struct socks5_greeting){&none, 1}));
    return fd;
}

void client_ask(int fd, uint8_t command, const union netaddr *destination)
{
    uint8_t message[SOCKS5_REQUEST_MAX], method;
    hear(fd, message, 2);
    if (socks5_choice_decode(message, 2, &method) != 2 || method != SOCKS5_METHOD_NONE)
        bench_die(EXIT_SERVER, "the proxy wants a login or speaks no SOCKS5: it answered %02x %02x, expected 05 00",
                  message[0], message[1]);
    size_t host_len;
    const uint8_t *host = netaddr_host(destination, &host_len);
    uint8_t atyp = host_len == 4 ? SOCKS5_ATYP_IPV4 : SOCKS5_ATYP_IPV6;
    struct socks5_request request = {command, {atyp, (uint8_t)host_len, netaddr_port(destination), host}};
    tell(fd, message, socks5_request_encode(message, sizeof(message), &request));
}

union netaddr client_answer(int fd)
{
    uint8_t message[SOCKS5_REQUEST_MAX];
    size_t have = 5; /* the shortest beginning that tells the length */
    struct socks5_reply_message reply;
    hear(fd, message, have);
    size_t total = message[3] == SOCKS5_ATYP_IPV4 ? 10 : message[3] == SOCKS5_ATYP_IPV6 ? 22 : 7u + message[4];
    hear(fd, message + have, total - have);
    if (socks5_reply_decode(message, total, &reply) != (int)total)
        bench_die(EXIT_SERVER, "the proxy's reply is malformed");
    if (reply.code != SOCKS5_REPLY_SUCCEEDED)
        bench_die(EXIT_SERVER, "the proxy refused with reply code %u", reply.code);
    return reply.bound.atyp == SOCKS5_ATYP_NAME
               ? (union netaddr){0}
               : netaddr_from_bytes(reply.bound.host, reply.bound.host_len, reply.bound.port);
}

void client_ask_relay(int control, const union netaddr *proxy)
{
    union netaddr any = netaddr_any(proxy->sa.sa_family);
    client_ask(control, SOCKS5_COMMAND_UDP_ASSOCIATE, &any);
}

struct association client_relay(int control, const union netaddr *proxy)
{
    union netaddr relay = client_answer(control), local = netaddr_any(proxy->sa.sa_family);
    struct association association = {control, udp_open(&local)};
    netaddr_unmap(&relay);
    if (relay.sa.sa_family != proxy->sa.sa_family || netaddr_is_any(&relay)) {
        /* Some servers leave the address out: then it is the one that was connected to. */
        uint16_t port = netaddr_port(&relay);
        relay = *proxy;
        netaddr_set_port(&relay, port);
    }
    char text[NETADDR_TEXT_MAX];
    if (netaddr_port(&relay) == 0 || connect(association.udp, &relay.sa, netaddr_len(&relay)) < 0)
        bench_die(EXIT_SERVER, "the proxy named %s as its relay, which cannot be sent to",
                  netaddr_format(&relay, text));
    return association;
}

struct association client_associate(const union netaddr *proxy)
{
    int control = client_greet(proxy);
    client_ask_relay(control, proxy);
    return client_relay(control, proxy);
}

struct association client_direct(const union netaddr *target)
{
    union netaddr local = netaddr_any(target->sa.sa_family);
    struct association association = {-1, udp_open(&local)};
    if (connect(association.udp, &target->sa, netaddr_len(target)) < 0)
        bench_die(EXIT_SERVER, "cannot send to the target: %s", strerror(errno));
    return association;
}

int client_connect(const union netaddr *proxy, const union netaddr *destination)
{
    int fd = client_greet(proxy);
    client_ask(fd, SOCKS5_COMMAND_CONNECT, destination);
    client_answer(fd);
    return fd;
}

void client_close(struct association *association)
{
    close(association->udp);
    if (association->control >= 0)
        close(association->control);
}
