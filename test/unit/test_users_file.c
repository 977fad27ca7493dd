#include "test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/config.h"

#define HASH  "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
#define OTHER "$y$j9T$abcdefgh$8WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
#define SETTINGS                                                                                                       \
    "key=value with one of the keys expires, addresses, volume, sessions, associations, bandwidth and datagrams\n"
#define WANT "a strong crypt(3) hash; run: conesocks hash-password\n"

static char folder[] = "/tmp/conesocks-XXXXXX", users_path[64], config_path[64];

static int make_folder(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(users_path, sizeof(users_path), "%s/users", folder);
    snprintf(config_path, sizeof(config_path), "%s/c.yaml", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(users_path);
    unlink(config_path);
    return rmdir(folder);
}

static void write_file(const char *path, const char *bytes, size_t size, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fchmod(fileno(file), mode), 0);
    fclose(file);
}

/* A configuration of `inline_users` and a users_file with these bytes. */
static struct config *load(const char *inline_users, const char *bytes, size_t size, mode_t mode, char **errors)
{
    char text[1024], *warnings;
    int len = snprintf(text, sizeof(text), "%susers_file: %s\n", inline_users, users_path);
    write_file(config_path, text, (size_t)len, 0600);
    if (bytes)
        write_file(users_path, bytes, size, mode);
    struct config *config = config_load(config_path, errors, &warnings);
    assert_null(warnings);
    return config;
}

static struct config *good(const char *inline_users, const char *text)
{
    char *errors;
    struct config *config = load(inline_users, text, strlen(text), 0640, &errors);
    if (!config)
        fail_msg("refused: %s", errors);
    assert_null(errors);
    return config;
}

static void bad_bytes(const char *inline_users, const char *bytes, size_t size, mode_t mode, const char *expected)
{
    char *errors, wanted[1024];
    snprintf(wanted, sizeof(wanted), expected, users_path);
    assert_null(load(inline_users, bytes, size, mode, &errors));
    assert_non_null(errors);
    assert_string_equal(errors + (strncmp(errors, config_path, strlen(config_path)) == 0 ? strlen(config_path) : 0),
                        wanted);
    free(errors);
}

/* `expected` with %s for the path of the users_file. */
static void bad(const char *text, const char *expected)
{
    bad_bytes("", text, strlen(text), 0600, expected);
}

static void adds_to_the_inline_users(void **state)
{
    (void)state;
    struct config *config =
        good("users: [{name: alice, password: " HASH "}]\n",
             "# more of them\n\nbob:" HASH "\r\ncarol: " OTHER " \n   \nd e\\:" HASH); /* the last without a newline */
    assert_int_equal(config->user_count, 4);
    assert_int_equal(config->inline_user_count, 1);
    const char *const names[] = {"alice", "bob", "carol", "d e\\"};
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(config->users[i].name, names[i]);
        assert_string_equal(config->users[i].password, i == 2 ? OTHER : HASH);
    }
    assert_true(config->listen[0].need_password);
    config_free(config);
}

static void a_line_may_have_settings(void **state)
{
    (void)state;
    struct config *config = good("", "bob:" HASH ":expires=2026-12-31,addresses=3,volume=100GiB,sessions=50,"
                                     "associations=20,bandwidth=80Mbit/s,datagrams=500/s\r\n"
                                     "carol: " HASH ": volume=unlimited, expires=never \n"
                                     "dave:" HASH "\n");
    const struct config_user *bob = &config->users[0], *carol = &config->users[1], *dave = &config->users[2];
    assert_int_equal(config->user_count, 3);
    assert_string_equal(bob->password, HASH);
    assert_int_equal(bob->expires, 20818); /* date -d 2026-12-31 +%s, by 86,400 */
    assert_int_equal(bob->addresses, 3);
    assert_int_equal(bob->volume, 100LL << 30);
    assert_int_equal(bob->sessions, 50);
    assert_int_equal(bob->associations, 20);
    assert_int_equal(bob->terms.bandwidth, 10000000);
    assert_int_equal(bob->terms.datagrams, 500);
    assert_string_equal(carol->password, HASH);
    assert_true(carol->volume == CONFIG_UNLIMITED);
    assert_int_equal(carol->expires, 0);
    assert_int_equal(dave->volume, 0);
    config_free(config);
}

