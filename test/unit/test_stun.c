#include "check/peer/stun.h"

#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "support/bytes.h"
#include "test.h"

#define ID "b7e7a701bc34d686fa87dfae" /* the transaction of RFC 5769's messages */

/* RFC 5769, sections 2.1 to 2.3. */
#define SAMPLE_REQUEST                                                                                                 \
    "0001 0058 2112a442" ID "8022 0010 'STUN test client' 0024 0004 6e0001ff 8029 0008 932ff9b151263b36"               \
    "0006 0009 'evtj:h6vY' 202020 0008 0014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2 8028 0004 e57a3bcf"
#define SAMPLE_V4                                                                                                      \
    "0101 003c 2112a442" ID "8022 000b 'test vector' 20 0020 0008 0001 a147 e112a643"                                  \
    "0008 0014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7 8028 0004 c07d4c96"
#define SAMPLE_V6                                                                                                      \
    "0101 0048 2112a442" ID "8022 000b 'test vector' 20 0020 0014 0002 a147 0113a9faa5d3f179bc25f4b5bed2b9d9"          \
    "0008 0014 a382954e4be67bf11784c97c8292c275bfe3ed41 8028 0004 c8fb0b4c"

#define MAPPED       "0001 0008 0001 0050 c0000201"
#define MAPPED_OTHER "0001 0008 0001 0051 c0000202"
#define XOR_MAPPED   "0020 0008 0001 a147 e112a643"

/* A message, and what it says: its length, class, method, and the attributes that it has. */
static const struct row {
    const char *message, *meaning;
} rows[] = {
    {SAMPLE_REQUEST, "108 request 1"},
    {SAMPLE_V4, "80 success 1 mapped 192.0.2.1:32853"},
    {SAMPLE_V6, "92 success 1 mapped [2001:db8:1234:5678:11:2233:4455:6677]:32853"},
    {"0001 0000 2112a442" ID, "20 request 1"},
    {"0011 0000 2112a442" ID, "20 indication 1"},
    {"3eef 0000 2112a442" ID, "20 request 4095"}, /* all bits of the method */
    {"3fff 0000 2112a442" ID, "20 error 4095"},
    {"0001 0000 2112a442" ID " 'more'", "20 request 1"},

    /* RFC 5780 */
    {"0001 0008 2112a442" ID "0003 0004 00000000", "28 request 1"},
    {"0001 0008 2112a442" ID "0003 0004 00000002", "28 request 1 change port"},
    {"0001 0008 2112a442" ID "0003 0004 00000004", "28 request 1 change address"},
    {"0001 0008 2112a442" ID "0003 0004 00000006", "28 request 1 change address change port"},
    {"0101 0024 2112a442" ID XOR_MAPPED "802b 0008 0001 0d96 c6336401 802c 0008 0001 0d97 c6336402",
     "56 success 1 mapped 192.0.2.1:32853 origin 198.51.100.1:3478 other 198.51.100.2:3479"},
    /* RFC 3489, in place of those */
    {"0101 0024 2112a442" ID MAPPED "0004 0008 0001 0d96 c6336401 0005 0008 0001 0d97 c6336402",
     "56 success 1 mapped 192.0.2.1:80 origin 198.51.100.1:3478 other 198.51.100.2:3479"},
    /* the newer one wins, wherever it stands; of two the first does */
    {"0101 0018 2112a442" ID MAPPED XOR_MAPPED, "44 success 1 mapped 192.0.2.1:32853"},
    {"0101 0018 2112a442" ID XOR_MAPPED MAPPED, "44 success 1 mapped 192.0.2.1:32853"},
    {"0101 0018 2112a442" ID MAPPED MAPPED_OTHER, "44 success 1 mapped 192.0.2.1:80"},
    {"0111 000c 2112a442" ID "0009 0007 00000414 'odd' 00", "32 error 1 code 420"},
    {"0111 0008 2112a442" ID "0009 0004 00000663", "28 error 1 code 699"},

    {"", "short"},
    {"0001 0000 2112a442 b7e7a701bc34d686fa87df", "short"},
    {"0001 0008 2112a442" ID "0003 0004 000000", "short"},
    {"4001 0000 2112a442" ID, "none"}, /* a ChannelData message of TURN */
    {"8001 0000 2112a442" ID, "none"},
    {"0001 0000 2112a443" ID, "none"}, /* RFC 3489 without its successor's cookie */
    {"0001 0002 2112a442" ID "0000", "none"},
    {"0001 0004 2112a442" ID "0003 0004", "attribute"}, /* longer than the message */
    {"0001 0004 2112a442" ID "8022 ffff", "attribute"},
    {"0001 0004 2112a442" ID "8022 0001", "attribute"}, /* its padding is longer */
    {"0001 0004 2112a442" ID "0003 0000", "attribute"},
    {"0101 0004 2112a442" ID "0020 0000", "attribute"},
    {"0101 000c 2112a442" ID "0020 0008 0003 a147 e112a643", "attribute"}, /* no family */
    {"0101 000c 2112a442" ID "0020 0008 0002 a147 e112a643", "attribute"}, /* too short for its family */
    {"0101 0010 2112a442" ID "0020 000c 0001 a147 e112a643 00000000", "attribute"},
    {"0111 0008 2112a442" ID "0009 0004 00000263", "attribute"}, /* no class of errors */
    {"0111 0008 2112a442" ID "0009 0004 00000464", "attribute"}, /* 100 is no number in one */
    {"0111 0008 2112a442" ID "0009 0003 00000400", "attribute"},
};

