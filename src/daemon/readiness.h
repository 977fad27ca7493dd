/*
 * Whether new clients should be sent to this server, for /readyz of the admin listener. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_READINESS_H
#define CONESOCKS_DAEMON_READINESS_H

#include <stdbool.h>

struct config;
struct descriptor_reserve;
struct health;
struct port_range;
struct quota;
struct pressure_watch;

/* What it depends on, at the time of the question. */
struct readiness {
    /* Not while another process is taking over: a request is then meant for that one. */
    bool draining;
    struct health *health;
    const struct pressure_watch *pressure_watch; /* NULL: nothing limits the memory */
    struct quota *quota;
    struct descriptor_reserve *reserve;
    const struct config *config;
    const struct port_range *system_ports;
};

/* Why no new client should be sent here, in words that stay; NULL: it is ready. */
const char *readiness_complaint(const struct readiness *readiness);

#endif
