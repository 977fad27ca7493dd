/*
 * What libc's resolver reads from the system, as far as a forwarding resolver needs it: resolv.conf(5) and hosts(5).
 * Lines that make no sense are skipped, like libc does: an error in one line must not disable the others.
 */
#ifndef CONESOCKS_NET_RESOLVER_FILES_H
#define CONESOCKS_NET_RESOLVER_FILES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "base/netaddr.h"

/* The longest name in text, without a final dot (RFC 1035: 255 bytes on the wire). */
#define NAME_TEXT_MAX 253

#define RESOLV_CONF_SERVERS_MAX 3

struct resolv_conf {
    union netaddr servers[RESOLV_CONF_SERVERS_MAX]; /* port 53 */
    size_t server_count;                            /* once parsed never 0: 127.0.0.1 when the file names none */
    bool names_none;
};

/* NULL is an empty text. The text is changed. */
void resolv_conf_parse(struct resolv_conf *conf, char *text);

struct hosts_entry {
    const char *name;
    union netaddr address; /* port 0 */
};
/* Sorted by name; entries of one name in the order of the file. All zero is an empty table. */
struct hosts {
    char *text; /* the names live here */
    struct hosts_entry *entries;
    size_t count;
};

/* Takes over `text` (from malloc; NULL: empty). Without memory the table is empty and false is returned. */
bool hosts_parse(struct hosts *hosts, char *text);
/* The entries of a name, whatever its case, and how many there are. */
const struct hosts_entry *hosts_find(const struct hosts *hosts, const char *name, size_t *count);
void hosts_clear(struct hosts *hosts);

/* Tells whether a file changed since the last look. All zero before the first one. */
struct file_stamp {
    bool looked;
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec modified;
};
bool file_changed(const char *path, struct file_stamp *stamp);
/* After a failure to read that may pass: the next look tries again. */
void file_look_again(struct file_stamp *stamp);
/* A regular file as text (free), or NULL with errno. Bytes behind a NUL are lost. */
char *file_read(const char *path);

/*
 * Read the file again when it has changed. false: it has not changed, or it cannot be used. What was known stays then,
 * and a file that cannot be used is logged. Without servers so far, 127.0.0.1 is taken instead, like libc does.
 * `told`: what was logged last, shared by all resolvers; NULL: each logs.
 */
bool hosts_follow(struct hosts *hosts, const char *path, struct file_stamp *stamp, atomic_uint_fast64_t *told);
bool resolv_conf_follow(struct resolv_conf *conf, const char *path, struct file_stamp *stamp,
                        atomic_uint_fast64_t *told);

#endif
