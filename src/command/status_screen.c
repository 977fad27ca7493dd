#include "command/status_screen.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "command/ask.h"
#include "command/readings.h"
#include "command/status_sessions.h"
#include "command/status_users.h"
#include "command/status_view.h"
#include "command/terminal.h"

#define HEADER_LINES 2
#define USERS_LEAST  4 /* lines; on a lower screen the overview leaves them out */
#define WARNINGS_MAX 3
#define KEYS_HEIGHT  10 /* a lower screen has no line for the keys */

static const struct {
    int key;
    enum status_screen_view view;
} keys[] = {
    {'o', STATUS_SCREEN_OVERVIEW},
    {'u', STATUS_SCREEN_USERS},
    {'s', STATUS_SCREEN_SESSIONS},
    {'d', STATUS_SCREEN_DETAILS},
};
static const char keys_text[] = "Keys: o overview  u users  s sessions  d details  q quit";

bool status_screen_view_of(int key, enum status_screen_view *view)
{
    for (size_t i = 0; i < ARRAY_LEN(keys); i++)
        if (keys[i].key == key) {
            *view = keys[i].view;
            return true;
        }
    return false;
}

/* ---- lines ---- */

/* Writes one line; what is too long for the screen is cut when it is drawn. Escapes it. */
static void __attribute__((format(printf, 2, 3))) screen_line(FILE *out, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char *escaped = terminal_escape_format(format, arguments);
    va_end(arguments);
    if (escaped)
        fprintf(out, "%s\n", escaped);
    free(escaped);
}

/* "down 33 Mbit/s, up 9 Mbit/s, "; "" without an earlier reading. */
static void header_rates(const struct readings *readings, char *text, size_t size)
{
    char down[TERMINAL_NUMBER_MAX], up[TERMINAL_NUMBER_MAX];
    const double udp_down = readings_rate(readings, "totals.udp_down_bytes_total"),
                 udp_up = readings_rate(readings, "totals.udp_up_bytes_total");
    text[0] = '\0';
    if (udp_down >= 0)
        snprintf(text, size, "down %s, up %s, ",
                 terminal_rate(down, udp_down + readings_rate(readings, "totals.stream_down_bytes_total")),
                 terminal_rate(up, udp_up + readings_rate(readings, "totals.stream_up_bytes_total")));
}

static const char *header_nat(const json_t *now)
{
    const char *filtering = ask_text(now, "udp.filtering");
    if (json_is_false(ask_member(now, "udp.enabled")))
        return "UDP is off";
    return filtering && strcmp(filtering, "endpoint-independent") == 0 ? "full cone" : "not a full cone";
}

/* Two lines: which server, and how much it does now. */
static void screen_header(const struct status_screen *screen, const struct readings *readings, FILE *out)
{
    const json_t *now = readings->now;
    char up[TERMINAL_NUMBER_MAX], rates[2 * TERMINAL_NUMBER_MAX + 16];
    const uint64_t associations = ask_number(now, "open.associations"), streams = ask_number(now, "open.streams");
    header_rates(readings, rates, sizeof(rates));
    screen_line(out, "%s  conesocks %s, process %" PRIu64 ", running for %s", screen->clock, ask_text(now, "version"),
                ask_number(now, "pid"), terminal_duration(up, ask_number(now, "uptime_seconds")));
    screen_line(out, "%s%" PRIu64 " association%s, %" PRIu64 " stream%s; %s", rates, associations,
                associations == 1 ? "" : "s", streams, streams == 1 ? "" : "s", header_nat(now));
}

/* ---- warnings ---- */

static size_t warn_of_limits(const json_t *now, FILE *out)
{
    size_t i, warnings = 0;
    const json_t *each;
    json_array_foreach(ask_member(now, "limits"), i, each)
    {
        const uint64_t limit = ask_number(each, "limit"), used = ask_number(each, "used");
        const char *name = ask_text(each, "name");
        if (!name || limit == 0 || used < limit - limit / 5)
            continue;
        screen_line(out, "! %" PRIu64 " of %" PRIu64 " %s are open (limits.%s)", used, limit, name, name);
        warnings++;
    }
    json_array_foreach(ask_member(now, "port_ranges"), i, each)
    {
        const char *option = ask_text(each, "option");
        if (!option || ask_number(each, "full") == 0)
            continue;
        screen_line(out, "! the ports of %s are all in use: new associations are refused", option);
        warnings++;
    }
    return warnings;
}

static size_t warn_of_drops(const json_t *now, FILE *out)
{
    const json_t *totals = ask_member(now, "totals"), *drop;
    const double relayed =
        (double)ask_number(totals, "udp_up_datagrams_total") + (double)ask_number(totals, "udp_down_datagrams_total");
    double dropped = 0, most = 0;
    const char *reason = "";
    size_t i;
    json_array_foreach(ask_member(now, "drops"), i, drop)
    {
        const double count = (double)ask_number(drop, "count");
        const char *name = ask_text(drop, "reason");
        dropped += count;
        if (count > most && name) {
            most = count;
            reason = name;
        }
    }
    if (dropped < 100 || dropped < 0.01 * (dropped + relayed))
        return 0;
    screen_line(out, "! %.1f %% of all datagrams were dropped, most of them as %s", 100 * dropped / (dropped + relayed),
                reason);
    return 1;
}

