#include "command/user.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/calendar.h"
#include "base/command_line.h"
#include "base/util.h"
#include "command/ask.h"
#include "command/command.h"
#include "command/new_password.h"
#include "command/reload.h"
#include "command/user_list.h"
#include "command/users_store.h"
#include "conf/config.h"
#include "conf/document.h"
#include "conf/users_file.h"
#include "policy/user_limits.h"

#define NAME         "conesocks user"
#define CONFIG_FILE  "/etc/conesocks.yaml"
#define SETTINGS_MAX 8

static const char usage_text[] =
    "Usage: conesocks user add NAME [--random] [SETTINGS] [-c FILE | --file PATH]\n"
    "       conesocks user passwd NAME [--random] [-c FILE | --file PATH]\n"
    "       conesocks user set NAME SETTINGS [-c FILE | --file PATH]\n"
    "       conesocks user del NAME [-c FILE | --file PATH]\n"
    "       conesocks user list [--json] [-c FILE | --file PATH]\n"
    "\n"
    "Adds, changes, removes and lists the users of users_file, then makes the running server read the file again.\n"
    "A password is asked for twice, or read from the first line of standard input.\n"
    "\n"
    "  -c, --config FILE      the server's configuration, which names users_file; default: " CONFIG_FILE "\n"
    "      --file PATH        change PATH itself, and reload no server\n"
    "      --random           make a password, and print it as the first line\n"
    "      --json             print the list for programs\n"
    "\n"
    "Settings, each as in users[]; \"default\", or \"never\" for the day, removes one:\n"
    "\n"
    "      --expires DAY      the last day of access (UTC): 2026-12-31\n"
    "      --volume SIZE      payload per month: 100GiB\n"
    "      --addresses N      client addresses at once\n"
    "      --sessions N       connections at once\n"
    "      --associations N   UDP associations at once\n"
    "      --bandwidth RATE   per direction: 80Mbit/s\n"
    "      --datagrams RATE   per direction: 20000/s\n";

struct user_request {
    const char *name, *config_file, *file; /* `file`: --file, else that of the configuration */
    bool random, json;
    const char *settings[SETTINGS_MAX]; /* in the order of users_file_settings(); NULL: not given */
    struct config *config;              /* without the users of users_file; NULL: --file */
};

static int user_fail(const char *name, const char *what)
{
    fprintf(stderr, NAME ": %s: %s\n", name, what);
    return EXIT_FAILURE;
}

/* ---- which file ---- */

/* Reads the configuration but not users_file, which may not exist yet. NULL after errors. */
static struct config *user_load_config(const char *path)
{
    size_t size;
    char *errors = NULL, *warnings = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    char *text = fd >= 0 ? document_read_all(fd, (size_t)1 << 20, &size) : NULL;
    if (!text)
        fprintf(stderr, NAME ": %s: %s. Use -c FILE for another configuration, or --file PATH for a users_file\n", path,
                strerror(errno));
    if (fd >= 0)
        close(fd);
    struct config *config = text ? config_parse(path, text, size, &errors, &warnings) : NULL;
    if (errors)
        fputs(errors, stderr);
    free(errors);
    free(warnings);
    free(text);
    return config;
}

static bool user_find_file(struct user_request *request)
{
    if (request->file)
        return true;
    if (!request->config_file)
        request->config_file = CONFIG_FILE;
    request->config = user_load_config(request->config_file);
    if (!request->config)
        return false;
    request->file = request->config->users_file;
    if (!request->file)
        fprintf(stderr,
                NAME ": %s names no users_file. Add this line to it, and run the command again:\n"
                     "users_file: /etc/conesocks.users\n",
                request->config_file);
    return request->file != NULL;
}

/* ---- names and lines ---- */

/* NULL, or what is wrong. */
static const char *user_check_name(const char *name)
{
    const size_t len = strlen(name);
    if (len == 0 || len > 255)
        return "a name has 1 to 255 bytes";
    if (strchr(name, ':'))
        return "a name cannot contain a colon here; put this user into users of the configuration";
    if (name[0] == '#' || name[0] == ' ' || name[len - 1] == ' ')
        return "a name cannot begin with # or a space, or end with a space";
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return "a name cannot contain control characters";
    return NULL;
}

