#include "test.h"

#include <nettle/hmac.h>
#include <string.h>

#include "base/util.h"
#include "check/peer/peer_wire.h"
#include "support/bytes.h"

#define KEY "a key for the tests"

static union netaddr at(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static const struct stun_message requests[] = {
    {.method = STUN_BINDING, .transaction = "transaction"},
    {.method = STUN_BINDING, .transaction = "transaction", .change_port = true},
    {.method = STUN_BINDING, .transaction = "transaction", .change_address = true, .change_port = true},
    {.method = STUN_BINDING, .transaction = "transaction", .quiet = true},
    {.method = STUN_BINDING, .transaction = "transaction", .delay_s = PEER_DELAY_MAX},
    {.method = STUN_BINDING, .transaction = "transaction", .plain = true, .plain_len = 65000, .delay_s = 1},
    {.method = STUN_BINDING, .transaction = "transaction", .plain = true},
};

static bool same_request(const struct stun_message *a, const struct stun_message *b)
{
    return memcmp(a->transaction, b->transaction, STUN_TRANSACTION) == 0 && a->change_address == b->change_address &&
           a->change_port == b->change_port && a->quiet == b->quiet && a->delay_s == b->delay_s &&
           a->plain == b->plain && a->plain_len == b->plain_len;
}

static void requests_round_trip(void **state)
{
    (void)state;
    struct edge edge = edge_open();
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        for (size_t len = 0; len <= PEER_MESSAGE_MAX; len += 20) {
            uint8_t bytes[PEER_MESSAGE_MAX];
            struct stun_message back;
            size_t size = peer_encode(bytes, sizeof(bytes), len, &requests[i], KEY);
            assert_true(size >= len && size > 0 && size % 4 == 0);
            assert_int_equal(stun_length(bytes), size);
            assert_true(peer_is_stun(bytes, size));
            assert_true(peer_decode(edge_copy(&edge, bytes, size), size, KEY, STUN_REQUEST, &back));
            assert_true(same_request(&back, &requests[i]));
            assert_false(peer_decode(bytes, size, "a key for the testS", STUN_REQUEST, &back));
        }
}

static const struct stun_message answers[] = {
    {.class = STUN_SUCCESS,
     .method = STUN_BINDING,
     .transaction = "transaction",
     .plain_count = 70000,
     .plain_last = 65000,
     .fragment = 1500},
    {.class = STUN_SUCCESS, .method = STUN_BINDING, .transaction = "transaction"},
};

static void answers_round_trip(void **state)
{
    (void)state;
    static const char *const hosts[] = {"192.0.2.7", "2001:db8::7"};
    for (size_t i = 0; i < ARRAY_LEN(answers); i++)
        for (size_t host = 0; host < 2; host++) {
            uint8_t bytes[PEER_MESSAGE_MAX];
            struct stun_message in = answers[i], back;
            in.mapped = at(hosts[host], 50000);
            in.response_origin = at(hosts[host], PEER_PORT);
            in.other_address = at(hosts[host], PEER_PORT + 1);
            size_t size = peer_encode(bytes, sizeof(bytes), 0, &in, KEY);
            assert_true(size > 0 && peer_decode(bytes, size, KEY, STUN_SUCCESS, &back));
            assert_memory_equal(back.transaction, in.transaction, STUN_TRANSACTION);
            assert_true(netaddr_equal(&back.mapped, &in.mapped) &&
                        netaddr_equal(&back.response_origin, &in.response_origin) &&
                        netaddr_equal(&back.other_address, &in.other_address));
            assert_int_equal(back.plain_count, in.plain_count);
            assert_int_equal(back.plain_last, in.plain_last);
            assert_int_equal(back.fragment, in.fragment);
            assert_false(peer_decode(bytes, size, "", STUN_SUCCESS, &back));
        }
}

/* Row 35: the longest answer is no longer than the shortest request, as it is sent. */
static void no_answer_is_longer_than_its_request(void **state)
{
    (void)state;
    uint8_t bytes[PEER_MESSAGE_MAX];
    const struct stun_message longest = {.class = STUN_SUCCESS,
                                         .method = STUN_BINDING,
                                         .plain_count = UINT32_MAX,
                                         .mapped = at("2001:db8::7", 1),
                                         .response_origin = at("2001:db8::8", 2),
                                         .other_address = at("2001:db8::9", 3)};
    size_t answer = peer_encode(bytes, sizeof(bytes), 0, &longest, KEY);
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        assert_true(answer <= peer_encode(bytes, sizeof(bytes), PEER_REQUEST_MIN, &requests[i], KEY));
}

/* A message with any bit changed on the way is rejected. */
static void a_changed_message_is_rejected(void **state)
{
    (void)state;
    uint8_t bytes[PEER_MESSAGE_MAX];
    struct stun_message back;
    size_t size = peer_encode(bytes, sizeof(bytes), PEER_REQUEST_MIN, &requests[5], KEY);
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_false(peer_decode(bytes, size, KEY, STUN_REQUEST, &back));
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    assert_true(peer_decode(bytes, size, KEY, STUN_REQUEST, &back));
    struct edge edge = edge_open();
    for (size_t cut = 0; cut < size; cut++)
        assert_false(peer_decode(edge_copy(&edge, bytes, cut), cut, KEY, STUN_REQUEST, &back));
}

static void a_request_does_not_decode_as_an_answer(void **state)
{
    (void)state;
    uint8_t bytes[PEER_MESSAGE_MAX];
    struct stun_message answer;
    struct stun_message request;
    size_t size = peer_encode(bytes, sizeof(bytes), 0, &requests[0], KEY);
    assert_false(peer_decode(bytes, size, KEY, STUN_SUCCESS, &answer));
    const struct stun_message in = {.class = STUN_SUCCESS, .method = STUN_BINDING, .mapped = at("192.0.2.7", 1)};
    size = peer_encode(bytes, sizeof(bytes), 0, &in, KEY);
    assert_true(size > 0);
    assert_false(peer_decode(bytes, size, KEY, STUN_REQUEST, &request));
}

static void what_does_not_fit_is_not_encoded(void **state)
{
    (void)state;
    struct edge edge = edge_open();
    uint8_t bytes[PEER_MESSAGE_MAX];
    const struct stun_message answer = {.class = STUN_SUCCESS,
                                        .method = STUN_BINDING,
                                        .mapped = at("192.0.2.7", 1),
                                        .response_origin = at("192.0.2.8", 2)};
    size_t request_size = peer_encode(bytes, sizeof(bytes), PEER_REQUEST_MIN, &requests[5], KEY);
    size_t answer_size = peer_encode(bytes, sizeof(bytes), 0, &answer, KEY);
    for (size_t size = 0; size < request_size; size++)
        assert_int_equal(peer_encode(edge_room(&edge, size), size, PEER_REQUEST_MIN, &requests[5], KEY), 0);
    for (size_t size = 0; size < answer_size; size++)
        assert_int_equal(peer_encode(edge_room(&edge, size), size, 0, &answer, KEY), 0);
}

/* A message by the book (RFC 8489 section 14.6), not by our encoder: what stands in it is what is read. */
static void decodes_a_message_made_by_the_standard(void **state)
{
    (void)state;
    uint8_t bytes[128];
    size_t len =
        bytes_from_text("0101 0030 2112a442 'transaction!' 0020 0008 00 01 e273 e112a645", bytes, sizeof(bytes));
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, strlen(KEY), (const uint8_t *)KEY);
    hmac_sha256_update(&context, len, bytes);
    memcpy(bytes + len, "\x00\x1c\x00\x20", 4);
    hmac_sha256_digest(&context, SHA256_DIGEST_SIZE, bytes + len + 4);
    struct stun_message answer;
    const union netaddr expected = at("192.0.2.7", 50017);
    assert_true(peer_decode(bytes, len + 4 + SHA256_DIGEST_SIZE, KEY, STUN_SUCCESS, &answer));
    assert_true(netaddr_equal(&answer.mapped, &expected));
}

static void patterns_tell_apart(void **state)
{
    (void)state;
    static uint8_t bytes[65535];
    struct edge edge = edge_open();
    for (uint32_t seed = 0; seed < 3; seed++)
        for (size_t len = 0; len <= sizeof(bytes); len = len < 64 ? len + 1 : len * 2 + 1) {
            peer_pattern(edge_room(&edge, len), len, seed);
            memcpy(bytes, edge.end - len, len);
            assert_true(peer_pattern_is(bytes, len, seed));
            assert_false(peer_is_stun(bytes, len));
            if (len == 0)
                continue;
            assert_int_equal(len >= 8 && peer_pattern_is(bytes, len, seed + 1), false);
            bytes[len - 1] ^= 1;
            assert_false(peer_pattern_is(bytes, len, seed));
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_round_trip),
        cmocka_unit_test(answers_round_trip),
        cmocka_unit_test(no_answer_is_longer_than_its_request),
        cmocka_unit_test(a_changed_message_is_rejected),
        cmocka_unit_test(a_request_does_not_decode_as_an_answer),
        cmocka_unit_test(what_does_not_fit_is_not_encoded),
        cmocka_unit_test(decodes_a_message_made_by_the_standard),
        cmocka_unit_test(patterns_tell_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
