#include "command/status_sessions.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "command/ask.h"
#include "command/table.h"
#include "command/terminal.h"

/* A blank line, the title, the column titles, and a line for the sessions that are left out. */
#define LINES_AROUND 4

enum kind { ASSOCIATION, STREAM, KINDS };

struct status_row {
    const json_t *session;
    uint64_t id, up, down;
    double up_rate, down_rate; /* bytes a second */
};

struct status_sessions {
    bool rates;
    bool paths; /* the kernel path is active */
    struct session_group {
        struct status_row *rows; /* the busiest first */
        size_t count;
    } groups[KINDS];
};

/* ---- gathering ---- */

static bool session_is_of_kind(const json_t *session, enum kind kind)
{
    const char *text = ask_text(session, "kind");
    bool association = text && strncmp(text, "udp", strlen("udp")) == 0;
    bool stream = text && (strcmp(text, "connect") == 0 || strcmp(text, "bind") == 0);
    return kind == ASSOCIATION ? association : stream;
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
static bool group_gather(struct session_group *group, const json_t *status, enum kind kind)
{
    const json_t *sessions = ask_member(status, "sessions");
    size_t i;
    json_t *session;
    *group = (struct session_group){.rows = calloc(json_array_size(sessions) + 1, sizeof(struct status_row))};
    if (!group->rows)
        return false;
    json_array_foreach(sessions, i, session) if (session_is_of_kind(session, kind)) group->rows[group->count++] =
        (struct status_row){.session = session,
                            .id = ask_number(session, "id"),
                            .up = ask_number(session, "up_bytes"),
                            .down = ask_number(session, "down_bytes")};
    return true;
}

static double group_rate(uint64_t now, uint64_t before, double seconds)
{
    return now > before && seconds > 0 ? (double)(now - before) / seconds : 0;
}

/* A session without an earlier reading is new: it started at zero. */
static void group_add_rates(struct session_group *group, struct session_group *before, double seconds)
{
    qsort(before->rows, before->count, sizeof(struct status_row), session_compare_id);
    for (size_t i = 0; i < group->count; i++) {
        struct status_row *row = &group->rows[i];
        const struct status_row *old =
            bsearch(row, before->rows, before->count, sizeof(struct status_row), session_compare_id);
        row->up_rate = group_rate(row->up, old ? old->up : 0, seconds);
        row->down_rate = group_rate(row->down, old ? old->down : 0, seconds);
    }
}

struct status_sessions *status_sessions_new(const json_t *now, const json_t *before, double seconds)
{
    struct status_sessions *sessions = calloc(1, sizeof(*sessions));
    bool made = sessions != NULL;
    for (int kind = 0; made && kind < KINDS; kind++) {
        struct session_group *group = &sessions->groups[kind], old = {0};
        made = group_gather(group, now, (enum kind)kind) && (!before || group_gather(&old, before, (enum kind)kind));
        if (made && before)
            group_add_rates(group, &old, seconds);
        if (made)
            qsort(group->rows, group->count, sizeof(struct status_row), session_compare_traffic);
        free(old.rows);
    }
    if (made) {
        sessions->rates = before != NULL;
        sessions->paths = json_is_true(ask_member(now, "kernel_path.active"));
        return sessions;
    }
    status_sessions_free(sessions);
    return NULL;
}

void status_sessions_free(struct status_sessions *sessions)
{
    for (int kind = 0; sessions && kind < KINDS; kind++)
        free(sessions->groups[kind].rows);
    free(sessions);
}

/* ---- tables ---- */

enum { CLIENT, USER, OUTSIDE, PEERS, UP, DOWN, UP_RATE, DOWN_RATE, DROPPED, PATH, IDLE, AGE, VIA, COLUMNS };
static_assert(COLUMNS <= TABLE_COLUMNS_MAX, "a table holds them");

/* An IPv4 address with its port takes 21 columns. */
static const struct table_column columns[KINDS][COLUMNS] = {
    [ASSOCIATION] = {[CLIENT] = {"CLIENT", .least = 15},
                     [USER] = {"USER", .least = 6, .spare = 2},
                     [OUTSIDE] = {"EXTERNAL", .least = 21},
                     [PEERS] = {"PEERS", .right = true, .spare = 4},
                     [UP] = {"UP", .right = true, .spare = 1},
                     [DOWN] = {"DOWN", .right = true, .spare = 1},
                     [UP_RATE] = {"UP b/s", .right = true},
                     [DOWN_RATE] = {"DOWN b/s", .right = true},
                     [DROPPED] = {"DROPPED", .right = true, .spare = 3},
                     [PATH] = {"PATH", .spare = 8},
                     [IDLE] = {"IDLE", .right = true, .spare = 5},
                     [AGE] = {"AGE", .right = true, .spare = 6},
                     [VIA] = {"UPSTREAM", .least = 6, .spare = 7}},
    [STREAM] = {[CLIENT] = {"CLIENT", .least = 15},
                [USER] = {"USER", .least = 6, .spare = 2},
                [OUTSIDE] = {"DESTINATION", .least = 15},
                [PEERS] = {"PEERS", .spare = 9},
                [UP] = {"UP", .right = true, .spare = 1},
                [DOWN] = {"DOWN", .right = true, .spare = 1},
                [UP_RATE] = {"UP b/s", .right = true},
                [DOWN_RATE] = {"DOWN b/s", .right = true},
                [DROPPED] = {"DROPPED", .spare = 9},
                [PATH] = {"PATH", .spare = 9},
                [IDLE] = {"IDLE", .spare = 9},
                [AGE] = {"AGE", .right = true, .spare = 6},
                [VIA] = {"UPSTREAM", .least = 6, .spare = 7}},
};

static uint64_t dropped_sum(const json_t *counts)
{
    uint64_t sum = 0;
    const char *key;
    json_t *count;
    json_object_foreach((json_t *)(uintptr_t)counts, key, count) if (json_integer_value(count) > 0) sum +=
        (uint64_t)json_integer_value(count);
    return sum;
}

/* The external addresses of an association; the destination of a stream, or else its remote address. */
static const char *session_outside(const json_t *session, char *text, size_t size)
{
    const json_t *external = ask_member(session, "external");
    const char *first = json_string_value(json_array_get(external, 0));
    const char *second = json_string_value(json_array_get(external, 1));
    if (first && second) {
        snprintf(text, size, "%s %s", first, second);
        return text;
    }
    const char *destination = ask_text(session, "destination");
    return first ? first : destination ? destination : ask_text(session, "remote");
}

static uint64_t rate_in_bits(double bytes)
{
    return (uint64_t)(8 * bytes);
}

/* Who relays an association: "kernel", or "user" with the reason. */
static const char *session_path(const json_t *session, char *text, size_t size)
{
    const char *why_not = ask_text(session, "kernel_path.why_not");
    if (!why_not)
        return "kernel";
    snprintf(text, size, "user: %s", why_not);
    return text;
}

static bool group_add_row(struct terminal_table *table, const struct status_row *row, enum kind kind,
                          const struct status_sessions *sessions)
{
    char text[COLUMNS][TERMINAL_NUMBER_MAX], addresses[256], path[64];
    const bool rates = sessions->rates;
    uint64_t dropped = dropped_sum(ask_member(row->session, "dropped"));
    bool association = kind == ASSOCIATION;
    const char *cells[COLUMNS] = {
        [CLIENT] = ask_text(row->session, "client"),
        [USER] = ask_text(row->session, "user"),
        [OUTSIDE] = session_outside(row->session, addresses, sizeof(addresses)),
        [PEERS] = association ? terminal_count(text[PEERS], ask_number(row->session, "destinations")) : NULL,
        [UP] = terminal_bytes(text[UP], row->up),
        [DOWN] = terminal_bytes(text[DOWN], row->down),
        [UP_RATE] = rates ? terminal_count(text[UP_RATE], rate_in_bits(row->up_rate)) : NULL,
        [DOWN_RATE] = rates ? terminal_count(text[DOWN_RATE], rate_in_bits(row->down_rate)) : NULL,
        [DROPPED] = dropped ? terminal_count(text[DROPPED], dropped) : NULL,
        [PATH] = association && sessions->paths ? session_path(row->session, path, sizeof(path)) : NULL,
        [IDLE] = association ? terminal_duration(text[IDLE], ask_number(row->session, "idle_seconds")) : NULL,
        [AGE] = terminal_duration(text[AGE], ask_number(row->session, "age_seconds")),
        [VIA] = ask_text(row->session, "upstream"),
    };
    return table_add(table, cells);
}

static bool group_print(const struct status_sessions *sessions, enum kind kind, FILE *out, size_t width, size_t rows)
{
    static const char *const titles[KINDS] = {"UDP associations", "TCP streams"};
    const struct session_group *group = &sessions->groups[kind];
    struct terminal_table *table = table_new(columns[kind], COLUMNS);
    size_t shown = group->count < rows ? group->count : rows;
    bool made = table != NULL;
    for (size_t i = 0; made && i < shown; i++)
        made = group_add_row(table, &group->rows[i], kind, sessions);
    if (made) {
        fprintf(out, "\n%s: %zu\n", titles[kind], group->count);
        table_print(table, out, width);
        if (shown < group->count)
            fprintf(out, "... and %zu with less traffic\n", group->count - shown);
    }
    table_free(table);
    return made;
}

/* Half of the lines for each table; what one does not need goes to the other. */
static void sessions_share_lines(size_t lines, size_t *rows)
{
    size_t half = lines / 2;
    if (rows[ASSOCIATION] > half && rows[STREAM] > half)
        rows[ASSOCIATION] = half;
    for (int kind = 0; kind < KINDS; kind++) {
        size_t other = rows[kind == ASSOCIATION ? STREAM : ASSOCIATION];
        size_t left = other < lines - half ? lines - other : half;
        rows[kind] = rows[kind] < left ? rows[kind] : left;
    }
}

bool status_sessions_print(const struct status_sessions *sessions, FILE *out, size_t width, size_t rows, size_t lines)
{
    size_t most[KINDS], around = 0;
    for (int kind = 0; kind < KINDS; kind++) {
        most[kind] = sessions->groups[kind].count < rows ? sessions->groups[kind].count : rows;
        around += most[kind] ? LINES_AROUND : 0;
    }
    if (lines > 0)
        sessions_share_lines(lines > around ? lines - around : 0, most);
    bool made = true;
    for (int kind = 0; made && kind < KINDS; kind++)
        made = most[kind] == 0 || group_print(sessions, (enum kind)kind, out, width, most[kind]);
    return made;
}
