/* The admin listener's HTTP: sockets and loop are real, all on loopback and in one thread. */
#include "test.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "admin/http.h"
#include "admin/http_request.h"
#include "net/sock.h"

#define PATIENCE_S 10 /* only a failing test waits this long */
#define LARGE      (4 * 1024 * 1024)

static struct event_base *base;
static struct http *http;
static union netaddr address;
static struct http_ticket *ticket; /* the last one */
static struct http_times times;
static size_t asked;

static void turn_until(bool (*condition)(void *arg), void *arg)
{
    time_t end = time(NULL) + PATIENCE_S;
    while (!condition(arg)) {
        assert_true(time(NULL) < end);
        event_base_loop(base, EVLOOP_NONBLOCK);
    }
}

static void handler(void *arg, struct http_connection *connection, const struct http_request *request)
{
    (void)arg;
    asked++;
    if (strcmp(request->path, "/later") == 0)
        ticket = http_defer(connection);
    else if (strcmp(request->path, "/huge") == 0)
        http_respond(connection, &(struct http_response){
                                     .status = 200, .body = strdup("x"), .size = HTTP_UNSENT_MAX + 1, .owned = true});
    else if (strcmp(request->path, "/large") == 0)
        http_respond(connection,
                     &(struct http_response){.status = 200, .body = calloc(1, LARGE), .size = LARGE, .owned = true});
    else
        http_respond_text(connection, 200, "hello\n");
}

static int start(void **state)
{
    (void)state;
    base = event_base_new();
    times = (struct http_times){.request_ms = 60000, .wait_ms = 60000, .read_ms = 60000};
    asked = 0;
    ticket = NULL;
    netaddr_parse(&address, "127.0.0.1", 0);
    return base ? 0 : -1;
}

static void serve(void)
{
    int fd = sock_listen(&address, false);
    assert_true(fd >= 0);
    address = sock_local(fd);
    http = http_new(base, &times, handler, NULL);
    assert_true(http && http_serve(http, fd));
}

static int stop(void **state)
{
    (void)state;
    http_free(http);
    http = NULL;
    event_base_free(base);
    return 0;
}

/* ---- a client ---- */

struct client {
    int fd;
    char *text; /* what it has been told, NUL at its end */
    size_t len;
    bool over, broken; /* the latter: by a reset */
};

