#include "policy/snapshot.h"

#include <pthread.h>
#include <string.h>

#include "test.h"

static struct snapshot *made_of(const char *text)
{
    char *errors, *warnings;
    struct config *config = config_parse("test", text, strlen(text), &errors, &warnings);
    assert_non_null(config);
    assert_null(warnings);
    struct snapshot *snapshot = snapshot_new(config);
    assert_non_null(snapshot);
    return snapshot;
}

static void holds_what_is_derived(void **state)
{
    (void)state;
    struct snapshot *snapshot =
        made_of("users: [{name: alice, password: '$6$rounds=1000$conesocks$vl8hNS3U5BdcaYgEGyG6e"
                "INmGt7WF9MSD7MfPEomWXvR6R/tjFbpLERk8CdlhglZUj5uGeBjcaGJnyODPBYb..'}]\n"
                "rules: [{action: deny, to: [192.0.2.0/24]}]\n");
    assert_ptr_equal(users_find(&snapshot->users, "alice"), snapshot->config->users);
    union netaddr client, to;
    struct subject subject;
    assert_true(netaddr_parse(&client, "127.0.0.1", 1) && netaddr_parse(&to, "192.0.2.1", 1));
    assert_true(subject_init(&subject, snapshot->rules, &client, "alice", NULL, CONFIG_COMMAND_UDP));
    assert_int_equal(rules_find(&subject, NULL, &to, 53).rule, 0);
    subject_deinit(&subject);
    snapshot_release(snapshot);
}

static void lives_for_its_last_holder(void **state)
{
    (void)state;
    struct snapshot *snapshot = made_of("listen: [{port: 1081}]\n");
    assert_null(snapshot->rules);
    assert_ptr_equal(snapshot_hold(snapshot), snapshot);
    snapshot_release(snapshot);
    assert_int_equal(netaddr_port(&snapshot->config->listen[0].address), 1081);
    snapshot_release(snapshot);
    snapshot_release(NULL);
}

#define ROUNDS 10000
static void *hold_and_release(void *arg)
{
    for (int i = 0; i < ROUNDS; i++)
        snapshot_release(snapshot_hold(arg));
    snapshot_release(arg);
    return NULL;
}

/* Whichever thread is last frees it, once. */
static void is_counted_across_threads(void **state)
{
    (void)state;
    struct snapshot *snapshot = made_of("workers: 3\n");
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hold_and_release, snapshot_hold(snapshot)), 0);
    snapshot_release(snapshot);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_what_is_derived),
        cmocka_unit_test(lives_for_its_last_holder),
        cmocka_unit_test(is_counted_across_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
