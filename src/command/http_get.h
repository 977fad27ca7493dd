/* Sends an HTTP/1.0 GET to a Unix socket or over TCP, and waits for the answer. Blocks: for subcommands only. */
#ifndef CONESOCKS_COMMAND_HTTP_GET_H
#define CONESOCKS_COMMAND_HTTP_GET_H

#include <stddef.h>

/* The server: a path, or a host and port. */
struct http_server {
    const char *socket;      /* NULL: by TCP */
    const char *host, *port; /* an address or a name; digits */
};

struct http_reply {
    int status;
    char *body; /* free(); ended by NUL */
    size_t body_len;
};

/*
 * Asks for `path` and waits at most `timeout_ms` for the whole answer. Returns 0 and a reply, or an errno: ETIMEDOUT,
 * EPROTO (not HTTP), ENODATA (cut short), EMSGSIZE (too large), EADDRNOTAVAIL (the host name does not resolve), or the
 * errno of connecting.
 */
int http_get(const struct http_server *server, const char *path, int timeout_ms, struct http_reply *reply);

#endif
