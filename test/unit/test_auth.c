#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <crypt.h>
#include <dlfcn.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "policy/auth.h"

/* Stands before libcrypt's: counts the checks, keeps the last setting, and can hold one up. */
static atomic_int checks;
static char last_setting[CRYPT_OUTPUT_SIZE]; /* the helper's, until its answer is waited for */
static sem_t held, released;
static atomic_bool hold;

char *crypt_r(const char *phrase, const char *setting, struct crypt_data *data)
{
    static char *(*real)(const char *, const char *, struct crypt_data *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "crypt_r");
    snprintf(last_setting, sizeof(last_setting), "%s", setting);
    if (atomic_load(&hold)) {
        sem_post(&held);
        sem_wait(&released);
    }
    atomic_fetch_add(&checks, 1);
    return real(phrase, setting, data);
}

#define LONG_PASSWORD_LEN 255
static char long_password[LONG_PASSWORD_LEN + 1];

static char *hash(const char *password, const char *method, unsigned long cost)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    assert_non_null(crypt_gensalt_rn(method, cost, NULL, 0, setting, sizeof(setting)));
    const char *made = crypt(password, setting);
    assert_non_null(made);
    return strdup(made);
}

/* Takes over the hash. */
static struct config_user user(const char *name, char *password)
{
    return (struct config_user){.name = strdup(name), .password = password};
}

static void free_user(struct config_user *gone)
{
    free(gone->name);
    free(gone->password);
}

static struct config_user users[6];
#define USERS (sizeof(users) / sizeof(users[0]))

/* Those of the auth that was started last, and how long what they get right counts. */
static struct users known;
static uint64_t remember_ms;

static struct auth *start_auth(const struct config_user *list, size_t count, uint64_t remembered_ms)
{
    users_deinit(&known);
    assert_true(users_init(&known, list, count));
    remember_ms = remembered_ms;
    return auth_new();
}

static int make_users(void **state)
{
    (void)state;
    memset(long_password, 'p', LONG_PASSWORD_LEN);
    users[0] = user("alice", hash("wonderland", "$y$", 1));
    users[1] = user("bob", hash("builder", "$6$", 1000));
    users[2] = user("empty", hash("", "$y$", 1));
    users[3] = user("long", hash(long_password, "$y$", 1));
    users[4] = user("locked", strdup("*"));
    users[5] = user("failing", strdup("*0")); /* what libcrypt returns for a failure */
    return 0;
}

static int free_users(void **state)
{
    (void)state;
    for (size_t i = 0; i < USERS; i++)
        free_user(&users[i]);
    users_deinit(&known);
    return 0;
}

/* A job and what became of it; the first member, so that one is the other. */
struct wish {
    struct auth_job job;
    sem_t answered;
    int answers;
};

static void on_done(struct auth_job *job)
{
    struct wish *wish = (struct wish *)job;
    wish->answers++;
    sem_post(&wish->answered);
}

static void prepare(struct wish *wish, const char *user, const char *password)
{
    memset(wish, 0, sizeof(*wish));
    sem_init(&wish->answered, 0, 0);
    static uint32_t clients; /* each is another, whom nobody knows */
    const uint32_t host = htonl(0x0a000000 + ++clients);
    wish->job.client = netaddr_from_bytes((const uint8_t *)&host, sizeof(host), 0);
    wish->job.users = &known;
    wish->job.remember_ms = remember_ms;
    strcpy(wish->job.user, user);
    strcpy(wish->job.password, password);
    wish->job.done = on_done;
}

static void expect_wiped(const struct wish *wish)
{
    for (size_t i = 0; i < sizeof(wish->job.password); i++)
        assert_int_equal(wish->job.password[i], 0);
}

static bool accepts(struct auth *auth, const char *user, const char *password)
{
    struct wish wish;
    prepare(&wish, user, password);
    assert_true(auth_submit(auth, &wish.job));
    sem_wait(&wish.answered);
    assert_int_equal(wish.answers, 1);
    expect_wiped(&wish);
    return wish.job.verdict == AUTH_RIGHT;
}

