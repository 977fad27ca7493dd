/*
 * Decides whether a load balancer should send new clients to this server: /readyz of the admin listener. On the main
 * thread.
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

/* What it depends on. */
struct readiness {
    /* Not while another process has taken over: a request is then meant for that one. */
    bool draining;
    struct health *health;
    const struct pressure_watch *pressure_watch; /* NULL: nothing limits the memory */
    struct quota *quota;
    struct descriptor_reserve *reserve;
    const struct config *config;
    const struct port_range *system_ports;
};

/* Why no new clients should be sent here, as text that lasts until the next event; NULL: it is ready. */
const char *readiness_complaint(const struct readiness *readiness);

#endif
