/*
 * Runs the server's process from start to end: opens what takes privileges, enters the sandbox, serves, cleans up.
 */
#ifndef CONESOCKS_DAEMON_SERVE_H
#define CONESOCKS_DAEMON_SERVE_H

#include <stdbool.h>

struct snapshot;

struct serve_options {
    const char *path; /* of the configuration, absolute; NULL: the built-in default */
    bool daemon;
    bool take_over; /* from the running server, if there is one */
};

/* Returns the exit status, once the server has ended or could not start. */
int serve(struct snapshot *snapshot, const struct serve_options *options);

#endif
