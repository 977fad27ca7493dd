#include "conf/changes.h"

#include "conf/config.h"

#include <stdlib.h>
#include <string.h>

#include "test.h"

static struct config *made_of(const char *text)
{
    char *errors, *warnings;
    struct config *config = config_parse("test", text, strlen(text), &errors, &warnings);
    assert_non_null(config);
    free(warnings);
    return config;
}

static void expect(const char *running, const char *fresh, const char *keys)
{
    struct config *a = made_of(running), *b = made_of(fresh);
    char *found = changes_at_start(a, b);
    if (keys)
        assert_string_equal(found, keys);
    else
        assert_null(found);
    free(found);
    config_free(a);
    config_free(b);
}

static void changed_start_options_are_listed(void **state)
{
    (void)state;
    expect("workers: 1\n", "workers: 2\n", "workers");
    expect("run: {user: a}\nworkers: 3\n", "log: {target: syslog}\nrun: {user: b, sandbox: off}\nworkers: 3\n",
           "log.target, run.user, run.sandbox");
    expect("limits: {memory: 64MiB}\n", "limits: {failed_logins: 3}\n", "limits.memory");
    expect("run: {pid_file: /run/a, group: g}\n", "udp: {offload: off}\n", "udp.offload, run.group, run.pid_file");
    expect("udp: {kernel_path: off}\n", "udp: {kernel_path: auto}\n", "udp.kernel_path");
}

static void other_changes_are_not_listed(void **state)
{
    (void)state;
    expect("workers: 1\n", "workers: 1\n", NULL);
    expect("reach: all\nudp: {idle: 5m}\n", "listen: [{port: 1081}]\nlog: {level: debug}\nudp: {enabled: false}\n",
           NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changed_start_options_are_listed),
        cmocka_unit_test(other_changes_are_not_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