static bool user_is_inline(const struct user_request *request)
{
    for (size_t i = 0; request->config && i < request->config->inline_user_count; i++)
        if (strcmp(request->config->users[i].name, request->name) == 0)
            return true;
    return false;
}

static bool user_has_settings(const struct user_request *request)
{
    for (size_t i = 0; i < SETTINGS_MAX; i++)
        if (request->settings[i])
            return true;
    return false;
}

static bool user_apply_settings(const struct user_request *request, struct config_user *user)
{
    const char *const *keys = users_file_settings();
    for (size_t i = 0; keys[i]; i++) {
        const struct schema_row *row = users_file_setting(keys[i], strlen(keys[i]));
        const char *value = request->settings[i];
        const char *hint = value ? schema_parse(row, value, (char *)user + row->offset) : NULL;
        if (!hint)
            continue;
        fprintf(stderr, NAME ": --%s: found \"%s\", expected ", row->key, value);
        schema_expect(row, stderr);
        fprintf(stderr, "%s%s\n", *hint ? "; " : "", hint);
        return false;
    }
    return true;
}

/* name:hash, and the settings that are not at their defaults. free() it. */
static char *user_format_line(const struct config_user *user)
{
    char *line = NULL, before = ':';
    size_t size;
    FILE *out = open_memstream(&line, &size);
    if (!out)
        return NULL;
    fprintf(out, "%s:%s", user->name, user->password);
    for (const char *const *key = users_file_settings(); *key; key++) {
        const struct schema_row *row = users_file_setting(*key, strlen(*key));
        const char *field = (const char *)user + row->offset;
        static const char zeros[SCHEMA_FIELD_MAX];
        if (memcmp(field, zeros, row->type->size) == 0)
            continue;
        fprintf(out, "%c%s=", before, *key);
        schema_format(row, field, out);
        before = ',';
    }
    fclose(out);
    return line;
}

/* ---- changes ---- */

static void user_warn_expired(const struct config_user *user)
{
    char day[CALENDAR_DAY_TEXT_MAX];
    if (user_has_expired(user, calendar_today()))
        fprintf(stderr, NAME ": warning: %s cannot log in: expires is %s, which is over\n", user->name,
                calendar_format_day(user->expires, day));
}

static int user_write(const struct user_request *request, struct users_store *store, const struct config_user *user,
                      const char *done)
{
    char *line = user ? user_format_line(user) : NULL;
    if (user && !line)
        return user_fail(request->name, "out of memory");
    bool written = users_store_change(store, request->name, line);
    free(line);
    if (!written)
        return EXIT_FAILURE;
    printf("%s: %s %s\n", request->name, done, request->file);
    fflush(stdout);
    user_warn_expired(user);
    if (request->config)
        return reload_if_running(request->config_file);
    puts("a running server does not know it yet: conesocks reload -c FILE");
    return EXIT_SUCCESS;
}

/* Hashes the password of `user`, which is then the caller's to free. */
static int user_write_with_password(const struct user_request *request, struct users_store *store,
                                    struct config_user *user, const char *done)
{
    user->password = new_password_hash(NAME, request->random);
    if (!user->password)
        return EXIT_FAILURE;
    int status = user_write(request, store, user, done);
    free(user->password);
    return status;
}

static int user_add(const struct user_request *request, struct users_store *store)
{
    struct config_user user = {.name = (char *)(uintptr_t)request->name};
    const char *wrong = user_check_name(request->name);
    if (wrong)
        return user_fail(request->name, wrong);
    if (users_store_find(store, request->name) || user_is_inline(request))
        return user_fail(request->name, "exists already; conesocks user passwd and set change a user");
    if (!user_apply_settings(request, &user))
        return EXIT_USAGE;
    return user_write_with_password(request, store, &user, "added to");
}

static const struct config_user *user_find(const struct user_request *request, const struct users_store *store)
{
    const struct config_user *user = users_store_find(store, request->name);
    if (!user)
        fprintf(stderr, NAME ": %s: %s %s\n", request->name,
                user_is_inline(request) ? "is in users of the configuration itself, not in" : "is no user of",
                request->file);
    return user;
}

static int user_passwd(const struct user_request *request, struct users_store *store)
{
    const struct config_user *found = user_find(request, store);
    if (!found)
        return EXIT_FAILURE;
    struct config_user user = *found;
    return user_write_with_password(request, store, &user, "has a new password in");
}

