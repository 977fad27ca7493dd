#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support/bytes.h"
#include "support/conversation.h"

enum { OPEN, USERS }; /* a listener without and with users */

#define BOUND_V4 "05000001c000020902c3"
#define BOUND_V6 "0500000420010db800000000000000000000000902c3"
#define NO_BOUND "0001000000000000"
#define LOGIN    "05 01 02  01 03 'bob' 06 'secret'"
#define WELCOME  "0502 login bob/secret 0100"

/* A listener, all that the client sends, and all that comes of it (support/conversation.h). */
static const struct conversation_row {
    int listener;
    const char *client, *line;
} rows[] = {
    /* As they should be. */
    {OPEN, "05 01 00  05 01 00 01 c0000201 0050", "0500 request 1 01:c0000201@80 " BOUND_V4 " over, 0 bytes left"},
    {OPEN, "05 02 00 02  05 01 00 04 20010db8 00*11 01 01bb",
     "0500 request 1 04:20010db8000000000000000000000001@443 " BOUND_V6 " over, 0 bytes left"},
    {OPEN, "05 01 00  05 02 00 03 01 'x' 0000", "0500 request 2 03:78@0 " BOUND_V4 " over, 0 bytes left"},
    {USERS, LOGIN "05 01 00 01 c0000201 0050", WELCOME " request 1 01:c0000201@80 " BOUND_V4 " over, 0 bytes left"},
    {USERS, "05 03 00 01 02  01 03 'bob' 06 'secret'  05 03 00 01 00000000 0000",
     WELCOME " request 3 01:00000000@0 " BOUND_V4 " over, 0 bytes left"},

    /* Row 17: early data behind the request, also such as looks like a message. */
    {OPEN, "05 01 00  05 01 00 01 c0000201 0050  'hello'",
     "0500 request 1 01:c0000201@80 " BOUND_V4 " over, 5 bytes left"},
    {USERS, LOGIN "05 01 00 01 c0000201 0050  05 01 00 01 c0000202 0050",
     WELCOME " request 1 01:c0000201@80 " BOUND_V4 " over, 10 bytes left"},
    {OPEN, "05 01 00  05 01 00 01 c0000201 0050  'x'*600",
     "0500 request 1 01:c0000201@80 " BOUND_V4 " over, 600 bytes left"},

    /* Row 18: methods. */
    {OPEN, "05 00", "05ff failed: the client offers no authentication method at all"},
    {USERS, "05 00", "05ff failed: the client offers no authentication method at all"},
    {OPEN, "05 01 02", "05ff failed: the client offers only methods with a login, and this listener asks for none"},
    {OPEN, "05 fe 01*254", "05ff failed: the client offers only methods with a login, and this listener asks for none"},
    {OPEN, "05 01 ff", "05ff failed: the client offers only methods with a login, and this listener asks for none"},
    {USERS, "05 01 00", "05ff failed: a user name and password are needed, and the client offers none"},
    {USERS, "05 02 00 01  01 03 'bob' 06 'secret'",
     "05ff failed: a user name and password are needed, and the client offers none"},
    {USERS, "05 ff 00*254 02  01 03 'bob' 06 'secret'  05 01 00 01 c0000201 0050",
     WELCOME " request 1 01:c0000201@80 " BOUND_V4 " over, 0 bytes left"},

    /* Row 18: logins. */
    {USERS, "05 01 02  01 03 'bob' 05 'wrong'  05 01 00 01 c0000201 0050",
     "0502 login bob/wrong 0101 failed: wrong user name or password"},
    {USERS, "05 01 02  01 03 'bob' 00", "0502 login bob/ 0101 failed: wrong user name or password"},
    {USERS, "05 01 02  01 00 06 'secret'", "05020101 failed: a login with an empty user name"},
    {USERS, "05 01 02  01 00 00", "05020101 failed: a login with an empty user name"},
    {USERS, "05 01 02  01 04 'bob' 00 06 'secret'", "05020101 failed: a login with a NUL byte inside"},
    {USERS, "05 01 02  01 03 'bob' 07 'secret' 00", "05020101 failed: a login with a NUL byte inside"},
    {USERS, "05 01 02  01 03 'bob' 01 00", "05020101 failed: a login with a NUL byte inside"},
    {USERS, "05 01 02  05 03 'bob' 06 'secret'",
     "05020101 failed: a login that is not RFC 1929: its first byte must be 1"},
    {USERS, "05 01 02  05 01 00 01 c0000201 0050", /* a client that takes the login for granted */
     "05020101 failed: a login that is not RFC 1929: its first byte must be 1"},

    /* Row 19: other protocols get not one byte. */
    {OPEN, "04 01 0050 c0000201 'user' 00", " failed: SOCKS4 spoken to a SOCKS5 port: set the client to SOCKS5"},
    {USERS, "04 01 0050 00000001 'user' 00 'example.org' 00",
     " failed: SOCKS4 spoken to a SOCKS5 port: set the client to SOCKS5"},
    {OPEN, "'CONNECT example.org:443 HTTP/1.1' 0d0a0d0a",
     " failed: HTTP spoken to a SOCKS5 port: set the client to SOCKS5, not to an HTTP proxy"},
    {OPEN, "'GET / HTTP/1.1' 0d0a0d0a",
     " failed: HTTP spoken to a SOCKS5 port: set the client to SOCKS5, not to an HTTP proxy"},
    {OPEN, "16 0301 0200 01 0001fc 0303",
     " failed: TLS spoken to a SOCKS5 port: set the client to SOCKS5 without encryption"},
    {OPEN, "00", " failed: not SOCKS5: the first byte must be 5"},
    {OPEN, "ff*600", " failed: not SOCKS5: the first byte must be 5"},

    /* Requests. */
    {OPEN, "05 01 00  05 00 00 01 c0000201 0050", "0500 request 0 01:c0000201@80 0507" NO_BOUND " over, 0 bytes left"},
    {OPEN, "05 01 00  05 ff 00 01 c0000201 0050",
     "0500 request 255 01:c0000201@80 0507" NO_BOUND " over, 0 bytes left"},
    {OPEN, "05 01 00  05 01 99 01 c0000201 0050", "0500 request 1 01:c0000201@80 " BOUND_V4 " over, 0 bytes left"},
    {OPEN, "05 01 00  05 01 00 03 04 'a' 00 'b' 0a 0050",
     "0500 request 1 03:6100620a@80 " BOUND_V4 " over, 0 bytes left"},
    {OPEN, "05 01 00  05 01 00 02 c0000201 0050",
     "05000508" NO_BOUND " failed: a request with an unknown address type: 1, 3 and 4 are defined"},
    {OPEN, "05 01 00  05 03 00 00 c0000201 0050",
     "05000508" NO_BOUND " failed: a request with an unknown address type: 1, 3 and 4 are defined"},
    {OPEN, "05 01 00  04 01 00 01 c0000201 0050", "05000501" NO_BOUND " failed: a request whose first byte is not 5"},
    {OPEN, "05 01 00  'GET /'", "05000501" NO_BOUND " failed: a request whose first byte is not 5"},
    {OPEN, "05 01 00  05 01 00 03 00 0050", "05000501" NO_BOUND " failed: a request for an empty host name"},
    {OPEN, "05 01 00  05 02 00 03 00 0050", "05000501" NO_BOUND " failed: a request for an empty host name"},

    /* clients.md: whatever a UDP ASSOCIATE names, it is only a hint. */
    {OPEN, "05 01 00  05 03 00 03 01 '0' c000", "0500 request 3 03:30@49152 " BOUND_V4 " over, 0 bytes left"},
    {OPEN, "05 01 00  05 03 00 03 00 c000", "0500 request 3 01:00000000@49152 " BOUND_V4 " over, 0 bytes left"},
    {OPEN, "05 01 00  05 05 00 03 00 c000", "0500 request 5 01:00000000@49152 05070001000000000000 over, 0 bytes left"},
    {OPEN, "05 01 00  05 03 00 03 01 00 0000", "0500 request 3 03:00@0 " BOUND_V4 " over, 0 bytes left"},
    {OPEN, "05 01 00  05 03 00 04 00*16 0000",
     "0500 request 3 04:00000000000000000000000000000000@0 " BOUND_V6 " over, 0 bytes left"},

    /* A client that goes silent. */
    {OPEN, "", " waiting, 0 bytes left"},
    {USERS, "05 03 02", " waiting, 3 bytes left"},
    {USERS, "05 01 02  01 03 'bob' 06 'secre'", "0502 waiting, 11 bytes left"},
};
#define ROW_COUNT (sizeof(rows) / sizeof(rows[0]))
#define BYTES_MAX 2048