static void accepts_only_the_right_password(void **state)
{
    (void)state;
    struct auth *auth = start_auth(users, USERS, 0);
    assert_non_null(auth);
    assert_true(accepts(auth, "alice", "wonderland"));
    assert_false(accepts(auth, "alice", "wonderlanD"));
    assert_false(accepts(auth, "alice", "wonderland "));
    assert_false(accepts(auth, "alice", ""));
    assert_false(accepts(auth, "alice", "builder"));
    assert_false(accepts(auth, "Alice", "wonderland"));
    assert_false(accepts(auth, "alice", users[0].password)); /* the hash is no password */
    assert_true(accepts(auth, "bob", "builder"));
    assert_false(accepts(auth, "bob", "wonderland"));
    assert_true(accepts(auth, "empty", ""));
    assert_false(accepts(auth, "empty", " "));
    assert_true(accepts(auth, "long", long_password));
    assert_false(accepts(auth, "long", long_password + 1));
    auth_free(auth);
}

static void accepts_nothing_for_a_hash_that_is_none(void **state)
{
    (void)state;
    struct auth *auth = start_auth(users, USERS, 0);
    for (size_t i = 4; i < USERS; i++) {
        assert_false(accepts(auth, users[i].name, ""));
        assert_false(accepts(auth, users[i].name, users[i].password));
        assert_false(accepts(auth, users[i].name, "*1"));
    }
    auth_free(auth);
}

/* Row 49: an unknown user's password costs one check by the same method at the same cost. */
/* Row 49: one check each, of a kind that some user's is, and of the same each time. */
static void row_49_unknown_users_cost_the_same(void **state)
{
    (void)state;
    struct auth *auth = start_auth(users, USERS, 0);
    size_t like[USERS] = {0};
    for (int i = 0; i < 100; i++) {
        char name[16], first[CRYPT_OUTPUT_SIZE];
        snprintf(name, sizeof(name), "mallory%d", i);
        atomic_store(&checks, 0);
        assert_false(accepts(auth, name, "guess"));
        assert_int_equal(atomic_load(&checks), 1);
        memcpy(first, last_setting, sizeof(first));
        assert_false(accepts(auth, name, "another guess"));
        assert_string_equal(last_setting, first);
        for (size_t j = 0; j < USERS; j++)
            like[j] += strcmp(first, users[j].password) == 0;
    }
    size_t sum = 0;
    for (size_t j = 0; j < USERS; j++) {
        assert_true(like[j] > 0);
        sum += like[j];
    }
    assert_int_equal(sum, 100);
    auth_free(auth);
}

/* Not even with the password of the hash that stands in. */
static void an_unknown_user_has_no_password(void **state)
{
    (void)state;
    struct auth *auth = start_auth(users, 1, 60000);
    assert_true(accepts(auth, "alice", "wonderland"));
    assert_false(accepts(auth, "mallory", "wonderland"));
    assert_string_equal(last_setting, users[0].password);
    assert_false(accepts(auth, "", "wonderland"));
    auth_free(auth);
}

static void accepts_nobody_without_users(void **state)
{
    (void)state;
    struct auth *auth = start_auth(NULL, 0, 0);
    assert_false(accepts(auth, "alice", "wonderland"));
    auth_free(auth);
}

/* The queue is bounded, and what is in it at the end is answered: unchecked. */
static void ends_with_a_full_queue(void **state)
{
    (void)state;
    static struct wish first, queued[AUTH_QUEUE_MAX], refused;
    struct auth *auth = start_auth(users, USERS, 0);
    atomic_store(&hold, true);
    prepare(&first, "alice", "wonderland");
    assert_true(auth_submit(auth, &first.job));
    sem_wait(&held); /* out of the queue, in the helper's hands */
    for (int i = 0; i < AUTH_QUEUE_MAX; i++) {
        prepare(&queued[i], "alice", "wonderland");
        assert_true(auth_submit(auth, &queued[i].job));
    }
    prepare(&refused, "alice", "wonderland");
    assert_false(auth_submit(auth, &refused.job));

    atomic_store(&hold, false);
    sem_post(&released);
    auth_free(auth);
    assert_int_equal(first.answers, 1);
    assert_int_equal(first.job.verdict, AUTH_RIGHT);
    assert_int_equal(refused.answers, 0);
    for (int i = 0; i < AUTH_QUEUE_MAX; i++) {
        assert_int_equal(queued[i].answers, 1);
        expect_wiped(&queued[i]);
    }
    assert_int_equal(queued[AUTH_QUEUE_MAX - 1].job.verdict, AUTH_UNCHECKED); /* it had 255 checks before it */
}

