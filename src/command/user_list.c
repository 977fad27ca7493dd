#include "command/user_list.h"

#include <assert.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/util.h"
#include "command/ask.h"
#include "command/table.h"
#include "command/terminal.h"
#include "conf/users_file.h"

/* What the running server tells of a user; NULL: nothing. */
static const json_t *user_find_usage(const json_t *status, const char *name)
{
    const json_t *list = status ? ask_member(status, "users.list") : NULL;
    char escaped[4 * 255 + 1]; /* as the server shows it */
    size_t i;
    json_t *user;
    (void)log_escape(escaped, sizeof(escaped), name, strlen(name));
    json_array_foreach(list, i, user)
    {
        const char *theirs = ask_text(user, "name");
        if (theirs && strcmp(theirs, escaped) == 0)
            return user;
    }
    return NULL;
}

/* ---- for programs ---- */

static json_t *setting_json(const struct schema_row *row, const struct config_user *user)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (!out)
        return NULL;
    schema_format(row, (const char *)user + row->offset, out);
    fclose(out);
    json_t *json = text && strcmp(text, row->none) == 0 ? json_null() : json_string(text ? text : "");
    free(text);
    return json;
}

static json_t *user_list_json(const struct config_user *user, bool is_inline, const json_t *usage)
{
    char *name = terminal_escape(user->name);
    json_t *json = json_object();
    json_object_set_new(json, "name", json_string(name ? name : ""));
    json_object_set_new(json, "file", json_string(is_inline ? "users" : "users_file"));
    for (const char *const *key = users_file_settings(); *key; key++)
        json_object_set_new(json, *key, setting_json(users_file_setting(*key, strlen(*key)), user));
    json_object_set_new(json, "usage", usage ? json_deep_copy(usage) : json_null());
    free(name);
    return json;
}

static bool user_list_print_json(const struct config_user *users, size_t count, size_t inline_count,
                                 const json_t *status)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list,
                              user_list_json(&users[i], i < inline_count, user_find_usage(status, users[i].name)));
    char *text = list ? json_dumps(list, JSON_INDENT(2)) : NULL;
    if (text)
        puts(text);
    free(text);
    json_decref(list);
    return text != NULL;
}

/* ---- for people ---- */

/* The name, seven settings, and what the running server tells. */
#define USER_COLUMNS 11
#define CELL_MAX     320

static void cell_write_setting(char *cell, const struct schema_row *row, const struct config_user *user)
{
    FILE *out = fmemopen(cell, CELL_MAX, "w");
    if (!out)
        return;
    schema_format(row, (const char *)user + row->offset, out);
    fclose(out);
    if (strcmp(cell, row->none) == 0)
        cell[0] = '\0';
}

static void cells_write_usage(char cells[][CELL_MAX], const json_t *usage)
{
    const char *near = ask_text(usage, "near");
    char volume[TERMINAL_NUMBER_MAX];
    snprintf(cells[0], CELL_MAX, "%" PRIu64, ask_number(usage, "sessions"));
    snprintf(cells[1], CELL_MAX, "%s", terminal_bytes(volume, ask_number(usage, "volume_bytes")));
    snprintf(cells[2], CELL_MAX, "%s", near ? near : "");
}

/* A cell that stays empty is shown as "-". */
static bool user_list_add_row(struct terminal_table *table, const struct config_user *user, const json_t *usage)
{
    char cells[USER_COLUMNS][CELL_MAX] = {0};
    const char *row[USER_COLUMNS];
    size_t at = 0;
    snprintf(cells[at++], CELL_MAX, "%s", user->name);
    for (const char *const *key = users_file_settings(); *key; key++)
        cell_write_setting(cells[at++], users_file_setting(*key, strlen(*key)), user);
    if (usage)
        cells_write_usage(&cells[at], usage);
    for (size_t i = 0; i < USER_COLUMNS; i++)
        row[i] = cells[i][0] ? cells[i] : NULL;
    return table_add(table, row);
}

static bool user_list_print_table(const struct config_user *users, size_t count, const json_t *status)
{
    static const struct table_column columns[] = {
        {.title = "user", .least = 8},
        {.title = "expires", .spare = 3},
        {.title = "addresses", .right = true, .spare = 5},
        {.title = "volume", .right = true, .spare = 2},
        {.title = "sessions", .right = true, .spare = 6},
        {.title = "associations", .right = true, .spare = 7},
        {.title = "bandwidth", .right = true, .spare = 8},
        {.title = "datagrams", .right = true, .spare = 9},
        {.title = "sessions now", .right = true},
        {.title = "this month", .right = true},
        {.title = "near", .spare = 4},
    };
    static_assert(ARRAY_LEN(columns) == USER_COLUMNS, "a title for each");
    struct terminal_table *table = table_new(columns, USER_COLUMNS);
    bool added = table != NULL;
    for (size_t i = 0; added && i < count; i++)
        added = user_list_add_row(table, &users[i], user_find_usage(status, users[i].name));
    if (added)
        table_print(table, stdout, terminal_size(STDOUT_FILENO, NULL));
    table_free(table);
    return added;
}

bool user_list_print(const struct config_user *users, size_t count, size_t inline_count, const json_t *status,
                     bool as_json)
{
    return as_json ? user_list_print_json(users, count, inline_count, status)
                   : user_list_print_table(users, count, status);
}
