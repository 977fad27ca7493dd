#include "command/status.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/command_line.h"
#include "command/ask.h"
#include "command/command.h"
#include "command/readings.h"
#include "command/status_view.h"
#include "command/status_watch.h"
#include "command/terminal.h"
#include "conf/config.h"

#define WATCH_SECONDS "2"
#define TOP_SECONDS   1  /* between the two readings of --top */
#define ROWS          20 /* of each table without --all */

#define NAME "conesocks status"

static const char usage_text[] =
    "Usage: conesocks status [-c FILE | --socket PATH | --url http://HOST:PORT] [--watch [SECONDS] | --top] [--all]\n"
    "       conesocks status [-c FILE | --socket PATH | --url http://HOST:PORT] --json\n"
    "\n"
    "Shows what a running server is doing: its users and clients, their traffic, and what it drops and why.\n"
    "\n"
    "  -c, --config FILE      ask the admin listener that FILE sets (admin.socket or admin.port)\n"
    "      --socket PATH      ask at this Unix socket\n"
    "      --url URL          ask at http://HOST:PORT; by default at " ASK_DEFAULT_SOCKET "\n"
    "                         (the systemd service), else at " ASK_DEFAULT_URL "\n"
    "      --watch [SECONDS]  ask again every 2 seconds, or every SECONDS; keys switch between views, q quits\n"
    "      --top              ask twice within a second, to show the current traffic\n"
    "      --all              show all sessions, not only the first 20 of each kind\n"
    "      --json             print everything as JSON\n";

struct status_options {
    const char *config_file, *socket, *url;
    unsigned watch_seconds; /* 0: once */
    bool top, all, json;
};

/* ---- ways of showing ---- */

static int status_fail(char *error)
{
    fprintf(stderr, "conesocks status: %s\n", error ? error : "out of memory");
    free(error);
    return EXIT_FAILURE;
}

static int status_show_json(const struct ask_place *place)
{
    char *error;
    json_t *status = ask_status(place, ASK_ALL_SESSIONS, &error);
    if (!status)
        return status_fail(error);
    bool written = json_dumpf(status, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) == 0 && putchar('\n') != EOF;
    json_decref(status);
    return written && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int status_show_once(const struct ask_place *place, const struct status_options *request)
{
    struct readings readings = {0};
    char *error;
    bool taken = readings_take(&readings, place, &error);
    if (taken && request->top) {
        readings_pause(TOP_SECONDS);
        taken = readings_take(&readings, place, &error);
    }
    const struct status_frame frame = {.width = terminal_size(STDOUT_FILENO, NULL),
                                       .rows = request->all ? SIZE_MAX : ROWS};
    int status = !taken                                                                ? status_fail(error)
                 : status_view_print(&readings, &frame, stdout) && fflush(stdout) == 0 ? EXIT_SUCCESS
                                                                                       : EXIT_FAILURE;
    readings_free(&readings);
    return status;
}

static int status_show_again(const struct ask_place *place, const struct status_options *request)
{
    char *error = NULL;
    int status = status_watch(place, request->watch_seconds, request->all ? SIZE_MAX : ROWS, &error);
    if (error)
        status_fail(error);
    return status;
}

/* ---- options ---- */

static int status_find_place(const struct status_options *request, struct ask_place *place)
{
    if (request->socket)
        return ask_at_socket(place, request->socket) ? EXIT_SUCCESS : status_fail(NULL);
    if (!request->config_file && !request->url)
        return ask_at_default(place) ? EXIT_SUCCESS : status_fail(NULL);
    if (!request->config_file)
        return ask_at_url(place, request->url)
                   ? EXIT_SUCCESS
                   : command_line_fail(NAME, "--url is not http://HOST:PORT: %s", request->url);
    struct config *config = command_load(request->config_file);
    if (!config) {
        fputs("conesocks status: --socket PATH and --url http://HOST:PORT work without the file\n", stderr);
        return EXIT_FAILURE;
    }
    bool found = ask_as_configured(place, config);
    config_free(config);
    if (!found)
        fprintf(stderr,
                "conesocks status: %s has no admin listener: set admin.port (admin: {port: 1081}) or admin.socket in "
                "it, and restart conesocks\n",
                request->config_file);
    return found ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int status_show(const struct status_options *request)
{
    struct ask_place place = {0};
    int status = status_find_place(request, &place);
    if (status == EXIT_SUCCESS) {
        setlocale(LC_CTYPE, ""); /* which characters the terminal can show */
        status = request->json            ? status_show_json(&place)
                 : request->watch_seconds ? status_show_again(&place, request)
                                          : status_show_once(&place, request);
        if (status != EXIT_SUCCESS && !request->config_file && !request->socket && !request->url)
            fputs("conesocks status: use -c FILE to ask the admin listener of that configuration\n", stderr);
    }
    ask_place_free(&place);
    return status;
}

/* 0: not a number of seconds. */
static unsigned status_read_seconds(const char *text)
{
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && digits <= 4 && !text[digits] ? (unsigned)strtoul(text, NULL, 10) : 0;
}

int status_command(int argc, char **argv)
{
    struct status_options request = {0};
    const char *seconds = NULL;
    const struct command_line_option options[] = {
        {"config", 'c', .text = &request.config_file},
        {"socket", .text = &request.socket},
        {"url", .text = &request.url},
        {"watch", .text = &seconds, .number = WATCH_SECONDS},
        {"top", .flag = &request.top},
        {"all", .flag = &request.all},
        {"json", .flag = &request.json},
        {0},
    };
    const int status = command_line_read_options(NAME, argc, argv, options, usage_text);
    if (status != COMMAND_LINE_READ)
        return status;
    request.watch_seconds = seconds ? status_read_seconds(seconds) : 0;
    if (seconds && request.watch_seconds == 0)
        return command_line_fail(NAME, "--watch takes 1 to 9999 seconds: %s", seconds);
    if ((request.config_file != NULL) + (request.socket != NULL) + (request.url != NULL) > 1)
        return command_line_fail(NAME, "use only one of -c, --socket and --url");
    if (request.watch_seconds + request.top > 0 && request.json)
        return command_line_fail(NAME, "--json cannot be combined with --watch or --top");
    return status_show(&request);
}
