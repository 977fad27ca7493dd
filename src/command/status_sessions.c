#include "command/status_sessions.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "base/util.h"
#include "command/ask.h"
#include "command/readings.h"
#include "command/table.h"
#include "command/terminal.h"

enum kind { ASSOCIATION, STREAM, KINDS };

struct status_row {
    const json_t *session;
    enum kind kind;
    uint64_t id, up, down;
    double up_rate, down_rate; /* bytes a second */
};

struct status_sessions {
    bool has_paths;        /* the kernel path is active */
    const char *filtering; /* the configured one */
    struct status_rows {
        struct status_row *rows; /* the busiest first */
        size_t count;
    } all;
};

/* ---- gathering ---- */

/* Returns KINDS for a session that is still in the handshake. */
static enum kind session_kind(const json_t *session)
{
    const char *text = ask_text(session, "kind");
    if (text && strncmp(text, "udp", strlen("udp")) == 0)
        return ASSOCIATION;
    return text && (strcmp(text, "connect") == 0 || strcmp(text, "bind") == 0) ? STREAM : KINDS;
}

static int session_compare_id(const void *a, const void *b)
{
    uint64_t first = ((const struct status_row *)a)->id, second = ((const struct status_row *)b)->id;
    return (first > second) - (first < second);
}

static int session_compare_traffic(const void *a, const void *b)
{
    const struct status_row *first = a, *second = b;
    double rates = second->up_rate + second->down_rate - first->up_rate - first->down_rate;
    uint64_t x = first->up + first->down, y = second->up + second->down;
    if (rates != 0)
        return rates > 0 ? 1 : -1;
    return x != y ? (y > x ? 1 : -1) : session_compare_id(a, b);
}

/* The caller frees the rows. */
static bool rows_gather(struct status_rows *all, const json_t *status)
{
    const json_t *sessions = ask_member(status, "sessions");
    size_t i;
    json_t *session;
    *all = (struct status_rows){.rows = calloc(json_array_size(sessions) + 1, sizeof(struct status_row))};
    if (!all->rows)
        return false;
    json_array_foreach(sessions, i, session)
    {
        const enum kind kind = session_kind(session);
        if (kind == KINDS)
            continue;
        all->rows[all->count++] = (struct status_row){.session = session,
                                                      .kind = kind,
                                                      .id = ask_number(session, "id"),
                                                      .up = ask_number(session, "up_bytes"),
                                                      .down = ask_number(session, "down_bytes")};
    }
    return true;
}

