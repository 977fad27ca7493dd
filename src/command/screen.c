#include "command/screen.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
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

/* Signal handlers use these, too. */
static volatile sig_atomic_t screen_reads_keys;
static struct termios screen_lines, screen_keys; /* the terminal's modes: as it was, and for single keys */

static void screen_show(void)
{
    if (screen_reads_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &screen_keys);
    screen_write(screen_enter, sizeof(screen_enter) - 1);
}

void screen_give_back(void)
{
    if (screen_reads_keys)
        tcsetattr(STDIN_FILENO, TCSANOW, &screen_lines);
    screen_write(screen_leave, sizeof(screen_leave) - 1);
}

/* SA_RESETHAND: raising the signal again has its default effect. */
static void screen_on_deadly_signal(int number)
{
    screen_give_back();
    raise(number);
}

static void screen_on_stop(int number)
{
    (void)number;
    int error = errno;
    screen_give_back();
    raise(SIGSTOP);
    screen_show();
    errno = error;
}

/* Interrupts screen_wait(). */
static void screen_on_resize(int number)
{
    (void)number;
}

/* In the background the keys belong to the shell. */
static void screen_prepare_keys(void)
{
    pid_t foreground = tcgetpgrp(STDIN_FILENO);
    if ((foreground >= 0 && foreground != getpgrp()) || tcgetattr(STDIN_FILENO, &screen_lines) < 0)
        return;
    screen_keys = screen_lines;
    screen_keys.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    screen_keys.c_cc[VMIN] = 1;
    screen_keys.c_cc[VTIME] = 0;
    screen_reads_keys = true;
}

bool screen_has_keys(void)
{
    return screen_reads_keys;
}

void screen_take(void)
{
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    const struct sigaction death = {.sa_handler = screen_on_deadly_signal, .sa_flags = (int)SA_RESETHAND};
    const struct sigaction stop = {.sa_handler = screen_on_stop, .sa_flags = SA_RESTART};
    const struct sigaction resize = {.sa_handler = screen_on_resize, .sa_flags = SA_RESTART};
    sigset_t only_while_waiting;
    screen_prepare_keys();
    sigemptyset(&only_while_waiting);
    sigaddset(&only_while_waiting, SIGWINCH);
    sigprocmask(SIG_BLOCK, &only_while_waiting, NULL);
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
        sigaction(deadly[i], &death, NULL);
    sigaction(SIGTSTP, &stop, NULL);
    sigaction(SIGWINCH, &resize, NULL);
    screen_show();
}

int screen_wait(uint64_t until_us)
{
    const uint64_t now = clock_us(), left = until_us > now ? until_us - now : 0;
    const struct timespec patience = {.tv_sec = (time_t)(left / 1000000), .tv_nsec = (long)(left % 1000000) * 1000};
    struct pollfd keys = {.fd = screen_reads_keys ? STDIN_FILENO : -1, .events = POLLIN};
    sigset_t none;
    unsigned char key;
    sigemptyset(&none);
    int ready = ppoll(&keys, 1, &patience, &none);
    if (ready < 0)
        return SCREEN_RESIZED; /* or it was stopped, and continues */
    if (ready == 0)
        return SCREEN_TIME;
    if (read(STDIN_FILENO, &key, 1) == 1)
        return key;
    screen_reads_keys = false; /* nobody types any more */
    return SCREEN_RESIZED;
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
