/*
 * Reads the configuration again while the server runs. A file that is wrong changes nothing; one that is fine becomes
 * the snapshot in force for each worker in turn. On the main thread.
 */
#ifndef CONESOCKS_DAEMON_RELOAD_H
#define CONESOCKS_DAEMON_RELOAD_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct config;
struct config_files;
struct event_base;
struct reload;
struct snapshot;
struct worker;

/* `path` is absolute, or NULL when there is no file; the workers have begun with `snapshot`. They, the path and the
 * base outlive it, but for worker_stop(). What cannot be read again, as the user that this process is by now, is said
 * in the log. `done` is called after each reload of ours that took effect. NULL: no memory or descriptors (errno). */
struct reload *reload_new(struct event_base *base, const char *path, struct snapshot *snapshot, struct worker **workers,
                          size_t worker_count, void (*done)(void *arg), void *arg);
/* Tells its outcome in the log, once it is in force for every worker. While another one is under way: right after it.
 */
void reload_begin(struct reload *reload);
/* Another process has taken over, and this is its configuration: sessions of ours that it forbids end. Takes over the
 * files. `path` is for messages; NULL: the built-in default. While another one is under way: right after it. */
void reload_follow(struct reload *reload, const char *path, struct config_files *files);
/* What is in force, until the next event. */
const struct snapshot *reload_snapshot(const struct reload *reload);
const struct config *reload_config(const struct reload *reload);
/* How reloads have gone so far. */
struct reload_record {
    uint64_t done, failed;
    time_t loaded;   /* when the configuration in force was read */
    char error[256]; /* why the last one failed, the first line of it; "": it did not */
    char *waiting;   /* keys that changed since the start and take effect at the next one; NULL: none */
};
const struct reload_record *reload_record(const struct reload *reload);
/* The server stops: from now on a reload is refused, in words. One that is under way still comes to its end. */
void reload_refuse(struct reload *reload);
/* After the workers were stopped. NULL is fine. */
void reload_free(struct reload *reload);

#endif
