#include "command/status_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "command/ask.h"
#include "command/readings.h"
#include "command/status_sessions.h"
#include "command/status_users.h"
#include "command/terminal.h"

#define LABEL 11 /* columns before the text of a line */

struct view {
    const struct readings *readings;
    size_t width;
    FILE *out;
};

/* Every text that others chose is printed by this function, or in a table: both escape it. */
static void __attribute__((format(printf, 3, 4)))
view_line(const struct view *view, const char *label, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *escaped = terminal_escape_format(format, args);
    va_end(args);
    if (!escaped)
        return;
    fprintf(view->out, "%-*s", LABEL, label);
    terminal_wrap(view->out, escaped, LABEL, LABEL, view->width);
    free(escaped);
}

static const char *view_text(const json_t *object, const char *keys, const char *otherwise)
{
    const char *text = ask_text(object, keys);
    return text ? text : otherwise;
}

/* "1 stream", "2 streams" */
static const char *view_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

/* ---- who and where ---- */

static void view_server(const struct view *view)
{
    const json_t *now = view->readings->now;
    char up[TERMINAL_NUMBER_MAX];
    bool draining = strcmp(view_text(now, "state", ""), "draining") == 0;
    view_line(view, "conesocks", "%s, process %" PRIu64 ", running for %s%s", ask_text(now, "version"),
              ask_number(now, "pid"), terminal_duration(up, ask_number(now, "uptime_seconds")),
              draining ? ", draining" : "");
    const json_t *listeners = ask_member(now, "listeners");
    size_t i;
    json_t *listener;
    if (draining) {
        view_line(view, "listens on", "nothing: the server is draining and exits after its last session");
        return;
    }
    json_array_foreach(listeners, i, listener)
        view_line(view, i ? "" : "listens on", "%s%s%s", view_text(listener, "address", "?"),
                  json_is_true(ask_member(listener, "login")) ? ", with a login" : ", without a login",
                  json_is_true(ask_member(listener, "proxy_protocol")) ? ", behind a balancer" : "");
    const uint64_t total = ask_number(now, "listeners_total");
    if (total > i)
        view_line(view, "", "and %" PRIu64 " more", total - i);
}

static void view_configuration(const struct view *view)
{
    const json_t *configuration = ask_member(view->readings->now, "configuration");
    const char *file = ask_text(configuration, "file"), *error = ask_text(configuration, "last_error");
    uint64_t reloads = ask_number(configuration, "reloads"), failed = ask_number(configuration, "reloads_failed");
    if (!file)
        view_line(view, "file", "none: the built-in default");
    else
        view_line(view, "file", "%s, loaded %s; %" PRIu64 " reload%s, %" PRIu64 " failed", file,
                  view_text(configuration, "loaded", "?"), reloads, view_plural(reloads), failed);
    if (ask_text(configuration, "waiting_for_start"))
        view_line(view, "", "these changes take effect at the next start: %s",
                  ask_text(configuration, "waiting_for_start"));
    if (error)
        view_line(view, "", "The last reload failed; keeping the current configuration: %s", error);
}

/* Shows how full a port range is. */
static void view_port_range(const struct view *view, const json_t *range)
{
    char used[TERMINAL_NUMBER_MAX], total[TERMINAL_NUMBER_MAX], resting[TERMINAL_NUMBER_MAX];
    const uint64_t full = ask_number(range, "full");
    view_line(view, "", "%s: %s of %s in use, %s resting%s", view_text(range, "option", "?"),
              terminal_count(used, ask_number(range, "used")), terminal_count(total, ask_number(range, "total")),
              terminal_count(resting, ask_number(range, "resting")),
              full ? "; FULL: new associations are refused; make the range larger" : "");
}

static void view_nat(const struct view *view)
{
    const json_t *udp = ask_member(view->readings->now, "udp");
    const char *filtering = view_text(udp, "filtering", "?");
    if (json_is_false(ask_member(udp, "enabled"))) {
        view_line(view, "NAT", "UDP is off");
        return;
    }
    if (strcmp(filtering, "endpoint-independent") == 0)
        view_line(view, "NAT",
                  "full cone (game consoles call it Open, type A or type 1), unless a firewall or router blocks the "
                  "ports: conesocks check, run elsewhere, shows that");
    else
        view_line(view, "NAT", "%s filtering (game consoles call it Moderate, type B or type 2)", filtering);
    view_line(view, "", "UDP ports towards clients: %s, towards the internet: %s", view_text(udp, "ports", "?"),
              view_text(udp, "external_ports", "?"));
    size_t i_range;
    const json_t *range;
    json_array_foreach(ask_member(view->readings->now, "port_ranges"), i_range, range) view_port_range(view, range);
    static const char *const keys[] = {"advertise_v4", "advertise_v6"};
    for (size_t i = 0; i < 2; i++)
        if (ask_text(udp, keys[i]))
            view_line(view, "", "clients are told to send to %s", ask_text(udp, keys[i]));
}

