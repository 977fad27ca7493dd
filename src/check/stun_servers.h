/*
 * The STUN servers that a check may ask: those of --stun, or the ones that were named at build time.
 *
 * Ordinary public servers have one address each, so what several of them see is compared. Any of them may be down.
 */
#ifndef CONESOCKS_CHECK_STUN_SERVERS_H
#define CONESOCKS_CHECK_STUN_SERVERS_H

#include "check/io.h"

#define STUN_PORT        3478
#define STUN_SERVERS_MAX 8
#define STUN_PLACES_MAX  32

struct stun_servers {
    struct stun_server {
        char host[256], text[300]; /* the latter as it was given, for people */
        uint16_t port;
        int error; /* of the lookup, for gai_strerror(); 0: none */
    } list[STUN_SERVERS_MAX];
    size_t count;
};

/* One address of a server. */
struct stun_place {
    union netaddr address;
    unsigned server; /* its index */
};

struct stun_places {
    struct stun_place list[STUN_PLACES_MAX];
    size_t count;
};

/* The list that was given at build time (option check_stun); "": none. */
extern const char stun_servers_built_in[];

/* Adds the servers in `text`, HOST[:PORT] each, with spaces or commas between them. NULL, or what is wrong. */
const char *stun_servers_add(struct stun_servers *servers, const char *text);
/* Their names as they were given, with commas between them, into `text`, which is returned. */
const char *stun_servers_list(const struct stun_servers *servers, char *text, size_t size);
/* Looks up all names side by side. First come the first addresses of all servers, then the second ones, and so on. */
void stun_servers_resolve(struct stun_servers *servers, struct stun_places *places);

#endif