static void tell_address(char *meaning, const char *name, const union netaddr *address)
{
    char text[NETADDR_TEXT_MAX];
    if (address->sa.sa_family != AF_UNSPEC)
        sprintf(meaning + strlen(meaning), " %s %s", name, netaddr_format(address, text));
}

static void tell(char *meaning, int result, const struct stun_message *message)
{
    static const char *const errors[] = {"", "short", "none", "attribute"};
    static const char *const classes[] = {"request", "indication", "success", "error"};
    if (result < 0) {
        strcpy(meaning, errors[-result]);
        return;
    }
    sprintf(meaning, "%d %s %u", result, classes[message->class], message->method);
    tell_address(meaning, "mapped", &message->mapped);
    tell_address(meaning, "origin", &message->response_origin);
    tell_address(meaning, "other", &message->other_address);
    strcat(meaning, message->change_address ? " change address" : "");
    strcat(meaning, message->change_port ? " change port" : "");
    if (message->error_code)
        sprintf(meaning + strlen(meaning), " code %u", message->error_code);
}

static void every_row(void **state)
{
    (void)state;
    struct edge edge = edge_open();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        uint8_t bytes[256];
        char meaning[512];
        struct stun_message message;
        size_t len = bytes_from_text(rows[i].message, bytes, sizeof(bytes));
        tell(meaning, stun_decode(edge_copy(&edge, bytes, len), len, &message), &message);
        if (strcmp(meaning, rows[i].meaning) != 0)
            fail_msg("\"%s\":\n  says: %s\n  expected: %s", rows[i].message, meaning, rows[i].meaning);
    }
}

/* What comes by a stream: no beginning is taken for less or more. */
static void every_truncation(void **state)
{
    (void)state;
    struct edge edge = edge_open();
    uint8_t bytes[256];
    struct stun_message message;
    size_t whole = bytes_from_text(SAMPLE_V6, bytes, sizeof(bytes));
    assert_int_equal(stun_length(bytes), whole);
    for (size_t len = 0; len < whole; len++)
        assert_int_equal(stun_decode(edge_copy(&edge, bytes, len), len, &message), STUN_E_SHORT);
}

static void what_is_encoded_is_decoded(void **state)
{
    (void)state;
    struct edge edge = edge_open();
    const struct stun_message said = {.class = STUN_SUCCESS,
                                      .method = STUN_BINDING,
                                      .transaction = "a transactio",
                                      .mapped = netaddr_from_bytes((const uint8_t *)"sixteen bytes...", 16, 4096),
                                      .response_origin = netaddr_from_bytes((const uint8_t *)"four", 4, 3478),
                                      .other_address = netaddr_from_bytes((const uint8_t *)"five", 4, 3479),
                                      .change_address = true,
                                      .error_code = 438};
    struct stun_message heard;
    size_t whole = stun_encode(edge_room(&edge, STUN_MESSAGE_MAX), STUN_MESSAGE_MAX, &said);
    assert_true(whole > STUN_HEADER && whole < STUN_MESSAGE_MAX);
    for (size_t size = 0; size < whole; size++)
        assert_int_equal(stun_encode(edge_room(&edge, size), size, &said), 0);
    uint8_t *room = edge_room(&edge, whole);
    assert_int_equal(stun_encode(room, whole, &said), whole);
    assert_int_equal(stun_decode(room, whole, &heard), whole);
    assert_memory_equal(&heard, &said, sizeof(said));
}

/* The bytes of a question, as RFC 8489 figure 2 has them. */
static void a_question_as_bytes(void **state)
{
    (void)state;
    struct stun_message question = {.class = STUN_REQUEST, .method = STUN_BINDING, .change_port = true};
    uint8_t expected[64], bytes[STUN_MESSAGE_MAX];
    size_t len = bytes_from_text("0001 0008 2112a442" ID "0003 0004 00000002", expected, sizeof(expected));
    memcpy(question.transaction, expected + 8, STUN_TRANSACTION);
    assert_int_equal(stun_encode(bytes, sizeof(bytes), &question), len);
    assert_memory_equal(bytes, expected, len);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row),
        cmocka_unit_test(every_truncation),
        cmocka_unit_test(what_is_encoded_is_decoded),
        cmocka_unit_test(a_question_as_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
