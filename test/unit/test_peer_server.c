#include "test.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/peer/peer_server.h"
#include "check/peer/peer_wire.h"

#define KEY     "a key for the tests"
#define WAIT_MS 10000

static struct peer_server *server;
static uint8_t in[65536], out[65536];
static int client; /* a UDP socket at 127.0.0.1 */

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static int udp(const char *host)
{
    const union netaddr local = at(host, 0);
    int fd = socket(local.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0 && bind(fd, &local.sa, netaddr_len(&local)) == 0);
    return fd;
}

/* At 127.0.0.1 and 127.0.0.2, the first and second place. */
static int start(void **state)
{
    (void)state;
    char problem[200] = "";
    const struct peer_host hosts[] = {{.address = at("127.0.0.1", 0)}, {.address = at("127.0.0.2", 0)}};
    server = peer_server_open(hosts, 2, 0, KEY, NULL, problem, sizeof(problem));
    if (!server || !peer_server_start(server))
        fail_msg("%s", problem);
    client = udp("127.0.0.1");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    peer_server_close(server);
    close(client);
    return 0;
}

static void send_to_server(const void *bytes, size_t len)
{
    const union netaddr to = peer_server_address(server, 0);
    assert_int_equal(sendto(client, bytes, len, 0, &to.sa, netaddr_len(&to)), len);
}

static void ask(const struct stun_message *request, const char *key, size_t len)
{
    send_to_server(out, peer_encode(out, sizeof(out), len, request, key));
}

/* The next datagram, whose length is returned. */
static size_t hear(union netaddr *from)
{
    struct pollfd ready = {.fd = client, .events = POLLIN};
    socklen_t from_len = sizeof(*from);
    assert_int_equal(poll(&ready, 1, WAIT_MS), 1);
    ssize_t len = recvfrom(client, in, sizeof(in), 0, &from->sa, &from_len);
    assert_true(len >= 0);
    return (size_t)len;
}

static struct stun_message hear_answer(const struct stun_message *to, union netaddr *from)
{
    struct stun_message answer;
    size_t len = hear(from);
    assert_true(peer_decode(in, len, KEY, STUN_SUCCESS, &answer));
    assert_memory_equal(answer.transaction, to->transaction, STUN_TRANSACTION);
    return answer;
}

static union netaddr local_of(int fd)
{
    union netaddr local;
    socklen_t len = sizeof(local);
    assert_int_equal(getsockname(fd, &local.sa, &len), 0);
    return local;
}

static const struct stun_message plain_question = {.method = STUN_BINDING, .transaction = "question"};

static void an_answer_tells_who_asked(void **state)
{
    (void)state;
    union netaddr from;
    const union netaddr local = local_of(client), first = peer_server_address(server, 0);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    const struct stun_message answer = hear_answer(&plain_question, &from);
    assert_true(netaddr_equal(&from, &first) && netaddr_equal(&answer.response_origin, &first));
    assert_true(netaddr_equal(&answer.mapped, &local));
    const union netaddr second = peer_server_address(server, 1);
    assert_true(netaddr_equal_host(&answer.other_address, &second));
    assert_int_not_equal(netaddr_port(&answer.other_address), netaddr_port(&first));
}

static void an_answer_from_elsewhere(void **state)
{
    (void)state;
    const union netaddr first = peer_server_address(server, 0);
    union netaddr from;
    for (int way = 1; way < 4; way++) {
        const struct stun_message request = {
            .method = STUN_BINDING, .transaction = "elsewhere", .change_address = way & 1, .change_port = way & 2};
        ask(&request, KEY, PEER_REQUEST_MIN);
        const struct stun_message answer = hear_answer(&request, &from);
        assert_int_equal(netaddr_equal_host(&from, &first), !request.change_address);
        assert_int_equal(netaddr_port(&from) == netaddr_port(&first), !request.change_port);
        assert_true(netaddr_equal(&answer.response_origin, &from));
    }
}

static void one_address_has_no_other(void **state)
{
    (void)state;
    peer_server_close(server);
    char problem[200];
    const struct peer_host host = {.address = at("127.0.0.1", 0)};
    server = peer_server_open(&host, 1, 0, KEY, NULL, problem, sizeof(problem));
    assert_true(server && peer_server_start(server));
    const union netaddr first = peer_server_address(server, 0);
    const struct stun_message elsewhere = {.method = STUN_BINDING, .transaction = "elsewhere", .change_address = true};
    union netaddr from;
    ask(&elsewhere, KEY, PEER_REQUEST_MIN);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    const struct stun_message answer = hear_answer(&plain_question, &from); /* and none to the one before */
    assert_true(netaddr_equal_host(&answer.other_address, &first));
    assert_int_not_equal(netaddr_port(&answer.other_address), netaddr_port(&first));
}