static void settings_are_checked(void **state)
{
    (void)state;
    bad("bob:" HASH ":\n", "%s:1:65: found no equals sign, expected " SETTINGS);
    bad("bob:" HASH ":colour=red\n", "%s:1:65: found an unknown key, expected " SETTINGS);
    bad("bob:" HASH ":name=red\n", "%s:1:65: found an unknown key, expected " SETTINGS);
    bad("bob:" HASH ":volume=1GiB,\n", "%s:1:77: found no equals sign, expected " SETTINGS);
    bad("bob:" HASH ":volume=1GiB,volume=2GiB\n", "%s:1:77: volume: found a second value, expected one\n");
    bad("bob:" HASH ":volume=1\n",
        "%s:1:72: volume: found \"1\", expected default, or unlimited, or a volume from 1MiB to "
        "1048576TiB; the unit is missing: MiB, GiB or TiB\n");
    bad("bob:" HASH ":sessions=1,expires=31.12.2026\n",
        "%s:1:84: expires: found \"31.12.2026\", expected never, or a day, such as 2026-12-31; write it as "
        "year-month-day\n");
}

/* What a reload compares. */
static void other_settings_are_another_configuration(void **state)
{
    (void)state;
    static const char *const settings[] = {
        "",
        ":expires=2026-12-31",
        ":addresses=3",
        ":volume=1GiB",
        ":sessions=5",
        ":associations=5",
        ":bandwidth=9kbit/s",
        ":datagrams=5/s",
    };
    enum { COUNT_SETTINGS = sizeof(settings) / sizeof(settings[0]) };
    struct config *configs[COUNT_SETTINGS];
    for (size_t i = 0; i < COUNT_SETTINGS; i++) {
        char text[256];
        snprintf(text, sizeof(text), "bob:" HASH "%s\n", settings[i]);
        configs[i] = good("", text);
    }
    for (size_t i = 0; i < COUNT_SETTINGS; i++)
        for (size_t j = 0; j < COUNT_SETTINGS; j++)
            assert_int_equal(config_equal(configs[i], configs[j]), i == j);
    for (size_t i = 0; i < COUNT_SETTINGS; i++)
        config_free(configs[i]);
}

static void works_without_inline_users(void **state)
{
    (void)state;
    struct config *config = good("listen: [{address: 0.0.0.0, auth: password}]\n", "bob:" HASH "\n");
    assert_int_equal(config->user_count, 1);
    config_free(config);
    config = good("", "bob:" HASH "\n"); /* auth: auto */
    assert_true(config->listen[0].need_password);
    config_free(config);
}

/* Where nothing but the text is read, the file counts as one that holds users. */
static void is_not_read_for_a_text_alone(void **state)
{
    (void)state;
    static const char text[] = "listen: [{auth: password}]\nusers_file: /nonexistent\n";
    static const char unasked[] = "listen: [{auth: none}]\nusers_file: /nonexistent\n";
    char *errors, *warnings;
    struct config *config = config_parse("c", text, sizeof(text) - 1, &errors, &warnings);
    assert_non_null(config);
    assert_null(warnings);
    config_free(config);
    config = config_parse("c", unasked, sizeof(unasked) - 1, &errors, &warnings);
    assert_non_null(config);
    assert_string_equal(warnings,
                        "c:2:13: warning: users_file: no listener requires a login, so its users have no effect\n");
    free(warnings);
    config_free(config);
}

/* Row 50: neither the hashes nor what they are in place of. */
static void a_dump_names_the_file_alone(void **state)
{
    (void)state;
    struct config *config = good("", "bob:" HASH "\n"), *changed;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_dump(config, out, true);
    fclose(out);
    assert_non_null(strstr(text, users_path));
    assert_null(strstr(text, HASH));
    assert_null(strstr(text, "bob"));
    free(text);
    changed = good("", "bob:" OTHER "\n");
    assert_false(config_equal(config, changed));
    assert_true(config_equal(config, config));
    config_free(changed);
    config_free(config);
}