/* ---- how much ---- */

/* The rate of a byte counter, such as ", 1.2 Mbit/s"; "" without an earlier reading. */
static const char *view_rate(const struct view *view, const char *keys, char *text)
{
    char number[TERMINAL_NUMBER_MAX];
    const double rate = readings_rate(view->readings, keys);
    if (rate < 0)
        return "";
    snprintf(text, TERMINAL_NUMBER_MAX, ", %.24s", terminal_rate(number, rate));
    return text;
}

static void view_traffic(const struct view *view)
{
    const json_t *now = view->readings->now;
    char up[TERMINAL_NUMBER_MAX], down[TERMINAL_NUMBER_MAX], up_count[TERMINAL_NUMBER_MAX],
        down_count[TERMINAL_NUMBER_MAX], up_rate[TERMINAL_NUMBER_MAX], down_rate[TERMINAL_NUMBER_MAX];
    const uint64_t associations = ask_number(now, "open.associations"), streams = ask_number(now, "open.streams");
    view_line(view, "sessions", "%" PRIu64 " association%s, %" PRIu64 " stream%s, %" PRIu64 " in the handshake",
              associations, view_plural(associations), streams, view_plural(streams),
              ask_number(now, "open.negotiating"));
    view_line(view, "UDP", "up %s in %s datagrams%s; down %s in %s%s",
              terminal_bytes(up, ask_number(now, "totals.udp_up_bytes_total")),
              terminal_count(up_count, ask_number(now, "totals.udp_up_datagrams_total")),
              view_rate(view, "totals.udp_up_bytes_total", up_rate),
              terminal_bytes(down, ask_number(now, "totals.udp_down_bytes_total")),
              terminal_count(down_count, ask_number(now, "totals.udp_down_datagrams_total")),
              view_rate(view, "totals.udp_down_bytes_total", down_rate));
    view_line(view, "TCP", "up %s%s; down %s%s", terminal_bytes(up, ask_number(now, "totals.stream_up_bytes_total")),
              view_rate(view, "totals.stream_up_bytes_total", up_rate),
              terminal_bytes(down, ask_number(now, "totals.stream_down_bytes_total")),
              view_rate(view, "totals.stream_down_bytes_total", down_rate));
}

/* Why the kernel path has left datagrams to user space, such as "joined 12, new 3". */
static void view_passed(const struct view *view, const json_t *passed)
{
    char text[512] = "", number[TERMINAL_NUMBER_MAX];
    size_t len = 0;
    const char *reason;
    json_t *count;
    json_object_foreach((json_t *)(uintptr_t)passed, reason, count) if (len < sizeof(text)) len +=
        (size_t)snprintf(text + len, sizeof(text) - len, "%s%s %s", len ? ", " : "", reason,
                         terminal_count(number, ask_number(passed, reason)));
    if (len)
        view_line(view, "", "left to user space: %s", text);
}

static void view_kernel_path(const struct view *view)
{
    const json_t *now = view->readings->now, *path = ask_member(now, "kernel_path");
    const json_t *totals = ask_member(now, "totals");
    char relayed[TERMINAL_NUMBER_MAX], all[TERMINAL_NUMBER_MAX];
    if (!json_is_true(ask_member(path, "active"))) {
        if (path)
            view_line(view, "kernel", "relays nothing: %s", view_text(path, "why_not", "?"));
        return;
    }
    view_line(view, "kernel",
              "relays established UDP flows at %s: %s of %s datagrams; %" PRIu64 " of %" PRIu64 " slots in use",
              view_text(path, "interfaces", "?"),
              terminal_count(relayed, ask_number(totals, "udp_kernel_up_datagrams_total") +
                                          ask_number(totals, "udp_kernel_down_datagrams_total")),
              terminal_count(all, ask_number(totals, "udp_up_datagrams_total") +
                                      ask_number(totals, "udp_down_datagrams_total")),
              ask_number(path, "slots_used"), ask_number(path, "slots"));
    view_passed(view, ask_member(path, "passed"));
}

