/* What an association tells its owner, from the event loop. The owner may free it in each of these. */
#ifndef CONESOCKS_PROXY_ASSOC_HOOKS_H
#define CONESOCKS_PROXY_ASSOC_HOOKS_H

#include "conesocks/socks5.h"

/* Of one over TCP. */
struct assoc_hooks {
    void (*ended)(void *arg, const char *why); /* the client's side has ended; `why` is for the log */
    void *arg;
};

/* Of one that leaves by an upstream. */
struct assoc_upstream_hooks {
    void (*answered)(void *arg, enum socks5_reply code); /* it may be granted now, or not */
    void (*ended)(void *arg, const char *why);           /* and now it is of no use any more */
    void *arg;
};

#endif
