/*
 * The steps of a check, in the order in which they run: one row in steps.c and one function each.
 *
 * A step finds out one thing and reports it once; what later steps need it leaves in struct check_run.
 */
#ifndef CONESOCKS_CHECK_STEPS_H
#define CONESOCKS_CHECK_STEPS_H

#include <stdbool.h>

#include "check/client.h"
#include "check/io.h"
#include "check/nat.h"
#include "check/peer/ask.h"
#include "check/peer/peer_server.h"
#include "check/result.h"
#include "check/stun_servers.h"

/* What is known to work: a step runs when all that it needs does. */
enum check_fact {
    FACT_ADDRESS = 1 << 0,    /* the proxy has an address */
    FACT_REACHED = 1 << 1,    /* it answers by TCP at proxy.address */
    FACT_LOGGED_IN = 1 << 2,  /* it takes our requests */
    FACT_ASSOCIATED = 1 << 3, /* `association` is granted, and its channel can be used */
    FACT_SERVER = 1 << 4,     /* the test server has an address */
    FACT_ANSWERS = 1 << 5,    /* datagrams come back from it through the association: `answer` is one */
    FACT_ANSWERS_V4 = 1 << 6, /* from its address of that family */
    FACT_ANSWERS_V6 = 1 << 7,
};

/* Room for the name of a test server with its address. */
#define CHECK_NAME_MAX 400

struct check_options {
    char *proxy;              /* NULL: none was named. Its password is overwritten once it was read */
    const char *peer;         /* HOST[:PORT] */
    const char *key;          /* the peer's; NULL: none */
    unsigned lifetime;        /* how long a silent mapping is watched, in seconds; 0: not at all */
    const char *connect;      /* HOST:PORT, for the CONNECT */
    struct stun_servers stun; /* of --stun */
    bool no_stun;             /* --stun none: ask no public server */
    bool direct;              /* test without the proxy, too */
    bool json;
};

enum test_server_kind {
    TEST_SERVER_NONE,
    TEST_SERVER_STUN, /* by --stun, or built in */
    TEST_SERVER_PEER, /* another conesocks check, by --peer, or our own; it can do more */
};

/* What answers on the other side of the proxy, STUN Binding requests (RFC 8489) at least. */
struct test_server {
    enum test_server_kind kind;
    char name[300];                /* as it was given, for people */
    struct io_addresses addresses; /* at most one of each family: the server in use */
    struct stun_servers stun;      /* with TEST_SERVER_STUN: all of them */
    struct stun_places places;     /* and their addresses */
    bool is_public;                /* others run them: ask them little */
    const char *key;               /* a peer's; NULL: it needs none */
    struct peer_server *own;       /* ours, on this machine, or NULL */
    char own_key[PEER_KEY_LEN + 1];
};

/* A CONNECT to the test server. */
struct connect_trial {
    union netaddr to; /* AF_UNSPEC: none was tried */
    bool answered;    /* a question over it was answered */
    bool unroutable;  /* it was refused: the network or host is unreachable */
};

struct check_run {
    struct check_options options;
    struct tested_proxy proxy;
    struct io_addresses proxy_addresses;
    struct check_association association;
    struct test_server server;
    unsigned facts;                 /* of enum check_fact */
    struct connect_trial connected; /* what came of a CONNECT to the test server */
    unsigned first_peer_only;       /* FACT_ANSWERS_V4, _V6: only the first peer's answers arrive in that family */
    bool inside_tcp;                /* datagrams go inside the TCP connection: UDP does not reach the proxy */
    int family;                     /* of the running step: AF_INET, AF_INET6 or 0 */
    struct stun_question answer;    /* the first one that was answered */
    unsigned rtt_ms;                /* of that */
    struct nat_verdict nat[2];      /* through the proxy, IPv4 and IPv6 */
    unsigned lost;                  /* datagrams of step_loss() */
    struct datagram datagram;       /* room for what comes in */
};

/* How many times a step runs. */
enum step_times {
    STEP_ONCE,
    STEP_EACH_FAMILY, /* for IPv4 and for IPv6 */
    STEP_ONE_FAMILY,  /* with IPv4 or, when that is not wanted, with IPv6 */
};

struct check_step {
    const char *id, *title; /* with a family, "_v4" follows the former; of STEP_EACH_FAMILY ", IPv4" the latter */
    unsigned needs;         /* of enum check_fact; people are told what is missing */
    enum step_times times;
    bool (*is_wanted)(const struct check_run *check, int family); /* NULL: always. Others are not shown */
    void (*run)(struct check_run *check, struct check_result *result);
    /* What it means to a player when the step is all right, and when it failed and told nothing itself; NULL: nothing.
     */
    const char *good, *bad;
    bool is_headline; /* as in struct check_result */
};

extern const struct check_step check_steps[];
extern const size_t check_step_count;

/* Whether the step runs now, for that family. */
bool check_is_step_wanted(const struct check_run *check, const struct check_step *step, int family);

/* Opens one more association, in the same way as the first. Always to be closed. */
bool check_associate(struct check_run *check, struct check_association *association);
/* The line to the test server's address of the running step's family, or to the one that has answered. */
struct server_line check_line(struct check_run *check, struct channel *channel);
/* Questions to the addresses of different STUN servers, of the running step's family, the one in use first. How many.
 */
#define CHECK_ASKED_MAX 5
size_t check_questions(const struct check_run *check, struct stun_question questions[CHECK_ASKED_MAX]);
/* That server is used from now on, in that family. */
void check_use_server(struct check_run *check, const union netaddr *address);
/* "stun.example.org (192.0.2.1:3478)", or the address alone. */
const char *check_server_name(const struct check_run *check, const union netaddr *address, char text[CHECK_NAME_MAX]);
/* Whether a proxy is tested, and not only the way without. */
bool check_wants_proxy(const struct check_run *check);
/* Whether the proxy runs on this machine. */
bool check_proxy_is_here(const struct check_run *check);
const char *check_family_name(int family);
/* The verdict on the NAT through the proxy, for that family. */
struct nat_verdict *check_nat(struct check_run *check, int family);

void step_server(struct check_run *check, struct check_result *result);
void step_own_server(struct check_run *check, struct check_result *result);
void step_public_servers(struct check_run *check, struct check_result *result);
void step_name(struct check_run *check, struct check_result *result);
void step_tcp(struct check_run *check, struct check_result *result);
void step_login(struct check_run *check, struct check_result *result);
void step_connect(struct check_run *check, struct check_result *result);
void step_names(struct check_run *check, struct check_result *result);
void step_associate(struct check_run *check, struct check_result *result);
void step_datagram(struct check_run *check, struct check_result *result);
void step_origin(struct check_run *check, struct check_result *result);
void step_port(struct check_run *check, struct check_result *result);
void step_peers(struct check_run *check, struct check_result *result);
void step_families(struct check_run *check, struct check_result *result);
void step_nat(struct check_run *check, struct check_result *result);
void step_sizes(struct check_run *check, struct check_result *result);
void step_delay(struct check_run *check, struct check_result *result);
void step_loss(struct check_run *check, struct check_result *result);
void step_apart(struct check_run *check, struct check_result *result);
void step_hairpin(struct check_run *check, struct check_result *result);
void step_end(struct check_run *check, struct check_result *result);
void step_lifetime(struct check_run *check, struct check_result *result);
void step_direct(struct check_run *check, struct check_result *result);

#endif
