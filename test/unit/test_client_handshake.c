#include "wire/client_handshake.h"

#include <stdio.h>

#include "base/util.h"
#include "support/bytes.h"
#include "test.h"

#define GREETING   "050100"
#define GREETING_2 "05020002" /* with a login to offer */
#define LOGIN      "0103626f6206736563726574"
#define REQUEST    "05010003036162630050" /* CONNECT abc:80 */
#define GRANT      "05 00 00 01 c0000209 0bb8"
#define GRANTED    "granted c0000209:3000"

enum { STRANGER, USER };

/* What a server says, and all that comes of it: what we say, the outcome, and how many bytes we have left alone. */
static const struct row {
    int who;
    const char *server, *story;
} rows[] = {
    {STRANGER, "05 00 " GRANT, GREETING " " REQUEST " " GRANTED " left 0"},
    {STRANGER, "05 00 " GRANT " 'banner'", GREETING " " REQUEST " " GRANTED " left 6"},
    {STRANGER, "05 00  05 00 00 04 20010db8 00*12 0bb8",
     GREETING " " REQUEST " granted 20010db8000000000000000000000000:3000 left 0"},
    {STRANGER, "05 00  05 00 00 03 03 'b.c' 0050 'x'", GREETING " " REQUEST " granted 622e63:80 left 1"},
    {STRANGER, "05 00  05 00 00 03 00 0050 'x'", GREETING " " REQUEST " granted 00000000:80 left 1"},
    {STRANGER, "05 00  05 00 00 03 ff 'n'*255 0050 'x'", NULL},
    {USER, "05 00 " GRANT, GREETING_2 " " REQUEST " " GRANTED " left 0"},
    {USER, "05 02  01 00 " GRANT, GREETING_2 " " LOGIN " " REQUEST " " GRANTED " left 0"},
    {USER, "05 02  05 00 " GRANT, GREETING_2 " " LOGIN " " REQUEST " " GRANTED " left 0"},

    /* Refused. */
    {STRANGER, "05 00  05 05 00 01 00000000 0000", GREETING " " REQUEST " refused 5 left 0"},
    {STRANGER, "05 00  05 01 00 03 00 0000", GREETING " " REQUEST " refused 1 left 0"},
    {STRANGER, "05 00  05 63 00 00 00", GREETING " " REQUEST " refused 99 left 0"},

    /* Something else. */
    {STRANGER, "05 02",
     GREETING " failed: it asks for a login: the upstream's user and password are not configured left 0"},
    {STRANGER, "05 ff",
     GREETING " failed: it asks for a login: the upstream's user and password are not configured left 0"},
    {USER, "05 ff",
     GREETING_2 " failed: it accepts none of the offered login methods: no login, or a user name and password left 0"},
    {USER, "05 01",
     GREETING_2 " failed: it accepts none of the offered login methods: no login, or a user name and password left 0"},
    {USER, "05 02  05 01", GREETING_2 " " LOGIN " failed: it does not accept the upstream's user and password left 0"},
    {USER, "05 02  01 01", GREETING_2 " " LOGIN " failed: it does not accept the upstream's user and password left 0"},
    {USER, "05 02  04 00", GREETING_2 " " LOGIN " failed: its answer to the login is not RFC 1929 left 0"},
    {STRANGER, "'HTTP/1.1 400'", GREETING " failed: what answers there does not speak SOCKS5 left 10"},
    {STRANGER, "05 00 'HTTP/1.1'", GREETING " " REQUEST " failed: its reply is not SOCKS5 left 3"},
    {STRANGER, "05 00  05 00 00 02 00", GREETING " " REQUEST " failed: its reply has an unknown address type left 0"},

    /* Silence. */
    {STRANGER, "", GREETING " waits left 0"},
    {STRANGER, "05", GREETING " waits left 0"},
    {USER, "05 02 01", GREETING_2 " " LOGIN " waits left 0"},
    {STRANGER, "05 00  05 00 00 01 c0000209 0b", GREETING " " REQUEST " waits left 0"},
};

static const uint8_t name[] = {'a', 'b', 'c'};
static const struct socks5_addr destination = {.atyp = SOCKS5_ATYP_NAME, .host_len = 3, .host = name, .port = 80};
static const struct socks5_password bob = {(const uint8_t *)"bob", (const uint8_t *)"secret", 3, 6};

static struct client_handshake handshake;
static char story[2048];

static void tell_bytes(const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        sprintf(story + strlen(story), "%02x", bytes[i]);
}

