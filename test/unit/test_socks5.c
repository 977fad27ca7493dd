#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "conesocks/socks5.h"
#include "support/bytes.h"
#include "support/frame_model.h"
#include "support/messages.h"
#include "support/udp_header_model.h"

static struct edge input, output;

/* Messages as the RFCs have them. */
static const struct {
    enum message_kind kind;
    const char *bytes;
} valid[] = {
    {GREETING, "05 01 00"},
    {GREETING, "05 03 00 01 02"},
    {GREETING, "05 ff 80*254 02"},
    {CHOICE, "05 00"},
    {CHOICE, "05 ff"},
    {PASSWORD, "01 03 'bob' 06 'secret'"},
    {PASSWORD, "01 01 'b' 00"}, /* an empty password */
    {PASSWORD, "01 ff 'u'*255 ff 'p'*255"},
    {PASSWORD, "01 02 'b' 00 02 00 'p'"}, /* NUL inside: for the caller to refuse */
    {STATUS, "01 00"},
    {STATUS, "01 ff"},
    {REQUEST, "05 01 00 01 c0000201 0050"},
    {REQUEST, "05 02 00 04 20010db8 00*11 01 01bb"},
    {REQUEST, "05 03 00 03 0b 'example.org' 0035"},
    {REQUEST, "05 01 00 03 01 'x' ffff"},
    {REQUEST, "05 01 00 03 ff 'x'*255 0000"},
    {REQUEST, "05 01 00 03 04 'a' 00 'b' 00 0050"}, /* NUL inside a name: for the caller to refuse */
    {REQUEST, "05 fe 00 01 7f000001 0001"},         /* an unknown command */
    {REPLY, "05 00 00 01 cb007101 0438"},
    {REPLY, "05 08 00 04 00*16 0000"},
    {REPLY, "05 ff 00 03 09 'localhost' 0001"},
    {UDP_HEADER, "0000 00 01 c0000201 0035"},
    {UDP_HEADER, "0000 00 04 20010db8 00*11 01 0035"},
    {UDP_HEADER, "0000 00 03 0b 'example.org' 0035"},
    {UDP_HEADER, "0000 00 03 ff 'x'*255 0035"},
    {UDP_HEADER, "0000 ff 01 c0000201 0000"}, /* a fragment, and port 0: for the caller to drop */
    {FRAME, "0000 0a 01 c0000201 0035"},
    {FRAME, "0007 0a 01 c0000201 0035 'payload'"},
    {FRAME, "0005 16 04 20010db8 00*11 01 0035 'hello'"},
    {FRAME, "0001 12 03 0b 'example.org' 0035 'x'"},
    {FRAME, "0102 ff 03 f8 'x'*248 0035 ff*258"},
    {FRAME, "0000 0a 01 c0000201 0000"}, /* port 0: for the caller to drop */
};