static double row_rate(uint64_t now, uint64_t before, double seconds)
{
    return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

/* A session without an earlier reading is new: it started at zero. */
static void rows_add_rates(struct status_rows *all, struct status_rows *before, double seconds)
{
    qsort(before->rows, before->count, sizeof(struct status_row), session_compare_id);
    for (size_t i = 0; i < all->count; i++) {
        struct status_row *row = &all->rows[i];
        const struct status_row *old =
            bsearch(row, before->rows, before->count, sizeof(struct status_row), session_compare_id);
        row->up_rate = row_rate(row->up, old ? old->up : 0, seconds);
        row->down_rate = row_rate(row->down, old ? old->down : 0, seconds);
    }
}

struct status_sessions *status_sessions_new(const struct readings *readings)
{
    struct status_sessions *sessions = calloc(1, sizeof(*sessions));
    struct status_rows old = {0};
    bool made = sessions && rows_gather(&sessions->all, readings->now) &&
                (!readings->before || rows_gather(&old, readings->before));
    if (made) {
        if (readings->before)
            rows_add_rates(&sessions->all, &old, readings->seconds);
        qsort(sessions->all.rows, sessions->all.count, sizeof(struct status_row), session_compare_traffic);
        sessions->has_paths = json_is_true(ask_member(readings->now, "kernel_path.active"));
        sessions->filtering = ask_text(readings->now, "udp.filtering");
    }
    free(old.rows);
    if (made)
        return sessions;
    status_sessions_free(sessions);
    return NULL;
}

void status_sessions_free(struct status_sessions *sessions)
{
    if (sessions)
        free(sessions->all.rows);
    free(sessions);
}

/* ---- cells ---- */

static uint64_t dropped_sum(const json_t *counts)
{
    uint64_t sum = 0;
    const char *key;
    json_t *count;
    json_object_foreach((json_t *)(uintptr_t)counts, key, count) if (json_integer_value(count) > 0) sum +=
        (uint64_t)json_integer_value(count);
    return sum;
}

#define WORDS_MAX 256

/* An address of ours. Where the system chooses the address for each datagram, only the port is known. */
static const char *our_address(const char *address, char text[WORDS_MAX])
{
    static const char any_v4[] = "0.0.0.0:", any_v6[] = "[::]:";
    if (strncmp(address, any_v4, strlen(any_v4)) == 0)
        snprintf(text, WORDS_MAX, "port %s", address + strlen(any_v4));
    else if (strncmp(address, any_v6, strlen(any_v6)) == 0)
        snprintf(text, WORDS_MAX, "port %s (IPv6)", address + strlen(any_v6));
    else
        snprintf(text, WORDS_MAX, "%s", address);
    return text;
}

static const char *session_external(const json_t *session, char text[WORDS_MAX])
{
    const json_t *external = ask_member(session, "external"), *address;
    size_t i, len = 0;
    char one[WORDS_MAX];
    text[0] = '\0';
    json_array_foreach((json_t *)(uintptr_t)external, i, address) if (json_is_string(address) && len < WORDS_MAX) len +=
        (size_t)snprintf(text + len, WORDS_MAX - len, "%s%s", len ? ", " : "",
                         our_address(json_string_value(address), one));
    const size_t mappings = json_array_size(ask_member(session, "client_ports"));
    if (mappings > 1 && len < WORDS_MAX)
        snprintf(text + len, WORDS_MAX - len, ", %zu more", mappings - 1);
    return len ? text : NULL;
}

/* Its client's address, without the port. */
static const char *session_host(const json_t *session, char text[WORDS_MAX])
{
    const char *client = ask_text(session, "client"), *port = client ? strrchr(client, ':') : NULL;
    if (!port)
        return client;
    snprintf(text, WORDS_MAX, "%.*s", (int)(port - client), client);
    return text;
}

/* The destination of a stream, or else its remote address. */
static const char *session_destination(const json_t *session)
{
    const char *destination = ask_text(session, "destination");
    return destination ? destination : ask_text(session, "remote");
}

/* What both kinds have in one column: a stream's destination, or the peers and the address of an association. */
static const char *session_other_side(const json_t *session, enum kind kind, char text[WORDS_MAX])
{
    char external[WORDS_MAX];
    if (kind == STREAM)
        return session_destination(session);
    const uint64_t peers = ask_number(session, "destinations");
    const char *own = session_external(session, external);
    snprintf(text, WORDS_MAX, "%" PRIu64 " peer%s%s%.200s", peers, peers == 1 ? "" : "s", own ? ", " : "",
             own ? own : "");
    return text;
}

/* Only where it is not the configured one; an upstream has a column of its own. */
static const char *session_filtering(const json_t *session, const char *usual)
{
    static const struct {
        const char *filtering, *name;
    } names[] = {
        {"endpoint-independent", "full cone"},
        {"address-dependent", "address-restricted"},
        {"address-and-port-dependent", "port-restricted"},
    };
    const char *filtering = ask_text(session, "filtering");
    for (size_t i = 0; filtering && usual && strcmp(filtering, usual) != 0 && i < ARRAY_LEN(names); i++)
        if (strcmp(filtering, names[i].filtering) == 0)
            return names[i].name;
    return NULL;
}

/* Its upstream, and those that rules choose for some of its destinations. */
static const char *session_upstreams(const json_t *session, char text[WORDS_MAX])
{
    const char *usual = ask_text(session, "upstream"), *others = ask_text(session, "other_upstreams");
    if (!usual || !others)
        return usual ? usual : others;
    snprintf(text, WORDS_MAX, "%.100s, %.100s", usual, others);
    return text;
}

/* Who relays an association: "kernel", or "user" with the reason. */
static const char *session_path(const json_t *session, char text[WORDS_MAX])
{
    const char *why_not = ask_text(session, "kernel_path.why_not");
    if (!why_not)
        return "kernel";
    snprintf(text, WORDS_MAX, "user: %s", why_not);
    return text;
}

/* NULL: nothing now. */
static const char *row_rate_text(double rate, char text[TERMINAL_NUMBER_MAX])
{
    return rate > 0 ? terminal_rate(text, rate) : NULL;
}

/* ---- tables ---- */

enum { USER, CLIENT, KIND, OUTSIDE, PEERS, DOWN_RATE, UP_RATE, DOWN, UP, DROPPED, NAT, PATH, IDLE, AGE, VIA, COLUMNS };
static_assert(COLUMNS <= TABLE_COLUMNS_MAX, "a table holds them");

/* The columns of a table of each kind, and of one of both. An IPv4 address with its port takes 21 columns, a rate 11.
 */
static const struct table_column columns[KINDS + 1][COLUMNS] = {
    [ASSOCIATION] = {[USER] = {"USER", .least = 6, .spare = 1},
                     [CLIENT] = {"CLIENT", .least = 15},
                     [KIND] = {"KIND", .spare = 9},
                     [OUTSIDE] = {"EXTERNAL", .least = 18},
                     [PEERS] = {"PEERS", .right = true, .spare = 4},
                     [DOWN_RATE] = {"DOWN NOW", .right = true},
                     [UP_RATE] = {"UP NOW", .right = true},
                     [DOWN] = {"DOWN", .right = true, .spare = 2},
                     [UP] = {"UP", .right = true, .spare = 3},
                     [DROPPED] = {"DROPPED", .right = true, .spare = 3},
                     [NAT] = {"NAT", .spare = 4},
                     [PATH] = {"PATH", .spare = 8},
                     [IDLE] = {"IDLE", .right = true, .spare = 5},
                     [AGE] = {"AGE", .right = true, .spare = 6},
                     [VIA] = {"UPSTREAM", .least = 6, .spare = 7}},
    [STREAM] = {[USER] = {"USER", .least = 6, .spare = 1},
                [CLIENT] = {"CLIENT", .least = 15},
                [KIND] = {"KIND", .spare = 9},
                [OUTSIDE] = {"DESTINATION", .least = 20},
                [PEERS] = {"PEERS", .spare = 9},
                [DOWN_RATE] = {"DOWN NOW", .right = true},
                [UP_RATE] = {"UP NOW", .right = true},
                [DOWN] = {"DOWN", .right = true, .spare = 2},
                [UP] = {"UP", .right = true, .spare = 3},
                [DROPPED] = {"DROPPED", .spare = 9},
                [NAT] = {"NAT", .spare = 9},
                [PATH] = {"PATH", .spare = 9},
                [IDLE] = {"IDLE", .spare = 9},
                [AGE] = {"AGE", .right = true, .spare = 6},
                [VIA] = {"UPSTREAM", .least = 6, .spare = 7}},
    [KINDS] = {[USER] = {"USER", .least = 6, .spare = 1},
               [CLIENT] = {"CLIENT", .least = 12, .spare = 2}, /* without the port */
               [KIND] = {"KIND", .spare = 3},
               [OUTSIDE] = {"DESTINATION", .least = 18},
               [PEERS] = {"PEERS", .spare = 9},
               [DOWN_RATE] = {"DOWN NOW", .right = true},
               [UP_RATE] = {"UP NOW", .right = true},
               [DOWN] = {"DOWN", .right = true, .spare = 5},
               [UP] = {"UP", .right = true, .spare = 5},
               [DROPPED] = {"DROPPED", .right = true, .spare = 6},
               [NAT] = {"NAT", .spare = 7},
               [PATH] = {"PATH", .spare = 9},
               [IDLE] = {"IDLE", .right = true, .spare = 9},
               [AGE] = {"AGE", .right = true, .spare = 4},
               [VIA] = {"UPSTREAM", .least = 6, .spare = 8}},
};

/* `kind`: that of the table. */
static bool table_add_session(struct terminal_table *table, const struct status_row *row, enum kind kind,
                              const struct status_sessions *sessions)
{
    char number[COLUMNS][TERMINAL_NUMBER_MAX], outside[WORDS_MAX], path[WORDS_MAX], host[WORDS_MAX],
        upstreams[WORDS_MAX];
    const json_t *session = row->session;
    const uint64_t dropped = dropped_sum(ask_member(session, "dropped"));
    const bool association = row->kind == ASSOCIATION;
    const char *cells[COLUMNS] = {
        [USER] = ask_text(session, "user"),
        [CLIENT] = kind == KINDS ? session_host(session, host) : ask_text(session, "client"),
        [KIND] = kind != KINDS ? NULL
                 : association ? "UDP"
                               : "TCP",
        [OUTSIDE] = kind == KINDS ? session_other_side(session, row->kind, outside)
                    : association ? session_external(session, outside)
                                  : session_destination(session),
        [PEERS] = kind == ASSOCIATION ? terminal_count(number[PEERS], ask_number(session, "destinations")) : NULL,
        [DOWN_RATE] = row_rate_text(row->down_rate, number[DOWN_RATE]),
        [UP_RATE] = row_rate_text(row->up_rate, number[UP_RATE]),
        [DOWN] = terminal_bytes(number[DOWN], row->down),
        [UP] = terminal_bytes(number[UP], row->up),
        [DROPPED] = dropped ? terminal_count(number[DROPPED], dropped) : NULL,
        [NAT] = association ? session_filtering(session, sessions->filtering) : NULL,
        [PATH] = association && sessions->has_paths ? session_path(session, path) : NULL,
        [IDLE] = association ? terminal_duration(number[IDLE], ask_number(session, "idle_seconds")) : NULL,
        [AGE] = terminal_duration(number[AGE], ask_number(session, "age_seconds")),
        [VIA] = session_upstreams(session, upstreams),
    };
    return table_add(table, cells);
}

/* `kind` KINDS: sessions of both. */
static bool sessions_print(const struct status_sessions *sessions, enum kind kind, FILE *out, size_t width, size_t rows)
{
    struct terminal_table *table = table_new(columns[kind], COLUMNS);
    size_t found = 0;
    bool made = table != NULL;
    for (size_t i = 0; made && i < sessions->all.count; i++) {
        const struct status_row *row = &sessions->all.rows[i];
        if (kind == KINDS || row->kind == kind)
            made = found++ >= rows || table_add_session(table, row, kind, sessions);
    }
    if (made && found > 0) {
        table_print(table, out, width);
        if (found > rows)
            fprintf(out, "... and %zu with less traffic\n", found - rows);
    }
    table_free(table);
    return made;
}

static size_t sessions_count(const struct status_sessions *sessions, enum kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < sessions->all.count; i++)
        count += sessions->all.rows[i].kind == kind;
    return count;
}

bool status_sessions_print_kinds(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows)
{
    static const char *const titles[KINDS] = {"UDP associations", "TCP streams"};
    bool made = true;
    for (int kind = 0; made && kind < KINDS; kind++) {
        size_t count = sessions_count(sessions, (enum kind)kind);
        if (count == 0)
            continue;
        fprintf(out, "\n%s: %zu\n", titles[kind], count);
        made = sessions_print(sessions, (enum kind)kind, out, width, rows);
    }
    return made;
}

bool status_sessions_print_all(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows)
{
    return sessions_print(sessions, KINDS, out, width, rows);
}