static void expect(const struct conversation_row *row, size_t cut, const char *got, const char *expected)
{
    if (strcmp(got, expected) != 0)
        fail_msg("client \"%s\" cut at %zu:\n  happened: %s\n  expected: %s", row->client, cut, got, expected);
}

/* Row 17, all in one piece; and at every step what conversation.h requires (Row 35). HANDSHAKE_INPUT_MAX bytes of room
 * are enough for all of it. */
static void every_conversation_in_one_piece(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint8_t bytes[BYTES_MAX];
        size_t len = bytes_from_text(rows[i].client, bytes, sizeof(bytes));
        struct conversation c;
        conversation_begin(&c, rows[i].listener == USERS);
        conversation_hear(&c, bytes, len);
        expect(&rows[i], len, conversation_end(&c, len), rows[i].line);
    }
}

static void every_conversation_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint8_t bytes[BYTES_MAX];
        size_t len = bytes_from_text(rows[i].client, bytes, sizeof(bytes));
        struct conversation c;
        conversation_begin(&c, rows[i].listener == USERS);
        for (size_t at = 0; at < len; at++)
            conversation_hear(&c, bytes + at, 1);
        expect(&rows[i], 1, conversation_end(&c, len), rows[i].line);
    }
}

static void every_conversation_cut_at_every_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint8_t bytes[BYTES_MAX];
        size_t len = bytes_from_text(rows[i].client, bytes, sizeof(bytes));
        for (size_t cut = 0; cut <= len; cut++) {
            struct conversation c;
            conversation_begin(&c, rows[i].listener == USERS);
            conversation_hear(&c, bytes, cut);
            conversation_hear(&c, bytes + cut, len - cut);
            expect(&rows[i], cut, conversation_end(&c, len), rows[i].line);
        }
    }
}

