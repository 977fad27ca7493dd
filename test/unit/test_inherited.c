#include "test.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/inherited.h"
#include "net/sock.h"

#define SOCKETS_MAX 8

/* This many sockets that share one address, of which it gets one descriptor each. */
static struct inherited *inherit(size_t count, union netaddr *address)
{
    struct inherited *inherited = inherited_new();
    assert_non_null(inherited);
    *address = netaddr_any(AF_INET);
    for (size_t i = 0; i < count; i++) {
        int fd = sock_listen(address, true);
        assert_true(fd >= 0);
        *address = sock_local(fd);
        assert_true(inherited_add(inherited, fd));
    }
    return inherited;
}

/* Each worker listens somewhere, and somebody at each socket. */
static void nobody_is_left_out(void **state)
{
    (void)state;
    for (size_t count = 1; count <= SOCKETS_MAX; count++) {
        for (size_t workers = 1; workers <= SOCKETS_MAX; workers++) {
            union netaddr address;
            struct inherited *inherited = inherit(count, &address);
            ino_t seen[SOCKETS_MAX];
            size_t seen_count = 0, shares = 0;
            for (size_t worker = 0; worker < workers; worker++) {
                const struct inherited_share share = {inherited, worker, workers};
                size_t position = 0, own = 0;
                for (int fd; (fd = inherited_next(&share, &address, &position)) >= 0; own++) {
                    struct stat status;
                    assert_int_equal(fstat(fd, &status), 0);
                    close(fd);
                    bool known = false;
                    for (size_t i = 0; i < seen_count; i++)
                        known = known || seen[i] == status.st_ino;
                    if (!known)
                        seen[seen_count++] = status.st_ino;
                }
                assert_true(own > 0);
                shares += own;
            }
            assert_int_equal(seen_count, count);
            assert_int_equal(shares, count > workers ? count : workers); /* no socket for more than it takes */
            inherited_free(inherited);
        }
    }
}

static void another_address_has_none(void **state)
{
    (void)state;
    union netaddr address, other;
    struct inherited *inherited = inherit(2, &address);
    struct inherited_share share = {inherited, 0, 1};
    size_t position = 0;
    other = address;
    netaddr_set_port(&other, 1);
    assert_true(inherited_has(inherited, &address));
    assert_false(inherited_has(inherited, &other));
    assert_int_equal(inherited_next(&share, &other, &position), -ENOENT);
    inherited_free(inherited);
}

static void what_is_no_listener_is_refused(void **state)
{
    (void)state;
    struct inherited *inherited = inherited_new();
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    assert_false(inherited_add(inherited, pipes[0]));
    assert_int_equal(close(pipes[0]), -1); /* taken over all the same */
    close(pipes[1]);
    assert_false(inherited_add(inherited, sock_udp_open(NULL, AF_INET, false)));
    union netaddr address = netaddr_any(AF_INET);
    assert_false(inherited_has(inherited, &address));
    inherited_free(inherited);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_left_out),
        cmocka_unit_test(another_address_has_none),
        cmocka_unit_test(what_is_no_listener_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
