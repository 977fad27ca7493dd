/* What is no configuration, and how its author is told. */
#include "configuration.h"

/* Row 55. */
static void all_errors_are_reported_at_once(void **state)
{
    (void)state;
    bad("listen:\n"
        "  - adress: 0.0.0.0\n"
        "    port: 1080x\n"
        "  - x\n"
        "udp:\n"
        "  idle: 5\n"
        "  idle: 10m\n"
        "  Idle: 9m\n"
        "users:\n"
        "  - name: \"\"\n"
        "dns: {servers: [1.1.1.1:0, [x]], timeout: {}}\n"
        "log:\n"
        "reach: [all]\n",
        "c.yaml:2:5: listen[0]: found the unknown key \"adress\", expected \"address\"\n"
        "c.yaml:3:11: listen[0].port: found \"1080x\", expected a port from 1 to 65535, or a range such as 6881-6999\n"
        "c.yaml:4:5: listen[1]: found a single value, expected a mapping (key: value)\n"
        "c.yaml:6:9: udp.idle: found \"5\", expected off, or a duration from 10s to 720h; the unit is missing: ms, s, "
        "m "
        "or h\n"
        "c.yaml:7:3: udp.idle: found a second time, expected once; the first is on line 6\n"
        "c.yaml:8:3: udp: found the unknown key \"Idle\", expected \"idle\"\n"
        "c.yaml:10:11: users[0].name: found \"\", expected text with a length in bytes from 1 to 255\n"
        "c.yaml:10:5: users[0]: found no password, which is required: hash of the password; conesocks hash-password "
        "makes "
        "one\n"
        "c.yaml:11:17: dns.servers[0]: found \"1.1.1.1:0\", expected an address, address:port or \"[IPv6 "
        "address]:port\"; the port is a number from 1 to 65535\n"
        "c.yaml:11:28: dns.servers[1]: found a list, expected an address, address:port or \"[IPv6 address]:port\"\n"
        "c.yaml:11:43: dns.timeout: found a mapping (key: value), expected a duration from 100ms to 1m\n"
        "c.yaml:12:5: log: found nothing, expected a mapping (key: value); indent its keys below it, or remove this "
        "line\n"
        "c.yaml:13:8: reach: found a list, expected auto, public, private or all; write reach: all\n");
}

static void an_empty_password_is_refused(void **state)
{
    (void)state;
    bad("upstreams: [{name: far, address: 192.0.2.9, user: a, password: ''}]\n",
        "c.yaml:1:64: upstreams[0].password: found an empty password, expected none, or a password with a length in "
        "bytes from 1 to 255\n");
}

/* Row 56; the values are in test_schema.c. */
static void a_file_without_options_is_refused(void **state)
{
    (void)state;
#define NO_OPTIONS                                                                                                     \
    "c.yaml: found no option; expected at least one, such as \"workers: 0\" (without -c the built-in default is "      \
    "used)\n"
    bad("", NO_OPTIONS);
    bad(" \n\n", NO_OPTIONS);
    bad("# nothing\n", NO_OPTIONS);
    bad("---\n...\n", "c.yaml:2:1: found nothing, expected a mapping (key: value)\n");
    bad("1080\n", "c.yaml:1:1: found a single value, expected a mapping (key: value)\n");
    bad("- a\n", "c.yaml:1:1: found a list, expected a mapping (key: value)\n");
    bad("workers: 1\n---\nworkers: 2\n", "c.yaml:2:1: found a second document; expected one only\n");
    bad("workers: 1\nworkers: 1\n",
        "c.yaml:2:1: workers: found a second time, expected once; the first is on line 1\n");
    bad("worker: 1\n", "c.yaml:1:1: found the unknown key \"worker\", expected \"workers\"\n");
    bad("? [workers]\n: 1\n", "c.yaml:1:3: found a list, expected a key\n");
    bad("workers: !!int 1\n", "c.yaml:1:10: found a tag (!name); leave it out\n");
    bad("workers: &n 1\n", "c.yaml:1:10: found an anchor (&name); leave it out\n");
    bad("log: &n {}\n", "c.yaml:1:6: found an anchor (&name); leave it out\n");
    bad("users: !x []\n", "c.yaml:1:8: found a tag (!name); leave it out\n");
    bad("workers: *n\n", "c.yaml:1:10: found an alias (*name); write the value out\n");
    bad("a: &a [x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n",
        "c.yaml:1:4: found an anchor (&name); leave it out\n");
    bad("workers: {\n", "c.yaml:2:1: not valid YAML: did not find expected node content (while parsing a flow node, "
                        "line 2)\n");
    bad("listen: []\n", "c.yaml:1:9: listen: found 0 elements, expected 1 to 4096\n");
}

