#include "net/resolver_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "resolver"
#include "base/log.h"

#define DNS_PORT   53
#define FILE_LIMIT (64 << 20) /* lists that block advertisers reach a few MiB */

#define BLANK " \t\r"

static void resolv_conf_add_server(struct resolv_conf *conf, const char *text)
{
    if (text && conf->server_count < RESOLV_CONF_SERVERS_MAX &&
        netaddr_parse(&conf->servers[conf->server_count], text, DNS_PORT))
        conf->server_count++;
}

void resolv_conf_parse(struct resolv_conf *conf, char *text)
{
    *conf = (struct resolv_conf){0};
    char *lines = NULL, *line = text ? strtok_r(text, "\n", &lines) : NULL;
    for (; line; line = strtok_r(NULL, "\n", &lines)) {
        char *rest = NULL;
        const char *keyword = strtok_r(line, BLANK, &rest); /* in a comment, something else than below */
        if (!keyword)
            continue;
        if (strcmp(keyword, "nameserver") == 0)
            resolv_conf_add_server(conf, strtok_r(NULL, BLANK, &rest));
    }
    conf->names_none = conf->server_count == 0;
    if (conf->names_none)
        resolv_conf_add_server(conf, "127.0.0.1");
}

static bool hosts_add(struct hosts *hosts, size_t *room, const char *name, const union netaddr *address)
{
    if (hosts->count == *room) {
        size_t more = *room == 0 ? 16 : *room * 2;
        struct hosts_entry *entries = reallocarray(hosts->entries, more, sizeof(*entries));
        if (!entries)
            return false;
        hosts->entries = entries;
        *room = more;
    }
    hosts->entries[hosts->count++] = (struct hosts_entry){name, *address};
    return true;
}

static int hosts_compare(const void *a, const void *b)
{
    const struct hosts_entry *left = a, *right = b;
    int order = strcasecmp(left->name, right->name);
    if (order != 0)
        return order;
    return left->name < right->name ? -1 : left->name > right->name; /* the order in the text */
}

bool hosts_parse(struct hosts *hosts, char *text)
{
    *hosts = (struct hosts){.text = text};
    size_t room = 0;
    char *lines = NULL, *line = text ? strtok_r(text, "\n", &lines) : NULL;
    for (; line; line = strtok_r(NULL, "\n", &lines)) {
        line[strcspn(line, "#")] = '\0';
        char *rest = NULL;
        const char *word = strtok_r(line, BLANK, &rest);
        union netaddr address;
        if (!word || !netaddr_parse(&address, word, 0))
            continue;
        while ((word = strtok_r(NULL, BLANK, &rest)) != NULL) {
            if (!hosts_add(hosts, &room, word, &address)) {
                hosts_clear(hosts);
                return false;
            }
        }
    }
    if (hosts->count > 0)
        qsort(hosts->entries, hosts->count, sizeof(*hosts->entries), hosts_compare);
    return true;
}

const struct hosts_entry *hosts_find(const struct hosts *hosts, const char *name, size_t *count)
{
    size_t low = 0, high = hosts->count; /* the first entry that is not before `name` */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcasecmp(hosts->entries[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    size_t end = low;
    while (end < hosts->count && strcasecmp(hosts->entries[end].name, name) == 0)
        end++;
    *count = end - low;
    return end > low ? &hosts->entries[low] : NULL;
}

void hosts_clear(struct hosts *hosts)
{
    free(hosts->entries);
    free(hosts->text);
    *hosts = (struct hosts){0};
}

bool file_changed(const char *path, struct file_stamp *stamp)
{
    struct file_stamp now = {.looked = true};
    struct stat status;
    if (stat(path, &status) == 0) {
        now.device = status.st_dev;
        now.inode = status.st_ino;
        now.size = status.st_size;
        now.modified = status.st_mtim;
    }
    bool same = stamp->looked && stamp->device == now.device && stamp->inode == now.inode && stamp->size == now.size &&
                stamp->modified.tv_sec == now.modified.tv_sec && stamp->modified.tv_nsec == now.modified.tv_nsec;
    *stamp = now;
    return !same;
}

void file_look_again(struct file_stamp *stamp)
{
    stamp->looked = false;
}

static char *file_read_open(int fd, size_t size)
{
    char *text = malloc(size + 1);
    size_t len = 0;
    while (text && len < size) {
        ssize_t got = read(fd, text + len, size - len);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            free(text);
            return NULL;
        }
        if (got == 0)
            break;
        len += (size_t)got;
    }
    if (text)
        text[len] = '\0';
    return text;
}

char *file_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO would block without end */
    if (fd < 0)
        return NULL;
    char *text = NULL;
    struct stat status;
    if (fstat(fd, &status) == 0) {
        if (!S_ISREG(status.st_mode))
            errno = EINVAL;
        else if (status.st_size > FILE_LIMIT)
            errno = EFBIG;
        else
            text = file_read_open(fd, (size_t)status.st_size);
    }
    int saved = errno;
    close(fd);
    errno = saved;
    return text;
}