/* Returns how many lines it has written. */
static size_t warn_of_server(const json_t *now, FILE *out)
{
    const char *state = ask_text(now, "state"), *error = ask_text(now, "configuration.last_error"),
               *level = ask_text(now, "memory.level");
    const bool draining = state && strcmp(state, "draining") == 0, low = level && strcmp(level, "ample") != 0;
    if (draining)
        screen_line(out, "! draining: new clients are refused, the server exits after its last session");
    if (error)
        screen_line(out, "! the last reload failed: %s", error);
    if (low)
        screen_line(out, "! memory is %s: sessions that are idle longest are ended", level);
    return (size_t)draining + (error != NULL) + low;
}

/* Writes a line for each thing that is wrong. Returns how many. */
static size_t screen_warnings(const struct status_screen *screen, const json_t *now, FILE *out)
{
    if (screen->error)
        screen_line(out, "! %s; the last known state is:", screen->error);
    return (screen->error != NULL) + warn_of_server(now, out) + warn_of_limits(now, out) + warn_of_drops(now, out);
}

/* ---- tables ---- */

/* How many rows fit: one line is for the titles, and one for the number of those that are left out. */
static size_t rows_in(size_t lines, size_t rows)
{
    if (rows + 1 <= lines)
        return rows;
    return lines > 3 ? lines - 2 : 1;
}

/* A blank line and the table. Returns how many lines it has written; SIZE_MAX: out of memory. */
static size_t screen_users(const struct status_screen *screen, const json_t *now, size_t lines, FILE *out)
{
    const struct user_counts users = status_users_count(now);
    if (users.listed == 0)
        return 0;
    const size_t rows = rows_in(lines - 1, users.listed);
    fputc('\n', out);
    if (!status_users_print(now, out, screen->width, rows))
        return SIZE_MAX;
    return 2 + rows + (rows < users.listed);
}

static bool screen_sessions(const struct status_screen *screen, const struct readings *readings, size_t lines,
                            FILE *out)
{
    const size_t count = ask_number(readings->now, "open.associations") + ask_number(readings->now, "open.streams");
    struct status_sessions *sessions = status_sessions_new(readings);
    fputc('\n', out);
    if (count == 0)
        screen_line(out, "Nobody uses the proxy now.");
    bool made = sessions && status_sessions_print_all(sessions, out, screen->width, rows_in(lines, count));
    status_sessions_free(sessions);
    return made;
}

/* The tables of the view, in so many lines. */
static bool screen_tables(const struct status_screen *screen, const struct readings *readings, size_t lines, FILE *out)
{
    const bool only_users = screen->view == STATUS_SCREEN_USERS;
    size_t used = 0;
    if (screen->view != STATUS_SCREEN_SESSIONS) {
        const size_t part = only_users ? lines : 2 * lines / 5;
        used = part >= USERS_LEAST ? screen_users(screen, readings->now, part, out) : 0;
        if (used == 0 && only_users)
            screen_line(out, "No user is connected, and none has used anything this month.");
    }
    if (used == SIZE_MAX)
        return false;
    return only_users || screen_sessions(screen, readings, lines > used + 1 ? lines - used - 1 : 1, out);
}

/* ---- the screen ---- */

static bool screen_compose_body(const struct status_screen *screen, const struct readings *readings, size_t lines,
                                FILE *out)
{
    if (screen->view == STATUS_SCREEN_DETAILS) {
        const struct status_frame frame = {.width = screen->width};
        if (screen->error)
            screen_line(out, "! %s; the last known state is:", screen->error);
        return status_view_print(readings, &frame, out);
    }
    screen_header(screen, readings, out);
    const size_t warnings = screen_warnings(screen, readings->now, out), above = HEADER_LINES + warnings;
    return screen_tables(screen, readings, lines > above ? lines - above : 1, out);
}

/* Fills the screen up to its last line, which lists the keys. */
static void screen_add_keys(size_t height, const char *body, FILE *out)
{
    size_t lines = 0;
    while (*body && lines + 1 < height) {
        const char *end = strchrnul(body, '\n');
        fprintf(out, "%.*s\n", (int)(end - body), body);
        body = *end ? end + 1 : end;
        lines++;
    }
    for (; lines + 1 < height; lines++)
        fputc('\n', out);
    fputs(keys_text, out);
}

char *status_screen_compose(const struct status_screen *screen, const struct readings *readings)
{
    const bool lists_keys = screen->has_keys && screen->height >= KEYS_HEIGHT;
    char *body = NULL, *text = NULL;
    size_t size;
    FILE *out = open_memstream(&body, &size);
    if (!out)
        return NULL;
    bool made = screen_compose_body(screen, readings, screen->height - (lists_keys ? 2 : 0), out);
    made = fclose(out) == 0 && made;
    if (!made || !lists_keys)
        return made ? body : (free(body), NULL);
    if ((out = open_memstream(&text, &size))) {
        screen_add_keys(screen->height, body, out);
        fclose(out);
    }
    free(body);
    return text;
}
