#include "command/status_users.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "command/ask.h"
#include "command/table.h"
#include "command/terminal.h"

#define CELL_MAX 64

static bool user_is_near(const json_t *user)
{
    return ask_text(user, "near") != NULL;
}

struct user_counts status_users_count(const json_t *status)
{
    const json_t *list = ask_member(status, "users.list");
    struct user_counts users = {.total = ask_number(status, "users.total"), .listed = json_array_size(list)};
    size_t i;
    json_t *user;
    json_array_foreach(list, i, user)
    {
        users.connected += ask_number(user, "sessions") > 0;
        users.near += user_is_near(user);
    }
    return users;
}

/* ---- cells ---- */

/* "2" or "2 of 3"; "-" for none of any number. */
static const char *user_count(const json_t *user, const char *used, const char *limit, char text[CELL_MAX])
{
    const uint64_t count = ask_number(user, used), most = ask_number(user, limit);
    if (most)
        snprintf(text, CELL_MAX, "%" PRIu64 " of %" PRIu64, count, most);
    else
        snprintf(text, CELL_MAX, "%" PRIu64, count);
    return text;
}

static const char *user_volume(const json_t *user, char text[CELL_MAX])
{
    char used[TERMINAL_NUMBER_MAX], limit[TERMINAL_NUMBER_MAX];
    const uint64_t most = ask_number(user, "volume_limit");
    terminal_bytes(used, ask_number(user, "volume_bytes"));
    if (!most)
        return strcpy(text, used);
    snprintf(text, CELL_MAX, "%.24s of %.24s", used, terminal_bytes(limit, most));
    return text;
}

static const char *user_rate(const json_t *user, const char *key, char text[TERMINAL_NUMBER_MAX])
{
    const uint64_t rate = ask_number(user, key);
    return rate ? terminal_rate(text, (double)rate) : NULL;
}

/* Whether the last valid day, such as "2026-12-31", is over. */
static bool date_is_over(const char *date)
{
    char today[sizeof("2026-12-31") + 16];
    const time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(today, sizeof(today), "%Y-%m-%d", &parts);
    return strcmp(date, today) < 0;
}

static const char *near_volume(const json_t *user, char text[CELL_MAX])
{
    const uint64_t used = ask_number(user, "volume_bytes"), limit = ask_number(user, "volume_limit");
    if (!limit || used >= limit)
        return "volume used up";
    snprintf(text, CELL_MAX, "%d %% of the volume", (int)(100 * (double)used / (double)limit));
    return text;
}

static const char *near_expiry(const json_t *user, char text[CELL_MAX])
{
    const char *date = ask_text(user, "expires");
    if (!date || date_is_over(date))
        return "expired";
    snprintf(text, CELL_MAX, "expires %.32s", date);
    return text;
}

/* The limit that the server names as the nearest. */
static const char *user_format_near(const json_t *user, char text[CELL_MAX])
{
    const char *near = ask_text(user, "near");
    if (!near)
        return NULL;
    if (strcmp(near, "volume") == 0)
        return near_volume(user, text);
    if (strcmp(near, "expires") == 0)
        return near_expiry(user, text);
    if (strcmp(near, "bandwidth") == 0)
        return "at the rate limit";
    char limit[CELL_MAX], count[CELL_MAX];
    snprintf(limit, sizeof(limit), "limits.%.32s", near);
    snprintf(text, CELL_MAX, "%.24s %.32s", user_count(user, near, limit, count), near);
    return text;
}

/* ---- the table ---- */

enum { NAME, DOWN, UP, VOLUME, NEAR, SESSIONS, ADDRESSES, EXPIRES, COLUMNS };
static_assert(COLUMNS <= TABLE_COLUMNS_MAX, "a table holds them");

static const struct table_column columns[COLUMNS] = {
    [NAME] = {"USER", .least = 8},
    [DOWN] = {"DOWN NOW", .right = true, .spare = 1},
    [UP] = {"UP NOW", .right = true, .spare = 2},
    [VOLUME] = {"THIS MONTH", .right = true, .spare = 3},
    [NEAR] = {"NEAR A LIMIT", .least = 18},
    [SESSIONS] = {"SESSIONS", .right = true, .spare = 4},
    [ADDRESSES] = {"ADDRESSES", .right = true, .spare = 5},
    [EXPIRES] = {"EXPIRES", .spare = 6},
};

static bool users_add_row(struct terminal_table *table, const json_t *user)
{
    char down[TERMINAL_NUMBER_MAX], up[TERMINAL_NUMBER_MAX], volume[CELL_MAX], near[CELL_MAX], sessions[CELL_MAX],
        addresses[CELL_MAX];
    const char *cells[COLUMNS] = {
        [NAME] = ask_text(user, "name"),
        [DOWN] = user_rate(user, "down_bytes_per_second", down),
        [UP] = user_rate(user, "up_bytes_per_second", up),
        [VOLUME] = user_volume(user, volume),
        [NEAR] = user_format_near(user, near),
        [SESSIONS] = user_count(user, "sessions", "limits.sessions", sessions),
        [ADDRESSES] = user_count(user, "addresses", "limits.addresses", addresses),
        [EXPIRES] = ask_text(user, "expires"),
    };
    return table_add(table, cells);
}

bool status_users_print(const json_t *status, FILE *out, size_t width, size_t rows)
{
    const json_t *list = ask_member(status, "users.list"), *user;
    struct terminal_table *table = table_new(columns, COLUMNS);
    size_t i, hidden = 0, hidden_near = 0;
    bool made = table != NULL;
    json_array_foreach((json_t *)(uintptr_t)list, i, user)
    {
        if (i < rows) {
            made = made && users_add_row(table, user);
            continue;
        }
        hidden++;
        hidden_near += user_is_near(user);
    }
    if (made && json_array_size(list) > 0)
        table_print(table, out, width);
    if (made && hidden_near)
        fprintf(out, "... and %zu more, %zu of them near a limit\n", hidden, hidden_near);
    else if (made && hidden)
        fprintf(out, "... and %zu more\n", hidden);
    table_free(table);
    return made;
}
