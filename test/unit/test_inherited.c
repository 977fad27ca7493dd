#include "test.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/config.h"
#include "daemon/inherited.h"
#include "net/sock.h"

#define SOCKETS_MAX 8

/* So many sockets that share one address. */
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

/* Each worker has a socket, and each socket a worker. */
static void every_worker_and_every_socket_has_a_partner(void **state)
{
    (void)state;
    for (size_t count = 1; count <= SOCKETS_MAX; count++) {
        for (size_t workers = 1; workers <= SOCKETS_MAX; workers++) {
            struct config_endpoint endpoint = {0};
            const struct config config = {.endpoints = &endpoint, .endpoint_count = 1};
            struct inherited *inherited = inherit(count, &endpoint.address);
            ino_t seen[SOCKETS_MAX];
            size_t seen_count = 0, shares = 0;
            for (size_t worker = 0; worker < workers; worker++) {
                const struct inherited_share share = {inherited, worker, workers};
                size_t position = 0, own = 0;
                for (int fd; (fd = inherited_next(&share, &config, 0, &position)) >= 0; own++) {
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

/* With many ports: a socket that nobody would accept from would lose its clients. */
static void with_many_ports_each_socket_has_one_worker(void **state)
{
    (void)state;
    enum { ENDPOINTS = 100, WORKERS = 3 };
    static struct config_endpoint endpoints[ENDPOINTS];
    const struct config config = {.endpoints = endpoints, .endpoint_count = ENDPOINTS};
    for (size_t count = 1; count <= SOCKETS_MAX; count++) {
        struct inherited *inherited = inherit(count, &endpoints[7].address);
        size_t taken = 0;
        for (size_t worker = 0; worker < WORKERS; worker++) {
            const struct inherited_share share = {inherited, worker, WORKERS};
            size_t position = 0;
            for (int fd; (fd = inherited_next(&share, &config, 7, &position)) >= 0; taken++)
                close(fd);
        }
        assert_int_equal(taken, count);
        inherited_free(inherited);
    }
}

static void another_address_has_no_sockets(void **state)
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
    struct config_endpoint endpoint = {.address = other};
    const struct config config = {.endpoints = &endpoint, .endpoint_count = 1};
    assert_int_equal(inherited_next(&share, &config, 0, &position), -ENOENT);
    inherited_free(inherited);
}

static void only_listening_sockets_are_accepted(void **state)
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
        cmocka_unit_test(every_worker_and_every_socket_has_a_partner),
        cmocka_unit_test(with_many_ports_each_socket_has_one_worker),
        cmocka_unit_test(another_address_has_no_sockets),
        cmocka_unit_test(only_listening_sockets_are_accepted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
