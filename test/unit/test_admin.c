/* The admin listener before a server that is made up, over real sockets on loopback, in one thread. */
#include "test.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/log.h"
#include "base/metrics.h"
#include "conf/config.h"
#include "net/sock.h"

#define PATIENCE_S 10 /* only a failing test waits this long */

static struct event_base *base;
static struct config config;
static struct config_listener proxy;
static struct admin *admin;

/* ---- the server ---- */

static const char *complaint;
static struct admin_query asked;
static admin_done *done;
static void *done_arg; /* NULL: nothing was asked */

static const struct config *show_config(void *arg)
{
    return arg;
}

static void show_metrics(void *arg, struct metrics *sum)
{
    (void)arg;
    metrics_add(&sum->connects_total, 42);
}

static void show_facts(void *arg, struct admin_facts *facts)
{
    (void)arg;
    *facts = (struct admin_facts){.started = 1700000000};
}

static const char *show_complaint(void *arg)
{
    (void)arg;
    return complaint;
}

static void show_status(void *arg, const struct admin_query *query, admin_done *status_done, void *status_arg)
{
    (void)arg;
    asked = *query;
    done = status_done;
    done_arg = status_arg;
}

static void show_history(void *arg, admin_done *history_done, void *history_arg)
{
    (void)arg;
    history_done(history_arg, strdup("{\"samples\":[]}"));
}

static const struct admin_source source = {
    .arg = &config,
    .config = show_config,
    .metrics = show_metrics,
    .facts = show_facts,
    .sick = show_complaint,
    .unready = show_complaint,
    .status = show_status,
    .history = show_history,
};

/* ---- asking ---- */

static int start(void **state)
{
    (void)state;
    /* A port that was free a moment ago. */
    union netaddr address;
    netaddr_parse(&address, "127.0.0.1", 0);
    int fd = sock_listen(&address, false);
    base = event_base_new();
    config = (struct config){.listen = &proxy, .listen_count = 1, .admin = {.address = sock_local(fd)}};
    netaddr_parse(&proxy.address, "127.0.0.1", 1080);
    close(fd);
    complaint = NULL;
    done_arg = NULL;
    admin = admin_new(base, &config, &source, ADMIN_SOCKETS_NONE, true);
    return admin ? 0 : -1;
}

static int stop(void **state)
{
    (void)state;
    admin_free(admin);
    admin = NULL;
    event_base_free(base);
    return 0;
}

static int ask(const char *target, const char *host)
{
    char request[512];
    int fd = sock_connect(NULL, &config.admin.address, NULL), len;
    len = host ? snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, host)
               : snprintf(request, sizeof(request), "GET %s HTTP/1.0\r\n\r\n", target);
    for (time_t end = time(NULL) + PATIENCE_S; time(NULL) < end; event_base_loop(base, EVLOOP_NONBLOCK))
        if (send(fd, request, (size_t)len, MSG_NOSIGNAL) == len)
            return fd;
    fail_msg("cannot ask for %s: %s", target, strerror(errno));
    return -1;
}

static const char *answer(int fd)
{
    static char text[64 * 1024];
    size_t len = 0;
    for (time_t end = time(NULL) + PATIENCE_S; time(NULL) < end; event_base_loop(base, EVLOOP_NONBLOCK)) {
        ssize_t n = recv(fd, text + len, sizeof(text) - 1 - len, 0);
        len += n > 0 ? (size_t)n : 0;
        text[len] = '\0';
        if (n == 0) {
            close(fd);
            return text;
        }
    }
    fail_msg("no answer: %s", text);
    return NULL;
}

static void expect(const char *target, const char *host, int status, const char *found)
{
    char line[32];
    const char *text = answer(ask(target, host));
    snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
    if (strncmp(text, line, strlen(line)) != 0 || !strstr(text, found))
        fail_msg("%s: expected %d and %s in %s", target, status, found, text);
}

/* ---- the tests ---- */

