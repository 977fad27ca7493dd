/*
 * A small HTTP server: one request to a connection, GET and HEAD. Not libevent's evhttp, which tells nobody when a
 * connection comes or goes, so that neither their number nor their time could be bounded: here both are, and so is
 * what waits to be read.
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
struct request;

/* At once; for one more, the oldest goes: it is the one that does not read, or does not ask. */
#define HTTP_CONNECTIONS_MAX 32
/* All answers that their readers have not taken yet; beyond it, again the oldest goes. */
#define HTTP_UNSENT_MAX (8 * 1024 * 1024)

/* How long a connection may take, however busy it looks. */
struct http_times {
    unsigned request_ms; /* until it has asked */
    unsigned wait_ms;    /* for an answer that comes later */
    unsigned read_ms;    /* until it has read the answer, and closes */
};
extern const struct http_times http_times;

struct http_answer {
    int status;
    const char *type;   /* Content-Type; NULL: plain text */
    const char *policy; /* Content-Security-Policy; NULL: nothing at all may be loaded or run */
    const char *body;
    size_t size;
    bool owned; /* the body is to be freed */
};

/* Answers, now (http_answer) or later (http_defer). `request` lasts until it returns. */
typedef void http_handler(void *arg, struct http_connection *connection, const struct request *request);

/* NULL: no memory. */
struct http *http_new(struct event_base *base, const struct http_times *times, http_handler *handler, void *arg);
/* Takes over a listening socket, even when it fails. false: no memory. */
bool http_serve(struct http *http, int fd);
/* Listens no longer. */
void http_close_listeners(struct http *http);
/* Closes all. Tickets that are out stay valid, and lead nowhere. NULL is fine. */
void http_free(struct http *http);

/* This host's end; AF_UNSPEC: a Unix socket. */
union netaddr http_local(const struct http_connection *connection);

/* To be called once for each request, unless it is deferred. */
void http_answer(struct http_connection *connection, const struct http_answer *answer);
/* The same with a text that stays where it is. */
void http_answer_text(struct http_connection *connection, int status, const char *text);

/* A promise to answer later by http_redeem(), once, whatever becomes of the connection. NULL: no memory, and it has
 * been answered. */
struct http_ticket *http_defer(struct http_connection *connection);
void http_redeem(struct http_ticket *ticket, const struct http_answer *answer);

#endif