/* A client that stops anywhere has been told what the whole conversation begins with, and nothing else. */
static void every_truncation_is_a_beginning(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint8_t bytes[BYTES_MAX];
        size_t len = bytes_from_text(rows[i].client, bytes, sizeof(bytes));
        for (size_t cut = 0; cut < len; cut++) {
            struct conversation c;
            conversation_begin(&c, rows[i].listener == USERS);
            conversation_hear(&c, bytes, cut);
            if (strncmp(c.line, rows[i].line, c.line_len) != 0)
                expect(&rows[i], cut, c.line, rows[i].line);
        }
    }
}

/* Row 18: what a login may and may not hold, at its longest. */
static void the_longest_login_is_taken_whole(void **state)
{
    (void)state;
    uint8_t bytes[BYTES_MAX];
    size_t len = bytes_from_text("05 01 02  01 ff 'u'*255 ff 'p'*255", bytes, sizeof(bytes));
    struct handshake h;
    size_t used;
    handshake_init(&h, true);
    assert_int_equal(handshake_advance(&h, bytes, len, &used), HANDSHAKE_PASSWORD);
    assert_int_equal(used, len);
    assert_int_equal(h.login.user_len, 255);
    assert_int_equal(h.login.password_len, 255);
    assert_memory_equal(h.login.user, bytes + 5, 255);
    assert_memory_equal(h.login.password, bytes + 5 + 256, 255);
}