/* Bytes that can never become a message, and the first byte at which that shows. */
static const struct {
    enum message_kind kind;
    const char *bytes;
    size_t shows_at;
    int error;
} malformed[] = {
    {GREETING, "04 01 00", 1, SOCKS5_E_VERSION},
    {GREETING, "'GET / HTTP/1.1'", 1, SOCKS5_E_VERSION},
    {GREETING, "05 00", 2, SOCKS5_E_EMPTY},
    {CHOICE, "04 00", 1, SOCKS5_E_VERSION},
    {CHOICE, "00 00", 1, SOCKS5_E_VERSION},
    {PASSWORD, "05 03 'bob' 06 'secret'", 1, SOCKS5_E_VERSION},
    {PASSWORD, "01 00 06 'secret'", 2, SOCKS5_E_EMPTY},
    {STATUS, "05 00", 1, SOCKS5_E_VERSION},
    {REQUEST, "04 01 00 01 c0000201 0050", 1, SOCKS5_E_VERSION},
    {REQUEST, "05 01 00 00 c0000201 0050", 4, SOCKS5_E_ATYP},
    {REQUEST, "05 01 00 02 c0000201 0050", 4, SOCKS5_E_ATYP},
    {REQUEST, "05 01 00 ff c0000201 0050", 4, SOCKS5_E_ATYP},
    {REQUEST, "05 01 00 03 00 0050", 5, SOCKS5_E_EMPTY},
    {REPLY, "00 5a 00 01 c0000201 0050", 1, SOCKS5_E_VERSION}, /* how SOCKS4 answers */
    {REPLY, "05 00 00 05 c0000201 0050", 4, SOCKS5_E_ATYP},
    {REPLY, "05 00 00 03 00 0050", 5, SOCKS5_E_EMPTY},
    {UDP_HEADER, "0001 00 01 c0000201 0035", 4, SOCKS5_E_RESERVED},
    {UDP_HEADER, "8000 00 01 c0000201 0035", 4, SOCKS5_E_RESERVED},
    {UDP_HEADER, "0000 00 00 c0000201 0035", 4, SOCKS5_E_ATYP},
    {UDP_HEADER, "0000 00 05 c0000201 0035", 4, SOCKS5_E_ATYP},
    {UDP_HEADER, "0000 00 03 00 0035", 5, SOCKS5_E_EMPTY},
    {FRAME, "0007 00 01 c0000201 0035 'payload'", 3, SOCKS5_E_LENGTH},
    {FRAME, "0007 02 01 c0000201 0035 'payload'", 3, SOCKS5_E_LENGTH},
    {FRAME, "0007 03 01 c0000201 0035 'payload'", 3, SOCKS5_E_LENGTH},
    {FRAME, "0007 04 01 c0000201 0035 'payload'", 4, SOCKS5_E_LENGTH},
    {FRAME, "0007 09 01 c0000201 0035 'payload'", 9, SOCKS5_E_LENGTH},
    {FRAME, "0007 0b 01 c0000201 0035 'payload'", 10, SOCKS5_E_LENGTH},
    {FRAME, "0007 0a 04 20010db8 00*11 01 0035 'payload'", 10, SOCKS5_E_LENGTH},
    {FRAME, "0007 11 03 0b 'example.org' 0035 'payload'", 17, SOCKS5_E_LENGTH},
    {FRAME, "0011 0a 01 c0000201 0035 'payload'", 17, 0}, /* none yet: the whole frame's length counted as MSGLEN */
    {FRAME, "0007 0a 00 c0000201 0035 'payload'", 4, SOCKS5_E_ATYP},
    {FRAME, "ffff 0a 05 c0000201 0035 'payload'", 4, SOCKS5_E_ATYP},
    {FRAME, "0007 07 03 00 0035 'payload'", 5, SOCKS5_E_EMPTY},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Which row of a table failed is what its reader wants to know. */
static void expect(const char *row, size_t cut, long got, long expected)
{
    if (got != expected)
        fail_msg("%s, the first %zu bytes: got %ld, expected %ld", row, cut, got, expected);
}

/* Row 14: every beginning of a message is asked to go on (or dropped, as a datagram), and nothing beyond it is read. */
static void every_truncation_is_incomplete(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(valid); i++) {
        uint8_t bytes[1024];
        union message message;
        size_t len = bytes_from_text(valid[i].bytes, bytes, sizeof(bytes));
        for (size_t cut = 0; cut < len; cut++)
            expect(valid[i].bytes, cut, message_decode(valid[i].kind, edge_copy(&input, bytes, cut), cut, &message),
                   message_incomplete(valid[i].kind));
        expect(valid[i].bytes, len, message_decode(valid[i].kind, edge_copy(&input, bytes, len), len, &message),
               (long)len);
    }
}

/* Row 17: what follows a message belongs to somebody else. */
static void what_follows_a_message_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(valid); i++) {
        uint8_t bytes[1024];
        union message message;
        size_t len = bytes_from_text(valid[i].bytes, bytes, sizeof(bytes));
        memset(bytes + len, 0xff, sizeof(bytes) - len);
        for (size_t more = 1; more <= 16; more++)
            expect(valid[i].bytes, len + more,
                   message_decode(valid[i].kind, edge_copy(&input, bytes, len + more), len + more, &message),
                   (long)len);
    }
}

