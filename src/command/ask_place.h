/* Where a running server can be asked: the address of its admin listener. */
#ifndef CONESOCKS_COMMAND_ASK_PLACE_H
#define CONESOCKS_COMMAND_ASK_PLACE_H

#include <stdbool.h>

/* The admin listener of a server without a configuration file. */
#define ASK_DEFAULT_URL "http://127.0.0.1:1081"

/* That of the systemd unit (admin.socket: auto). */
#define ASK_DEFAULT_SOCKET "/run/conesocks/admin.socket"

struct config;

struct ask_place {
    char *socket;      /* path of a Unix socket; NULL: by TCP */
    char *host, *port; /* an address or a name; digits */
};

/* Without a path or URL: the socket of the systemd unit if a server listens there, else ASK_DEFAULT_URL. */
bool ask_at_default(struct ask_place *place);
/* Each fills in `place` (ask_place_free): from a path, from "http://HOST:PORT" with or without a final slash, or from a
 * configuration. false: the text is not one, or the configuration has no admin listener and no server listens at the
 * socket of the systemd unit, which admin.socket: auto means there. */
bool ask_at_socket(struct ask_place *place, const char *path);
bool ask_at_url(struct ask_place *place, const char *url);
bool ask_as_configured(struct ask_place *place, const struct config *config);
void ask_place_free(struct ask_place *place);

/* Explains an errno of http_get() and what to do. free() it; NULL: out of memory. */
char *ask_place_explain(const struct ask_place *place, int error);
/* "http://[::1]:1081: " and the text. free() it; NULL: out of memory. */
char *ask_place_say(const struct ask_place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
