/* Frames in a stream that is cut anywhere. The reader has the exact memory that it asks for, so ASan sees beyond it. */
#include "test.h"

#include <stdlib.h>
#include <string.h>

#include "support/bytes.h"
#include "wire/frame_reader.h"

#define PING  " 0004 0a 01 c000020a 0035 'ping'"
#define EMPTY " 0000 16 04 20010db8 00*11 10 0035"
#define LONG  " 0010 0a 03 03 'dns' 0035 'x'*16"

static struct frame_reader reader;
static char seen[256]; /* the payloads, each with its length in front */
static int error, lost;

static int begin(void **state)
{
    (void)state;
    reader = (struct frame_reader){0};
    seen[0] = '\0';
    error = lost = 0;
    return 0;
}

static int end(void **state)
{
    (void)state;
    free(reader.begun);
    return 0;
}

/* What an owner does with `len` bytes that have come; without memory it loses a frame that is cut. */
static void take(const uint8_t *bytes, size_t len, bool has_memory)
{
    uint8_t chunk[FRAME_READER_START_MAX + 128];
    struct frame_reader_room rooms[2];
    struct socks5_frame frame;
    size_t size;
    frame_reader_rooms(&reader, chunk, sizeof(chunk), rooms);
    size_t first = len < rooms[0].size ? len : rooms[0].size;
    assert_in_range(len - first, 0, rooms[1].size);
    memcpy(rooms[0].bytes, bytes, first);
    memcpy(rooms[1].bytes, bytes + first, len - first);
    struct frame_reader_span span = frame_reader_add(&reader, chunk, len);
    while ((error = frame_reader_next(&reader, &span, &frame)) > 0)
        sprintf(seen + strlen(seen), "%u:%.*s ", frame.payload_len, frame.payload_len, (const char *)frame.payload);
    free(frame_reader_end_begun(&reader, &size));
    if (error < 0 || (size = frame_reader_keep(&reader, &span)) == 0)
        return;
    lost += !has_memory;
    frame_reader_begin(&reader, &span, has_memory ? malloc(size) : NULL);
}

static void take_text(const char *text, bool has_memory)
{
    uint8_t bytes[128];
    take(bytes, bytes_from_text(text, bytes, sizeof(bytes)), has_memory);
}

static void frames_of_a_stream_that_is_cut_anywhere(void **state)
{
    uint8_t bytes[128];
    const size_t len = bytes_from_text(PING EMPTY LONG, bytes, sizeof(bytes));
    for (size_t cut = 0; cut <= len; cut++) {
        for (size_t again = cut; again <= len; again++) {
            begin(state);
            take(bytes, cut, true);
            take(bytes + cut, again - cut, true);
            take(bytes + again, len - again, true);
            assert_string_equal(seen, "4:ping 0: 16:xxxxxxxxxxxxxxxx ");
            assert_null(reader.begun);
            assert_int_equal(reader.start_len, 0);
        }
    }
}

/* Nobody pays for a frame that is cut: it is skipped, and those behind it are whole. */
static void without_memory_a_cut_frame_is_skipped(void **state)
{
    (void)state;
    uint8_t bytes[128];
    const size_t len = bytes_from_text(LONG PING, bytes, sizeof(bytes)), first = len - 14;
    for (size_t cut = 3; cut < first; cut++) {
        begin(state);
        take(bytes, cut, false);
        for (size_t i = cut; i < len - 4; i++)
            take(bytes + i, 1, i >= first);
        take(bytes + len - 4, 4, true);
        assert_string_equal(seen, "4:ping ");
        assert_int_equal(lost, 1);
    }
}

static void a_begun_frame_can_be_given_up(void **state)
{
    (void)state;
    size_t size;
    take_text("0004 0a 01 c000020a 0035 'pi'", true);
    uint8_t *memory = frame_reader_lose_begun(&reader, &size);
    assert_non_null(memory);
    assert_int_equal(size, 14);
    free(memory);
    assert_null(frame_reader_lose_begun(&reader, &size));
    take_text("'ng'" PING, true);
    assert_string_equal(seen, "4:ping ");
}

static void a_bad_header_is_told_before_its_payload(void **state)
{
    (void)state;
    take_text("0004 0b 01 c000020a 0035", true);
    assert_int_equal(error, SOCKS5_E_LENGTH);
    begin(state);
    take_text("0004 0a 02 c000020a", true);
    assert_int_equal(error, SOCKS5_E_ATYP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(frames_of_a_stream_that_is_cut_anywhere),
        TEST(without_memory_a_cut_frame_is_skipped),
        TEST(a_begun_frame_can_be_given_up),
        TEST(a_bad_header_is_told_before_its_payload),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
