/*
 * A small HTTP server for the admin listener: one GET or HEAD request for each connection. Connections, their time and
 * unread answers are bounded, which libevent's evhttp cannot do.
 */
#ifndef CONESOCKS_ADMIN_HTTP_H
#define CONESOCKS_ADMIN_HTTP_H

#include <stdbool.h>
#include <stddef.h>

#include "base/netaddr.h"

struct event_base;
struct http;
struct http_connection;
struct http_ticket;
struct http_request;

/* Beyond this, a new connection closes the oldest one, which probably neither asks nor reads. */
#define HTTP_CONNECTIONS_MAX 32
/* Bytes of all unread answers; beyond this, again the oldest connection is closed. */
#define HTTP_UNSENT_MAX (8 * 1024 * 1024)

/* How long each stage of a connection may take, even if it makes progress. */
struct http_times {
    unsigned request_ms; /* until the request is complete */
    unsigned wait_ms;    /* until a deferred answer is there */
    unsigned read_ms;    /* until the client has read the answer and closed */
};
extern const struct http_times http_times;

struct http_response {
    int status;
    const char *type;   /* Content-Type; NULL: plain text */
    const char *policy; /* Content-Security-Policy; NULL: nothing may be loaded or run */
    const char *body;
    size_t size;
    bool owned; /* free() the body afterwards */
};

/* Answers, now (http_answer) or later (http_defer). `request` lasts until it returns. */
typedef void http_handler(void *arg, struct http_connection *connection, const struct http_request *request);

/* NULL: no memory. */
struct http *http_new(struct event_base *base, const struct http_times *times, http_handler *handler, void *arg);
/* Takes over a listening socket, also on failure. false: no memory. */
bool http_serve(struct http *http, int fd);
/* Stops listening; connections continue. */
void http_close_listeners(struct http *http);
/* Closes everything. Open tickets stay valid and do nothing when redeemed. NULL is allowed. */
void http_free(struct http *http);

/* The local address; AF_UNSPEC: a Unix socket. */
union netaddr http_local(const struct http_connection *connection);

/* Must be called once for each request, unless the answer is deferred. */
void http_respond(struct http_connection *connection, const struct http_response *answer);
/* The same with a text that is neither copied nor freed. */
void http_respond_text(struct http_connection *connection, int status, const char *text);

/* Defers the answer. The ticket must be redeemed exactly once, even if the connection closes meanwhile. NULL: no
 * memory, and the client has got that answer. */
struct http_ticket *http_defer(struct http_connection *connection);
void http_redeem(struct http_ticket *ticket, const struct http_response *answer);

#endif
