/* Rows 50 and 51: one call is one JSON object, whatever a client sent. */
#define LOG_MODULE "test"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log_impl.h"
#include "base/netaddr.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static char line[LOG_LINE_MAX];

/* The object that the line is; and no byte of it could end it, or move a terminal. */
static json_t *parsed(size_t len)
{
    json_error_t error;
    assert_in_range(len, 1, sizeof(line) - 1);
    for (size_t i = 0; i < len; i++)
        assert_true((unsigned char)line[i] >= 0x20 && line[i] != 0x7f);
    json_t *object = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    if (!object)
        fail_msg("%s: %.*s", error.text, (int)len, line);
    return object;
}

static json_t *object_of(const struct log_record *record)
{
    return parsed(log_json(line, sizeof(line) - 1, record));
}

static const char *text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void a_line_has_its_head(void **state)
{
    (void)state;
    json_t *object = object_of(&(struct log_record){LOG_LEVEL_WARNING, .module = "udp", .message = "100% \"odd\""});
    assert_int_equal(json_object_size(object), 5);
    assert_string_equal(text_at(object, "level"), "warning");
    assert_string_equal(text_at(object, "module"), "udp");
    assert_string_equal(text_at(object, "message"), "100% \"odd\"");
    int year, end;
    assert_int_equal(json_integer_value(json_object_get(object, "pid")), getpid());
    assert_int_equal(sscanf(text_at(object, "time"), "%4d-%*2d-%*2dT%*2d:%*2d:%*2d.%*3dZ%n", &year, &end), 1);
    assert_int_equal(end, strlen("2026-01-02T03:04:05.678Z"));
    json_decref(object);
}

static void fields_are_members_of_their_types(void **state)
{
    (void)state;
    union netaddr address, none = {0};
    assert_true(netaddr_parse(&address, "192.0.2.1", 53));
    const struct log_field fields[] = {
        {.key = "client", .type = LOG_ADDRESS, .address = &address},
        {.key = "unset", .type = LOG_ADDRESS, .address = &none},
        {.key = "untold", .type = LOG_ADDRESS},
        {.key = "user", .type = LOG_TEXT},
        {.key = "upstream", .type = LOG_TEXT, .text = "far \"away\""},
        {.key = "up_bytes", .type = LOG_NUMBER, .number = 9007199254740993},
        {.group = "dropped", .key = "rate", .type = LOG_NUMBER, .number = 7},
        {.group = "dropped", .key = "stranger", .type = LOG_NUMBER, .number = 8},
        {.key = "seconds", .type = LOG_SECONDS, .number = 100},
        {.key = "why", .type = LOG_SENTENCE, .text = "closed by client"},
    };
    const struct log_record record = {LOG_LEVEL_INFO, "session", "session ended", fields, COUNT(fields), 3};
    json_t *object = object_of(&record);
    const char *tail = strstr(line, ",\"client\"");
    assert_non_null(tail);
    assert_memory_equal(tail,
                        ",\"client\":\"192.0.2.1:53\",\"unset\":null,\"untold\":null,\"user\":null,\"upstream\":\"far "
                        "\\\"away\\\"\",\"up_bytes\":9007199254740993,\"dropped\":{\"rate\":7,\"stranger\":8},"
                        "\"seconds\":0.1,\"why\":\"closed by client\",\"held_back\":3}",
                        strlen(tail));
    json_decref(object);
}

/* The same spelling as in a text: a value that is printed as it is holds nothing that a terminal obeys. */
static void every_byte_becomes_what_it_is_in_a_text(void **state)
{
    (void)state;
    for (int first = 1; first <= 255; first++) {
        for (int second = 0; second <= 255; second += second < 0x80 ? 16 : 1) {
            const char bytes[] = {(char)first, (char)second, '\0'};
            char escaped[16];
            log_escape(escaped, sizeof(escaped), bytes, strlen(bytes));
            const struct log_field field = {.key = "user", .type = LOG_TEXT, .text = bytes};
            json_t *object = object_of(&(struct log_record){LOG_LEVEL_INFO, "test", bytes, &field, 1, 0});
            assert_string_equal(text_at(object, "message"), escaped);
            assert_string_equal(text_at(object, "user"), escaped);
            json_decref(object);
        }
    }
}

/* Whatever it is that a client repeats: it is cut, and its line is whole. */
static void nothing_is_too_long(void **state)
{
    (void)state;
    static const char *const repeated[] = {"\n", "\"", "\xff", "\xe2\x82\xac", "\\", "a"};
    for (size_t i = 0; i < COUNT(repeated); i++) {
        char text[1024] = "";
        while (strlen(text) + strlen(repeated[i]) < sizeof(text))
            strcat(text, repeated[i]);
        struct log_field fields[16];
        for (size_t count = 0; count <= COUNT(fields); count++) {
            static const char *const keys[] = {"a", "b", "c", "d", "e", "f", "g", "h",
                                               "i", "j", "k", "l", "m", "n", "o", "p"};
            for (size_t k = 0; k < count; k++)
                fields[k] = (struct log_field){.key = keys[k], .type = LOG_TEXT, .text = text};
            json_t *object =
                object_of(&(struct log_record){LOG_LEVEL_INFO, "test", count ? "m" : text, fields, count, 0});
            assert_non_null(text_at(object, "message"));
            assert_true(count > 3 || json_object_size(object) == 5 + count);
            json_decref(object);
        }
    }
}

static int allocations_left;
static void *scarce(size_t size)
{
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void without_memory_it_is_a_text(void **state)
{
    (void)state;
    const struct log_field fields[] = {
        {.key = "user", .type = LOG_TEXT, .text = "alice"},
        {.group = "dropped", .key = "rate", .type = LOG_NUMBER, .number = 7},
    };
    const struct log_record record = {LOG_LEVEL_INFO, "test", "message", fields, COUNT(fields), 0};
    bool whole = false;
    log_set_format(LOG_FORMAT_JSON);
    json_set_alloc_funcs(scarce, free);
    int enough = 0;
    for (; enough < 1000 && !whole; enough++) {
        allocations_left = enough;
        size_t len = log_format_line(line, &record);
        line[len] = '\0';
        whole = *line == '{';
        if (!whole)
            assert_string_equal(line, "conesocks: info: test: user=alice dropped_rate=7");
    }
    json_set_alloc_funcs(malloc, free);
    log_set_format(LOG_FORMAT_TEXT);
    assert_in_range(enough, 10, 999);
    json_decref(parsed(strlen(line)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_its_head),
        cmocka_unit_test(fields_are_members_of_their_types),
        cmocka_unit_test(every_byte_becomes_what_it_is_in_a_text),
        cmocka_unit_test(nothing_is_too_long),
        cmocka_unit_test(without_memory_it_is_a_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