static struct client client_new(const char *request)
{
    struct client client = {.fd = sock_connect(NULL, &address, NULL), .text = calloc(1, 2 * LARGE)};
    assert_true(client.fd >= 0 && client.text);
    size_t sent = 0, len = strlen(request);
    for (time_t end = time(NULL) + PATIENCE_S; sent < len && time(NULL) < end; event_base_loop(base, EVLOOP_NONBLOCK)) {
        ssize_t n = send(client.fd, request + sent, len - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break;
        sent += n > 0 ? (size_t)n : 0;
    }
    client.broken = sent < len;
    return client;
}

static void client_free(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    free(client->text);
}

static void take(struct client *client, size_t max)
{
    ssize_t n = recv(client->fd, client->text + client->len, max, 0);
    client->broken |= n < 0 && errno != EAGAIN;
    client->over = n == 0 || client->broken;
    client->len += n > 0 ? (size_t)n : 0;
    client->text[client->len] = '\0';
}

static bool takes_all(void *arg)
{
    struct client *client = arg;
    take(client, 2 * LARGE - 1 - client->len);
    return client->over;
}

static bool takes_a_byte(void *arg)
{
    struct client *client = arg;
    take(client, 1);
    return sock_is_lost(client->fd);
}

static bool is_asked(void *arg)
{
    return asked >= *(size_t *)arg;
}

static void wait_asked(size_t count)
{
    turn_until(is_asked, &count);
}

static void expect(const char *request, const char *beginning, const char *end)
{
    struct client client = client_new(request);
    turn_until(takes_all, &client);
    size_t len = strlen(end);
    if (strncmp(client.text, beginning, strlen(beginning)) != 0 || client.len < len ||
        strcmp(client.text + client.len - len, end) != 0 || client.broken)
        fail_msg("%s: %s", request, client.text);
    client_free(&client);
}

/* ---- what it says ---- */

static void answers_and_refusals(void **state)
{
    (void)state;
    serve();
    expect("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "\r\n\r\nhello\n");
    expect("HEAD / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "X-Frame-Options: DENY\r\n\r\n");
    expect("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405 ", "only GET and HEAD are supported\n");
    expect("GET / HTTP/9.9\r\n\r\n", "HTTP/1.1 505 ", "malformed request\n");
    expect("\x16\x03\x01\n\n", "HTTP/1.1 400 ", "malformed request\n");
}

static void answers_are_not_mixed_up(void **state)
{
    (void)state;
    static const char *const headers[] = {
        "\r\nContent-Type: text/plain; charset=utf-8\r\n",
        "\r\nContent-Length: 6\r\n",
        "\r\nConnection: close\r\n",
        "\r\nCache-Control: no-store\r\n",
        "\r\nX-Content-Type-Options: nosniff\r\n",
        "\r\nReferrer-Policy: no-referrer\r\n",
        "\r\nContent-Security-Policy: default-src 'none'; frame-ancestors 'none'\r\n",
    };
    serve();
    struct client client = client_new("GET / HTTP/1.1\r\n\r\n");
    turn_until(takes_all, &client);
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++)
        assert_non_null(strstr(client.text, headers[i]));
    client_free(&client);
}

/* It is told why, although it has sent more than was read. */
static void too_large_a_head(void **state)
{
    (void)state;
    static char request[16 * 1024 * 1024]; /* more than the kernel holds */
    memset(request, 'a', sizeof(request) - 1);
    memcpy(request, "GET / HTTP/1.1\r\nX: ", 19);
    serve();
    expect(request, "HTTP/1.1 431 ", "the request is too large\n");
}

static void a_half_closed_client_gets_its_answer(void **state)
{
    (void)state;
    serve();
    struct client client = client_new("GET /large HTTP/1.1\r\n\r\n");
    shutdown(client.fd, SHUT_WR);
    turn_until(takes_all, &client);
    assert_true(client.len > LARGE);
    client_free(&client);
}

static void a_large_answer_is_complete(void **state)
{
    (void)state;
    serve();
    struct client client = client_new("GET /large HTTP/1.1\r\n\r\n");
    turn_until(takes_all, &client);
    assert_non_null(strstr(client.text, "\r\n\r\n"));
    assert_int_equal(client.len, (size_t)(strstr(client.text, "\r\n\r\n") - client.text) + 4 + LARGE);
    client_free(&client);
}

/* ---- answers that come later ---- */

static void redeem(const char *text)
{
    char *body = strdup(text);
    http_redeem(ticket, &(struct http_response){.status = 200, .body = body, .size = strlen(body), .owned = true});
}

static void a_ticket_is_redeemed(void **state)
{
    (void)state;
    serve();
    struct client client = client_new("GET /later HTTP/1.1\r\n\r\n");
    wait_asked(1);
    redeem("at last\n");
    turn_until(takes_all, &client);
    assert_non_null(strstr(client.text, "\r\n\r\nat last\n"));
    client_free(&client);
}

static void a_ticket_outlives_its_connection(void **state)
{
    (void)state;
    times.wait_ms = 20;
    serve();
    struct client client = client_new("GET /later HTTP/1.1\r\n\r\n");
    wait_asked(1);
    turn_until(takes_all, &client);
    assert_memory_equal(client.text, "HTTP/1.1 503 ", 13);
    client_free(&client);
    redeem("for nobody");
}

static void a_ticket_outlives_the_server(void **state)
{
    (void)state;
    serve();
    struct client client = client_new("GET /later HTTP/1.1\r\n\r\n");
    wait_asked(1);
    http_free(http);
    http = NULL;
    redeem("for nobody");
    client_free(&client);
}

/* ---- Row 54: those who are slow, and many ---- */

static void a_silent_client_is_closed(void **state)
{
    (void)state;
    times.request_ms = 50;
    serve();
    struct client silent = client_new(""), half = client_new("GET / HTTP/1.1\r\nHost:");
    turn_until(takes_all, &silent);
    turn_until(takes_all, &half);
    assert_int_equal(silent.len + half.len + asked, 0);
    client_free(&silent);
    client_free(&half);
}

/* However busy it looks: each byte would put off a limit on silence. */
static void row54_a_slow_reader_is_closed(void **state)
{
    (void)state;
    times.read_ms = 200;
    serve();
    struct client client = client_new("GET /large HTTP/1.1\r\n\r\n");
    turn_until(takes_a_byte, &client);
    assert_in_range(client.len, 1, LARGE);
    client_free(&client);
}

static void row54_a_client_that_does_not_close_is_closed(void **state)
{
    (void)state;
    times.read_ms = 50;
    serve();
    struct client client = client_new("GET / HTTP/1.1\r\n\r\n");
    turn_until(takes_all, &client);
    for (time_t end = time(NULL) + PATIENCE_S; !sock_is_lost(client.fd) && time(NULL) < end; usleep(1000)) {
        event_base_loop(base, EVLOOP_NONBLOCK);
        (void)send(client.fd, "more", 4, MSG_NOSIGNAL);
    }
    assert_true(sock_is_lost(client.fd));
    client_free(&client);
}

static void row54_the_oldest_connection_is_closed(void **state)
{
    (void)state;
    struct client idle[HTTP_CONNECTIONS_MAX + 3];
    serve();
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX + 3; i++)
        idle[i] = client_new("GET");
    expect("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "hello\n");
    for (size_t i = 0; i < 4; i++)
        turn_until(takes_all, &idle[i]);
    takes_all(&idle[4]);
    assert_false(idle[4].over);
    for (size_t i = 0; i < HTTP_CONNECTIONS_MAX + 3; i++)
        client_free(&idle[i]);
}

/* Whoever does not read makes room for who does. */
static void row54_unread_answers_are_bounded(void **state)
{
    (void)state;
    enum { SLOW = 8 };
    struct client slow[SLOW];
    serve();
    for (size_t i = 0; i < SLOW; i++)
        slow[i] = client_new("GET /large HTTP/1.1\r\n\r\n");
    wait_asked(SLOW);
    expect("GET /large HTTP/1.1\r\n\r\n", "HTTP/1.1 200 OK\r\n", "");
    expect("GET /huge HTTP/1.1\r\n\r\n", "HTTP/1.1 503 ", "the answer is too large\n");
    size_t lost = 0;
    for (size_t i = 0; i < SLOW; i++) {
        lost += sock_is_lost(slow[i].fd);
        assert_true(i == 0 || sock_is_lost(slow[i - 1].fd) || !sock_is_lost(slow[i].fd));
    }
    assert_in_range(lost, 1, SLOW);
    for (size_t i = 0; i < SLOW; i++)
        client_free(&slow[i]);
}

/* Row 39: a listener that is ready all the time, and cannot be served, must not turn the loop all the time. */
static void row39_no_descriptors_left(void **state)
{
    (void)state;
    struct rlimit before, none;
    serve();
    struct client client = client_new("");
    getrlimit(RLIMIT_NOFILE, &before);
    struct client late = {.fd = sock_connect(NULL, &address, NULL), .text = calloc(1, 2 * LARGE)};
    none = before;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    size_t turns = 0;
    for (time_t end = time(NULL) + 2; time(NULL) < end; turns++)
        event_base_loop(base, EVLOOP_ONCE);
    setrlimit(RLIMIT_NOFILE, &before);
    assert_in_range(turns, 1, 100);
    assert_int_equal(send(late.fd, "GET / HTTP/1.0\n\n", 16, 0), 16);
    turn_until(takes_all, &late);
    assert_memory_equal(late.text, "HTTP/1.1 200", 12);
    client_free(&late);
    client_free(&client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(answers_and_refusals, start, stop),
        cmocka_unit_test_setup_teardown(answers_are_not_mixed_up, start, stop),
        cmocka_unit_test_setup_teardown(too_large_a_head, start, stop),
        cmocka_unit_test_setup_teardown(a_half_closed_client_gets_its_answer, start, stop),
        cmocka_unit_test_setup_teardown(a_large_answer_is_complete, start, stop),
        cmocka_unit_test_setup_teardown(a_ticket_is_redeemed, start, stop),
        cmocka_unit_test_setup_teardown(a_ticket_outlives_its_connection, start, stop),
        cmocka_unit_test_setup_teardown(a_ticket_outlives_the_server, start, stop),
        cmocka_unit_test_setup_teardown(a_silent_client_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(row54_a_slow_reader_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(row54_a_client_that_does_not_close_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(row54_the_oldest_connection_is_closed, start, stop),
        cmocka_unit_test_setup_teardown(row54_unread_answers_are_bounded, start, stop),
        cmocka_unit_test_setup_teardown(row39_no_descriptors_left, start, stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