/* ---- following them ---- */

/* All workers meet the same file: one of them tells. */
static bool file_is_news(const struct file_stamp *stamp, int error, atomic_uint_fast64_t *told)
{
    uint64_t news = (uint64_t)stamp->inode;
    news = news * 31 + (uint64_t)stamp->size;
    news = news * 31 + (uint64_t)stamp->modified.tv_sec;
    news = news * 31 + (uint64_t)stamp->modified.tv_nsec;
    news = news * 31 + (uint64_t)error;
    return !told || atomic_exchange(told, news) != news;
}

/* A shortage of this process, which the file has no part in. */
static bool file_error_may_pass(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == EINTR || error == EIO;
}

static const char *file_advice(int error)
{
    return error == EACCES ? ". The sandbox (run.sandbox) only reaches the file that existed at the start: restart "
                             "conesocks to follow the change"
                           : "";
}

bool hosts_follow(struct hosts *hosts, const char *path, struct file_stamp *stamp, atomic_uint_fast64_t *told)
{
    if (!file_changed(path, stamp))
        return false;
    char *text = file_read(path);
    const int error = text ? 0 : errno;
    if (error && error != ENOENT) {
        if (file_is_news(stamp, error, told))
            log_warning("%s: keeping the names known so far: cannot read it (%s)%s", path, strerror(error),
                        file_advice(error));
        if (file_error_may_pass(error))
            file_look_again(stamp);
        return false;
    }
    hosts_clear(hosts);
    if (hosts_parse(hosts, text))
        return true;
    log_warning("%s: not used: no memory", path);
    file_look_again(stamp);
    return false;
}

static void resolv_conf_list(char *out, size_t room, const struct resolv_conf *conf)
{
    char host[NETADDR_TEXT_MAX];
    size_t len = 0;
    for (size_t i = 0; i < conf->server_count && len < room; i++)
        len += (size_t)snprintf(out + len, room - len, "%s%s", i ? ", " : "",
                                netaddr_format_host(&conf->servers[i], host));
}

/* `error`: 0 if the file can be read, and names no server. */
static void resolv_conf_warn(const char *path, const char *action, const char *servers, int error)
{
    if (error)
        log_warning("%s: %s the name server %s%s: cannot read it (%s)%s", path, action, servers,
                    error == ENOENT ? " until the file exists" : "", strerror(error), file_advice(error));
    else
        log_warning("%s: %s the name server %s: the file names none", path, action, servers);
}

bool resolv_conf_follow(struct resolv_conf *conf, const char *path, struct file_stamp *stamp,
                        atomic_uint_fast64_t *told)
{
    if (!file_changed(path, stamp))
        return false;
    struct resolv_conf new;
    char servers[RESOLV_CONF_SERVERS_MAX * NETADDR_TEXT_MAX];
    char *text = file_read(path);
    const int error = text ? 0 : errno;
    resolv_conf_parse(&new, text);
    free(text);
    const bool first = conf->server_count == 0, usable = !new.names_none;
    if (file_error_may_pass(error))
        file_look_again(stamp);
    if (usable || first)
        *conf = new;
    resolv_conf_list(servers, sizeof(servers), conf);
    if (!file_is_news(stamp, error, told))
        return usable || first;
    if (usable && !first)
        log_info("%s has changed: asking %s", path, servers);
    else if (!usable)
        resolv_conf_warn(path, first ? "asking" : "keeping", servers, error);
    return usable || first;
}
