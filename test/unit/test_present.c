#include "test.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "conf/config.h"

#define HASH "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"

static char path[] = "/tmp/conesocks-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

/* What is warned of, without the path before each line. */
static char *warnings_of(const char *text)
{
    char *errors, *warnings, *plain = NULL;
    size_t size;
    FILE *file = fopen(path, "w"), *out = open_memstream(&plain, &size);
    fputs(text, file);
    fclose(file);
    struct config *config = config_load(path, &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    for (char *line = warnings; line && *line; line = strchr(line, '\n') + 1)
        fprintf(out, "%.*s\n", (int)strcspn(line + strlen(path) + 1, "\n"), line + strlen(path) + 1);
    fclose(out);
    config_free(config);
    free(warnings);
    return plain;
}

static void warns(const char *text, const char *expected)
{
    char *warnings = warnings_of(text);
    assert_string_equal(warnings, expected);
    free(warnings);
}

#define HERE  " now (list its addresses with: ip address); "
#define LEAVE HERE "sessions that should use it fail\n"

static void missing_addresses_are_warned_about(void **state)
{
    (void)state;
    warns("outbound:\n  address_v4: 192.0.2.1\n",
          "2:15: warning: outbound.address_v4: this host does not have the address 192.0.2.1" LEAVE);
    warns("outbound: {address_v4: 127.0.0.1}",
          "1:24: warning: outbound.address_v4: a loopback address cannot reach other hosts; use another address of "
          "this host (list them with: ip address)\n");
    warns("rules:\n- {action: allow, address_v4: 192.0.2.1}\n",
          "2:31: warning: rules[0].address_v4: this host does not have the address 192.0.2.1" LEAVE);
    warns("users: [{name: alice, password: " HASH ", address_v4: 192.0.2.1}]\n",
          "1:120: warning: users[0].address_v4: this host does not have the address 192.0.2.1" LEAVE);
    warns("listen:\n- {address: 127.0.0.1}\n- {address: 10.254.253.252, open: true, auth: none}\n",
          "3:13: warning: listen[1].address: this host does not have the address 10.254.253.252" HERE
          "the server does not start without it\n");
    warns("admin: {address: 192.0.2.1, port: 99, open: true}",
          "1:18: warning: admin.address: this host does not have the address 192.0.2.1" HERE
          "the server does not start without it\n");
}

static void missing_interfaces_are_warned_about(void **state)
{
    (void)state;
    warns("outbound: {interface: lo}", "");
    warns("outbound: {interface: nosuch0}",
          "1:23: warning: outbound.interface: this host does not have the interface \"nosuch0\" now (list its "
          "interfaces with: ip link); the server does not start without it\n");
    warns("rules: [{action: allow, interface: nosuch0}]",
          "1:36: warning: rules[0].interface: this host does not have the interface \"nosuch0\" now (list its "
          "interfaces with: ip link); the server does not start without it\n");
}

static void missing_folders_are_warned_about(void **state)
{
    (void)state;
    warns(
        "run: {pid_file: /nonexistent/pid}",
        "1:17: warning: run.pid_file: the folder /nonexistent does not exist; the server does not start without it\n");
}

static void rules_about_unknown_users_are_warned_about(void **state)
{
    (void)state;
    const char *const nobody = "so nobody matches it; add the user, or correct the name\n";
    char expected[256];
    snprintf(expected, sizeof(expected), "3:40: warning: rules[0].user[1]: there is no user \"bbo\", %s", nobody);
    warns("users: [{name: alice, password: " HASH "}]\nrules:\n- {action: allow, user: [ alice      , bbo]}\n",
          expected);
    snprintf(expected, sizeof(expected), "1:33: warning: rules[0].user[0]: there is no user \"a\\x0ab\", %s", nobody);
    warns("rules: [{action: allow, user: [ \"a\\nb\"]}]", expected);
}

/* Thousands of them would hide each other. */
static void the_number_of_warnings_is_bounded(void **state)
{
    (void)state;
    char *text, *warnings;
    size_t size, lines = 0;
    FILE *out = open_memstream(&text, &size);
    fputs("rules:\n", out);
    for (int i = 0; i < 60; i++)
        fprintf(out, "- {action: allow, user: [user%d]}\n", i);
    fclose(out);
    warnings = warnings_of(text);
    for (const char *line = warnings; *line; line = strchr(line, '\n') + 1)
        lines++;
    assert_int_equal(lines, 51);
    assert_non_null(strstr(warnings, "\n warning: 10 more warnings, not shown\n"));
    free(warnings);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing_addresses_are_warned_about),
        cmocka_unit_test(missing_interfaces_are_warned_about),
        cmocka_unit_test(missing_folders_are_warned_about),
        cmocka_unit_test(rules_about_unknown_users_are_warned_about),
        cmocka_unit_test(the_number_of_warnings_is_bounded),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
