#include "base/log_output.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#define LOG_MODULE "log"
#include "base/log_impl.h"

/* Some thousand lines: what a worker says when all its sessions end at once. Its pages are taken when they are needed.
 */
#define QUEUE_SIZE (1024 * 1024)
/* Waking the thread costs the one who logs more than the line itself. So after it has written, the thread waits for so
 * long before it looks for more; a warning or a queue that fills wakes it. */
#define PAUSE_MS   10
#define QUEUE_MUCH (QUEUE_SIZE / 8)
/* At the end, for what waits to be written. */
#define STOP_SECONDS 2

/* ---- the file ---- */

static struct {
    const char *path;
    dev_t device;
    ino_t inode;
} named;

#define NOT_PLAIN "it is not a plain file"

/* NULL, or why the log must not be written there. In a folder for all, somebody could have put it there to read along,
 * or to have us write into another file. */
static const char *file_refusal(const struct stat *status, uid_t owner)
{
    if (!S_ISREG(status->st_mode))
        return NOT_PLAIN;
    if (status->st_nlink != 1)
        return "it has another name as well (a hard link)";
    return status->st_uid != 0 && status->st_uid != owner ? "it belongs to another user" : NULL;
}

/* -1 with `*why`. */
static int file_open(const char *path, uid_t owner, const char **why)
{
    struct stat status;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0640);
    *why = errno == ELOOP ? "it is a symbolic link" : errno == ENXIO ? NOT_PLAIN : strerror(errno);
    if (fd < 0)
        return -1;
    *why = fstat(fd, &status) < 0 ? strerror(errno) : file_refusal(&status, owner);
    if (*why) {
        close(fd);
        return -1;
    }
    named.device = status.st_dev;
    named.inode = status.st_ino;
    return fd;
}

static bool file_is_where_it_was(void)
{
    struct stat status;
    return lstat(named.path, &status) == 0 && status.st_dev == named.device && status.st_ino == named.inode;
}

/* ---- writing ---- */

/* One thread's at a time: that of who logs, and once it runs the queue's. */
static struct {
    enum log_target target;
    bool journal;       /* stderr is systemd's, which reads a line's priority from its beginning */
    int fd;             /* unless that is syslog */
    int file;           /* opened, for LOG_TARGET_FILE */
    bool torn;          /* half a line stands at the end */
    uint64_t lost;      /* lines, and nothing was said of them yet */
    const char *reason; /* of the last one */
    uint64_t said_at;   /* seconds: when it was said last */
} output = {.target = LOG_TARGET_STDERR, .fd = STDERR_FILENO, .file = -1};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* what the thread sleeps on */
    pthread_cond_t hurry;   /* what ends its pause */
    pthread_t thread;
    bool running, ending;
    int file;          /* that lines go to from now on; -1: no other */
    uint64_t missed;   /* lines that found no room */
    size_t first, end; /* of queue_bytes */
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .file = -1};
/* Each line after its level and length. By itself, so that its zeros are not in the program's file. */
static char queue_bytes[QUEUE_SIZE];

/* Another process that shares the descriptor may have made it non-blocking: then this waits, where it may. */
static bool output_waits_for_room(bool patient)
{
    struct pollfd pollfd = {.fd = output.fd, .events = POLLOUT};
    return patient && poll(&pollfd, 1, -1) > 0;
}

/* Half a line would spoil the next one. */
static void output_take_back(size_t written)
{
    struct stat status;
    off_t end = lseek(output.fd, 0, SEEK_CUR), begin = end - (off_t)written;
    output.torn = end < 0 || fstat(output.fd, &status) < 0 || status.st_size != end ||
                  ftruncate(output.fd, begin) < 0 || lseek(output.fd, begin, SEEK_SET) < 0;
}

/* 0 or an errno. */
static int output_write_whole(const char *line, size_t len, bool patient)
{
    size_t written = 0;
    if (output.torn && write(output.fd, "\n", 1) == 1)
        output.torn = false;
    while (written < len) {
        ssize_t n = write(output.fd, line + written, len - written);
        if (n >= 0)
            written += (size_t)n;
        else if (errno != EINTR && (errno != EAGAIN || !output_waits_for_room(patient)))
            break;
    }
    if (written == len)
        return 0;
    int error = errno;
    if (written > 0)
        output_take_back(written);
    return error;
}