static void view_resolver(const struct view *view)
{
    const json_t *resolver = ask_member(view->readings->now, "resolver"), *servers = ask_member(resolver, "servers");
    char lookups[TERMINAL_NUMBER_MAX], failed[TERMINAL_NUMBER_MAX], waiting[TERMINAL_NUMBER_MAX];
    size_t i;
    json_t *server;
    view_line(view, "resolver", "%s lookups, %s failed, %s waiting",
              terminal_count(lookups, ask_number(resolver, "lookups")),
              terminal_count(failed, ask_number(resolver, "failed")),
              terminal_count(waiting, ask_number(resolver, "waiting")));
    json_array_foreach(servers, i, server) if (json_is_string(server))
        view_line(view, "", "name server %s", json_string_value(server));
}

static void view_memory(const struct view *view)
{
    const json_t *memory = ask_member(view->readings->now, "memory");
    char used[TERMINAL_NUMBER_MAX], limit[TERMINAL_NUMBER_MAX];
    if (json_is_integer(ask_member(memory, "limit_bytes")))
        view_line(view, "memory", "%s of %s: %s", terminal_bytes(used, ask_number(memory, "used_bytes")),
                  terminal_bytes(limit, ask_number(memory, "limit_bytes")), view_text(memory, "level", "?"));
    else if (json_is_integer(ask_member(memory, "used_bytes")))
        view_line(view, "memory", "%s, without a limit", terminal_bytes(used, ask_number(memory, "used_bytes")));
}

/* ---- what is amiss ---- */

/* Shows failed logins, and the limits that refuse something or are nearly reached. */
static void view_limits(const struct view *view)
{
    uint64_t wrong = ask_number(view->readings->now, "totals.auth_failed_total");
    if (wrong > 0)
        view_line(view, "logins", "%" PRIu64 " failed since the start: wrong user name or password", wrong);
    const json_t *limits = ask_member(view->readings->now, "limits");
    size_t i, said = 0;
    json_t *each;
    json_array_foreach(limits, i, each)
    {
        uint64_t limit = ask_number(each, "limit"), used = ask_number(each, "used"),
                 refused = ask_number(each, "refused");
        bool near = limit > 0 && used >= limit - limit / 5;
        if (near)
            view_line(view, said++ ? "" : "limits", "%s: %" PRIu64 " of %" PRIu64 ", refused %" PRIu64 " time%s",
                      view_text(each, "name", "?"), used, limit, refused, view_plural(refused));
        else if (refused > 0)
            view_line(view, said++ ? "" : "limits", "%s: refused %" PRIu64 " time%s", view_text(each, "name", "?"),
                      refused, view_plural(refused));
    }
}

static void view_drops(const struct view *view)
{
    const json_t *drops = ask_member(view->readings->now, "drops");
    size_t i;
    json_t *drop;
    if (json_array_size(drops) > 0)
        fputs("\nDropped datagrams:\n", view->out);
    json_array_foreach(drops, i, drop)
    {
        char count[TERMINAL_NUMBER_MAX];
        const char *advice = ask_text(drop, "advice");
        view_line(view, terminal_count(count, ask_number(drop, "count")), "%s: %s", view_text(drop, "reason", "?"),
                  view_text(drop, "means", "?"));
        if (advice)
            view_line(view, "", "What to do: %s", advice);
    }
}

/* ---- the whole ---- */

static bool view_users(const struct view *view, size_t rows)
{
    const struct user_counts users = status_users_count(view->readings->now);
    if (users.total == 0)
        return true;
    fprintf(view->out, "\nUsers: %zu, %zu connected%s", users.total, users.connected, users.near ? "" : "\n");
    if (users.near)
        fprintf(view->out, ", %zu near a limit\n", users.near);
    return status_users_print(view->readings->now, view->out, view->width, rows);
}

static bool view_tables(const struct view *view, size_t rows)
{
    struct status_sessions *sessions = status_sessions_new(view->readings);
    bool made =
        sessions && view_users(view, rows) && status_sessions_print_kinds(sessions, view->out, view->width, rows);
    status_sessions_free(sessions);
    return made;
}

bool status_view_print(const struct readings *readings, const struct status_frame *frame, FILE *out)
{
    const struct view view = {.readings = readings, .width = frame->width, .out = out};
    view_server(&view);
    view_configuration(&view);
    view_nat(&view);
    view_traffic(&view);
    view_kernel_path(&view);
    view_resolver(&view);
    view_memory(&view);
    view_limits(&view);
    if (frame->rows > 0 && !view_tables(&view, frame->rows))
        return false;
    view_drops(&view);
    return true;
}
