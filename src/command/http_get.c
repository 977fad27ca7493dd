#include "command/http_get.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/tcp.h"
#include "base/util.h"
#include "command/http_answer.h"

/* Returns 0 when `fd` is ready or has an error. */
static int http_wait(int fd, short events, int64_t deadline)
{
    struct pollfd ready = {.fd = fd, .events = events};
    for (;;) {
        int64_t left = deadline - (int64_t)clock_ms();
        if (left <= 0)
            return ETIMEDOUT;
        int n = poll(&ready, 1, (int)left);
        if (n > 0)
            return 0;
        if (n < 0 && errno != EINTR)
            return errno;
    }
}

/* ---- connecting ---- */

static int http_connect(const struct sockaddr *address, socklen_t len, int64_t deadline, int *fd)
{
    *fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (*fd < 0)
        return errno;
    int error = connect(*fd, address, len) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
        socklen_t size = sizeof(error);
        int waited = http_wait(*fd, POLLOUT, deadline);
        if (waited || getsockopt(*fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
            error = waited ? waited : errno;
    }
    if (!error && tcp_is_connected_to_itself(*fd))
        error = ECONNREFUSED;
    if (error) {
        close(*fd);
        *fd = -1;
    }
    return error;
}

static int http_connect_unix(const char *path, int64_t deadline, int *fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return ENAMETOOLONG;
    strcpy(address.sun_path, path);
    return http_connect((const struct sockaddr *)&address, sizeof(address), deadline, fd);
}

/* Tries the addresses of the host one after the other. */
static int http_connect_tcp(const struct http_server *server, int64_t deadline, int *fd)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found;
    if (getaddrinfo(server->host, server->port, &hints, &found) != 0)
        return EADDRNOTAVAIL;
    int error = EADDRNOTAVAIL;
    for (const struct addrinfo *each = found; each && error; each = each->ai_next)
        error = http_connect(each->ai_addr, each->ai_addrlen, deadline, fd);
    freeaddrinfo(found);
    return error;
}

/* ---- asking ---- */

/* The request is so short that it fits into any send buffer. */
static int http_send_request(int fd, const struct http_server *server, const char *path)
{
    char text[1024];
    const char *host = server->socket ? "localhost" : server->host;
    const char *before = strchr(host, ':') ? "[" : "", *after = *before ? "]" : "";
    int len = snprintf(text, sizeof(text), "GET %s HTTP/1.0\r\nHost: %s%s%s\r\nConnection: close\r\n\r\n", path, before,
                       host, after);
    if (len < 0 || (size_t)len >= sizeof(text))
        return ENAMETOOLONG;
    ssize_t sent = send(fd, text, (size_t)len, MSG_NOSIGNAL);
    return sent == len ? 0 : sent < 0 ? errno : EPROTO;
}

struct http_buffer {
    char *bytes;
    size_t len, size;
};

static int http_buffer_grow(struct http_buffer *buffer)
{
    size_t size = buffer->size ? 2 * buffer->size : 64 << 10;
    char *bytes = realloc(buffer->bytes, size);
    if (!bytes)
        return ENOMEM;
    buffer->bytes = bytes;
    buffer->size = size;
    return 0;
}

/* Waits for at least one byte. */
static int http_receive(int fd, struct http_buffer *buffer, int64_t deadline, bool *ended)
{
    int error = buffer->size - buffer->len < 16 << 10 ? http_buffer_grow(buffer) : 0;
    if (!error)
        error = http_wait(fd, POLLIN, deadline);
    if (error)
        return error;
    ssize_t n = recv(fd, buffer->bytes + buffer->len, buffer->size - buffer->len, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : errno;
    buffer->len += (size_t)n;
    *ended = n == 0;
    return 0;
}

static int http_fill_reply(struct http_reply *reply, const struct http_answer *answer)
{
    reply->body = malloc(answer->body_len + 1);
    if (!reply->body)
        return ENOMEM;
    memcpy(reply->body, answer->body, answer->body_len);
    reply->body[answer->body_len] = '\0';
    reply->body_len = answer->body_len;
    reply->status = answer->status;
    return 0;
}

static int http_read_reply(int fd, int64_t deadline, struct http_reply *reply)
{
    static const int errors[] = {[HTTP_WRONG] = EPROTO, [HTTP_TOO_LARGE] = EMSGSIZE, [HTTP_CUT_SHORT] = ENODATA};
    static_assert(ARRAY_LEN(errors) == HTTP_CUT_SHORT + 1, "an errno for each way to fail");
    struct http_buffer buffer = {0};
    struct http_answer answer;
    enum http_progress progress = HTTP_MORE;
    bool ended = false;
    int error = 0;
    while (!error && progress == HTTP_MORE) {
        error = http_receive(fd, &buffer, deadline, &ended);
        if (!error)
            progress = http_answer_read(buffer.bytes, buffer.len, ended, &answer);
    }
    if (!error)
        error = progress == HTTP_COMPLETE ? http_fill_reply(reply, &answer) : errors[progress];
    free(buffer.bytes);
    return error;
}

int http_get(const struct http_server *server, const char *path, int timeout_ms, struct http_reply *reply)
{
    int64_t deadline = (int64_t)clock_ms() + timeout_ms;
    int fd = -1;
    int error =
        server->socket ? http_connect_unix(server->socket, deadline, &fd) : http_connect_tcp(server, deadline, &fd);
    if (!error)
        error = http_send_request(fd, server, path);
    if (!error)
        error = http_read_reply(fd, deadline, reply);
    if (fd >= 0)
        close(fd);
    return error;
}
