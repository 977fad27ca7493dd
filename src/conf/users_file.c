#include "conf/users_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "conf/options.h"
#include "conf/user_names.h"

struct users_reader {
    struct config *config;
    struct report *report;
    const struct schema_row *name, *password;
    size_t *lines; /* of the users from this file */
};

/* The settings that a line may have, in the order in which they are written. */
static const char *const setting_keys[] = {"expires",      "addresses", "volume",    "sessions",
                                           "associations", "bandwidth", "datagrams", NULL};

const char *const *users_file_settings(void)
{
    return setting_keys;
}

static const struct schema_row *users_find_row(const char *key, size_t len)
{
    return schema_find(schema_find(config_options, "users", strlen("users"))->rows, key, len);
}

const struct schema_row *users_file_setting(const char *key, size_t len)
{
    for (size_t i = 0; setting_keys[i]; i++)
        if (strlen(setting_keys[i]) == len && memcmp(setting_keys[i], key, len) == 0)
            return users_find_row(key, len);
    return NULL;
}

static_assert((uint64_t)USERS_FILE_USERS * (110 + 50 + sizeof(":\n") - 1) <= USERS_FILE_SIZE_MAX, "as many users fit");

/* ---- lines ---- */

#define USERS_QUOTE_MAX 64

static void users_report_value(struct users_reader *reader, const struct schema_row *row, const char *text,
                               struct place place, const char *hint)
{
    char *expected = NULL, quoted[USERS_QUOTE_MAX];
    size_t size;
    FILE *out = open_memstream(&expected, &size);
    if (out) {
        schema_expect(row, out);
        fclose(out);
    }
    (void)log_escape(quoted, sizeof(quoted), text, strlen(text));
    report_error(reader->report, place, row->key, "found \"%s\", expected %s%s%s", quoted,
                 expected ? expected : "another", *hint ? "; " : "", hint);
    free(expected);
}

/* Reads the name or the hash. Messages do not quote it, because it may be a password. */
static bool users_read_part(struct users_reader *reader, const struct schema_row *row, const char *text,
                            struct place place, char **field)
{
    const char *hint = schema_parse(row, text, field);
    if (!hint)
        return true;
    char *expected = NULL;
    size_t size;
    FILE *out = open_memstream(&expected, &size);
    if (out) {
        schema_expect(row, out);
        fclose(out);
    }
    report_error(reader->report, place, row->key, "found %s, expected %s", *hint ? hint : "no such thing",
                 expected ? expected : "another");
    free(expected);
    return false;
}

/* One key=value. */
static bool users_read_setting(struct users_reader *reader, char *text, struct place place, struct config_user *user,
                               unsigned *seen)
{
    char *equals = strchr(text, '=');
    const size_t key_len = equals ? (size_t)(equals - text) : 0;
    const struct schema_row *row = equals ? users_file_setting(text, key_len) : NULL;
    if (!row) {
        report_error(reader->report, place, NULL,
                     "found %s, expected key=value with one of the keys expires, addresses, volume, sessions, "
                     "associations, bandwidth and datagrams",
                     equals ? "an unknown key" : "no equals sign");
        return false;
    }
    size_t number = 0;
    while (strcmp(setting_keys[number], row->key) != 0)
        number++;
    if (*seen & 1U << number) {
        report_error(reader->report, place, row->key, "found a second value, expected one");
        return false;
    }
    *seen |= 1U << number;
    place.column += key_len + 1;
    const char *hint = schema_parse(row, equals + 1, (char *)user + row->offset);
    if (hint)
        users_report_value(reader, row, equals + 1, place, hint);
    return hint == NULL;
}

/* What comes after the second colon. `line` is the start of the whole line. */
static bool users_read_settings(struct users_reader *reader, const char *line, char *text, struct place place,
                                struct config_user *user)
{
    unsigned seen = 0;
    for (char *comma; text; text = comma) {
        text += strspn(text, " \t");
        comma = strchr(text, ',');
        if (comma)
            *comma++ = '\0';
        place.column = (size_t)(text - line) + 1;
        if (!users_read_setting(reader, text, place, user, &seen))
            return false;
    }
    return true;
}

/* `text` has `len` bytes and a NUL. */
static void users_read_line(struct users_reader *reader, char *text, size_t len, size_t line)
{
    struct config *config = reader->config;
    while (len > 0 && strchr(" \t\r", text[len - 1]) && text[len - 1])
        text[--len] = '\0';
    if (len == 0 || text[0] == '#')
        return;
    char *colon = strchr(text, ':');
    if (!colon || strlen(text) != len) {
        report_error(reader->report, (struct place){line, 1}, NULL, "found %s, expected name:hash",
                     colon ? "a NUL byte" : "no colon");
        return;
    }
    *colon = '\0';
    struct config_user user = {0};
    char *hash = colon + 1 + strspn(colon + 1, " \t"), *settings = strchr(hash, ':');
    struct place at_name = {line, 1}, at_hash = {line, (size_t)(hash - text) + 1};
    if (settings)
        *settings++ = '\0';
    if (users_read_part(reader, reader->name, text, at_name, &user.name) &&
        users_read_part(reader, reader->password, hash, at_hash, &user.password) &&
        users_read_settings(reader, text, settings, at_hash, &user)) {
        reader->lines[config->user_count - config->inline_user_count] = line;
        config->users[config->user_count++] = user;
    } else {
        free(user.name);
        free(user.password);
    }
}

