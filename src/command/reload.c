#include "command/reload.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "base/command_line.h"
#include "command/ask.h"
#include "command/command.h"
#include "command/terminal.h"
#include "conf/config.h"
#include "daemon/pidfile.h"

#define PATIENCE_MS 10000 /* for the result, besides the time to resolve an advertised name */
#define PAUSE_MS    100

#define NAME "conesocks reload"

static const char usage_text[] =
    "Usage: conesocks reload -c FILE [--pid-file PATH]\n"
    "\n"
    "Checks FILE, then makes the server that runs with FILE read it again, as SIGHUP does. If FILE sets an admin\n"
    "listener, waits for the result and prints it.\n"
    "\n"
    "  -c, --config FILE    the server's configuration\n"
    "      --pid-file PATH  file with the server's process id; default: run.pid_file in FILE, else " PIDFILE_DEFAULT
    "\n";

/* The options, and the configuration and server that follow from them. */
struct reload_request {
    const char *file, *pid_file;
    const struct config *config;
    bool asks;          /* `place` is set */
    bool may_be_absent; /* no running server is no error */
    struct ask_place place;
};

/* Escapes the text, because it comes from the server. */
static void reload_print_escaped(FILE *out, const char *before, const char *text)
{
    char *escaped = terminal_escape(text);
    fprintf(out, "%s%s\n", before, escaped ? escaped : "out of memory");
    free(escaped);
}

/* ---- which process ---- */

static bool reload_read_process_name(const char *path, char name[32])
{
    FILE *file = fopen(path, "re");
    bool read = file && fgets(name, 32, file);
    if (file)
        fclose(file);
    return read;
}

/* The process id may be outdated or forged, and SIGHUP ends most programs. */
static bool reload_is_conesocks(pid_t pid)
{
    char path[32], ours[32], theirs[32];
    snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
    return reload_read_process_name("/proc/self/comm", ours) && reload_read_process_name(path, theirs) &&
           strcmp(ours, theirs) == 0;
}

/* The process of the unit whose ExecReload= runs this command; systemd sets MAINPID there. 0: none. */
static pid_t reload_unit_process(void)
{
    const char *text = getenv("MAINPID");
    char *end;
    long pid = text ? strtol(text, &end, 10) : 0;
    return pid > 0 && pid <= INT32_MAX && *end == '\0' ? (pid_t)pid : 0;
}

/* The process of the pid file, else the one that answers. For a unit, whose server needs no pid file: the one that
 * answers, else its own. 0: none, and an error has been printed. */
static pid_t reload_find_process(const struct reload_request *request, const json_t *status)
{
    const pid_t unit = reload_unit_process();
    pid_t pid = unit ? 0 : pidfile_holder(request->pid_file);
    int error = errno;
    uint64_t answers = ask_number(status, "pid");
    if (pid == 0 && answers > 0 && answers <= INT32_MAX)
        pid = (pid_t)answers;
    if (pid == 0)
        pid = unit;
    if (pid > 0 && reload_is_conesocks(pid))
        return pid;
    if (pid > 0)
        fprintf(stderr, "conesocks reload: process %d is not conesocks, or is not visible to this user: try as root\n",
                (int)pid);
    else if (error == ESRCH || error == ENOENT)
        fprintf(stderr, "conesocks reload: no server found: %s %s%s\n", request->pid_file,
                error == ENOENT ? "does not exist" : "contains no running process",
                request->asks
                    ? ", and nothing answers at the admin listener"
                    : ". Set run.pid_file or an admin listener in the configuration and restart the server, or send "
                      "it SIGHUP (kill -HUP PID). Use --pid-file PATH for another file. A server under systemd: "
                      "systemctl reload conesocks");
    else
        fprintf(stderr, "conesocks reload: %s: %s%s\n", request->pid_file, strerror(error),
                error == EACCES ? ": only root and the user that started the server can read it" : "");
    return 0;
}

/* ---- what it reads, and what came of it ---- */

/* Whether the server reads the file that has been checked. */
static bool reload_server_reads_file(const struct reload_request *request, const json_t *status)
{
    const char *theirs = ask_text(status, "configuration.file");
    struct stat checked, read;
    if (!theirs) {
        fputs("conesocks reload: the server was started without -c, so it has no configuration file to read\n", stderr);
        return false;
    }
    if (stat(theirs, &read) < 0 || stat(request->file, &checked) < 0 ||
        (read.st_dev == checked.st_dev && read.st_ino == checked.st_ino))
        return true;
    reload_print_escaped(stderr, "conesocks reload: not reloaded: the server uses another file: ", theirs);
    return false;
}

static bool reload_has_increased(const json_t *before, const json_t *now, const char *counter)
{
    return ask_number(now, counter) > ask_number(before, counter);
}

