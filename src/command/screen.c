#include "command/screen.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "command/terminal.h"

/* Switches to the alternate screen without a cursor, and back. */
static const char screen_enter[] = "\x1b[?1049h\x1b[?25l", screen_leave[] = "\x1b[?25h\x1b[?1049l";

static void screen_write(const char *text, size_t len)
{
    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n < 0 && errno != EINTR)
            return;
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

/* SA_RESETHAND: raising the signal again has its default effect. */
static void screen_on_deadly_signal(int number)
{
    screen_write(screen_leave, sizeof(screen_leave) - 1);
    raise(number);
}

static void screen_on_stop(int number)
{
    (void)number;
    int error = errno;
    screen_write(screen_leave, sizeof(screen_leave) - 1);
    raise(SIGSTOP);
    screen_write(screen_enter, sizeof(screen_enter) - 1);
    errno = error;
}

void screen_take(void)
{
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    const struct sigaction death = {.sa_handler = screen_on_deadly_signal, .sa_flags = (int)SA_RESETHAND};
    const struct sigaction stop = {.sa_handler = screen_on_stop, .sa_flags = SA_RESTART};
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
        sigaction(deadly[i], &death, NULL);
    sigaction(SIGTSTP, &stop, NULL);
    screen_write(screen_enter, sizeof(screen_enter) - 1);
}

void screen_draw(const char *text, size_t width, size_t height)
{
    char *screen = NULL;
    size_t size;
    FILE *out = open_memstream(&screen, &size);
    if (!out)
        return;
    fputs("\x1b[H", out);
    for (size_t row = 0; *text && row < height; row++) {
        const char *end = strchrnul(text, '\n');
        char *line = strndup(text, (size_t)(end - text));
        if (line)
            fprintf(out, "%s%.*s\x1b[K", row ? "\n" : "", (int)terminal_fit(line, width), line);
        free(line);
        text = *end ? end + 1 : end;
    }
    fputs("\x1b[J", out);
    if (fclose(out) == 0)
        screen_write(screen, size);
    free(screen);
}
