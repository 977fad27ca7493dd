#include "test.h"

#include <errno.h>
#include <string.h>

#include "proxy/session/shortage.h"

/* The reason that ends a session names the one thing that was short, and what an operator changes. */
static void names_what_is_short(void **state)
{
    (void)state;
    static const struct {
        struct shortage shortage;
        const char *text;
    } rows[] = {
        {{.kind = SHORTAGE_DESCRIPTORS}, "x: descriptors ran out: raise LimitNOFILE= or ulimit -n"},
        {{.kind = SHORTAGE_FILES}, "x: this host's table of open files is full: raise the sysctl fs.file-max"},
        {{.kind = SHORTAGE_HOST_MEMORY}, "x: this host has no memory left for another socket"},
        {{.kind = SHORTAGE_MEMORY}, "x: memory is short: raise limits.memory"},
        {{.kind = SHORTAGE_PORTS, .option = "udp.ports"},
         "x: every port of udp.ports is in use: make the range larger"},
        {{.kind = SHORTAGE_LIMIT, .option = "limits.associations", .most = 16},
         "x: limits.associations (16) is reached"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[SHORTAGE_TEXT_MAX];
        assert_string_equal(shortage_format(&rows[i].shortage, "x", text), rows[i].text);
    }
}

static void the_longest_text_fits(void **state)
{
    (void)state;
    const struct shortage longest = {
        .kind = SHORTAGE_LIMIT, .option = "limits.associations_per_client", .most = UINT32_MAX};
    char text[SHORTAGE_TEXT_MAX];
    shortage_format(&longest, "newest session of the client or user that holds most, ended to make room", text);
    assert_non_null(strstr(text, "limits.associations_per_client (4294967295) is reached"));
    const struct shortage files = {.kind = SHORTAGE_FILES};
    shortage_format(&files, "newest session of the client or user that holds most, ended to make room", text);
    assert_non_null(strstr(text, "fs.file-max"));
}

static void knows_shortages_by_their_errors(void **state)
{
    (void)state;
    assert_int_equal(shortage_of_error(EMFILE).kind, SHORTAGE_DESCRIPTORS);
    assert_int_equal(shortage_of_error(ENFILE).kind, SHORTAGE_FILES);
    assert_int_equal(shortage_of_error(ENOMEM).kind, SHORTAGE_HOST_MEMORY);
    assert_int_equal(shortage_of_error(ENOBUFS).kind, SHORTAGE_HOST_MEMORY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_what_is_short),
        cmocka_unit_test(the_longest_text_fits),
        cmocka_unit_test(knows_shortages_by_their_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