/* `text` has room for a NUL at its end. */
static void users_read_lines(struct users_reader *reader, char *text, size_t size)
{
    text[size] = '\0';
    char *end = text + size;
    for (size_t line = 1; text < end; line++) {
        char *newline = memchr(text, '\n', (size_t)(end - text));
        char *stop = newline ? newline : end;
        *stop = '\0';
        users_read_line(reader, text, (size_t)(stop - text), line);
        text = stop + 1;
    }
}

/* ---- duplicates ---- */

/* Duplicates among the inline users have been reported already (consistent.c). */
static void users_check_duplicates(const struct users_reader *reader)
{
    const struct config *config = reader->config;
    size_t own = config->inline_user_count;
    struct user_name *names = user_names_sorted(config, config->user_count);
    if (!names) {
        report_error(reader->report, (struct place){0}, NULL, "out of memory");
        return;
    }
    for (size_t i = 1; i < config->user_count; i++) {
        size_t first = names[i - 1].index, second = names[i].index;
        if (second < own || strcmp(names[i - 1].name, names[i].name) != 0)
            continue;
        struct place place = {reader->lines[second - own], 1};
        if (first < own)
            report_error(reader->report, place, "name", "found the same name as users[%zu], expected a different one",
                         first);
        else
            report_error(reader->report, place, "name", "found the same name as on line %zu, expected a different one",
                         reader->lines[first - own]);
    }
    free(names);
}

/* ---- the file ---- */

/* Opens the file, if others can neither read nor change the hashes. */
static int users_open_private(const char *path, int open_fd, struct place place, struct report *report)
{
    struct stat status;
    int fd = open_fd < 0 ? open(path, O_RDONLY | O_CLOEXEC) : fcntl(open_fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0 || fstat(fd, &status) < 0) {
        report_error(report, place, "users_file", "%s cannot be read: %s", path, strerror(errno));
    } else if (status.st_mode & (S_IROTH | S_IWOTH)) {
        report_error(report, place, "users_file",
                     "anybody can %s %s (mode %04o), expected only its owner and group; run: chmod o-rwx %s",
                     status.st_mode & S_IWOTH ? "write to" : "read", path, (unsigned)(status.st_mode & 07777), path);
    } else {
        return fd;
    }
    if (fd >= 0)
        close(fd);
    return -1;
}

static size_t users_count_lines(const char *text, size_t size)
{
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += text[i] == '\n';
    return count;
}

static void users_add(struct config *config, char *text, size_t size, struct report *report)
{
    struct users_reader reader = {
        .config = config,
        .report = report,
        .name = users_find_row("name", strlen("name")),
        .password = users_find_row("password", strlen("password")),
    };
    size_t most = users_count_lines(text, size);
    struct config_user *users = reallocarray(config->users, config->inline_user_count + most, sizeof(*users));
    if (users)
        config->users = users;
    reader.lines = calloc(most, sizeof(*reader.lines));
    if (users && reader.lines) {
        unsigned before = report->error_count;
        users_read_lines(&reader, text, size);
        if (config->user_count == config->inline_user_count && report->error_count == before)
            report_error(report, (struct place){0}, NULL, "found no user, expected lines of name:hash");
        users_check_duplicates(&reader);
    } else {
        report_error(report, (struct place){0}, NULL, "out of memory");
    }
    free(reader.lines);
}

bool users_file_load(struct config *config, int open_fd, yaml_document_t *document, struct report *report)
{
    const yaml_node_t *node =
        document ? document_get(document, yaml_document_get_root_node(document), "users_file") : NULL;
    struct place place = node ? document_place(node) : (struct place){0};
    unsigned before = report->error_count;
    assert(config->users_file && config->user_count == config->inline_user_count);
    int fd = users_open_private(config->users_file, open_fd, place, report);
    if (fd < 0)
        return false;
    size_t size;
    char *text = document_read_all(fd, USERS_FILE_SIZE_MAX, &size);
    const char *plain = text;
    int error = errno;
    close(fd);
    const char *main_file = report->file;
    report->file = config->users_file;
    if (!text)
        report_error(report, (struct place){0}, NULL, "cannot be read: %s", strerror(error));
    else if (size > USERS_FILE_SIZE_MAX)
        report_error(report, (struct place){0}, NULL,
                     "found more than %zu MiB (about %d users), expected a smaller file", USERS_FILE_SIZE_MAX >> 20,
                     USERS_FILE_USERS);
    else if (document_skip_mark(&plain, &size, report))
        users_add(config, text + (plain - text), size, report);
    report->file = main_file;
    free(text);
    return report->error_count == before;
}