/* RFC 1928: the server selects from the methods given, whatever their order; 0 and 2 in every mix of others. */
static void the_method_is_chosen_by_the_listener(void **state)
{
    (void)state;
    for (int listener = OPEN; listener <= USERS; listener++) {
        for (unsigned wanted_at = 0; wanted_at < 255; wanted_at++) {
            uint8_t greeting[SOCKS5_GREETING_MAX] = {5, 255};
            memset(greeting + 2, listener == USERS ? 0 : 2, 255);
            greeting[2 + wanted_at] = listener == USERS ? 2 : 0;
            struct handshake h;
            size_t used;
            handshake_init(&h, listener == USERS);
            assert_int_equal(handshake_advance(&h, greeting, sizeof(greeting), &used), HANDSHAKE_MORE);
            assert_int_equal(used, sizeof(greeting));
            assert_int_equal(h.out_len, 2);
            assert_memory_equal(h.out, (listener == USERS ? "\x05\x02" : "\x05\x00"), 2);
        }
    }
}

/* A trusted client goes without a login if it offers that, whatever else it offers; else it has to log in. */
static void a_trusted_client_needs_no_login(void **state)
{
    (void)state;
    static const struct {
        uint8_t greeting[4], len;
        bool trusted;
        uint8_t method;
    } greetings[] = {{{5, 1, 0}, 3, true, 0},    {{5, 2, 2, 0}, 4, true, 0}, {{5, 2, 0, 2}, 4, true, 0},
                     {{5, 1, 2}, 3, true, 2},    {{5, 1, 1}, 3, true, 0xff}, {{5, 1, 0}, 3, false, 0xff},
                     {{5, 2, 0, 2}, 4, false, 2}};
    for (size_t i = 0; i < sizeof(greetings) / sizeof(greetings[0]); i++) {
        struct handshake h;
        size_t used;
        handshake_init(&h, true);
        h.trusted = greetings[i].trusted;
        assert_int_equal(handshake_advance(&h, greetings[i].greeting, greetings[i].len, &used),
                         greetings[i].method == 0xff ? HANDSHAKE_FAILED : HANDSHAKE_MORE);
        assert_int_equal(h.out[1], greetings[i].method);
        assert_int_equal(h.need_password, greetings[i].method != 0);
    }
}

/* An owner that sends nothing until the end loses nothing: the replies add up. */
static void unsent_output_adds_up(void **state)
{
    (void)state;
    uint8_t bytes[BYTES_MAX];
    size_t len = bytes_from_text(LOGIN "05 01 00 04 00*16 0050", bytes, sizeof(bytes));
    struct handshake h;
    size_t used, at = 0;
    handshake_init(&h, true);
    assert_int_equal(handshake_advance(&h, bytes, len, &used), HANDSHAKE_PASSWORD);
    at += used;
    handshake_password_checked(&h, true);
    assert_int_equal(handshake_advance(&h, bytes + at, len - at, &used), HANDSHAKE_REQUEST);
    static const uint8_t host[16] = {0x20, 0x01, 0x0d, 0xb8};
    handshake_reply(&h, SOCKS5_REPLY_SUCCEEDED,
                    &(struct socks5_addr){.atyp = SOCKS5_ATYP_IPV6, .host_len = 16, .host = host, .port = 0x1234});
    uint8_t expected[64];
    size_t expected_len = bytes_from_text("05 02  01 00  05 00 00 04 20010db8 00*12 1234", expected, sizeof(expected));
    assert_int_equal(h.out_len, expected_len);
    assert_memory_equal(h.out, expected, expected_len);
}

/* While the owner checks a password or dials, more input waits; nothing is read out of turn. */
static void input_is_left_alone_until_the_owner_has_answered(void **state)
{
    (void)state;
    uint8_t bytes[BYTES_MAX];
    size_t len = bytes_from_text(LOGIN "05 01 00 01 c0000201 0050", bytes, sizeof(bytes));
    struct handshake h;
    size_t used, at = 0;
    handshake_init(&h, true);
    handshake_advance(&h, bytes, len, &used);
    at += used;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(handshake_advance(&h, bytes + at, len - at, &used), HANDSHAKE_MORE);
        assert_int_equal(used, 0);
        assert_int_equal(h.out_len, 2);
    }
    handshake_password_checked(&h, true);
    assert_int_equal(handshake_advance(&h, bytes + at, len - at, &used), HANDSHAKE_REQUEST);
    at += used;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(handshake_advance(&h, bytes, len, &used), HANDSHAKE_MORE);
        assert_int_equal(used, 0);
        assert_int_equal(h.out_len, 4);
    }
    handshake_reply(&h, SOCKS5_REPLY_NOT_ALLOWED, NULL);
    assert_int_equal(h.out_len, 14);
    assert_int_equal(handshake_advance(&h, bytes, len, &used), HANDSHAKE_MORE);
    assert_int_equal(used, 0);
}