static void errors_have_a_line_number(void **state)
{
    (void)state;
    bad("bob:" HASH "\ncarol\n", "%s:2:1: found no colon, expected name:hash\n");
    bad("bob:hunter2\n", "%s:1:5: password: found plain text, or a DES hash, expected " WANT);
    bad("bob: $1$abc$def\n", "%s:1:6: password: found a hash of a weak or unknown method, expected " WANT);
    bad("bob:" HASH ":19000:0\n", "%s:1:65: found no equals sign, expected " SETTINGS);
    bad(":" HASH "\n", "%s:1:1: name: found no such thing, expected text with a length in bytes from 1 to 255\n");
    bad_bytes("", "\nbob:" HASH "\0x\n", sizeof("\nbob:" HASH "\0x\n") - 1, 0600,
              "%s:2:1: found a NUL byte, expected name:hash\n");
    bad("# nobody\n", "%s: found no user, expected lines of name:hash\n");
    bad("", "%s: found no user, expected lines of name:hash\n");
}

static void duplicate_names_are_refused(void **state)
{
    (void)state;
    bad("bob:" HASH "\nalice:" HASH "\n\nbob:" OTHER "\n",
        "%s:4:1: name: found the same name as on line 1, expected a different one\n");
    bad_bytes("users: [{name: alice, password: " HASH "}]\n", "bob:" HASH "\nalice:" HASH "\n",
              strlen("bob:" HASH "\nalice:" HASH "\n"), 0600,
              "%s:2:1: name: found the same name as users[0], expected a different one\n");
}

static void others_must_not_read_it(void **state)
{
    (void)state;
    static const char one[] = "bob:" HASH "\n";
    char expected[512];
    snprintf(
        expected, sizeof(expected),
        ":1:13: users_file: anybody can read %s (mode 0644), expected only its owner and group; run: chmod o-rwx %s\n",
        users_path, users_path);
    bad_bytes("", one, sizeof(one) - 1, 0644, expected);
    snprintf(expected, sizeof(expected),
             ":1:13: users_file: anybody can write to %s (mode 0602), expected only its owner and group; run: chmod "
             "o-rwx %s\n",
             users_path, users_path);
    bad_bytes("", one, sizeof(one) - 1, 0602, expected);
    unlink(users_path);
    bad_bytes("", NULL, 0, 0, ":1:13: users_file: %s cannot be read: No such file or directory\n");
}

static void a_too_large_file_is_refused(void **state)
{
    (void)state;
    size_t size = ((size_t)64 << 20) + 1;
    char *text = malloc(size);
    memset(text, '#', size);
    bad_bytes("", text, size, 0600, "%s: found more than 64 MiB (about 400000 users), expected a smaller file\n");
    free(text);
}

/* From an editor that writes a byte order mark, or UTF-16. */
static void a_byte_order_mark_is_no_part_of_a_name(void **state)
{
    (void)state;
    static const char utf16[] = "\xff\xfe"
                                "a\0:\0";
    bad_bytes("", utf16, sizeof(utf16) - 1, 0600, "%s:1:1: found UTF-16 text, expected UTF-8; save it as UTF-8\n");
    struct config *config = good("", "\xef\xbb\xbf"
                                     "bob:" HASH "\n");
    assert_string_equal(config->users[0].name, "bob");
    config_free(config);
}

static void a_hundred_thousand_load(void **state)
{
    (void)state;
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < 100000; i++)
        fprintf(out, "user%d:" HASH "\n", i);
    fclose(out);
    struct config *config = good("", text);
    assert_int_equal(config->user_count, 100000);
    assert_string_equal(config->users[99999].name, "user99999");
    config_free(config);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(adds_to_the_inline_users),
        cmocka_unit_test(works_without_inline_users),
        cmocka_unit_test(a_line_may_have_settings),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(other_settings_are_another_configuration),
        cmocka_unit_test(is_not_read_for_a_text_alone),
        cmocka_unit_test(a_dump_names_the_file_alone),
        cmocka_unit_test(errors_have_a_line_number),
        cmocka_unit_test(duplicate_names_are_refused),
        cmocka_unit_test(others_must_not_read_it),
        cmocka_unit_test(a_too_large_file_is_refused),
        cmocka_unit_test(a_hundred_thousand_load),
        cmocka_unit_test(a_byte_order_mark_is_no_part_of_a_name),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
