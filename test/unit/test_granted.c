#include "check/granted.h"

#include "test.h"

static void every_kind(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        struct granted seen; /* answered, ended, grants all, must answer */
        enum granted_verdict verdict;
    } rows[] = {
        {"a STUN server", {1, 0, 0, 0}, GRANTED_ANSWERED},
        {"the same behind a proxy that grants everything", {1, 0, 1, 0}, GRANTED_ANSWERED},
        {"a web server, which waits", {0, 0, 0, 0}, GRANTED_CONNECTED},
        {"a server that closes at once", {0, 1, 0, 0}, GRANTED_CONNECTED},
        {"a web server behind a proxy that grants everything", {0, 0, 1, 0}, GRANTED_UNPROVEN},
        {"nobody, behind the same", {0, 1, 1, 0}, GRANTED_NOBODY},
        {"our peer with another key", {0, 1, 0, 1}, GRANTED_WRONG_PLACE},
        {"no peer, behind a proxy that grants everything", {0, 1, 1, 1}, GRANTED_NOBODY},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (granted_judge(&rows[i].seen) != rows[i].verdict)
            fail_msg("%s: judged %d, expected %d", rows[i].what, granted_judge(&rows[i].seen), rows[i].verdict);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kind)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
