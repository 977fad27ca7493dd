#include "admin/http.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "admin"
#include "admin/http_request.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/acceptor.h"
#include "net/sock.h"

#define ACCEPT_MAX 8 /* connections in one event */

const struct http_times http_times = {.request_ms = 5000, .wait_ms = 10000, .read_ms = 30000};

struct http_listener {
    SLIST_ENTRY(http_listener) link;
    struct http *http;
    int fd;
    struct acceptor acceptor;
};

enum connection_state { STATE_ASKING, STATE_WAITING, STATE_READING, STATE_CLOSING };

struct http_connection {
    TAILQ_ENTRY(http_connection) link;
    struct http *http;
    struct bufferevent *stream;
    struct event deadline;
    enum connection_state state;
    bool head_only;
    struct http_ticket *ticket; /* while its answer is deferred */
};

struct http_ticket {
    struct http_connection *connection; /* NULL: closed, or already answered */
};

struct http {
    struct event_base *base;
    struct http_times times;
    http_handler *handler;
    void *arg;
    SLIST_HEAD(, http_listener) listeners;
    TAILQ_HEAD(connections, http_connection) connections; /* the oldest first */
    size_t connection_count;
    bool refusal_said; /* the log has the failure already */
};

/* ---- connections ---- */

static void connection_forget_ticket(struct http_connection *connection)
{
    if (connection->ticket)
        connection->ticket->connection = NULL;
    connection->ticket = NULL;
}

static void connection_free(struct http_connection *connection)
{
    TAILQ_REMOVE(&connection->http->connections, connection, link);
    assert(connection->http->connection_count > 0);
    connection->http->connection_count--;
    connection_forget_ticket(connection);
    event_del(&connection->deadline);
    bufferevent_free(connection->stream);
    free(connection);
}

