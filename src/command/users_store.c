#include "command/users_store.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "conf/document.h"
#include "conf/report.h"
#include "conf/users_file.h"

#define NAME "conesocks user"

static bool store_fail(const struct users_store *store, const char *what)
{
    fprintf(stderr, NAME ": %s: %s: %s\n", store->path, what, strerror(errno));
    return false;
}

/* ---- the folder ---- */

static bool store_open_folder(struct users_store *store)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(store->path, '/');
    const size_t len = slash ? (size_t)(slash - store->path) : 0;
    if (len >= sizeof(folder)) {
        errno = ENAMETOOLONG;
        return store_fail(store, "cannot open its folder");
    }
    memcpy(folder, store->path, len);
    folder[len] = '\0';
    store->base = slash ? slash + 1 : store->path;
    store->folder = open(len ? folder : slash ? "/" : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return store->folder >= 0 || store_fail(store, "cannot open its folder");
}

/* ---- the lock ---- */

/* Two commands at once wait for each other. */
static bool store_lock(const struct users_store *store, int fd)
{
    enum { TRIES = 100, PAUSE_NS = 50000000 };
    for (int i = 0; i < TRIES; i++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK)
            break;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_NS}, NULL);
    }
    return store_fail(store, errno == EWOULDBLOCK ? "another command is changing it" : "cannot be locked");
}

/* Whether nobody has replaced it since it was opened. */
static bool store_is_in_place(const struct users_store *store)
{
    struct stat opened, found;
    return fstat(store->file, &opened) == 0 && fstatat(store->folder, store->base, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
           opened.st_dev == found.st_dev && opened.st_ino == found.st_ino;
}

static bool store_fail_open(const struct users_store *store)
{
    if (errno != ELOOP)
        return store_fail(store, "cannot be read");
    fprintf(stderr, NAME ": %s: is a symbolic link; name the file itself (users_file or --file)\n", store->path);
    return false;
}

/* Opens and locks the file. The folder is locked only for a file that does not exist yet: any user of this host could
 * lock a folder such as /etc, but not the file. */
static bool store_find_file(struct users_store *store)
{
    static const int flags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    for (bool has_folder = false;; has_folder = true) {
        while ((store->file = openat(store->folder, store->base, flags)) >= 0) {
            if (!store_lock(store, store->file))
                return false;
            if (store_is_in_place(store))
                return true;
            close(store->file);
        }
        if (errno != ENOENT)
            return store_fail_open(store);
        if (has_folder)
            return true;
        if (!store_lock(store, store->folder))
            return false;
    }
}

/* ---- reading ---- */

/* Reads the users of an open file. Prints its errors. */
static bool store_load_users(const char *path, int fd, struct config *config)
{
    struct report report;
    char *errors, *warnings;
    *config = (struct config){.users_file = (char *)(uintptr_t)path};
    if (!report_init(&report, path))
        return false;
    bool loaded = users_file_load(config, fd, NULL, &report);
    report_finish(&report, &errors, &warnings);
    if (errors)
        fputs(errors, stderr);
    free(errors);
    free(warnings);
    return loaded;
}

static void store_free_users(struct config *config)
{
    for (size_t i = 0; i < config->user_count; i++) {
        free(config->users[i].name);
        free(config->users[i].password);
    }
    free(config->users);
}

/* Whether there are only empty lines and comments: a server does not accept such a file, but a user can be added. */
static bool text_has_no_user(const char *text)
{
    for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
        const char *first = line + strspn(line, " \t\r");
        if (*first && *first != '\n' && *line != '#')
            return false;
    }
    return true;
}

static bool store_read(struct users_store *store)
{
    size_t size;
    if (fstat(store->file, &store->status) < 0)
        return store_fail(store, "cannot be read");
    if (!S_ISREG(store->status.st_mode)) {
        fprintf(stderr, NAME ": %s: is not a regular file\n", store->path);
        return false;
    }
    store->exists = true;
    store->text = document_read_all(store->file, USERS_FILE_SIZE_MAX, &size);
    if (!store->text)
        return store_fail(store, "cannot be read");
    store->text[size] = '\0';
    if (strlen(store->text) != size) {
        fprintf(stderr, NAME ": %s: contains a NUL byte\n", store->path);
        return false;
    }
    return text_has_no_user(store->text) || store_load_users(store->path, store->file, &store->config);
}