static void every_message_encodes_to_what_it_was_decoded_from(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(valid); i++) {
        uint8_t bytes[1024];
        union message message;
        size_t len = bytes_from_text(valid[i].bytes, bytes, sizeof(bytes));
        assert_true(len <= message_max[valid[i].kind]);
        expect(valid[i].bytes, len, message_decode(valid[i].kind, edge_copy(&input, bytes, len), len, &message),
               (long)len);
        for (size_t size = 0; size < len; size++)
            expect(valid[i].bytes, size, (long)message_encode(valid[i].kind, edge_room(&output, size), size, &message),
                   0);
        uint8_t *out = edge_room(&output, len);
        expect(valid[i].bytes, len, (long)message_encode(valid[i].kind, out, len, &message), (long)len);
        assert_memory_equal(out, bytes, len);
    }
}

static void the_longest_of_each_message_is_as_long_as_the_header_says(void **state)
{
    (void)state;
    size_t longest[MESSAGE_KINDS] = {0};
    for (size_t i = 0; i < COUNT(valid); i++) {
        uint8_t bytes[1024];
        size_t len = bytes_from_text(valid[i].bytes, bytes, sizeof(bytes));
        if (len > longest[valid[i].kind])
            longest[valid[i].kind] = len;
    }
    assert_int_equal(longest[GREETING], SOCKS5_GREETING_MAX);
    assert_int_equal(longest[PASSWORD], SOCKS5_PASSWORD_MAX);
    assert_int_equal(longest[REQUEST], SOCKS5_REQUEST_MAX);
    assert_int_equal(longest[UDP_HEADER], SOCKS5_UDP_HEADER_MAX);
    assert_int_equal(UINT8_MAX + UINT16_MAX, SOCKS5_FRAME_MAX); /* HDRLEN and MSGLEN */
}

/* Rows 13, 14, 18, 19: refused as soon as it shows, with the same error however much follows. */
static void malformed_messages_are_refused_as_soon_as_it_shows(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(malformed); i++) {
        uint8_t bytes[1024];
        union message message;
        size_t len = bytes_from_text(malformed[i].bytes, bytes, sizeof(bytes));
        for (size_t cut = 0; cut <= len; cut++) {
            int expected = cut < malformed[i].shows_at ? message_incomplete(malformed[i].kind) : malformed[i].error;
            expect(malformed[i].bytes, cut,
                   message_decode(malformed[i].kind, edge_copy(&input, bytes, cut), cut, &message), expected);
        }
    }
}

/* Rows 13 and 14, with every value of the bytes that decide. */
static void only_the_defined_address_types_decode(void **state)
{
    (void)state;
    for (unsigned atyp = 0; atyp <= 255; atyp++) {
        uint8_t bytes[300] = {0, 0, 0, (uint8_t)atyp, 4};
        struct socks5_udp_header header;
        int n = socks5_udp_header_decode(edge_copy(&input, bytes, sizeof(bytes)), sizeof(bytes), &header);
        assert_int_equal(n, atyp == 1 ? 10 : atyp == 3 ? 11 : atyp == 4 ? 22 : SOCKS5_E_ATYP);
    }
}

static void every_fragment_number_and_no_reserved_value_decodes(void **state)
{
    (void)state;
    for (unsigned value = 0; value <= 255; value++) {
        uint8_t fragment[] = {0, 0, (uint8_t)value, 1, 192, 0, 2, 1, 0, 53};
        uint8_t high[] = {(uint8_t)value, 0, 0, 1, 192, 0, 2, 1, 0, 53};
        uint8_t low[] = {0, (uint8_t)value, 0, 1, 192, 0, 2, 1, 0, 53};
        struct socks5_udp_header header;
        assert_int_equal(socks5_udp_header_decode(fragment, sizeof(fragment), &header), sizeof(fragment));
        assert_int_equal(header.fragment, value);
        int expected = value == 0 ? (int)sizeof(low) : SOCKS5_E_RESERVED;
        assert_int_equal(socks5_udp_header_decode(high, sizeof(high), &header), expected);
        assert_int_equal(socks5_udp_header_decode(low, sizeof(low), &header), expected);
    }
}

