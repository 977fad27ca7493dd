/* Lines that are written by a thread of their own, to what may stand still, be full, or be renamed meanwhile. */
#define LOG_MODULE "test"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log_output.h"
#include "base/util.h"

static char folder[64], path[96], other[96];

static int in_a_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/test_log_output.XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/log", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    log_set_level(LOG_LEVEL_INFO);
    return 0;
}

static int without_it(void **state)
{
    (void)state;
    log_to(LOG_TARGET_STDERR);
    unlink(path);
    unlink(other);
    return rmdir(folder);
}

static char *read_file(const char *name)
{
    static char text[4 * 1024 * 1024];
    int fd = open(name, O_RDONLY);
    assert_true(fd >= 0);
    ssize_t len = read(fd, text, sizeof(text) - 1);
    assert_in_range(len, 0, sizeof(text) - 2);
    text[len] = '\0';
    close(fd);
    return text;
}

/* What is said while standard error is `fd`. */
static void with_stderr(int fd, void *(*act)(void *), void *arg)
{
    int saved = dup(STDERR_FILENO);
    assert_true(saved >= 0 && dup2(fd, STDERR_FILENO) >= 0);
    act(arg);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    close(saved);
}

/* ---- the file ---- */

static void a_file_is_appended_to_and_lines_have_their_time(void **state)
{
    (void)state;
    umask(0);
    for (int i = 0; i < 2; i++) {
        assert_true(log_open(path, geteuid(), getegid()));
        log_to(LOG_TARGET_FILE);
        log_info("line %d", i);
        log_to(LOG_TARGET_STDERR);
    }
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 07777, 0640);
    int seconds[2], end[2];
    assert_int_equal(
        sscanf(read_file(path),
               "%*d-%*d-%*dT%*d:%*d:%d.%*dZ conesocks[%*d]: info: test: line 0\n%n%*d-%*d-%*dT%*d:%*d:%d.%*dZ "
               "conesocks[%*d]: info: test: line 1\n%n",
               &seconds[0], &end[0], &seconds[1], &end[1]),
        2);
    assert_int_equal(end[1], strlen(read_file(path)));
}

static void *open_log(void *result)
{
    *(bool *)result = log_open(path, geteuid(), getegid());
    return NULL;
}

static void expect_refusal(const char *why)
{
    bool opened = true;
    char expected[256];
    int said = open(other, O_RDWR | O_CREAT | O_TRUNC, 0600);
    with_stderr(said, open_log, &opened);
    close(said);
    assert_false(opened);
    snprintf(expected, sizeof(expected), "conesocks: error: log: log.file: %s: %s\n", path, why);
    assert_string_equal(read_file(other), expected);
    unlink(path);
}

/* What somebody has put there for us to write into, or to read along. */
static void what_is_not_ours_is_refused(void **state)
{
    (void)state;
    assert_int_equal(symlink("/dev/null", path), 0);
    expect_refusal("it is a symbolic link");
    assert_int_equal(mkfifo(path, 0600), 0);
    int reader = open(path, O_RDONLY | O_NONBLOCK);
    expect_refusal("it is not a plain file");
    close(reader);
    close(open(other, O_CREAT | O_WRONLY, 0600));
    assert_int_equal(link(other, path), 0);
    expect_refusal("it has another name as well (a hard link)");
    if (geteuid() == 0) {
        close(open(path, O_CREAT | O_WRONLY, 0666));
        if (chown(path, 1, 1) == 0)
            expect_refusal("it belongs to another user");
    }
    char whole[96];
    strcpy(whole, path);
    snprintf(path, sizeof(path), "%s/none/log", folder);
    expect_refusal("No such file or directory");
    strcpy(path, whole);
}

/* ---- written by its own thread ---- */

enum { THREADS = 4, LINES = 3000, RENAMES = 200 };

static void *say_many(void *name)
{
    for (int i = 0; i < LINES; i++)
        log_info("%s %d end", (const char *)name, i);
    return NULL;
}

/* Each line of each thread, whole and in its order; what else is there is the log's own. */
static void check_lines(const char *text, int next[THREADS])
{
    for (const char *end; *text; text = end + 1) {
        char name;
        int number, len = 0;
        end = strchr(text, '\n');
        assert_non_null(end);
        if (strstr(text, ": log: ") && strstr(text, ": log: ") < end)
            continue;
        assert_int_equal(sscanf(text, "%*s conesocks[%*d]: info: test: %c %d end%n", &name, &number, &len), 2);
        assert_ptr_equal(text + len, end);
        assert_int_equal(number, next[name - 'a']++);
    }
}

