/*
 * The inside of the server, for the files that it is made of: server.c begins and ends its parts, server_events.c does
 * what happens while it runs, server_view.c shows how it is doing.
 */
#ifndef CONESOCKS_DAEMON_SERVER_IMPL_H
#define CONESOCKS_DAEMON_SERVER_IMPL_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include <event2/event_struct.h>

#include "admin/admin.h"
#include "daemon/follow.h"
#include "daemon/kernel_start.h"
#include "daemon/server.h"
#include "daemon/systemd.h"
#include "net/ports.h"

struct own_hosts;

struct server {
    struct snapshot *snapshot; /* of the start */
    const char *path;
    struct server_given given;
    bool taken;       /* all that was given still belongs to another server, too */
    bool at_terminal; /* not started as a daemon */
    time_t started;
    size_t begun; /* parts: see server.c */

    struct event_base *base;
    struct host *host;
    struct port_range system_ports; /* read before the sandbox is entered */
    struct kernel_start kernel;
    struct crew *crew;
    struct address_update *address_update;
    struct health *health;                 /* NULL: not wanted */
    struct admin *admin;                   /* NULL: not wanted */
    int handover_socket;                   /* -1: none, or `handover` has it */
    struct pressure_watch *pressure_watch; /* NULL: nothing limits the memory */
    struct event signals[4];
    size_t signal_count;
    struct reload *reload;
    struct drain *drain;
    struct status_query *status_query;       /* for `admin` */
    struct handover *handover;               /* NULL: run.handover is not set */
    struct worker_takeover *worker_takeover; /* NULL: nothing was taken over */
    struct followers followers;              /* servers that we have replaced */
    struct leader *leader;                   /* the one that has replaced us; NULL: none */
    struct usage_exchange *usage_exchange;   /* with both */
    struct auth *auth;
    struct systemd *systemd; /* NULL: it did not start us */
};

/* ---- server_events.c ---- */

/* SIGTERM, SIGINT, SIGHUP, SIGUSR1. false: no memory, and it could not be told to stop. */
bool server_watch_signals(struct server *server);
void server_log_counters(const struct server *server);
/* This host has other addresses now. */
void server_on_addresses(void *arg, struct own_hosts *hosts);
/* The last session is over, or its time. */
void server_on_drained(void *arg);
/* Another configuration is active. */
void server_on_reloaded(void *arg);
/* Another process serves: new connections are its. */
void server_on_replaced(void *arg);

/* ---- server_view.c ---- */

/* What the admin listener asks. */
struct admin_source server_admin_source(struct server *server);
/* The line for `systemctl status`. */
void server_describe(void *arg, char text[SYSTEMD_TEXT_MAX]);

#endif
