/*
 * Reads the configuration again while the server runs (SIGHUP). A file with an error changes nothing; a correct one
 * becomes the active snapshot of every worker. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_RELOAD_H
#define CONESOCKS_DAEMON_RELOAD_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct config;
struct config_files;
struct crew;
struct reload;
struct snapshot;

/* `path` is absolute, or NULL when there is no file; the workers have started with `snapshot`. `done` is called after
 * each reload of our own file that took effect. NULL: no memory or descriptors (errno). */
struct reload *reload_new(struct crew *crew, const char *path, struct snapshot *snapshot, void (*done)(void *arg),
                          void *arg);
/* Logs the result once the new configuration is active in every worker. While a reload is under way, the next one
 * follows it. */
void reload_begin(struct reload *reload);
/* Another process has taken over, and this is its configuration: sessions of ours that it forbids end. Takes over the
 * files. `path` is for messages; NULL: the built-in default. While a reload is under way, this one follows it. */
void reload_follow(struct reload *reload, const char *path, struct config_files *files);
/* The active configuration, until the next event. */
const struct snapshot *reload_snapshot(const struct reload *reload);
const struct config *reload_config(const struct reload *reload);
/* The results of reloads so far. */
struct reload_record {
    uint64_t done, failed;
    time_t loaded;   /* when the active configuration was read */
    char error[256]; /* why the last reload failed, the first line of it; "": it did not */
    char *waiting;   /* keys that changed since the start and take effect at the next start; NULL: none */
};
const struct reload_record *reload_record(const struct reload *reload);
/* The server stops: from now on a reload is refused with a log line. One that is under way still finishes. */
void reload_refuse(struct reload *reload);
/* After crew_stop(). NULL is fine. */
void reload_free(struct reload *reload);

#endif
