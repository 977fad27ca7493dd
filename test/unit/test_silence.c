#include "check/silence.h"

#include "test.h"

#define NO       SILENCE_NOT_TRIED
#define ANSWERED SILENCE_ANSWERED
#define STAYED   SILENCE_STAYED

/* What was seen of a fault whose place is known, and the place. */
static const struct row {
    const char *fault;
    struct silence seen;
    enum silence_cause cause;
} rows[] = {
    {"a NAT that forwards, and nothing advertised",
     {.told_elsewhere = true, .at_proxys_address = ANSWERED},
     SILENCE_BOUND_ADDRESS},
    {"the same, and a server that is not ours",
     {.no_route = true, .told_elsewhere = true, .at_proxys_address = ANSWERED},
     SILENCE_BOUND_ADDRESS},
    {"a NAT that does not forward, and nothing advertised",
     {.told_elsewhere = true,
      .at_proxys_address = STAYED,
      .with_our_address = STAYED,
      .over_tcp = ANSWERED,
      .without_proxy = ANSWERED},
     SILENCE_BOUND_ADDRESS},
    {"an address without a route",
     {.no_route = true, .at_proxys_address = STAYED, .with_our_address = STAYED, .without_proxy = ANSWERED},
     SILENCE_BOUND_ADDRESS},
    {"a server that wants the hint", {.with_our_address = ANSWERED}, SILENCE_HINT},
    {"a firewall before our relay ports",
     {.with_our_address = STAYED, .over_tcp = ANSWERED, .without_proxy = ANSWERED},
     SILENCE_WAY_IN},
    {"the same, and we have no UDP ourselves",
     {.with_our_address = STAYED, .over_tcp = ANSWERED, .without_proxy = STAYED},
     SILENCE_WAY_IN},
    {"a firewall that rejects",
     {.rejected = true, .with_our_address = STAYED, .over_tcp = ANSWERED, .without_proxy = ANSWERED},
     SILENCE_CLOSED},
    {"a server that has closed the port",
     {.rejected = true, .with_our_address = STAYED, .without_proxy = ANSWERED},
     SILENCE_CLOSED},
    {"a proxy's host without UDP",
     {.with_our_address = STAYED, .over_tcp = STAYED, .without_proxy = ANSWERED},
     SILENCE_WAY_OUT},
    {"a STUN server that is down",
     {.with_our_address = STAYED, .over_tcp = STAYED, .without_proxy = STAYED},
     SILENCE_SERVER},
    {"the same, and another proxy", {.with_our_address = STAYED, .without_proxy = STAYED}, SILENCE_SERVER},
    {"a firewall before another proxy", {.with_our_address = STAYED, .without_proxy = ANSWERED}, SILENCE_EITHER},
    {"nothing could be tried", {.rejected = false}, SILENCE_EITHER},
    /* What was once told wrong. */
    {"UDP out is blocked, and we have no way of our own",
     {.with_our_address = STAYED, .over_tcp = STAYED, .by_tcp = ANSWERED},
     SILENCE_WAY_OUT},
    {"the same, and our own way is blocked, too",
     {.with_our_address = STAYED, .over_tcp = STAYED, .without_proxy = STAYED, .by_tcp = ANSWERED},
     SILENCE_WAY_OUT},
    {"the same, and another proxy", {.with_our_address = STAYED, .by_tcp = ANSWERED}, SILENCE_EITHER},
    {"the same, and our own way is blocked",
     {.with_our_address = STAYED, .without_proxy = STAYED, .by_tcp = ANSWERED},
     SILENCE_EITHER},
    {"nothing shows whether the test server is up",
     {.with_our_address = STAYED, .over_tcp = STAYED, .by_tcp = STAYED},
     SILENCE_BEYOND},
    {"several servers cannot all be down",
     {.with_our_address = STAYED, .over_tcp = STAYED, .without_proxy = STAYED, .several_servers = true},
     SILENCE_WAY_OUT},
    {"the proxy's host has no route there",
     {.with_our_address = STAYED, .over_tcp = STAYED, .unroutable = true, .by_tcp = STAYED},
     SILENCE_WAY_OUT},
    {"a server that gives up when it cannot send", {.rejected = true, .ended = true}, SILENCE_FORWARD},
    {"a server that sends ICMP errors when it cannot send", {.rejected = true, .relay_is_open = true}, SILENCE_FORWARD},
    {"the same, but the test server is down, too",
     {.rejected = true, .relay_is_open = true, .without_proxy = STAYED, .by_tcp = STAYED},
     SILENCE_SERVER},
    {"our own firewall", {.forbidden = true, .over_tcp = ANSWERED, .by_tcp = ANSWERED}, SILENCE_FORBIDDEN},
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
    for (unsigned i = 0; i < 8 * 243 * 16; i++) {
        const struct silence s = {
            .forbidden = i / 1944 & 1,
            .ended = i / 1944 & 2,
            .unroutable = i / 1944 & 4,
            .several_servers = i / 1944 & 8,
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
        bool server_works = s.without_proxy == ANSWERED || s.by_tcp == ANSWERED;
        assert_false(server_works && (cause == SILENCE_SERVER || cause == SILENCE_BEYOND));
        assert_false(cause == SILENCE_WAY_OUT && s.over_tcp != STAYED && !s.unroutable);
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