static void an_unknown_key_without_a_similar_one_lists_all_keys(void **state)
{
    (void)state;
    char *errors, *warnings;
    assert_null(parse_bytes("<<: {workers: 1}", 16, &errors, &warnings));
    const char expected[] =
        "c.yaml:1:1: found the unknown key \"<<\", expected one of listen, users, users_file, rules, ";
    assert_memory_equal(errors, expected, sizeof(expected) - 1);
    assert_string_equal(errors + strlen(errors) - 6, ", run\n");
    free(errors);
}

static void an_unquoted_ipv6_address_gets_a_hint(void **state)
{
    (void)state;
    bad("listen:\n  - address: ::\n", "c.yaml:2:15: not valid YAML: mapping values are not allowed in this context; "
                                      "put IPv6 addresses in quotes: \"::1\"\n");
    struct config *config = good("listen:\n  - address: ::1\n"); /* as it happens */
    config_free(config);
}

static void tabs_get_a_hint(void **state)
{
    (void)state;
    bad("listen:\n\t- port: 1080\n",
        "c.yaml:2:1: not valid YAML: found character that cannot start any token (while scanning "
        "for the next token, line 2); indent with spaces, not with tabs\n");
    config_free(good("workers: 2\t# as ever\n"));
}

static void bytes_that_are_not_utf8_are_refused(void **state)
{
    (void)state;
#define BYTES(text, expected) bad_bytes(text, sizeof(text) - 1, expected)
    BYTES("workers: 1\0\nlog: {}\n", "c.yaml:1:11: found bytes that are not UTF-8 text (control characters are not "
                                     "allowed), expected YAML\n");
    BYTES("log: {}\nworkers: \xff\n", "c.yaml:2:10: found bytes that are not UTF-8 text (invalid leading UTF-8 octet), "
                                      "expected YAML\n");
    BYTES("\xff\xfew\0o\0r\0k\0", "c.yaml:1:1: found UTF-16 text, expected UTF-8; save it as UTF-8\n");
    BYTES("\xef\xbb\xbfworker: 1\n", "c.yaml:1:1: found the unknown key \"worker\", expected \"workers\"\n");
    BYTES("workers: \"1\\0\"\n",
          "c.yaml:1:10: workers: found \"1\\x00\", expected a number from 0 to 256; remove the NUL byte\n");
    BYTES("\"workers\\0\": 1\n", "c.yaml:1:1: found the unknown key \"workers\\x00\", expected \"workers\"\n");
    BYTES("workers: \"\\e[31m\\n\"\n", "c.yaml:1:10: workers: found \"\\x1b[31m\\x0a\", expected a number from 0 to "
                                       "256\n");
}

static char *repeat(const char *unit, size_t size)
{
    size_t len = strlen(unit);
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % len];
    text[size] = '\0';
    return text;
}

/* Row 56. What takes long to parse would show as a test that times out. */
static void huge_and_deep_files_are_refused_fast(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t size;
        const char *expected;
    } rows[] = {
        {"workers: 1\n", 10000000, "c.yaml: found more than 1024 KiB, expected a smaller file\n"},
        {"#", (1 << 20) + 1, "c.yaml: found more than 1024 KiB, expected a smaller file\n"},
        {"#", 1 << 20, NO_OPTIONS},
        {"[", 1 << 20, "c.yaml:1:17: found too many levels of nested values; no option is that deep\n"},
        {"{a: ", 1 << 20, "c.yaml:1:65: found too many levels of nested values; no option is that deep\n"},
        {"- ", 1 << 20, "c.yaml:1:33: found too many levels of nested values; no option is that deep\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = repeat(rows[i].unit, rows[i].size);
        bad(text, rows[i].expected);
        free(text);
    }
}