/* A client that sets RSV in a request loses nothing by it, and what we send has 0 there. */
static void reserved_bytes_of_requests_and_replies_are_not_looked_at(void **state)
{
    (void)state;
    uint8_t bytes[] = {5, 1, 0x77, 1, 192, 0, 2, 1, 0, 80}, out[sizeof(bytes)];
    struct socks5_request request;
    assert_int_equal(socks5_request_decode(bytes, sizeof(bytes), &request), sizeof(bytes));
    assert_int_equal(socks5_request_encode(out, sizeof(out), &request), sizeof(out));
    assert_int_equal(out[2], 0);
    struct socks5_reply_message reply;
    assert_int_equal(socks5_reply_decode(bytes, sizeof(bytes), &reply), sizeof(bytes));
    assert_int_equal(socks5_reply_encode(out, sizeof(out), &reply), sizeof(out));
    assert_int_equal(out[2], 0);
}

/* Decoder and encoder could agree on a wrong field: here each field is checked by hand. */
static void the_fields_are_where_the_rfc_puts_them(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct socks5_greeting greeting;
    bytes_from_text("05 03 00 01 02", bytes, sizeof(bytes));
    assert_int_equal(socks5_greeting_decode(bytes, 5, &greeting), 5);
    assert_int_equal(greeting.method_count, 3);
    assert_ptr_equal(greeting.methods, bytes + 2);

    struct socks5_password login;
    bytes_from_text("01 03 'bob' 06 'secret'", bytes, sizeof(bytes));
    assert_int_equal(socks5_password_decode(bytes, 12, &login), 12);
    assert_int_equal(login.user_len, 3);
    assert_int_equal(login.password_len, 6);
    assert_ptr_equal(login.user, bytes + 2);
    assert_ptr_equal(login.password, bytes + 6);

    uint8_t value;
    bytes_from_text("05 02 01 07", bytes, sizeof(bytes));
    assert_int_equal(socks5_choice_decode(bytes, 2, &value), 2);
    assert_int_equal(value, SOCKS5_METHOD_PASSWORD);
    assert_int_equal(socks5_password_status_decode(bytes + 2, 2, &value), 2);
    assert_int_equal(value, 7);
}

static void the_fields_of_addresses_are_where_the_rfc_puts_them(void **state)
{
    (void)state;
    uint8_t bytes[64];
    struct socks5_request request;
    bytes_from_text("05 03 00 03 0b 'example.org' 1234", bytes, sizeof(bytes));
    assert_int_equal(socks5_request_decode(bytes, 18, &request), 18);
    assert_int_equal(request.command, SOCKS5_COMMAND_UDP_ASSOCIATE);
    assert_int_equal(request.destination.atyp, SOCKS5_ATYP_NAME);
    assert_int_equal(request.destination.host_len, 11);
    assert_int_equal(request.destination.port, 0x1234);
    assert_ptr_equal(request.destination.host, bytes + 5);

    struct socks5_reply_message reply;
    bytes_from_text("05 04 00 01 c0000201 ff01", bytes, sizeof(bytes));
    assert_int_equal(socks5_reply_decode(bytes, 10, &reply), 10);
    assert_int_equal(reply.code, SOCKS5_REPLY_HOST_UNREACHABLE);
    assert_int_equal(reply.bound.atyp, SOCKS5_ATYP_IPV4);
    assert_int_equal(reply.bound.host_len, 4);
    assert_int_equal(reply.bound.port, 0xff01);
    assert_ptr_equal(reply.bound.host, bytes + 4);

    struct socks5_udp_header header;
    bytes_from_text("0000 07 04 20010db8 00*11 01 0035 'payload'", bytes, sizeof(bytes));
    assert_int_equal(socks5_udp_header_decode(bytes, 29, &header), SOCKS5_UDP_HEADER_V6);
    assert_int_equal(header.fragment, 7);
    assert_int_equal(header.destination.atyp, SOCKS5_ATYP_IPV6);
    assert_int_equal(header.destination.host_len, 16);
    assert_int_equal(header.destination.port, 53);
    assert_ptr_equal(header.destination.host, bytes + 4);

    struct socks5_frame frame;
    bytes_from_text("0007 0a 01 c0000201 1234 'payload'", bytes, sizeof(bytes));
    assert_int_equal(socks5_frame_decode(bytes, 17, &frame), 17);
    assert_int_equal(frame.destination.atyp, SOCKS5_ATYP_IPV4);
    assert_int_equal(frame.destination.port, 0x1234);
    assert_ptr_equal(frame.destination.host, bytes + 4);
    assert_int_equal(frame.payload_len, 7);
    assert_ptr_equal(frame.payload, bytes + 10);
}

