#include "echo.h"

#include <unistd.h>

#define SCALE_IN_FLIGHT 128 /* fewer than any socket's buffer holds: what is lost is the server's doing */
#define SCALE_TARGETS   3
#define SETTLE_US       200000

/* Always full windows, for a time. */
void load_echo(const struct load *load, const struct settings *settings, struct report *report)
{
    struct echo *echo = echo_new(settings, report, load->count, load->window, load->size, 1);
    echo_refill(echo, true);
    for (unsigned i = 0; i < load->count; i++)
        echo_send(echo, i);
    for (uint64_t end = now_ns() + warm_up_ns(settings); now_ns() < end;)
        echo_turn(echo);

    report_begin(report, settings);
    for (uint64_t end = now_ns() + settings->duration_ns; now_ns() < end;)
        echo_turn(echo);
    report_end(report, settings);

    uint64_t relayed = report->relayed;
    echo_drain(echo);
    report->relayed = relayed; /* what came after the end cost nothing that was counted */
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
