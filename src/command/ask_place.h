/* Where to ask the server that runs how it goes: its admin listener. */
#ifndef CONESOCKS_COMMAND_ASK_PLACE_H
#define CONESOCKS_COMMAND_ASK_PLACE_H

#include <stdbool.h>

/* Where a server without a configuration file shows it. */
#define ASK_DEFAULT_URL "http://127.0.0.1:1081"

struct config;

struct ask_place {
    char *socket;      /* path of a Unix socket; NULL: by TCP */
    char *host, *port; /* an address or a name; digits */
};

/* Each fills in `place` (ask_place_free). By a path; by "http://HOST:PORT", a slash after it or not; as a configuration
 * says. false: it is none, or the configuration has none. */
bool ask_at_socket(struct ask_place *place, const char *path);
bool ask_at_url(struct ask_place *place, const char *url);
bool ask_as_configured(struct ask_place *place, const struct config *config);
void ask_place_free(struct ask_place *place);

/* What an errno of http_get() means, and what to do. free(); NULL: out of memory. */
char *ask_place_explain(const struct ask_place *place, int error);
/* "http://[::1]:1081: " and those words, likewise. */
char *ask_place_say(const struct ask_place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