static void a_frame_says_its_length_by_the_third_byte(void **state)
{
    (void)state;
    const uint8_t bytes[] = {0x12, 0x34, 10};
    for (size_t len = 0; len < 3; len++)
        assert_int_equal(socks5_frame_length(edge_copy(&input, bytes, len), len), 0);
    assert_int_equal(socks5_frame_length(edge_copy(&input, bytes, 3), 3), 0x1234 + 10);
}

static void what_cannot_be_said_is_not_encoded(void **state)
{
    (void)state;
    uint8_t out[1024], host[255] = {0};
    assert_int_equal(socks5_greeting_encode(out, sizeof(out), &(struct socks5_greeting){.methods = host}), 0);
    assert_int_equal(
        socks5_password_encode(out, sizeof(out), &(struct socks5_password){.user = host, .password = host}), 0);
    for (unsigned atyp = 0; atyp <= 255; atyp++) {
        for (unsigned host_len = 0; host_len <= 255; host_len++) {
            struct socks5_addr addr = {.atyp = (uint8_t)atyp, .host_len = (uint8_t)host_len, .host = host};
            size_t tail = atyp == 1 && host_len == 4    ? 7
                          : atyp == 4 && host_len == 16 ? 19
                          : atyp == 3 && host_len > 0   ? 4 + host_len
                                                        : 0;
            size_t expected = tail > 0 ? 3 + tail : 0;
            assert_int_equal(socks5_request_encode(out, sizeof(out), &(struct socks5_request){.destination = addr}),
                             expected);
            assert_int_equal(socks5_reply_encode(out, sizeof(out), &(struct socks5_reply_message){.bound = addr}),
                             expected);
            assert_int_equal(
                socks5_udp_header_encode(out, sizeof(out), &(struct socks5_udp_header){.destination = addr}), expected);
            assert_int_equal(socks5_frame_header_encode(out, sizeof(out), &(struct socks5_frame){.destination = addr}),
                             expected <= 255 ? expected : 0);
        }
    }
}

static void an_empty_password_needs_no_pointer(void **state)
{
    (void)state;
    uint8_t out[4];
    struct socks5_password login = {.user = (const uint8_t *)"b", .user_len = 1};
    assert_int_equal(socks5_password_encode(out, sizeof(out), &login), 4);
    assert_memory_equal(out,
                        "\x01\x01"
                        "b\x00",
                        4);
}

/* xorshift64*: the same inputs on every run and machine. */
static uint32_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)(*state * 0x2545f4914f6cdd1du >> 32);
}

/* Random bytes that look like a header often enough to reach every branch. Returns the length. */
static size_t random_header(uint64_t *seed, uint8_t *out)
{
    static const uint8_t types[] = {1, 3, 4, 0};
    size_t len = next_random(seed) % (next_random(seed) % 4 ? 40 : 300);
    for (size_t i = 0; i < len; i++)
        out[i] = (uint8_t)next_random(seed);
    if (len >= 5 && next_random(seed) % 8) {
        out[0] = out[1] = 0;
        if (next_random(seed) % 8)
            out[3] = types[next_random(seed) % 4];
        if (next_random(seed) % 2)
            out[4] = (uint8_t)(next_random(seed) % 40);
    }
    return len;
}

