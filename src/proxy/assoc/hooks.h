/* What an association tells its owner, from the event loop. The owner may free it in each of these. */
#ifndef CONESOCKS_PROXY_ASSOC_HOOKS_H
#define CONESOCKS_PROXY_ASSOC_HOOKS_H

#include "conesocks/socks5.h"

/* For an association over TCP. */
struct assoc_hooks {
    void (*ended)(void *arg, const char *why); /* the client's side has ended; `why` is for the log */
    void *arg;
};

/* For an association that uses an upstream. */
struct assoc_upstream_hooks {
    void (*answered)(void *arg, enum socks5_reply code); /* not SOCKS5_REPLY_SUCCEEDED: refuse it */
    void (*ended)(void *arg, const char *why);           /* later: the association at the upstream is gone */
    void *arg;
};

#endif