static void every_path_answers(void **state)
{
    (void)state;
    expect("/metrics", "127.0.0.1", 200, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    expect("/metrics", "127.0.0.1", 200, "\nconesocks_connects_total 42\n");
    expect("/proxy.pac", "127.0.0.1", 200, "\r\nContent-Type: application/x-ns-proxy-autoconfig\r\n");
    expect("/proxy.pac", "127.0.0.1", 200, "return \"SOCKS5 127.0.0.1:1080; SOCKS 127.0.0.1:1080\";");
    expect("/history", "127.0.0.1", 200, "\r\n\r\n{\"samples\":[]}");
    expect("/history", "127.0.0.1", 200, "\r\nContent-Type: application/json\r\n");
    expect("/", "127.0.0.1", 200, "");
    expect("/nothing", "127.0.0.1", 404, "not found; the paths are: / ");
}

static void health_and_readiness(void **state)
{
    (void)state;
    expect("/healthz", NULL, 200, "\r\n\r\nok\n");
    expect("/readyz", NULL, 200, "\r\n\r\nok\n");
    complaint = "it is tired";
    expect("/healthz", NULL, 503, "\r\n\r\nit is tired\n");
    expect("/readyz", NULL, 503, "\r\n\r\nit is tired\n");
}

static void status_is_answered_later(void **state)
{
    (void)state;
    int fd = ask("/status?after=7&limit=1000", NULL);
    while (!done_arg)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(asked.after, 7);
    assert_int_equal(asked.limit, 1000);
    done(done_arg, strdup("{\"pid\":1}"));
    assert_non_null(strstr(answer(fd), "\r\n\r\n{\"pid\":1}"));
    done_arg = NULL;
    fd = ask("/status", NULL);
    while (!done_arg)
        event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(asked.after, 0);
    assert_int_equal(asked.limit, ADMIN_LIMIT_DEFAULT);
    done(done_arg, NULL);
    assert_non_null(strstr(answer(fd), "HTTP/1.1 503 "));
    expect("/status?limit=1001", NULL, 400, "expected /status?");
    expect("/status?after=-1", NULL, 400, "expected /status?");
}

static void the_client_may_leave_before_the_answer(void **state)
{
    (void)state;
    int fd = ask("/status", NULL);
    while (!done_arg)
        event_base_loop(base, EVLOOP_ONCE);
    sock_abort(fd);
    event_base_loop(base, EVLOOP_NONBLOCK);
    done(done_arg, strdup("{}"));
    done_arg = NULL;
    ask("/status", NULL);
    while (!done_arg)
        event_base_loop(base, EVLOOP_ONCE);
    admin_free(admin);
    admin = NULL;
    done(done_arg, strdup("{}"));
}

/* Row 54: a page of somebody else's whose name leads here. */
static void row54_a_name_is_not_enough(void **state)
{
    (void)state;
    expect("/status", "evil.example", 403, "use the address instead of a name");
    assert_null(done_arg);
    expect("/metrics", "evil.example:1081", 403, "use the address instead of a name");
    expect("/healthz", "localhost:1081", 200, "ok");
    admin_free(admin);
    config.admin.open = true;
    admin = admin_new(base, &config, &source, ADMIN_SOCKETS_NONE, true);
    assert_non_null(admin);
    expect("/healthz", "proxy.example", 200, "ok");
}

/* An upgrade: nobody is refused meanwhile, and the one who goes removes nothing. */
static void another_process_takes_over_the_socket(void **state)
{
    (void)state;
    const struct admin_sockets sockets = admin_sockets(admin);
    int waiting = ask("/healthz", NULL);
    struct admin *successor =
        admin_new(base, &config, &source, (struct admin_sockets){dup(sockets.tcp), dup(sockets.tcp)}, true);
    assert_non_null(successor);
    admin_let_go(admin);
    admin_free(admin);
    admin = successor;
    assert_non_null(strstr(answer(waiting), " 200 "));
    expect("/healthz", NULL, 200, "ok");
}

static void an_address_in_use_is_an_error(void **state)
{
    (void)state;
    struct config none = {0}, taken = config;
    assert_null(admin_new(base, &none, &source, ADMIN_SOCKETS_NONE, true));
    assert_null(admin_new(base, &taken, &source, ADMIN_SOCKETS_NONE, false));
}

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_path_answers, start, stop),
        cmocka_unit_test_setup_teardown(health_and_readiness, start, stop),
        cmocka_unit_test_setup_teardown(status_is_answered_later, start, stop),
        cmocka_unit_test_setup_teardown(the_client_may_leave_before_the_answer, start, stop),
        cmocka_unit_test_setup_teardown(row54_a_name_is_not_enough, start, stop),
        cmocka_unit_test_setup_teardown(another_process_takes_over_the_socket, start, stop),
        cmocka_unit_test_setup_teardown(an_address_in_use_is_an_error, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
