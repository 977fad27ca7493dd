/* Plays what the program, the socket between it and user space, and user space do, and asks after each step whether the
 * program may relay. */
#include "kernel/catch_up.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "test.h"

static int ends[2]; /* the program's side and user space's side of a datagram socket */
static struct flow_slot slot;
static struct catch_up state_up;

static int begin(void **state)
{
    (void)state;
    memset(&slot, 0, sizeof(slot));
    slot.count[FLOW_UP].passed = 1000; /* of the last association */
    catch_up_begin(&state_up, &slot, FLOW_UP);
    return socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, ends);
}

static int end(void **state)
{
    (void)state;
    return close(ends[0]) | close(ends[1]);
}

/*
 * p: the program leaves a datagram to user space, and it arrives
 * l: the same, but it gets lost on the way
 * u: one arrives that the program has not counted
 * r: user space receives one, sends it, and says so
 * R: user space receives all that waits, sends them, and says so
 */
static void play(char step)
{
    char bytes[4];
    uint32_t count = 0;
    if (step == 'p' || step == 'l')
        slot.count[FLOW_UP].passed++;
    if (step == 'p' || step == 'u')
        assert_int_equal(send(ends[0], "", 0, 0), 0); /* even an empty one waits */
    if (step == 'r')
        count += recv(ends[1], bytes, sizeof(bytes), 0) >= 0;
    while (step == 'R' && recv(ends[1], bytes, sizeof(bytes), 0) >= 0)
        count++;
    if (step == 'r' || step == 'R')
        catch_up_add(&state_up, &slot, FLOW_UP, count, ends[1]);
}

static bool may_relay(void)
{
    return slot.received[FLOW_UP] == slot.count[FLOW_UP].passed;
}

/* The first 'pRpR' makes the counts of a new slot equal. */
static void the_program_may_relay_when_nothing_waits(void **state)
{
    (void)state;
    static const struct {
        const char *steps;
        const char *may; /* after each step: + or - */
    } table[] = {
        {"pRpRpR", "---+-+"},             /* a new slot needs two empty sockets */
        {"RR", "-+"},                     /* which need no datagram */
        {"pRpRpprr", "---+---+"},         /* a backlog: not before the last one was sent */
        {"pRpRpprpprrr", "---+-------+"}, /* which grows meanwhile */
        {"uRpRpR", "---+-+"},             /* came before the slot */
        {"pRpRlpRpR", "---+----+"},       /* a lost one: the second empty socket */
        {"pRpRlRR", "---+--+"},
        {"pRpRuRR", "---++-+"},         /* one that was not counted */
        {"pRpRuRpR", "---++--+"},       /* the next one does not make the counts equal by chance */
        {"pRpRlRlRlRR", "---+------+"}, /* losses go on: the difference has to stay the same */
        {"pRpRlpprRpR", "---+------+"}, /* the socket is not empty after the first */
        {"pRpRlRpR", "---+---+"},
        {"pRpRluR", "---+--+"}, /* one lost, one uncounted: nothing waits either */
        {"pRpRpRpRpR", "---+-+-+-+"},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        end(NULL);
        begin(NULL);
        for (size_t step = 0; table[i].steps[step]; step++) {
            play(table[i].steps[step]);
            if (may_relay() != (table[i].may[step] == '+'))
                fail_msg("\"%s\": the program %s relay after step %zu", table[i].steps, may_relay() ? "may" : "may not",
                         step + 1);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_program_may_relay_when_nothing_waits, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