static uint64_t now_seconds(void)
{
    return clock_ms() / 1000 + 1;
}

static void output_tell_lost(bool patient)
{
    char message[200], line[LOG_LINE_MAX];
    const struct log_record record = {.level = LOG_LEVEL_WARNING, .module = LOG_MODULE, .message = message};
    snprintf(message, sizeof(message), "lines lost here: %" PRIu64 " (%s)", output.lost, output.reason);
    size_t len = log_format_line(line, &record);
    line[len++] = '\n';
    if (output_write_whole(line, len, patient) != 0)
        return;
    output.lost = 0;
    output.said_at = now_seconds();
}

/* `patient`: it may wait until there is room. `last`: none waits behind this one. */
static void output_write_line(enum log_level level, char *line, size_t len, bool patient, bool last)
{
    static const int priorities[] = {LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    if (output.target == LOG_TARGET_SYSLOG) {
        syslog(priorities[level], "%.*s", (int)len, line);
        return;
    }
    line[len++] = '\n';
    int error = output_write_whole(line, len, patient);
    if (error) {
        output.lost++;
        output.reason = strerror(error);
        return;
    }
    /* A log that is behind is not helped by more lines: once a second. */
    if (output.lost > 0 && (last || output.said_at != now_seconds()))
        output_tell_lost(patient);
}

/* ---- the queue: under its lock ---- */

struct head {
    enum log_level level;
    uint32_t len;
};

static void queue_put(const struct head *head, const char *line)
{
    const size_t size = sizeof(*head) + head->len;
    assert(head->len < LOG_LINE_MAX && queue.first <= queue.end);
    if (queue.end + size > sizeof(queue_bytes) && queue.first > sizeof(queue_bytes) / 2) {
        memmove(queue_bytes, queue_bytes + queue.first, queue.end - queue.first);
        queue.end -= queue.first;
        queue.first = 0;
    }
    if (queue.end + size > sizeof(queue_bytes)) {
        queue.missed++;
        return;
    }
    memcpy(queue_bytes + queue.end, head, sizeof(*head));
    memcpy(queue_bytes + queue.end + sizeof(*head), line, head->len);
    queue.end += size;
    pthread_cond_signal(&queue.changed);
    if (head->level <= LOG_LEVEL_WARNING || queue.end - queue.first > QUEUE_MUCH)
        pthread_cond_signal(&queue.hurry);
}

/* false: there is none. */
static bool queue_take(struct head *head, char *line)
{
    if (queue.first == queue.end)
        return false;
    memcpy(head, queue_bytes + queue.first, sizeof(*head));
    assert(head->len < LOG_LINE_MAX && queue.first + sizeof(*head) + head->len <= queue.end);
    memcpy(line, queue_bytes + queue.first + sizeof(*head), head->len);
    queue.first += sizeof(*head) + head->len;
    if (queue.first == queue.end) /* the first pages again, rather than all in turn */
        queue.first = queue.end = 0;
    return true;
}

static void output_take_over_file(void)
{
    if (queue.file < 0)
        return;
    close(output.file);
    output.file = output.fd = queue.file;
    output.torn = false;
    queue.file = -1;
}

static void output_take_over_missed(void)
{
    if (queue.missed == 0)
        return;
    output.lost += queue.missed;
    output.reason = "they came faster than they could be written";
    queue.missed = 0;
}

static void queue_pause(void)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PAUSE_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(&queue.hurry, &queue.lock, &until);
}

static void *queue_write_lines(void *unused)
{
    (void)unused;
    struct head head;
    char line[LOG_LINE_MAX];
    bool has_written = false;
    pthread_setname_np(pthread_self(), "log"); /* the sandbox forbids to name another */
    pthread_mutex_lock(&queue.lock);
    for (;;) {
        output_take_over_file();
        if (queue_take(&head, line)) {
            output_take_over_missed();
            bool last = queue.first == queue.end;
            pthread_mutex_unlock(&queue.lock);
            output_write_line(head.level, line, head.len, true, last);
            pthread_mutex_lock(&queue.lock);
            has_written = true;
        } else if (queue.ending) {
            break;
        } else if (has_written) {
            queue_pause();
            has_written = false;
        } else {
            pthread_cond_wait(&queue.changed, &queue.lock);
        }
    }
    pthread_mutex_unlock(&queue.lock);
    return NULL;
}