/* BIND: where its peer may connect to, and then who has. */
static void a_request_may_have_two_replies(void **state)
{
    (void)state;
    struct handshake h;
    size_t used;
    const uint8_t host[] = {192, 0, 2, 1};
    const struct socks5_addr told = {.atyp = SOCKS5_ATYP_IPV4, .host_len = 4, .port = 0x1234, .host = host};
    const uint8_t bytes[] = "\5\1\0\5\2\0\1\177\0\0\1\0\25";
    handshake_init(&h, false);
    handshake_listening(&h, &told); /* out of turn */
    assert_int_equal(h.out_len, 0);
    assert_int_equal(handshake_advance(&h, bytes, sizeof(bytes) - 1, &used), HANDSHAKE_REQUEST);
    h.out_len = 0;
    handshake_listening(&h, &told);
    assert_int_equal(h.out_len, 10);
    assert_memory_equal(h.out, "\5\0\0\1\300\0\2\1\x12\x34", 10);
    h.out_len = 0;
    handshake_reply(&h, SOCKS5_REPLY_TTL_EXPIRED, NULL);
    handshake_listening(&h, &told); /* nothing comes after that */
    assert_int_equal(h.out_len, 10);
    assert_memory_equal(h.out, "\5\6\0\1\0\0\0\0\0\0", 10);
}

/* Answers nobody asked for change nothing: no login is accepted before it was read, no reply is sent twice. */
static void answers_out_of_turn_are_ignored(void **state)
{
    (void)state;
    struct handshake h;
    size_t used;
    handshake_init(&h, true);
    handshake_password_checked(&h, true);
    handshake_reply(&h, SOCKS5_REPLY_SUCCEEDED, NULL);
    assert_int_equal(h.state, HANDSHAKE_AT_GREETING);
    assert_int_equal(h.out_len, 0);
    assert_int_equal(handshake_advance(&h, (const uint8_t *)"\x04", 1, &used), HANDSHAKE_FAILED);
    handshake_password_checked(&h, true);
    handshake_reply(&h, SOCKS5_REPLY_SUCCEEDED, NULL);
    assert_int_equal(h.out_len, 0);
    assert_int_equal(handshake_advance(&h, (const uint8_t *)"\x05\x01\x00", 3, &used), HANDSHAKE_FAILED);
    assert_int_equal(used, 0);
}

static void no_input_at_all_is_a_beginning(void **state)
{
    (void)state;
    struct handshake h;
    size_t used = 1;
    handshake_init(&h, false);
    assert_int_equal(handshake_advance(&h, NULL, 0, &used), HANDSHAKE_MORE);
    assert_int_equal(used, 0);
    assert_int_equal(h.out_len, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_conversation_in_one_piece),
        cmocka_unit_test(every_conversation_byte_by_byte),
        cmocka_unit_test(every_conversation_cut_at_every_byte),
        cmocka_unit_test(every_truncation_is_a_beginning),
        cmocka_unit_test(the_longest_login_is_taken_whole),
        cmocka_unit_test(the_method_is_chosen_by_the_listener),
        cmocka_unit_test(a_trusted_client_needs_no_login),
        cmocka_unit_test(unsent_output_adds_up),
        cmocka_unit_test(input_is_left_alone_until_the_owner_has_answered),
        cmocka_unit_test(a_request_may_have_two_replies),
        cmocka_unit_test(answers_out_of_turn_are_ignored),
        cmocka_unit_test(no_input_at_all_is_a_beginning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
