/*
 * What one session has been charged for against the limits. Each session contains one; admission.c updates it.
 */
#ifndef CONESOCKS_PROXY_SESSION_CHARGES_H
#define CONESOCKS_PROXY_SESSION_CHARGES_H

#include <stdint.h>

struct quota_account;

/* All zero: nothing. */
struct charges {
    struct quota_account *client;
    struct quota_account *user; /* NULL: no login, or no request yet */
    uint16_t taken;             /* a bit for each of admission.c's limits */
};

#endif