static void tell_output(void)
{
    tell_bytes(handshake.out, handshake.out_len);
    if (handshake.out_len)
        strcat(story, " ");
    handshake.out_len = 0;
}

static void tell_outcome(enum client_step step)
{
    char *end = story + strlen(story);
    if (step == CLIENT_GRANTED) {
        strcat(story, "granted ");
        tell_bytes(handshake.bound.host, handshake.bound.host_len);
        sprintf(story + strlen(story), ":%u", handshake.bound.port);
    } else if (step == CLIENT_REFUSED) {
        sprintf(end, "refused %u", handshake.code);
    } else if (step == CLIENT_FAILED) {
        sprintf(end, "failed: %s", handshake.failure);
    } else {
        sprintf(end, "waits");
    }
}

/* The server's bytes come in pieces of at most `piece`; each is read from memory that ends with it. */
static const char *play(int who, const uint8_t *bytes, size_t len, size_t piece)
{
    struct edge edge = edge_open();
    enum client_step step = CLIENT_MORE;
    size_t at = 0;
    story[0] = '\0';
    assert_true(client_handshake_init(&handshake, SOCKS5_COMMAND_CONNECT, &destination, who == USER ? &bob : NULL));
    tell_output();
    while (step == CLIENT_MORE && at < len) {
        size_t n = client_handshake_wants(&handshake);
        assert_true(n > 0);
        n = n < len - at ? n : len - at;
        n = n < piece ? n : piece;
        step = client_handshake_advance(&handshake, edge_copy(&edge, bytes + at, n), n);
        at += n;
        tell_output();
    }
    if (step != CLIENT_MORE)
        assert_int_equal(client_handshake_wants(&handshake), 0);
    tell_outcome(step);
    sprintf(story + strlen(story), " left %zu", len - at);
    munmap(edge.end - EDGE_ROOM, EDGE_ROOM + (size_t)sysconf(_SC_PAGESIZE));
    return story;
}

static void every_story(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t bytes[512];
        size_t len = bytes_from_text(rows[i].server, bytes, sizeof(bytes));
        for (size_t piece = 1; piece < 16; piece++) {
            const char *happened = play(rows[i].who, bytes, len, piece);
            if (rows[i].story && strcmp(happened, rows[i].story) != 0)
                fail_msg("\"%s\" by %zu:\n  happened: %s\n  expected: %s", rows[i].server, piece, happened,
                         rows[i].story);
        }
    }
}

/* A server that stops in the midst is waited for, and nothing has been decided. */
static void every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t bytes[512];
        size_t len = bytes_from_text(rows[i].server, bytes, sizeof(bytes));
        play(rows[i].who, bytes, len, SIZE_MAX);
        size_t used = len - strtoul(strrchr(story, ' '), NULL, 10);
        bool ends = !strstr(story, "waits");
        for (size_t cut = 0; cut < used; cut++)
            if (!strstr(play(rows[i].who, bytes, cut, SIZE_MAX), "waits left 0") && ends)
                fail_msg("\"%s\" cut at %zu: %s", rows[i].server, cut, story);
    }
}

static void the_longest_of_all(void **state)
{
    (void)state;
    static const uint8_t long_text[255] = {'l'};
    const struct socks5_addr far = {.atyp = SOCKS5_ATYP_NAME, .host_len = 255, .host = long_text, .port = 65535};
    const struct socks5_password login = {long_text, long_text, 255, 255};
    assert_true(client_handshake_init(&handshake, SOCKS5_COMMAND_UDP_ASSOCIATE, &far, &login));
    assert_int_equal(client_handshake_advance(&handshake, (const uint8_t *)"\5\2", 2), CLIENT_MORE);
    assert_int_equal(handshake.out_len, SOCKS5_PASSWORD_MAX);
    assert_int_equal(client_handshake_advance(&handshake, (const uint8_t *)"\1\0", 2), CLIENT_MORE);
    assert_int_equal(handshake.out_len, SOCKS5_REQUEST_MAX);
}

static void what_cannot_be_said(void **state)
{
    (void)state;
    const struct socks5_addr nowhere = {.atyp = SOCKS5_ATYP_NAME};
    const struct socks5_password nobody = {.user_len = 0};
    assert_false(client_handshake_init(&handshake, SOCKS5_COMMAND_CONNECT, &nowhere, NULL));
    assert_false(client_handshake_init(&handshake, SOCKS5_COMMAND_CONNECT, &destination, &nobody));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_story),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(the_longest_of_all),
        cmocka_unit_test(what_cannot_be_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
