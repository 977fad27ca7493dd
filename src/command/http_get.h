/* A GET by HTTP/1.0, from a Unix socket or over TCP. Blocks; for subcommands only. */
#ifndef CONESOCKS_COMMAND_HTTP_GET_H
#define CONESOCKS_COMMAND_HTTP_GET_H

#include <stddef.h>

/* Where to ask: at a path, or at a host and port. */
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
 * Asks for `path` and waits `timeout_ms` at most for the whole answer. 0 and a reply; or an errno:
 * ETIMEDOUT; EPROTO: no HTTP; ENODATA: cut short; EMSGSIZE: larger than any answer of ours; EADDRNOTAVAIL: the host's
 * name does not resolve; else what connecting says.
 */
int http_get(const struct http_server *server, const char *path, int timeout_ms, struct http_reply *reply);

#endif