/* ---- for those who log ---- */

enum log_target log_output_target(void)
{
    return output.target;
}

const char *log_mark(enum log_level level)
{
    static const char *const marks[] = {"<3>", "<4>", "<6>", "<7>"};
    return output.journal ? marks[level] : "";
}

void log_output(enum log_level level, char *line, size_t len)
{
    pthread_mutex_lock(&queue.lock);
    if (queue.running)
        queue_put(&(struct head){.level = level, .len = (uint32_t)len}, line);
    else
        output_write_line(level, line, len, false, true);
    pthread_mutex_unlock(&queue.lock);
}

/* ---- for the main thread ---- */

static void queue_wake(void)
{
    pthread_cond_signal(&queue.changed);
    pthread_cond_signal(&queue.hurry);
}

static void queue_init_hurry(void)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&queue.hurry, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* JOURNAL_STREAM names the descriptor that systemd has opened; a script may have sent ours elsewhere. */
static bool is_journal(int fd)
{
    const char *stream = getenv("JOURNAL_STREAM");
    uintmax_t device, inode;
    struct stat status;
    return stream && sscanf(stream, "%ju:%ju", &device, &inode) == 2 && fstat(fd, &status) == 0 &&
           status.st_dev == device && status.st_ino == inode;
}

bool log_open(const char *path, uid_t user, gid_t group)
{
    const char *why;
    bool missing = access(path, F_OK) < 0;
    output.file = file_open(path, user, &why);
    if (output.file < 0) {
        log_error("log.file: %s: %s", path, why);
        return false;
    }
    /* logrotate compresses what it has renamed as that user. If root may not give the file away, it stays root's. */
    if (missing && geteuid() == 0 && fchown(output.file, user, group) < 0)
        log_info("log.file: %s still belongs to root: %s", path, strerror(errno));
    named.path = path;
    return true;
}

void log_to(enum log_target target)
{
    if (target == LOG_TARGET_SYSLOG)
        openlog("conesocks", LOG_PID | LOG_NDELAY, LOG_DAEMON);
    assert(!queue.running && (target != LOG_TARGET_FILE || output.file >= 0));
    output.fd = target == LOG_TARGET_FILE ? output.file : STDERR_FILENO;
    output.journal = target == LOG_TARGET_STDERR && is_journal(STDERR_FILENO);
    output.target = target;
}

void log_reopen(void)
{
    const char *why;
    if (output.target != LOG_TARGET_FILE || file_is_where_it_was())
        return;
    int fd = file_open(named.path, geteuid(), &why);
    if (fd < 0) {
        log_error("log.file: %s cannot be opened again: %s. The log continues in the previous file, which was renamed "
                  "or deleted",
                  named.path, why);
        return;
    }
    pthread_mutex_lock(&queue.lock);
    if (queue.file >= 0)
        close(queue.file);
    queue.file = fd;
    if (queue.running)
        queue_wake();
    else
        output_take_over_file();
    pthread_mutex_unlock(&queue.lock);
    log_info("log.file: %s opened again", named.path);
}

int log_start(void)
{
    /* Signals are the main thread's alone. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    assert(!queue.running);
    queue_init_hurry();
    int error = pthread_create(&queue.thread, NULL, queue_write_lines, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    queue.running = error == 0;
    return -error;
}

void log_stop(void)
{
    struct timespec until;
    if (!queue.running)
        return;
    pthread_mutex_lock(&queue.lock);
    queue.ending = true;
    queue_wake();
    pthread_mutex_unlock(&queue.lock);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_SECONDS;
    if (pthread_timedjoin_np(queue.thread, NULL, &until) == 0)
        queue.running = queue.ending = false;
    else
        pthread_detach(queue.thread); /* it hangs in a write: let nobody else */
}