/* Row 35: no answer without the key, whatever is sent. The last question, with the key, ends the silence. */
static void strangers_get_nothing(void **state)
{
    (void)state;
    union netaddr from;
    static const uint8_t stun[20] = {0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42};
    const struct stun_message forged = {.method = STUN_BINDING, .transaction = "forged"};
    send_to_server(NULL, 0);
    send_to_server("echo?", 5);
    send_to_server(stun, sizeof(stun));
    ask(&forged, "another key", PEER_REQUEST_MIN);
    size_t len = peer_encode(out, sizeof(out), PEER_REQUEST_MIN, &plain_question, KEY);
    for (size_t cut = 0; cut < len; cut++)
        send_to_server(out, cut);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    const struct stun_message answer = hear_answer(&plain_question, &from);
    assert_int_equal(answer.plain_count, 0);
}

/* The same of one that has the key, but at another port. */
static void a_guest_is_known_by_its_port(void **state)
{
    (void)state;
    union netaddr from;
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    hear_answer(&plain_question, &from);
    int guest = client;
    client = udp("127.0.0.1");
    send_to_server("echo?", 5);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    hear_answer(&plain_question, &from);
    close(guest);
}

static void echo_of_every_size(void **state)
{
    (void)state;
    static uint8_t bytes[65507];
    union netaddr from;
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    hear_answer(&plain_question, &from);
    uint32_t seed = 0;
    for (size_t len = 0; len <= sizeof(bytes); len = len < 2 ? len + 1 : len * 2 + 1, seed++) {
        peer_pattern(bytes, len, seed);
        send_to_server(bytes, len);
        assert_int_equal(hear(&from), len);
        assert_true(peer_pattern_is(in, len, seed));
        ask(&plain_question, KEY, PEER_REQUEST_MIN);
        const struct stun_message answer = hear_answer(&plain_question, &from);
        assert_int_equal(answer.plain_count, seed + 1);
        assert_int_equal(answer.plain_last, len);
        assert_int_equal(answer.fragment, 0); /* the loopback's packets are as large as they get */
    }
}

/* Row 35: the sum of what has come is the most that goes back. */
static void plain_bytes_must_be_paid_for(void **state)
{
    (void)state;
    union netaddr from;
    const struct stun_message large = {
        .method = STUN_BINDING, .transaction = "large", .plain = true, .plain_len = 3000};
    const struct stun_message quiet = {.method = STUN_BINDING, .transaction = "quiet", .quiet = true};
    ask(&large, KEY, 1000);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    hear_answer(&plain_question, &from);
    ask(&quiet, KEY, 1000);
    ask(&quiet, KEY, 1000);
    ask(&large, KEY, 1000);
    assert_int_equal(hear(&from), 3000);
    assert_true(peer_pattern_is(in, 3000, 0));
}

static void an_unpadded_question_is_too_short_for_an_answer(void **state)
{
    (void)state;
    union netaddr from;
    const struct stun_message unpadded = {.method = STUN_BINDING, .transaction = "unpadded"};
    ask(&unpadded, KEY, 0);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    hear_answer(&plain_question, &from);
}

static void an_answer_after_a_while(void **state)
{
    (void)state;
    union netaddr from;
    const struct stun_message later = {.method = STUN_BINDING, .transaction = "later", .delay_s = 1};
    ask(&later, KEY, PEER_REQUEST_MIN);
    ask(&plain_question, KEY, PEER_REQUEST_MIN);
    hear_answer(&plain_question, &from);
    hear_answer(&later, &from);
}

static int dial(void)
{
    const union netaddr to = peer_server_address(server, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, &to.sa, netaddr_len(&to)), 0);
    return fd;
}