bool users_store_open(struct users_store *store, const char *path, const char *group)
{
    *store = (struct users_store){.path = path, .group = group, .folder = -1, .file = -1};
    if (!store_open_folder(store) || !store_find_file(store))
        return false;
    if (store->file >= 0)
        return store_read(store);
    store->text = calloc(1, 1);
    return store->text != NULL;
}

void users_store_close(struct users_store *store)
{
    if (store->file >= 0)
        close(store->file);
    if (store->folder >= 0)
        close(store->folder);
    store_free_users(&store->config);
    free(store->text);
}

const struct config_user *users_store_find(const struct users_store *store, const char *name)
{
    for (size_t i = 0; i < store->config.user_count; i++)
        if (strcmp(store->config.users[i].name, name) == 0)
            return &store->config.users[i];
    return NULL;
}

/* ---- writing ---- */

/* Where the line of a user begins; NULL: there is none. */
static char *text_find_line(char *text, const char *name)
{
    static const char mark[] = "\xef\xbb\xbf"; /* editors may put it before the first line */
    const size_t len = strlen(name);
    if (strncmp(text, mark, strlen(mark)) == 0)
        text += strlen(mark);
    for (char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n')
        if (strncmp(line, name, len) == 0 && line[len] == ':')
            return line;
    return NULL;
}

/* Writes the whole new text. */
static void text_write(char *text, const char *name, const char *line, FILE *out)
{
    char *found = text_find_line(text, name);
    const size_t len = strlen(text), before = found ? (size_t)(found - text) : len;
    const char *rest = found ? found + strcspn(found, "\n") : text + len;
    fwrite(text, 1, before, out);
    if (!found && len > 0 && text[len - 1] != '\n')
        fputc('\n', out);
    if (line)
        fprintf(out, "%s\n", line);
    fputs(rest + (*rest == '\n'), out);
}

/* A new file is for root and the server's group, if there is one. */
static bool store_set_owner(const struct users_store *store, int fd)
{
    if (store->exists)
        return fchown(fd, store->status.st_uid, store->status.st_gid) == 0 &&
               fchmod(fd, store->status.st_mode & 07777) == 0;
    const struct group *group = geteuid() == 0 ? getgrnam(store->group) : NULL;
    return !group || (fchown(fd, 0, group->gr_gid) == 0 && fchmod(fd, 0640) == 0);
}

static bool store_write_all(int fd, const char *text, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = write(fd, text + done, size - done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return fsync(fd) == 0;
}

/* Checks the new file as the server will, then puts it in the place of the old one. */
static bool store_fill_and_rename(const struct users_store *store, int fd, const char *temporary, const char *text,
                                  size_t size)
{
    struct config checked;
    if (!store_set_owner(store, fd))
        return store_fail(store, "cannot keep its owner, group and mode (try as root)");
    if (!store_write_all(fd, text, size))
        return store_fail(store, "cannot write the new file");
    bool valid = store_load_users(store->path, fd, &checked);
    store_free_users(&checked);
    if (!valid) {
        fprintf(stderr, NAME ": %s: nothing has changed, because the server would not accept the result\n",
                store->path);
        return false;
    }
    if (renameat(store->folder, temporary, store->folder, store->base) < 0)
        return store_fail(store, "cannot be replaced");
    return fsync(store->folder) == 0 || store_fail(store, "cannot be kept on the disk");
}

static bool store_write(const struct users_store *store, const char *text, size_t size)
{
    char temporary[NAME_MAX + 1];
    uint64_t number;
    if (getrandom(&number, sizeof(number), 0) != sizeof(number))
        return store_fail(store, "no random number");
    snprintf(temporary, sizeof(temporary), ".%.200s.%016jx", store->base, (uintmax_t)number);
    int fd = openat(store->folder, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return store_fail(store, "cannot create a file beside it");
    bool written = store_fill_and_rename(store, fd, temporary, text, size);
    if (!written)
        (void)unlinkat(store->folder, temporary, 0);
    close(fd);
    return written;
}

bool users_store_change(struct users_store *store, const char *name, const char *line)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return store_fail(store, "out of memory");
    text_write(store->text, name, line, out);
    fclose(out);
    bool changed = text && store_write(store, text, size);
    free(text);
    return changed;
}
