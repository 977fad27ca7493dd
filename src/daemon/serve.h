/*
 * The life of the server's process: what it opens and gives up, in which order, from the first line of its log to the
 * last.
 */
#ifndef CONESOCKS_DAEMON_SERVE_H
#define CONESOCKS_DAEMON_SERVE_H

#include <stdbool.h>

struct snapshot;

struct serve_options {
    const char *path; /* of the configuration, absolute; NULL: the built-in default */
    bool daemon;
    bool take_over; /* from the server that runs, if one does */
};

/* Returns the exit status, when the server has ended or could not begin. */
int serve(struct snapshot *snapshot, const struct serve_options *options);

#endif