static void no_line_is_lost_or_torn_while_the_file_is_renamed(void **state)
{
    (void)state;
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    pthread_t threads[THREADS];
    int next[THREADS] = {0};
    char old[128];
    assert_true(log_open(path, geteuid(), getegid()));
    log_to(LOG_TARGET_FILE);
    assert_int_equal(log_start(), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, say_many, names[i]), 0);
    for (int i = 0; i < RENAMES; i++) {
        snprintf(old, sizeof(old), "%s.%d", path, i);
        assert_int_equal(rename(path, old), 0);
        log_reopen();
        log_reopen(); /* which is where it was */
        usleep(100);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    log_stop();
    for (int i = 0; i < RENAMES; i++) {
        snprintf(old, sizeof(old), "%s.%d", path, i);
        check_lines(read_file(old), next);
        unlink(old);
    }
    check_lines(read_file(path), next);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(next[i], LINES);
}

/* How often the log's thread has gone to sleep. */
static unsigned count_sleeps(void)
{
    char name[300], line[200];
    unsigned sleeps = 0;
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks));) {
        bool is_log = false;
        snprintf(name, sizeof(name), "/proc/self/task/%s/status", task->d_name);
        FILE *status = task->d_name[0] == '.' ? NULL : fopen(name, "re");
        while (status && fgets(line, sizeof(line), status)) {
            is_log = is_log || strcmp(line, "Name:\tlog\n") == 0;
            if (is_log)
                (void)sscanf(line, "voluntary_ctxt_switches: %u", &sleeps);
        }
        if (status)
            fclose(status);
    }
    closedir(tasks);
    return sleeps;
}

static size_t count_lines(const char *text)
{
    size_t count = 0;
    for (; (text = strchr(text, '\n')); text++)
        count++;
    return count;
}

static void lines_in_quick_succession_are_written_together_and_soon(void **state)
{
    (void)state;
    enum { SAID = 100 };
    assert_true(log_open(path, geteuid(), getegid()));
    log_to(LOG_TARGET_FILE);
    assert_int_equal(log_start(), 0);
    for (int i = 0; i < SAID; i++) {
        log_info("line %d", i);
        usleep(500);
    }
    for (int ms = 0; ms < 2000 && count_lines(read_file(path)) < SAID; ms++)
        usleep(1000);
    assert_int_equal(count_lines(read_file(path)), SAID);
    assert_in_range(count_sleeps(), 1, SAID / 2);
    log_stop();
}

static void a_file_that_cannot_be_opened_again_goes_on(void **state)
{
    (void)state;
    assert_true(log_open(path, geteuid(), getegid()));
    log_to(LOG_TARGET_FILE);
    assert_int_equal(rename(path, other), 0);
    assert_int_equal(mkdir(path, 0700), 0);
    log_reopen();
    log_info("here");
    assert_non_null(strstr(read_file(other), "log.file: "));
    assert_non_null(strstr(read_file(other), "cannot be opened again: Is a directory. The log continues"));
    assert_non_null(strstr(read_file(other), "test: here\n"));
    rmdir(path);
    log_reopen();
    log_info("there");
    assert_non_null(strstr(read_file(path), "test: there\n"));
}

/* ---- what does not take lines ---- */

static void *say_and_stop(void *count)
{
    assert_int_equal(log_start(), 0);
    for (int i = 0; i < *(const int *)count; i++)
        log_info("line %d of many that nobody reads for a long time", i);
    return NULL;
}

static void *read_all(void *ends)
{
    static char text[4 * 1024 * 1024];
    size_t len = 0;
    for (ssize_t n; (n = read(*(const int *)ends, text + len, sizeof(text) - 1 - len)) > 0;)
        len += (size_t)n;
    text[len] = '\0';
    return text;
}

/* Would hang if whoever logs had to wait. Then: what is not there is said to be missing. */
static void a_pipe_that_nobody_reads_keeps_nobody_waiting(void **state)
{
    (void)state;
    for (int waits = 0; waits < 2; waits++) {
        int ends[2], many = 100000, saved = dup(STDERR_FILENO);
        assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
        assert_int_equal(fcntl(ends[1], F_SETFL, waits ? 0 : O_NONBLOCK), 0); /* as whoever shares it may have it */
        assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
        close(ends[1]);
        say_and_stop(&many);
        pthread_t reader;
        void *text;
        assert_int_equal(pthread_create(&reader, NULL, read_all, ends), 0);
        log_stop();
        assert_true(dup2(saved, STDERR_FILENO) >= 0);
        close(saved);
        pthread_join(reader, &text);
        close(ends[0]);
        int read = 0, lost = 0;
        for (const char *line = text; *line; line = strchr(line, '\n') + 1) {
            int count = 0;
            if (sscanf(line, "conesocks: warning: log: lines lost here: %d (they came faster", &count) == 1)
                lost += count;
            else
                read += sscanf(line, "conesocks: info: test: line %d of many that nobody reads", &count);
        }
        assert_true(read > 1000 && lost > 1000);
        assert_int_equal(read + lost, many);
    }
}