/* The first status that shows a result. NULL: none in time, or the server is gone. */
static json_t *reload_wait_for_outcome(const struct reload_request *request, const json_t *before)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    uint64_t patience = PATIENCE_MS + request->config->dns.timeout_ms;
    for (uint64_t waited = 0; waited < patience; waited += PAUSE_MS) {
        char *error;
        json_t *now = ask_status(&request->place, ASK_FEW_SESSIONS, &error);
        if (now && (reload_has_increased(before, now, "configuration.reloads") ||
                    reload_has_increased(before, now, "configuration.reloads_failed")))
            return now;
        json_decref(now);
        free(error);
        nanosleep(&pause, NULL);
    }
    return NULL;
}

static int reload_print_outcome(const struct reload_request *request, const json_t *before)
{
    json_t *now = reload_wait_for_outcome(request, before);
    int status = EXIT_FAILURE;
    if (!now) {
        fputs("conesocks reload: the server was told to reload, but its status shows no result: see its log\n", stderr);
    } else if (reload_has_increased(before, now, "configuration.reloads_failed")) {
        const char *error = ask_text(now, "configuration.last_error");
        reload_print_escaped(stderr, "conesocks reload: not reloaded, keeping the current configuration: ",
                             error ? error : "see the server's log");
    } else {
        const char *waiting = ask_text(now, "configuration.waiting_for_start");
        printf("%s: reloaded\n", request->file);
        if (waiting)
            reload_print_escaped(stdout, "these changes take effect at the next start: ", waiting);
        status = EXIT_SUCCESS;
    }
    json_decref(now);
    return status;
}

/* ---- the command ---- */

static bool reload_finds_no_server(const struct reload_request *request, const json_t *status)
{
    return !status && pidfile_holder(request->pid_file) == 0 && (errno == ESRCH || errno == ENOENT);
}

static int reload_signal_and_report(const struct reload_request *request, const json_t *before)
{
    if (request->may_be_absent && reload_finds_no_server(request, before)) {
        printf("no running server found; if one runs, tell it: conesocks reload -c %s\n", request->file);
        return EXIT_SUCCESS;
    }
    pid_t pid = reload_find_process(request, before);
    if (pid == 0)
        return EXIT_FAILURE;
    bool answers = ask_number(before, "pid") == (uint64_t)pid;
    if (answers && !reload_server_reads_file(request, before))
        return EXIT_FAILURE;
    const char *state = answers ? ask_text(before, "state") : NULL;
    if (state && strcmp(state, "draining") == 0) {
        fputs("conesocks reload: not reloaded: the server is draining and exits soon\n", stderr);
        return EXIT_FAILURE;
    }
    if (kill(pid, SIGHUP) < 0) {
        fprintf(stderr, "conesocks reload: process %d: %s\n", (int)pid,
                errno == EPERM ? "only root and the user it runs as can signal it" : strerror(errno));
        return EXIT_FAILURE;
    }
    if (answers)
        return reload_print_outcome(request, before);
    printf("%s: valid; process %d was told to reload it: see its log for the result\n", request->file, (int)pid);
    return EXIT_SUCCESS;
}

static int reload_run(struct reload_request *request)
{
    struct config *config = command_load(request->file);
    if (!config) {
        fputs("conesocks reload: not reloaded, keeping the current configuration\n", stderr);
        return EXIT_FAILURE;
    }
    request->config = config;
    if (!request->pid_file)
        request->pid_file = config->run.pid_file ? config->run.pid_file : PIDFILE_DEFAULT;
    request->asks = ask_as_configured(&request->place, config);
    char *error = NULL;
    json_t *before = request->asks ? ask_status(&request->place, ASK_FEW_SESSIONS, &error) : NULL;
    if (error && !(request->may_be_absent && reload_finds_no_server(request, before)))
        fprintf(stderr, "conesocks reload: %s\n", error);
    free(error);
    int status = reload_signal_and_report(request, before);
    json_decref(before);
    ask_place_free(&request->place);
    config_free(config);
    return fflush(stdout) == 0 ? status : EXIT_FAILURE;
}

int reload_if_running(const char *file)
{
    struct reload_request request = {.file = file, .may_be_absent = true};
    return reload_run(&request);
}

int reload_command(int argc, char **argv)
{
    struct reload_request request = {0};
    const struct command_line_option options[] = {
        {"config", 'c', .text = &request.file},
        {"pid-file", .text = &request.pid_file},
        {0},
    };
    const int status = command_line_read_options(NAME, argc, argv, options, usage_text);
    if (status != COMMAND_LINE_READ)
        return status;
    return request.file ? reload_run(&request) : command_line_fail(NAME, "-c FILE is required");
}
