/*
 * Decides whether a CONNECT that was granted has reached anybody. Some servers grant every CONNECT, and connect only
 * afterwards. Pure.
 */
#ifndef CONESOCKS_CHECK_GRANTED_H
#define CONESOCKS_CHECK_GRANTED_H

#include <stdbool.h>

struct granted {
    bool answered;    /* bytes came back */
    bool ended;       /* the connection ended instead */
    bool grants_all;  /* the proxy also grants a CONNECT to an address that nobody has */
    bool must_answer; /* the destination is known to answer */
};

enum granted_verdict {
    GRANTED_ANSWERED,
    GRANTED_CONNECTED,   /* the destination is silent, but the proxy grants only real connections */
    GRANTED_UNPROVEN,    /* silence, from a proxy that grants everything */
    GRANTED_NOBODY,      /* the end, from a proxy that grants everything */
    GRANTED_WRONG_PLACE, /* connected, but not to what should be there */
    GRANTED_VERDICTS,
};

enum granted_verdict granted_judge(const struct granted *granted);

#endif