/* Resets the connection: otherwise the kernel would keep the unread answer for as long as the client likes. */
static void connection_abort(struct http_connection *connection)
{
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(bufferevent_getfd(connection->stream), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    connection_free(connection);
}

static void connection_enter(struct http_connection *connection, enum connection_state state, unsigned ms)
{
    const struct timeval time = timeval_from_ms(ms);
    connection->state = state;
    event_add(&connection->deadline, &time);
}

union netaddr http_local(const struct http_connection *connection)
{
    union netaddr local = sock_local(bufferevent_getfd(connection->stream));
    bool is_ip = local.sa.sa_family == AF_INET || local.sa.sa_family == AF_INET6;
    return is_ip ? local : (union netaddr){0};
}

/* ---- answering ---- */

static const char *http_reason(int status)
{
    static const struct {
        int status;
        const char *reason;
    } reasons[] = {
        {200, "OK"},
        {400, "Bad Request"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {414, "URI Too Long"},
        {431, "Request Header Fields Too Large"},
        {503, "Service Unavailable"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Error";
}

static size_t connection_unsent(const struct http_connection *connection)
{
    return evbuffer_get_length(bufferevent_get_output(connection->stream));
}

/* Makes room for an answer: closes the oldest connections that have not read theirs. */
static bool http_make_room(struct http *http, size_t size)
{
    size_t sum = size;
    struct http_connection *connection, *next;
    TAILQ_FOREACH(connection, &http->connections, link)
    sum += connection_unsent(connection);
    for (connection = TAILQ_FIRST(&http->connections); connection && sum > HTTP_UNSENT_MAX; connection = next) {
        next = TAILQ_NEXT(connection, link);
        if (connection_unsent(connection) == 0)
            continue;
        sum -= connection_unsent(connection);
        connection_abort(connection);
    }
    return sum <= HTTP_UNSENT_MAX;
}

static void http_free_body(const void *data, size_t len, void *body)
{
    (void)data, (void)len;
    free(body);
}

/* Without a policy of its own, the answer may load and run nothing. */
static bool http_write_head(struct evbuffer *out, const struct http_response *answer)
{
    return evbuffer_add_printf(out,
                               "HTTP/1.1 %d %s\r\n"
                               "Content-Type: %s\r\n"
                               "Content-Length: %zu\r\n"
                               "Connection: close\r\n"
                               "Cache-Control: no-store\r\n"
                               "Content-Security-Policy: %s\r\n"
                               "Cross-Origin-Resource-Policy: same-origin\r\n"
                               "Referrer-Policy: no-referrer\r\n"
                               "X-Content-Type-Options: nosniff\r\n"
                               "X-Frame-Options: DENY\r\n"
                               "%s\r\n",
                               answer->status, http_reason(answer->status),
                               answer->type ? answer->type : "text/plain; charset=utf-8", answer->size,
                               answer->policy ? answer->policy : "default-src 'none'; frame-ancestors 'none'",
                               answer->status == 405 ? "Allow: GET, HEAD\r\n" : "") > 0;
}

/* Takes over an owned body. */
static bool http_write_body(struct evbuffer *out, const struct http_response *answer)
{
    void *body = (void *)answer->body;
    if (evbuffer_add_reference(out, body, answer->size, answer->owned ? http_free_body : NULL, body) == 0)
        return true;
    if (answer->owned)
        free(body);
    return false;
}

static void connection_send(struct http_connection *connection, const struct http_response *answer)
{
    assert(connection->state == STATE_ASKING || connection->state == STATE_WAITING); /* exactly one answer */
    struct evbuffer *out = bufferevent_get_output(connection->stream);
    const bool has_body = !connection->head_only && answer->size > 0;
    bool written = http_write_head(out, answer);
    if (has_body)
        written &= http_write_body(out, answer);
    else if (answer->owned)
        free((void *)answer->body);
    if (!written) { /* the client would take half an answer for a whole one */
        connection_abort(connection);
        return;
    }
    bufferevent_disable(connection->stream, EV_READ);
    bufferevent_enable(connection->stream, EV_WRITE);
    connection_enter(connection, STATE_READING, connection->http->times.read_ms);
}

void http_respond_text(struct http_connection *connection, int status, const char *text)
{
    connection_send(connection, &(struct http_response){.status = status, .body = text, .size = strlen(text)});
}

void http_respond(struct http_connection *connection, const struct http_response *answer)
{
    if (http_make_room(connection->http, answer->size)) {
        connection_send(connection, answer);
        return;
    }
    if (answer->owned)
        free((void *)answer->body);
    http_respond_text(connection, 503, "the answer is too large\n");
}

struct http_ticket *http_defer(struct http_connection *connection)
{
    assert(connection->state == STATE_ASKING && !connection->ticket);
    struct http_ticket *ticket = malloc(sizeof(*ticket));
    if (!ticket) {
        http_respond_text(connection, 503, "no memory\n");
        return NULL;
    }
    ticket->connection = connection;
    connection->ticket = ticket;
    bufferevent_disable(connection->stream, EV_READ);
    connection_enter(connection, STATE_WAITING, connection->http->times.wait_ms);
    return ticket;
}

void http_redeem(struct http_ticket *ticket, const struct http_response *answer)
{
    struct http_connection *connection = ticket->connection;
    assert(!connection || connection->ticket == ticket);
    if (connection) {
        connection_forget_ticket(connection);
        http_respond(connection, answer);
    } else if (answer->owned) {
        free((void *)answer->body);
    }
    free(ticket);
}

/* ---- what happens on a connection ---- */

static void connection_handle_request(struct http_connection *connection)
{
    struct evbuffer *in = bufferevent_get_input(connection->stream);
    struct http_request request = {0};
    const char *text = (const char *)evbuffer_pullup(in, -1);
    int status = text ? http_request_parse(text, evbuffer_get_length(in), &request) : 0;
    if (status == 0)
        return;
    connection->head_only = request.head_only;
    evbuffer_drain(in, evbuffer_get_length(in));
    if (status == 200)
        connection->http->handler(connection->http->arg, connection, &request);
    else
        http_respond_text(connection, status,
                          status == 405   ? "only GET and HEAD are supported\n"
                          : status == 431 ? "the request is too large\n"
                                          : "malformed request\n");
}

static void connection_on_readable(struct bufferevent *stream, void *arg)
{
    struct http_connection *connection = arg;
    struct evbuffer *in = bufferevent_get_input(stream);
    if (connection->state == STATE_ASKING)
        connection_handle_request(connection);
    else
        evbuffer_drain(in, evbuffer_get_length(in));
}

/* The kernel has the whole answer. Closing now, with a part of the request unread, would reset the connection and lose
 * the answer: so wait until the client closes. */
static void connection_on_written(struct bufferevent *stream, void *arg)
{
    struct http_connection *connection = arg;
    if (connection->state != STATE_READING)
        return;
    shutdown(bufferevent_getfd(stream), SHUT_WR);
    connection->state = STATE_CLOSING;
    bufferevent_enable(stream, EV_READ);
}

static void connection_on_end(struct bufferevent *stream, short what, void *arg)
{
    (void)stream, (void)what;
    connection_free(arg);
}

static void connection_on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct http_connection *connection = arg;
    if (connection->state != STATE_WAITING) {
        connection_abort(connection);
        return;
    }
    connection_forget_ticket(connection);
    http_respond_text(connection, 503, "no answer in time\n");
}

static void connection_new(struct http *http, int fd)
{
    struct http_connection *connection = calloc(1, sizeof(*connection));
    struct bufferevent *stream = connection ? bufferevent_socket_new(http->base, fd, BEV_OPT_CLOSE_ON_FREE) : NULL;
    if (!stream) {
        free(connection);
        close(fd);
        return;
    }
    *connection = (struct http_connection){.http = http, .stream = stream};
    event_assign(&connection->deadline, http->base, -1, 0, connection_on_deadline, connection);
    TAILQ_INSERT_TAIL(&http->connections, connection, link);
    http->connection_count++;
    bufferevent_setcb(stream, connection_on_readable, connection_on_written, connection_on_end, connection);
    bufferevent_set_max_single_read(stream,
                                    HTTP_REQUEST_HEAD_MAX); /* libevent's high-water mark crashes without memory */
    connection_enter(connection, STATE_ASKING, http->times.request_ms);
    bufferevent_enable(stream, EV_READ);
}

/* ---- accepting ---- */

static void http_rest(struct http_listener *listener, int error)
{
    acceptor_rest(&listener->acceptor);
    if (listener->http->refusal_said)
        return;
    listener->http->refusal_said = true;
    log_warning("cannot accept a connection: %s; new connections wait", strerror(error));
}

static void http_on_ready(void *arg)
{
    struct http_listener *listener = arg;
    struct http *http = listener->http;
    for (int i = 0; i < ACCEPT_MAX; i++) {
        int accepted = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (accepted < 0 && acceptor_is_short(errno)) {
            http_rest(listener, errno);
            return;
        }
        if (accepted < 0)
            return; /* EAGAIN, or an error of that connection alone: another event follows for the others */
        http->refusal_said = false;
        if (http->connection_count >= HTTP_CONNECTIONS_MAX)
            connection_abort(TAILQ_FIRST(&http->connections));
        connection_new(http, accepted);
    }
}

/* ---- life ---- */

struct http *http_new(struct event_base *base, const struct http_times *times, http_handler *handler, void *arg)
{
    struct http *http = calloc(1, sizeof(*http));
    if (!http)
        return NULL;
    *http = (struct http){.base = base, .times = *times, .handler = handler, .arg = arg};
    TAILQ_INIT(&http->connections);
    return http;
}

bool http_serve(struct http *http, int fd)
{
    struct http_listener *listener = calloc(1, sizeof(*listener));
    if (!listener) {
        close(fd);
        return false;
    }
    *listener = (struct http_listener){.http = http, .fd = fd};
    acceptor_init(&listener->acceptor, http->base, fd, http_on_ready, listener);
    SLIST_INSERT_HEAD(&http->listeners, listener, link);
    return acceptor_start(&listener->acceptor);
}

void http_close_listeners(struct http *http)
{
    while (!SLIST_EMPTY(&http->listeners)) {
        struct http_listener *listener = SLIST_FIRST(&http->listeners);
        SLIST_REMOVE_HEAD(&http->listeners, link);
        acceptor_stop(&listener->acceptor);
        close(listener->fd);
        free(listener);
    }
}

void http_free(struct http *http)
{
    if (!http)
        return;
    while (!TAILQ_EMPTY(&http->connections))
        connection_free(TAILQ_FIRST(&http->connections));
    http_close_listeners(http);
    free(http);
}
