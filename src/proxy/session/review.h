/*
 * After a reload: may a session that the configuration of before let in go on under the one that is now in force?
 */
#ifndef CONESOCKS_PROXY_SESSION_REVIEW_H
#define CONESOCKS_PROXY_SESSION_REVIEW_H

#include "proxy/env.h"

struct assoc;
struct stream;

struct reviewed {
    const char *user;      /* NULL: no login, not yet at least */
    bool logs_in;          /* it is being asked for one */
    int fd;                /* of the control connection */
    struct stream *stream; /* NULL, or what it has become */
    struct assoc *assoc;   /* likewise */
};

/* NULL: it may continue, under the active configuration from here on. Else why it has to end, as a literal. */
const char *review(struct env *env, const struct snapshot *before, const struct reviewed *session);

#endif