static void limit_files(rlim_t size)
{
    const struct rlimit limit = {.rlim_cur = size, .rlim_max = RLIM_INFINITY};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* As on a disk that is full: the line that had half the room leaves nothing, and the next one says that it is missing.
 */
static void a_full_file_costs_no_more_than_its_lines(void **state)
{
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    for (int threaded = 0; threaded < 2; threaded++) {
        assert_true(log_open(path, geteuid(), getegid()));
        log_to(LOG_TARGET_FILE);
        log_info("first");
        limit_files(strlen(read_file(path)) + 20);
        if (threaded)
            assert_int_equal(log_start(), 0);
        log_info("second");
        log_info("third");
        log_stop(); /* which has tried to write them by now */
        limit_files(RLIM_INFINITY);
        log_info("fourth");
        log_info("fifth");
        int lines[4] = {0};
        assert_int_equal(
            sscanf(read_file(path),
                   "%*s conesocks[%*d]: info: test: first\n%n%*s conesocks[%*d]: info: test: fourth\n%n%*s "
                   "conesocks[%*d]: "
                   "warning: log: lines lost here: 2 (File too large)\n%n%*s conesocks[%*d]: info: test: fifth\n%n",
                   &lines[0], &lines[1], &lines[2], &lines[3]),
            0);
        if (lines[3] != (int)strlen(read_file(path)))
            fail_msg("%s", read_file(path));
        unlink(path);
    }
}

static void *say_three(void *unused)
{
    log_info("first");
    limit_files(strlen(read_file(path)) + 20);
    log_info("second");
    limit_files(RLIM_INFINITY);
    log_info("third");
    return unused;
}

static void the_same_where_a_shell_has_opened_it(void **state)
{
    (void)state;
    log_to(LOG_TARGET_STDERR);
    signal(SIGXFSZ, SIG_IGN);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    with_stderr(fd, say_three, NULL);
    close(fd);
    assert_string_equal(read_file(path), "conesocks: info: test: first\nconesocks: info: test: third\n"
                                         "conesocks: warning: log: lines lost here: 1 (File too large)\n");
}

/* ---- systemd's journal ---- */

static void *say_one_of_each(void *stream)
{
    setenv("JOURNAL_STREAM", stream, 1);
    log_to(LOG_TARGET_STDERR);
    unsetenv("JOURNAL_STREAM");
    for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++)
        LOG_AT((enum log_level)level, "said");
    log_set_format(LOG_FORMAT_JSON);
    log_warning("said");
    log_set_format(LOG_FORMAT_TEXT);
    return NULL;
}

/* Where it goes by the descriptor that systemd has opened, and not where a script has sent it elsewhere. */
static void the_journal_hears_the_priority_of_each_line(void **state)
{
    (void)state;
    struct stat status;
    char stream[64];
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    assert_int_equal(fstat(fd, &status), 0);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
    log_set_level(LOG_LEVEL_DEBUG);
    with_stderr(fd, say_one_of_each, stream);
    const char *text = read_file(path), *json = strstr(text, "<4>{\"time\":");
    assert_non_null(json);
    assert_int_equal(strncmp(text,
                             "<3>conesocks: error: test: said\n<4>conesocks: warning: test: said\n"
                             "<6>conesocks: info: test: said\n<7>conesocks: debug: test: said\n",
                             (size_t)(json - text)),
                     0);
    static char others[][16] = {"", "1", "1:2", "what:ever"};
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        assert_int_equal(ftruncate(fd, 0), 0);
        with_stderr(fd, say_one_of_each, others[i]);
        assert_null(strchr(read_file(path), '<'));
    }
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_is_appended_to_and_lines_have_their_time, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(what_is_not_ours_is_refused, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(no_line_is_lost_or_torn_while_the_file_is_renamed, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(a_file_that_cannot_be_opened_again_goes_on, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(lines_in_quick_succession_are_written_together_and_soon, in_a_folder,
                                        without_it),
        cmocka_unit_test_setup_teardown(a_pipe_that_nobody_reads_keeps_nobody_waiting, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(a_full_file_costs_no_more_than_its_lines, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(the_same_where_a_shell_has_opened_it, in_a_folder, without_it),
        cmocka_unit_test_setup_teardown(the_journal_hears_the_priority_of_each_line, in_a_folder, without_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