static void answers_in_order_and_goes_on(void **state)
{
    (void)state;
    static struct wish wishes[8];
    struct auth *auth = start_auth(users, USERS, 0);
    for (int round = 0; round < 3; round++) { /* the queue runs empty in between */
        for (int i = 0; i < 8; i++) {
            prepare(&wishes[i], "alice", i % 2 ? "wrong" : "wonderland");
            assert_true(auth_submit(auth, &wishes[i].job));
        }
        sem_wait(&wishes[7].answered);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(wishes[i].answers, 1);
            assert_int_equal(wishes[i].job.verdict, i % 2 ? AUTH_WRONG : AUTH_RIGHT);
        }
    }
    auth_free(auth);
}

/* Somebody who has left is not worth 16 ms; a full queue of them is empty at once. */
static void abandoned_jobs_are_not_checked(void **state)
{
    (void)state;
    static struct wish first, left[AUTH_QUEUE_MAX - 1], stays;
    struct auth *auth = start_auth(users, USERS, 0);
    atomic_store(&hold, true);
    prepare(&first, "alice", "wonderland");
    assert_true(auth_submit(auth, &first.job));
    sem_wait(&held);
    for (int i = 0; i < AUTH_QUEUE_MAX - 1; i++) {
        prepare(&left[i], "alice", "wonderland");
        assert_true(auth_submit(auth, &left[i].job));
        atomic_store(&left[i].job.abandoned, true); /* late, as when a session ends */
    }
    prepare(&stays, "alice", "wonderland");
    assert_true(auth_submit(auth, &stays.job));
    int before = atomic_load(&checks);
    atomic_store(&hold, false);
    sem_post(&released);
    sem_wait(&stays.answered);
    assert_int_equal(atomic_load(&checks) - before, 2);
    assert_int_equal(stays.job.verdict, AUTH_RIGHT);
    for (int i = 0; i < AUTH_QUEUE_MAX - 1; i++) { /* handed back all the same */
        assert_int_equal(left[i].answers, 1);
        assert_int_equal(left[i].job.verdict, AUTH_UNCHECKED);
        expect_wiped(&left[i]);
    }
    auth_free(auth);
}

static struct wish ask_at(struct auth *auth, uint64_t now_ms, const char *name, const char *password)
{
    struct wish wish;
    prepare(&wish, name, password);
    wish.job.now_ms = now_ms;
    assert_true(auth_submit(auth, &wish.job));
    sem_wait(&wish.answered);
    return wish;
}

static void a_right_login_is_hashed_once_in_a_while(void **state)
{
    (void)state;
    struct auth *auth = start_auth(users, USERS, 60000);
    int before = atomic_load(&checks);
    struct wish wish = ask_at(auth, 1000, "alice", "wonderland");
    assert_int_equal(wish.job.right_until_ms, 61000);
    for (int i = 0; i < 100; i++) {
        wish = ask_at(auth, 60999, "alice", "wonderland");
        assert_int_equal(wish.job.verdict, AUTH_RIGHT);
        assert_int_equal(wish.job.right_until_ms, 61000); /* asking does not prolong it */
    }
    assert_int_equal(atomic_load(&checks) - before, 1);
    wish = ask_at(auth, 61000, "alice", "wonderland");
    assert_int_equal(wish.job.verdict, AUTH_RIGHT);
    assert_int_equal(atomic_load(&checks) - before, 2);
    auth_free(auth);
}

static void a_wrong_login_is_hashed_each_time(void **state)
{
    (void)state;
    struct auth *auth = start_auth(users, USERS, 60000);
    assert_int_equal(ask_at(auth, 1, "alice", "wonderland").job.verdict, AUTH_RIGHT);
    int before = atomic_load(&checks);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(ask_at(auth, 2, "alice", "wonderlanD").job.verdict, AUTH_WRONG);
        assert_int_equal(ask_at(auth, 2, "Alice", "wonderland").job.verdict, AUTH_WRONG);
        assert_int_equal(ask_at(auth, 2, "bob", "wonderland").job.verdict, AUTH_WRONG);
        assert_int_equal(ask_at(auth, 2, "mallory", "wonderland").job.verdict, AUTH_WRONG); /* as for the stand-in */
    }
    assert_int_equal(atomic_load(&checks) - before, 12);
    auth_free(auth);
}

static bool same_proof(struct login_proof a, struct login_proof b)
{
    return memcmp(a.mac, b.mac, sizeof(a.mac)) == 0;
}

