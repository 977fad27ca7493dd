/*
 * The steps of a check: one row in steps.c and one function each, in the order in which they run. A step finds out one
 * thing and says so once; what later steps need it leaves in struct check.
 */
#ifndef CONESOCKS_CHECK_STEPS_H
#define CONESOCKS_CHECK_STEPS_H

#include <stdbool.h>

#include "check/association.h"
#include "check/nat_probe.h"
#include "check/peer/stun_ask.h"
#include "check/proxy_url.h"
#include "check/result.h"
#include "check/steps/far_end.h"

/* What is known to work: a step runs when all that it needs does. */
enum check_fact {
    FACT_ADDRESS = 1 << 0,    /* check.proxy_addresses */
    FACT_REACHED = 1 << 1,    /* check.proxy answers by TCP */
    FACT_LOGGED_IN = 1 << 2,  /* it takes our requests */
    FACT_ASSOCIATED = 1 << 3, /* check.association is granted, and its channel can be used */
    FACT_FAR_END = 1 << 4,    /* check.far_end has an address */
    FACT_ANSWERS = 1 << 5,    /* datagrams come back from it through the association: check.answer is one */
    FACT_ANSWERS_V4 = 1 << 6, /* from its address of that family */
    FACT_ANSWERS_V6 = 1 << 7,
};

struct check_options {
    char *proxy;         /* NULL: none was named. Its password is overwritten, once it was read */
    const char *stun;    /* HOST[:PORT] */
    const char *peer;    /* HOST[:PORT] */
    const char *key;     /* the peer's; NULL: none */
    unsigned lifetime;   /* how long a silent mapping is watched, in seconds; 0: not at all */
    const char *connect; /* HOST:PORT, for the CONNECT */
    bool direct;         /* without the proxy, too */
    bool json;
};

struct check {
    struct check_options options;
    struct proxy_url url;
    struct io_addresses proxy_addresses;
    union netaddr proxy; /* the one that is used, with its port */
    struct association association;
    struct far_end far_end;
    unsigned facts;                    /* of enum check_fact */
    struct stun_question answer;       /* the first one that was answered */
    struct nat_verdict nat_v4, nat_v6; /* through the proxy */
    unsigned lost;                     /* how many of those of step_loss() */
    struct datagram datagram;          /* room for what comes in */
};

struct check_step {
    const char *id, *title;
    unsigned needs;                            /* of enum check_fact; what is missing is told to people */
    bool (*wanted)(const struct check *check); /* NULL: always. Steps that nobody wants are not shown */
    void (*run)(struct check *check, int family, struct check_result *result);
    int family; /* AF_INET or AF_INET6 for a step that is there for each */
};

extern const struct check_step check_steps[];
extern const size_t check_step_count;

/* How long one thing over TCP may take, in ms. */
#define CHECK_TCP_TIMEOUT 10000

/* How long to wait for what takes `ms` where the far end is near. Once there is check.answer. */
uint64_t check_patience(const struct check *check, unsigned ms);
/* Another association, in the same way as the check's. */
bool check_associate(const struct check *check, struct association *association);
/* Whether there is one to be checked, or only the way without. */
bool check_wants_proxy(const struct check *check);
/* Whether the proxy runs on this very machine. */
bool check_proxy_is_here(const struct check *check);
const char *check_family_name(int family);

void step_name(struct check *check, int family, struct check_result *result);
void step_tcp(struct check *check, int family, struct check_result *result);
void step_login(struct check *check, int family, struct check_result *result);
void step_far_end(struct check *check, int family, struct check_result *result);
void step_connect(struct check *check, int family, struct check_result *result);
void step_associate(struct check *check, int family, struct check_result *result);
void step_datagram(struct check *check, int family, struct check_result *result);
void step_origin(struct check *check, int family, struct check_result *result);
void step_port(struct check *check, int family, struct check_result *result);
void step_nat(struct check *check, int family, struct check_result *result);
void step_own(struct check *check, int family, struct check_result *result);
void step_sizes(struct check *check, int family, struct check_result *result);
void step_delay(struct check *check, int family, struct check_result *result);
void step_loss(struct check *check, int family, struct check_result *result);
void step_apart(struct check *check, int family, struct check_result *result);
void step_hairpin(struct check *check, int family, struct check_result *result);
void step_end(struct check *check, int family, struct check_result *result);
void step_lifetime(struct check *check, int family, struct check_result *result);
void step_direct(struct check *check, int family, struct check_result *result);

#endif
