#include "echo.h"

#include <unistd.h>

#define SCALE_IN_FLIGHT 128 /* fewer than any socket's buffer holds: what is lost is the server's doing */
#define SCALE_TARGETS   3
#define SETTLE_US       200000

static void turn_for(struct echo *echo, uint64_t duration_ns)
{
    for (uint64_t end = now_ns() + duration_ns; now_ns() < end;)
        echo_turn(echo);
}

/* Reports about the turns of `settings`' time; the answers that come later cost nothing that was counted. */
static void count_turns(struct echo *echo, const struct settings *settings, struct report *report)
{
    turn_for(echo, warm_up_ns(settings));
    report_begin(report, settings);
    turn_for(echo, settings->duration_ns);
    report_end(report, settings);
}

/* Always full windows, for a time. */
void load_echo(const struct load *load, const struct settings *settings, struct report *report)
{
    struct echo *echo = echo_new(settings, report, load->count, load->window, load->size, 1);
    echo_refill(echo, true);
    for (unsigned i = 0; i < load->count; i++)
        echo_send(echo, i);
    count_turns(echo, settings, report);
    uint64_t relayed = report->relayed;
    echo_drain(echo);
    report->relayed = relayed;
    echo_free(echo);
}

/* As games and calls do: each association at its own steady rate. */
void load_quiet(const struct load *load, const struct settings *settings, struct report *report)
{
    struct echo *echo = echo_new(settings, report, load->count, load->window, load->size, 1);
    echo_pace(echo, load->count * load->rate);
    count_turns(echo, settings, report);
    uint64_t relayed = report->relayed;
    echo_pace(echo, 0);
    echo_drain(echo);
    report->relayed = relayed;
    echo_free(echo);
}

static void send_round(struct echo *echo, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        while (echo_in_flight(echo) >= SCALE_IN_FLIGHT)
            echo_turn(echo);
        echo_send(echo, i);
    }
    echo_drain(echo);
}

/* Each of many associations in its turn: does every answer find the one that asked? */
void load_scale(const struct load *load, const struct settings *settings, struct report *report)
{
    unsigned count = settings->count ? settings->count : load->count;
    struct usage before = report_before(settings);
    struct echo *echo = echo_new(settings, report, count, load->window, load->size, SCALE_TARGETS);
    report_begin(report, settings);
    uint64_t end = now_ns() + settings->duration_ns;
    do
        send_round(echo, count);
    while (now_ns() < end);
    report_end(report, settings);
    report_each(report, settings, &before, count);
    echo_free(echo);
}

/* What an association costs that once spoke and now keeps silent. */
void load_idle(const struct load *load, const struct settings *settings, struct report *report)
{
    unsigned count = settings->count ? settings->count : load->count;
    struct usage before = report_before(settings);
    struct echo *echo = echo_new(settings, report, count, load->window, load->size, 1);
    report_begin(report, settings);
    send_round(echo, count);
    usleep(SETTLE_US);
    report_end(report, settings);
    report_each(report, settings, &before, count);
    echo_free(echo);
}