/* A change of the user's hash makes every proof of before worthless; so does another process. */
static void a_proof_is_of_user_hash_and_password(void **state)
{
    (void)state;
    const uint8_t key[LOGIN_KEY_LEN] = {1}, other[LOGIN_KEY_LEN] = {2};
    struct login_proof proof = login_proof_make(key, "alice", "hash", "password");
    assert_true(same_proof(proof, login_proof_make(key, "alice", "hash", "password")));
    assert_false(same_proof(proof, login_proof_make(other, "alice", "hash", "password")));
    assert_false(same_proof(proof, login_proof_make(key, "alice", "hasi", "password")));
    assert_false(same_proof(proof, login_proof_make(key, "alicf", "hash", "password")));
    assert_false(same_proof(proof, login_proof_make(key, "alice", "hash", "passwore")));
    assert_false(same_proof(proof, login_proof_make(key, "aliceh", "ash", "password")));
    assert_false(same_proof(proof, login_proof_make(key, "alice", "hashp", "assword")));
    assert_false(same_proof(proof, login_proof_make(key, "alicehashpassword", "", "")));

    struct auth *first = start_auth(users, USERS, 1), *second = start_auth(users, USERS, 1);
    assert_true(same_proof(auth_proof(first, &known, "bob", "x"), auth_proof(first, &known, "bob", "x")));
    assert_false(same_proof(auth_proof(first, &known, "bob", "x"), auth_proof(second, &known, "bob", "x")));
    auth_free(first);
    auth_free(second);
}

/* Another name for the same user: the old one is nobody's, although his hash is still there to stand in. */
static void a_cache_does_not_know_who_is_gone(void **state)
{
    (void)state;
    struct config_user after = user("alicia", strdup(users[0].password));
    struct users renamed;
    assert_true(users_init(&renamed, &after, 1));
    struct auth *auth = start_auth(users, 1, 60000);
    struct login_proof proof = auth_proof(auth, &known, "alice", "wonderland");
    assert_true(accepts(auth, "alice", "wonderland"));
    assert_false(same_proof(proof, auth_proof(auth, &renamed, "alice", "wonderland")));
    struct wish wish;
    prepare(&wish, "alice", "wonderland");
    wish.job.users = &renamed;
    assert_true(auth_submit(auth, &wish.job));
    sem_wait(&wish.answered);
    assert_int_equal(wish.job.verdict, AUTH_WRONG);
    auth_free(auth);
    users_deinit(&renamed);
    free_user(&after);
}

static void finds_each_of_many_users(void **state)
{
    (void)state;
    struct config_user many[500];
    char *shared = hash("shared", "$6$", 1000);
    for (int i = 0; i < 500; i++) {
        char name[16];
        snprintf(name, sizeof(name), "u%d", i * 7919 % 500);
        many[i] = user(name, shared);
    }
    struct auth *auth = start_auth(many, 500, 0);
    assert_true(accepts(auth, "u0", "shared"));
    assert_true(accepts(auth, "u499", "shared"));
    assert_true(accepts(auth, "u250", "shared"));
    assert_false(accepts(auth, "u500", "shared"));
    assert_false(accepts(auth, "u", "shared"));
    auth_free(auth);
    for (int i = 0; i < 500; i++)
        free(many[i].name);
    free(shared);
}

static void frees_nothing(void **state)
{
    (void)state;
    auth_free(NULL);
    auth_free(start_auth(users, USERS, 0));
}

static void hashes_what_it_accepts(void **state)
{
    (void)state;
    const char *const passwords[] = {"secret", "", long_password};
    for (size_t i = 0; i < sizeof(passwords) / sizeof(passwords[0]); i++) {
        char *made = auth_hash_password(passwords[i]), *again = auth_hash_password(passwords[i]);
        assert_non_null(made);
        assert_non_null(again);
        assert_memory_equal(made, "$y$", 3);
        assert_string_not_equal(made, again); /* salted */
        struct config_user carol = user("carol", made);
        struct auth *auth = start_auth(&carol, 1, 0);
        assert_true(accepts(auth, "carol", passwords[i]));
        assert_false(accepts(auth, "carol", "Secret"));
        auth_free(auth);
        free_user(&carol);
        free(again);
    }
}

