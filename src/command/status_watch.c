#include "command/status_watch.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "command/readings.h"
#include "command/screen.h"
#include "command/status_screen.h"
#include "command/status_view.h"
#include "command/terminal.h"

#define CLOCK_MAX 32
#define SECOND_US UINT64_C(1000000)

static const char *watch_clock(char text[CLOCK_MAX])
{
    const time_t now = time(NULL);
    struct tm local;
    text[0] = '\0';
    if (localtime_r(&now, &local))
        strftime(text, CLOCK_MAX, "%H:%M:%S", &local);
    return text;
}

/* ---- at a terminal ---- */

static void watch_draw(enum status_screen_view view, const struct readings *readings, const char *error)
{
    char clock[CLOCK_MAX];
    size_t height, width = terminal_size(STDOUT_FILENO, &height);
    height = height > 0 ? height : SIZE_MAX / 2;
    const struct status_screen screen = {.view = view,
                                         .width = width,
                                         .height = height,
                                         .clock = watch_clock(clock),
                                         .error = error,
                                         .has_keys = screen_has_keys()};
    char *text = status_screen_compose(&screen, readings);
    if (text)
        screen_draw(text, width, height);
    free(text);
}

/* Draws, and draws again after a key or a new size. Returns at `until_us`; false: the user quits. */
static bool watch_until(uint64_t until_us, enum status_screen_view *view, const struct readings *readings,
                        const char *error)
{
    for (;;) {
        watch_draw(*view, readings, error);
        const int event = screen_wait(until_us);
        if (event == SCREEN_TIME)
            return true;
        if (event == 'q')
            return false;
        if (event != SCREEN_RESIZED)
            (void)status_screen_view_of(event, view);
    }
}

/* The first rates come after a second, however long the others take. */
static void watch_screen(struct readings *readings, const struct ask_place *place, unsigned seconds)
{
    enum status_screen_view view = STATUS_SCREEN_OVERVIEW;
    char *error = NULL;
    uint64_t period = SECOND_US;
    screen_take();
    while (watch_until(clock_us() + period, &view, readings, error)) {
        free(error);
        error = NULL;
        (void)readings_take(readings, place, &error);
        period = seconds * SECOND_US;
    }
    free(error);
    screen_give_back();
}

/* ---- elsewhere ---- */

static bool watch_print(const struct readings *readings, size_t rows, const char *error)
{
    char clock[CLOCK_MAX];
    const struct status_frame frame = {.width = TERMINAL_ANY_WIDTH, .rows = rows};
    printf("%s%s%s%s\n\n", watch_clock(clock), error ? "  " : "", error ? error : "",
           error ? "; the last known state is:" : "");
    return status_view_print(readings, &frame, stdout) && putchar('\n') != EOF && fflush(stdout) == 0;
}

static void watch_lines(struct readings *readings, const struct ask_place *place, unsigned seconds, size_t rows)
{
    char *error = NULL;
    while (watch_print(readings, rows, error)) {
        free(error);
        error = NULL;
        readings_pause(seconds);
        (void)readings_take(readings, place, &error);
    }
    free(error);
}

int status_watch(const struct ask_place *place, unsigned seconds, size_t rows, char **error)
{
    struct readings readings = {0};
    if (!readings_take(&readings, place, error))
        return EXIT_FAILURE;
    const bool terminal = isatty(STDOUT_FILENO);
    if (terminal)
        watch_screen(&readings, place, seconds);
    else
        watch_lines(&readings, place, seconds, rows);
    readings_free(&readings);
    return terminal ? EXIT_SUCCESS : EXIT_FAILURE;
}