static void reporting_stops_after_50_errors(void **state)
{
    (void)state;
    char *text = repeat("workers: x\n", 11 * 200), *errors, *warnings;
    assert_null(parse_bytes(text, strlen(text), &errors, &warnings));
    unsigned lines = 0;
    for (const char *c = errors; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 51);
    assert_non_null(strstr(errors, "\nc.yaml: stopped after 50 errors; there may be more\n"));
    free(errors);
    free(text);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *path, *expected;
    } rows[] = {
        {"/nonexistent.yaml", "/nonexistent.yaml: cannot be read: No such file or directory\n"},
        {"/", "/: cannot be read: Is a directory\n"},
        {"/dev/zero", "/dev/zero: found more than 1024 KiB, expected a smaller file\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *errors, *warnings;
        assert_null(config_load(rows[i].path, &errors, &warnings));
        assert_string_equal(errors, rows[i].expected);
        assert_null(warnings);
        free(errors);
    }
}

/* A configuration that all may write to makes everybody root's master, one that all may read gives the hashes away. */
static void permissions_of_the_file_are_checked(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        const char *text, *said;
        bool refused;
    } rows[] = {
        {0666, "workers: 0\n", ": anybody can write to it (mode 0666), expected only its owner and group; run: ", true},
        {0602, "workers: 0\n", ": anybody can write to it (mode 0602), expected only its owner and group; run: ", true},
        {0644, FAR "upstreams: [{name: far, address: 192.0.2.9, user: a, password: b}]\n",
         ": warning: anybody can read this file, and it contains passwords of upstreams; give it to the server's group "
         "(see run.group), then run: chmod o-r ",
         false},
        {0644, USERS,
         ": warning: anybody can read this file, and it contains password hashes of users; give it to the server's "
         "group (see run.group), then run: chmod o-r ",
         false},
        {0644, "workers: 0\n", NULL, false},
        {0640, USERS, NULL, false},
    };
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *errors, *warnings;
        ssize_t len = (ssize_t)strlen(rows[i].text);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, rows[i].text, (size_t)len, 0), len);
        assert_int_equal(fchmod(fd, rows[i].mode), 0);
        struct config *config = config_load(path, &errors, &warnings);
        assert_int_equal(config == NULL, rows[i].refused);
        const char *said = rows[i].refused ? errors : warnings;
        if (rows[i].said)
            assert_non_null(strstr(said, rows[i].said));
        else
            assert_null(said);
        free(errors);
        free(warnings);
        config_free(config);
    }
    close(fd);
    unlink(path);
}

static void passwords_are_never_quoted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "users: [{name: alice, password: hunter2}]",
        "users: [{name: alice, password: [hunter2]}]",
        "users: [{name: alice, password: $1$hunter2}]",
        "users: [{name: alice, password: \"hunter2\\0\"}]",
        "users: [{name: alice, pasword: hunter2}]",
        "users: [\"alice:hunter2\"]",
        "users: {alice: hunter2}",
        "users: hunter2",
        "users: [{name: alice, password: hunter2]",
        "users: [{name: alice, password: !hunter2 x}]",
        "upstreams: [{name: far, address: \"socks5://alice:hunter2@far.example:1080\"}]",
        "upstreams: [{name: far, address: \"alice:hunter2@far.example\"}]",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *errors, *warnings;
        assert_null(parse_bytes(texts[i], strlen(texts[i]), &errors, &warnings));
        if (strstr(errors, "hunter2"))
            fail_msg("%s", errors);
        free(errors);
    }
    bad("users: [{name: alice, password: hunter2}]", "c.yaml:1:33: users[0].password: found plain text, or a DES hash, "
                                                     "expected a strong crypt(3) hash; run: conesocks hash-password\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_errors_are_reported_at_once),
        cmocka_unit_test(an_empty_password_is_refused),
        cmocka_unit_test(a_file_without_options_is_refused),
        cmocka_unit_test(an_unknown_key_without_a_similar_one_lists_all_keys),
        cmocka_unit_test(an_unquoted_ipv6_address_gets_a_hint),
        cmocka_unit_test(tabs_get_a_hint),
        cmocka_unit_test(bytes_that_are_not_utf8_are_refused),
        cmocka_unit_test(huge_and_deep_files_are_refused_fast),
        cmocka_unit_test(reporting_stops_after_50_errors),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
        cmocka_unit_test(permissions_of_the_file_are_checked),
        cmocka_unit_test(passwords_are_never_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