/* Row 49: whichever worker has asked, and however many logins were on their way. */
static void row_49_failures_of_all_threads_count_together(void **state)
{
    (void)state;
    enum { FREE = 5, TRIED = 12 };
    static struct wish wishes[TRIED], right;
    struct auth *auth = start_auth(users, USERS, 0);
    const union netaddr client = netaddr_from_bytes((const uint8_t[]){192, 0, 2, 7}, 4, 0);
    auth_limit_failures(auth, FREE);
    for (int i = 0; i < TRIED; i++) {
        prepare(&wishes[i], "bob", "wrong");
        wishes[i].job.client = client;
        assert_true(auth_submit(auth, &wishes[i].job));
    }
    for (int i = 0; i < TRIED; i++) {
        sem_wait(&wishes[i].answered);
        assert_int_equal(wishes[i].job.verdict, i < FREE ? AUTH_WRONG : AUTH_THROTTLED);
        assert_int_equal(wishes[i].job.block, i == FREE - 1 ? AUTH_ADDRESS_BLOCKED : AUTH_NOT_BLOCKED);
        expect_wiped(&wishes[i]);
    }
    assert_int_equal(auth_blocks(auth, &client, 0), AUTH_ADDRESS_BLOCKED);
    prepare(&right, "bob", "builder");
    right.job.client = client;
    assert_true(auth_submit(auth, &right.job));
    sem_wait(&right.answered);
    assert_int_equal(right.job.verdict, AUTH_THROTTLED);
    assert_int_equal(auth_blocks(auth, &client, 12000), AUTH_NOT_BLOCKED); /* one of five a minute has expired */
    auth_free(auth);
}

/* Row 49: strangers have filled their queue; who has logged in from his address before is next, and not the last. */
static void row_49_known_addresses_have_their_own_queue(void **state)
{
    (void)state;
    static struct wish first, strangers[AUTH_QUEUE_MAX], returns, late;
    struct auth *auth = start_auth(users, USERS, 0);
    atomic_store(&hold, true);
    prepare(&first, "alice", "wonderland");
    const union netaddr home = first.job.client;
    assert_false(auth_knows(auth, &home, AUTH_KNOWN_MS - 1));
    assert_true(auth_submit(auth, &first.job));
    sem_wait(&held);
    sem_post(&released);
    sem_wait(&first.answered);
    assert_true(auth_knows(auth, &home, AUTH_KNOWN_MS - 1));
    assert_false(auth_knows(auth, &home, AUTH_KNOWN_MS));

    for (int i = 0; i < AUTH_QUEUE_MAX; i++) {
        prepare(&strangers[i], "alice", "wrong");
        assert_true(auth_submit(auth, &strangers[i].job));
        if (i == 0)
            sem_wait(&held); /* and its place is free again */
    }
    prepare(&late, "alice", "wrong");
    assert_true(auth_submit(auth, &late.job));
    assert_false(auth_knows(auth, &strangers[0].job.client, 0));
    prepare(&returns, "alice", "wonderland");
    returns.job.client = home;
    assert_true(auth_submit(auth, &returns.job));
    int before = atomic_load(&checks);
    for (int i = 0; i < 3; i++) { /* the one in hand, at most one more, the known one's */
        sem_post(&released);
        sem_wait(&held);
    }
    assert_in_range(atomic_load(&checks) - before, 2, 3);
    sem_wait(&returns.answered);
    assert_int_equal(returns.job.verdict, AUTH_RIGHT);
    assert_int_equal(late.answers, 0);
    atomic_store(&hold, false);
    sem_post(&released);
    auth_free(auth);
}

int main(void)
{
    sem_init(&held, 0, 0);
    sem_init(&released, 0, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepts_only_the_right_password),
        cmocka_unit_test(accepts_nothing_for_a_hash_that_is_none),
        cmocka_unit_test(row_49_unknown_users_cost_the_same),
        cmocka_unit_test(an_unknown_user_has_no_password),
        cmocka_unit_test(accepts_nobody_without_users),
        cmocka_unit_test(ends_with_a_full_queue),
        cmocka_unit_test(answers_in_order_and_goes_on),
        cmocka_unit_test(abandoned_jobs_are_not_checked),
        cmocka_unit_test(row_49_failures_of_all_threads_count_together),
        cmocka_unit_test(row_49_known_addresses_have_their_own_queue),
        cmocka_unit_test(a_right_login_is_hashed_once_in_a_while),
        cmocka_unit_test(a_wrong_login_is_hashed_each_time),
        cmocka_unit_test(a_proof_is_of_user_hash_and_password),
        cmocka_unit_test(a_cache_does_not_know_who_is_gone),
        cmocka_unit_test(finds_each_of_many_users),
        cmocka_unit_test(frees_nothing),
        cmocka_unit_test(hashes_what_it_accepts),
    };
    return cmocka_run_group_tests(tests, make_users, free_users);
}
