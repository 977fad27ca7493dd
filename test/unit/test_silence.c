#include "check/silence.h"

#include "test.h"

#define NO       SILENCE_NOT_TRIED
#define ANSWERED SILENCE_ANSWERED
#define STAYED   SILENCE_STAYED

/* What was seen of a fault whose place is known, and the place. */
static const struct row {
    const char *fault;
    struct silence seen; /* rejected, no route, forbidden, told elsewhere; at the proxy's address, with ours, over TCP,
                          * without, by TCP, several servers */
    enum silence_cause cause;
} rows[] = {
    {"a NAT that forwards, and nothing advertised", {0, 0, 0, 1, ANSWERED, NO, NO, NO, NO, 0}, SILENCE_BOUND_ADDRESS},
    {"the same, and a server that is not ours", {0, 1, 0, 1, ANSWERED, NO, NO, NO, NO, 0}, SILENCE_BOUND_ADDRESS},
    {"a NAT that does not forward, and nothing advertised",
     {0, 0, 0, 1, STAYED, STAYED, ANSWERED, ANSWERED, NO, 0},
     SILENCE_BOUND_ADDRESS},
    {"an address without a route", {0, 1, 0, 0, STAYED, STAYED, NO, ANSWERED, NO, 0}, SILENCE_BOUND_ADDRESS},
    {"a firewall on this machine", {0, 0, 1, 0, NO, STAYED, ANSWERED, STAYED, NO, 0}, SILENCE_FORBIDDEN},
    {"a server that wants the hint", {0, 0, 0, 0, NO, ANSWERED, NO, NO, NO, 0}, SILENCE_HINT},
    {"a firewall before our relay ports", {0, 0, 0, 0, NO, STAYED, ANSWERED, ANSWERED, NO, 0}, SILENCE_WAY_IN},
    {"the same, and we have no UDP ourselves", {0, 0, 0, 0, NO, STAYED, ANSWERED, STAYED, NO, 0}, SILENCE_WAY_IN},
    {"a firewall that rejects", {1, 0, 0, 0, NO, STAYED, ANSWERED, ANSWERED, NO, 0}, SILENCE_CLOSED},
    {"a server that has closed the port", {1, 0, 0, 0, NO, STAYED, NO, ANSWERED, NO, 0}, SILENCE_CLOSED},
    {"a proxy's host without UDP", {0, 0, 0, 0, NO, STAYED, STAYED, ANSWERED, NO, 0}, SILENCE_WAY_OUT},
    {"a STUN server that is down", {0, 0, 0, 0, NO, STAYED, STAYED, STAYED, NO, 0}, SILENCE_SERVER},
    {"the same, and another proxy", {0, 0, 0, 0, NO, STAYED, NO, STAYED, NO, 0}, SILENCE_SERVER},
    {"a proxy's host without UDP, and we have none",
     {0, 0, 0, 0, NO, STAYED, STAYED, STAYED, ANSWERED, 0},
     SILENCE_WAY_OUT},
    {"the same, and three servers without TCP", {0, 0, 0, 0, NO, STAYED, STAYED, STAYED, STAYED, 1}, SILENCE_WAY_OUT},
    {"the same, and another proxy", {0, 0, 0, 0, NO, STAYED, NO, STAYED, STAYED, 1}, SILENCE_EITHER},
    {"we have no UDP, and another proxy", {0, 0, 0, 0, NO, STAYED, NO, STAYED, ANSWERED, 0}, SILENCE_EITHER},
    {"a firewall before another proxy", {0, 0, 0, 0, NO, STAYED, NO, ANSWERED, NO, 0}, SILENCE_EITHER},
    {"nothing could be tried", {0, 0, 0, 0, NO, NO, NO, NO, NO, 0}, SILENCE_EITHER},
};

static void every_fault(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (silence_judge(&rows[i].seen) != rows[i].cause)
            fail_msg("%s: said %d, expected %d", rows[i].fault, silence_judge(&rows[i].seen), rows[i].cause);
}

/* What has just answered is never blamed, nor what lies between it and us. */
static void what_answered_is_never_blamed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 8 * 243; i++) {
        const struct silence s = {
            .rejected = i & 1,
            .no_route = i & 2,
            .told_elsewhere = i & 4,
            .at_proxys_address = (enum silence_seen)(i / 8 % 3),
            .with_our_address = (enum silence_seen)(i / 24 % 3),
            .over_tcp = (enum silence_seen)(i / 72 % 3),
            .without_proxy = (enum silence_seen)(i / 216 % 3),
            .by_tcp = (enum silence_seen)(i / 648 % 3),
        };
        enum silence_cause cause = silence_judge(&s);
        bool out_works = s.over_tcp == ANSWERED;
        assert_false(out_works && (cause == SILENCE_WAY_OUT || cause == SILENCE_SERVER || cause == SILENCE_EITHER));
        assert_false((s.without_proxy == ANSWERED || s.by_tcp == ANSWERED) && cause == SILENCE_SERVER);
        assert_false(cause == SILENCE_WAY_OUT && s.over_tcp != STAYED);
        assert_false(cause == SILENCE_HINT && s.with_our_address != ANSWERED);
        assert_false(cause == SILENCE_CLOSED && !s.rejected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_fault),
        cmocka_unit_test(what_answered_is_never_blamed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
