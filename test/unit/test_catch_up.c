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
 * L: it says so once less often than a slot needs that begins
 */
static void play(char step)
{
    char bytes[4];
    uint32_t count = 0;
    for (int i = 1; step == 'L' && i < CATCH_UP_LOOKS; i++)
        play('R');
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

/* The first 'LR' makes the counts of a new slot equal. */
static void the_program_may_relay_when_nothing_waits(void **state)
{
    (void)state;
    static const struct {
        const char *steps;
        const char *may; /* after each step: + or - */
    } table[] = {
        {"LRpRpR", "-+-+-+"},         /* a new slot needs many looks at an empty socket */
        {"pRL", "--+"},               /* whatever has come meanwhile */
        {"LRpprr", "-+---+"},         /* a backlog: not before the last one was sent */
        {"LRpprpprrr", "-+-------+"}, /* which grows meanwhile */
        {"uRL", "--+"},               /* came before the slot */
        {"LRlpRL", "-+---+"},         /* a lost one */
        {"LRuRL", "-++-+"},           /* one that was not counted */
        {"LRuRpL", "-++--+"},         /* the next one does not make the counts equal by chance */
        {"LRlRlRLLLR", "-+-------+"}, /* losses go on: the greatest difference cannot be reached again */
        {"LRlpprL", "-+-----"},       /* the socket is not empty after the first */
        {"LRluRL", "-+--++"},         /* one lost, one uncounted: nothing waits either */
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

/* Each time user space looks, the next one has been counted and has not arrived yet. */
static void one_on_its_way_is_waited_for(void **state)
{
    (void)state;
    play('L');
    play('R');
    play('l');
    slot.count[FLOW_UP].passed++;
    for (int i = 1; i < CATCH_UP_LOOKS; i++) {
        play('R');
        assert_false(may_relay());
        play('p');
    }
    slot.count[FLOW_UP].passed--; /* the last one has arrived */
    play('R');
    assert_false(may_relay());
    play('L');
    assert_true(may_relay());
}

static bool is_stuck(void)
{
    return catch_up_is_stuck(&state_up, &slot, FLOW_UP, ends[1]);
}

static void it_is_stuck_when_all_get_lost(void **state)
{
    (void)state;
    play('L');
    play('R');
    assert_false(is_stuck());
    assert_false(is_stuck()); /* nothing has come at all */
    play('l');
    assert_true(is_stuck());
    assert_false(is_stuck());
    play('l');
    play('p');
    assert_false(is_stuck()); /* one waits */
    play('l');
    play('R');
    assert_false(is_stuck()); /* one has arrived */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_program_may_relay_when_nothing_waits, begin, end),
        cmocka_unit_test_setup_teardown(one_on_its_way_is_waited_for, begin, end),
        cmocka_unit_test_setup_teardown(it_is_stuck_when_all_get_lost, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