static void over_tcp(void **state)
{
    (void)state;
    int fd = dial();
    const union netaddr local = local_of(fd);
    size_t len = peer_encode(out, sizeof(out), PEER_REQUEST_MIN, &plain_question, KEY);
    for (int turn = 0; turn < 3; turn++) {
        for (size_t i = 0; turn == 0 && i + 1 < len; i++) /* once byte by byte */
            assert_int_equal(send(fd, out + i, 1, 0), 1);
        if (turn == 0)
            assert_int_equal(send(fd, out + len - 1, 1, 0), 1);
        else
            assert_int_equal(send(fd, out, len, 0), len);
        struct stun_message answer;
        assert_int_equal(recv(fd, in, STUN_HEADER, MSG_WAITALL), STUN_HEADER);
        size_t answer_len = stun_length(in);
        assert_int_equal(recv(fd, in + STUN_HEADER, answer_len - STUN_HEADER, MSG_WAITALL), answer_len - STUN_HEADER);
        assert_true(peer_decode(in, answer_len, KEY, STUN_SUCCESS, &answer));
        assert_true(netaddr_equal(&answer.mapped, &local));
    }
    close(fd);
}

/* More than it holds at once, who say nothing or nonsense: none of them gets a byte, and who comes then is served. */
static void strangers_over_tcp(void **state)
{
    (void)state;
    int idle[100];
    for (int i = 0; i < 100; i++)
        idle[i] = dial();
    int fd = dial();
    assert_int_equal(send(fd, "GET /index.html HTTP/1.0\r\n\r\n", 28, MSG_NOSIGNAL), 28);
    assert_true(recv(fd, in, sizeof(in), 0) <= 0);
    close(fd);
    fd = dial();
    size_t len = peer_encode(out, sizeof(out), PEER_REQUEST_MIN, &plain_question, "another key");
    assert_int_equal(send(fd, out, len, 0), len);
    assert_true(recv(fd, in, sizeof(in), 0) <= 0);
    close(fd);
    over_tcp(state);
    for (int i = 0; i < 100; i++)
        close(idle[i]);
}

static void a_taken_port_is_told(void **state)
{
    (void)state;
    char problem[200] = "";
    const struct peer_host first = {.address = peer_server_address(server, 0)};
    assert_null(peer_server_open(&first, 1, netaddr_port(&first.address), KEY, NULL, problem, sizeof(problem)));
    assert_non_null(strstr(problem, "cannot listen on 127.0.0.1:"));
    assert_non_null(strstr(problem, "Address already in use"));
}

static void the_other_address_is_on_the_same_link(void **state)
{
    (void)state;
    const struct peer_host hosts[] = {{at("192.0.2.1", 0), 2},   {at("172.17.0.1", 0), 3}, {at("2001:db8::1", 0), 2},
                                      {at("2001:db8::2", 0), 2}, {at("192.0.2.2", 0), 2},  {at("192.0.2.3", 0), 2}};
    static const size_t others[] = {4, 1, 3, 2, 5, 0};
    for (size_t i = 0; i < 6; i++)
        assert_int_equal(peer_host_other(hosts, 6, i), others[i]);
}

static void keys_differ(void **state)
{
    (void)state;
    char one[PEER_KEY_LEN + 1], other[PEER_KEY_LEN + 1];
    assert_true(peer_make_key(one) && peer_make_key(other));
    assert_int_equal(strlen(one), PEER_KEY_LEN);
    assert_string_not_equal(one, other);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_answer_tells_who_asked, start, stop),
        cmocka_unit_test_setup_teardown(an_answer_from_elsewhere, start, stop),
        cmocka_unit_test_setup_teardown(one_address_has_no_other, start, stop),
        cmocka_unit_test_setup_teardown(strangers_get_nothing, start, stop),
        cmocka_unit_test_setup_teardown(a_guest_is_known_by_its_port, start, stop),
        cmocka_unit_test_setup_teardown(echo_of_every_size, start, stop),
        cmocka_unit_test_setup_teardown(plain_bytes_must_be_paid_for, start, stop),
        cmocka_unit_test_setup_teardown(an_unpadded_question_is_too_short_for_an_answer, start, stop),
        cmocka_unit_test_setup_teardown(an_answer_after_a_while, start, stop),
        cmocka_unit_test_setup_teardown(over_tcp, start, stop),
        cmocka_unit_test_setup_teardown(strangers_over_tcp, start, stop),
        cmocka_unit_test_setup_teardown(a_taken_port_is_told, start, stop),
        cmocka_unit_test(the_other_address_is_on_the_same_link),
        cmocka_unit_test(keys_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