/* Row 20: ten million; the fuzzer goes on from here. */
static void the_udp_header_is_read_as_the_model_reads_it(void **state)
{
    (void)state;
    uint64_t seed = 0x5eed;
    unsigned seen[6] = {0}; /* valid, and each error */
    for (int round = 0; round < 10000000; round++) {
        uint8_t bytes[300];
        size_t len = random_header(&seed, bytes);
        const uint8_t *in = edge_copy(&input, bytes, len);
        struct socks5_udp_header header;
        int result = socks5_udp_header_decode(in, len, &header);
        struct udp_header_model model = udp_header_model(in, len);
        if (!udp_header_model_agrees(&model, result, &header))
            fail_msg("round %d: the decoder returns %d, the model %d", round, result, model.result);
        if (result > 0)
            assert_true(header.destination.host > in &&
                        header.destination.host + header.destination.host_len < in + len);
        seen[result > 0 ? 0 : -result]++;
    }
    assert_int_equal(seen[-SOCKS5_E_VERSION], 0); /* a UDP header has no version */
    assert_true(seen[0] > 10000 && seen[-SOCKS5_E_RESERVED] > 10000 && seen[-SOCKS5_E_ATYP] > 10000);
    assert_true(seen[-SOCKS5_E_EMPTY] > 1000 && seen[-SOCKS5_E_SHORT] > 10000);
}

/* Random bytes that look like a frame, as above. */
static size_t random_frame(uint64_t *seed, uint8_t *out)
{
    size_t len = random_header(seed, out);
    if (len >= 5 && next_random(seed) % 8) {
        static const uint8_t header_lens[] = {10, 22, 9, 11};
        unsigned kind = next_random(seed) % 8;
        out[0] = 0;
        out[1] = (uint8_t)(next_random(seed) % 24);
        out[2] = kind < 4 ? header_lens[kind] : (uint8_t)(7 + out[4] - kind % 2);
    }
    return len;
}

/* Row 20, for the frames of UDP in TCP. */
static void frames_are_read_as_the_model_reads_them(void **state)
{
    (void)state;
    uint64_t seed = 0xf4a3e;
    unsigned seen[7] = {0}, incomplete = 0; /* valid, and each error */
    for (int round = 0; round < 10000000; round++) {
        uint8_t bytes[300];
        size_t len = random_frame(&seed, bytes);
        const uint8_t *in = edge_copy(&input, bytes, len);
        struct socks5_frame frame;
        int result = socks5_frame_decode(in, len, &frame);
        struct frame_model model = frame_model(in, len);
        if (!frame_model_agrees(&model, in, result, &frame))
            fail_msg("round %d: the decoder returns %d, the model %d", round, result, model.result);
        incomplete += result == 0;
        seen[result > 0 ? 0 : -result]++;
    }
    assert_true(seen[0] - incomplete > 10000 && incomplete > 10000);
    assert_true(seen[-SOCKS5_E_LENGTH] > 10000 && seen[-SOCKS5_E_ATYP] > 10000 && seen[-SOCKS5_E_EMPTY] > 1000);
}

int main(void)
{
    input = edge_open();
    output = edge_open();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_truncation_is_incomplete),
        cmocka_unit_test(what_follows_a_message_changes_nothing),
        cmocka_unit_test(every_message_encodes_to_what_it_was_decoded_from),
        cmocka_unit_test(the_longest_of_each_message_is_as_long_as_the_header_says),
        cmocka_unit_test(malformed_messages_are_refused_as_soon_as_it_shows),
        cmocka_unit_test(only_the_defined_address_types_decode),
        cmocka_unit_test(every_fragment_number_and_no_reserved_value_decodes),
        cmocka_unit_test(reserved_bytes_of_requests_and_replies_are_not_looked_at),
        cmocka_unit_test(the_fields_are_where_the_rfc_puts_them),
        cmocka_unit_test(the_fields_of_addresses_are_where_the_rfc_puts_them),
        cmocka_unit_test(a_frame_says_its_length_by_the_third_byte),
        cmocka_unit_test(what_cannot_be_said_is_not_encoded),
        cmocka_unit_test(an_empty_password_needs_no_pointer),
        cmocka_unit_test(the_udp_header_is_read_as_the_model_reads_it),
        cmocka_unit_test(frames_are_read_as_the_model_reads_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