static int user_set(const struct user_request *request, struct users_store *store)
{
    const struct config_user *found = user_find(request, store);
    if (!found)
        return EXIT_FAILURE;
    struct config_user user = *found;
    if (!user_has_settings(request))
        return command_line_fail(NAME, "set takes a setting, such as --volume 100GiB");
    if (!user_apply_settings(request, &user))
        return EXIT_USAGE;
    return user_write(request, store, &user, "changed in");
}

static int user_del(const struct user_request *request, struct users_store *store)
{
    return user_find(request, store) ? user_write(request, store, NULL, "removed from") : EXIT_FAILURE;
}

/* ---- list ---- */

/* The status of the running server; NULL: it cannot be asked. */
static json_t *user_ask_server(const struct user_request *request)
{
    struct ask_place place;
    char *error = NULL;
    if (!request->config || !ask_as_configured(&place, request->config))
        return NULL;
    json_t *status = ask_status(&place, ASK_FEW_SESSIONS, &error);
    free(error);
    ask_place_free(&place);
    return status;
}

/* Also lists the users of the configuration itself. */
static int user_list(const struct user_request *request, struct users_store *store)
{
    const size_t inline_count = request->config ? request->config->inline_user_count : 0;
    const size_t count = inline_count + store->config.user_count;
    struct config_user *users = calloc(count + 1, sizeof(*users));
    json_t *status = users ? user_ask_server(request) : NULL;
    if (users && inline_count)
        memcpy(users, request->config->users, inline_count * sizeof(*users));
    if (users && store->config.user_count)
        memcpy(users + inline_count, store->config.users, store->config.user_count * sizeof(*users));
    setlocale(LC_CTYPE, "");
    bool printed = users && user_list_print(users, count, inline_count, status, request->json);
    json_decref(status);
    free(users);
    return printed && fflush(stdout) == 0 ? EXIT_SUCCESS : user_fail(request->file, "cannot be listed");
}

/* ---- the command ---- */

static const struct user_verb {
    const char *name;
    int (*run)(const struct user_request *request, struct users_store *store);
    bool has_name;
} verbs[] = {
    {"add", user_add, true}, {"passwd", user_passwd, true}, {"set", user_set, true},
    {"del", user_del, true}, {"list", user_list, false},
};

static const struct user_verb *user_find_verb(const char *word)
{
    for (size_t i = 0; word && i < ARRAY_LEN(verbs); i++)
        if (strcmp(verbs[i].name, word) == 0)
            return &verbs[i];
    return NULL;
}

static int user_run(struct user_request *request, const struct user_verb *verb)
{
    struct users_store store;
    int status = EXIT_FAILURE;
    if (user_find_file(request)) {
        const char *group = request->config ? request->config->run.group : NULL;
        if (users_store_open(&store, request->file, group ? group : "conesocks"))
            status = verb->run(request, &store);
        users_store_close(&store);
    }
    config_free(request->config);
    return status;
}

int user_command(int argc, char **argv)
{
    struct user_request request = {0};
    struct command_line_option options[4 + SETTINGS_MAX + 1] = {
        {"config", 'c', .text = &request.config_file},
        {"file", .text = &request.file},
        {"random", .flag = &request.random},
        {"json", .flag = &request.json},
    };
    const char *const *keys = users_file_settings();
    for (size_t i = 0; keys[i]; i++) {
        assert(i < SETTINGS_MAX);
        options[4 + i] = (struct command_line_option){keys[i], .text = &request.settings[i]};
    }
    const int status = command_line_read(NAME, argc, argv, options, usage_text);
    if (status != COMMAND_LINE_READ)
        return status;
    const struct user_verb *verb = user_find_verb(argv[optind]);
    if (!verb)
        return command_line_fail(NAME, "%s%s",
                                 argv[optind] ? "expected add, passwd, set, del or list, found: "
                                              : "expected add, passwd, set, del or list",
                                 argv[optind] ? argv[optind] : "");
    request.name = verb->has_name ? argv[optind + 1] : NULL;
    if (verb->has_name && !request.name)
        return command_line_fail(NAME, "%s: the name is missing", verb->name);
    const char *more = argv[optind + 1 + verb->has_name];
    if (more)
        return command_line_fail(NAME, "unexpected argument: %s", more);
    if (request.file && request.config_file)
        return command_line_fail(NAME, "use only one of -c and --file");
    return user_run(&request, verb);
}
