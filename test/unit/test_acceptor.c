/* Whether a listening socket rests when there is no descriptor to accept a connection with, and is heard again later.
 */
#include "test.h"

#include <errno.h>
#include <event2/event.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/acceptor.h"
#include "net/sock.h"

struct listening {
    struct event_base *base;
    struct acceptor acceptor;
    int fd, client;
    unsigned ready;
    bool is_short;
};

/* The connection stays unaccepted, so the socket stays readable. */
static void listening_on_ready(void *arg)
{
    struct listening *listening = arg;
    listening->ready++;
    if (listening->is_short)
        acceptor_rest(&listening->acceptor);
    else
        acceptor_stop(&listening->acceptor);
    event_base_loopbreak(listening->base);
}

static int make_listening(void **state)
{
    static struct listening listening;
    union netaddr address = netaddr_any(AF_INET);
    address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    listening = (struct listening){.base = event_base_new(), .fd = sock_listen(&address, false)};
    assert_true(listening.fd >= 0);
    address = sock_local(listening.fd);
    listening.client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(listening.client, &address.sa, sizeof(address.v4)), 0);
    acceptor_init(&listening.acceptor, listening.base, listening.fd, listening_on_ready, &listening);
    assert_true(acceptor_start(&listening.acceptor));
    *state = &listening;
    return 0;
}

static int free_listening(void **state)
{
    struct listening *listening = *state;
    acceptor_stop(&listening->acceptor);
    close(listening->client);
    close(listening->fd);
    event_base_free(listening->base);
    return 0;
}

static void it_rests_and_is_ready_again(void **state)
{
    struct listening *listening = *state;
    listening->is_short = true;
    event_base_dispatch(listening->base);
    assert_int_equal(listening->ready, 1);
    const uint64_t rests_since = clock_ms();
    event_base_loop(listening->base, EVLOOP_NONBLOCK);
    assert_int_equal(listening->ready, 1);
    listening->is_short = false;
    event_base_dispatch(listening->base);
    assert_int_equal(listening->ready, 2);
    assert_true(clock_ms() - rests_since >= 200);
}

static void it_is_not_ready_once_stopped(void **state)
{
    struct listening *listening = *state;
    listening->is_short = true;
    event_base_dispatch(listening->base);
    acceptor_stop(&listening->acceptor);
    assert_int_equal(event_base_dispatch(listening->base), 1); /* no event is left to wait for */
    assert_int_equal(listening->ready, 1);
}

static void an_error_of_one_connection_is_no_shortage(void **state)
{
    (void)state;
    assert_true(acceptor_is_short(EMFILE) && acceptor_is_short(ENFILE));
    assert_true(acceptor_is_short(ENOBUFS) && acceptor_is_short(ENOMEM));
    assert_false(acceptor_is_short(EAGAIN) || acceptor_is_short(ECONNABORTED) || acceptor_is_short(EPERM));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_listening, free_listening)
    const struct CMUnitTest tests[] = {
        TEST(it_rests_and_is_ready_again),
        TEST(it_is_not_ready_once_stopped),
        cmocka_unit_test(an_error_of_one_connection_is_no_shortage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
