#include "base/password.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <termios.h>
#include <unistd.h>

#include "base/util.h"

static struct termios echoing;

/* The terminal outlives us. The signal then does what it always does: SA_RESETHAND. */
static void on_signal_while_quiet(int number)
{
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &echoing);
    raise(number);
}

static void on_deadly_signals(void (*handler)(int))
{
    static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    struct sigaction action = {.sa_handler = handler, .sa_flags = (int)SA_RESETHAND};
    for (size_t i = 0; i < ARRAY_LEN(deadly); i++)
        sigaction(deadly[i], &action, NULL);
}

char *password_ask(const char *prompt)
{
    bool terminal = tcgetattr(STDIN_FILENO, &echoing) == 0;
    if (terminal) {
        struct termios quiet = echoing;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        on_deadly_signals(on_signal_while_quiet);
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
        fputs(prompt, stderr);
    }
    char *line = NULL;
    size_t size = 0;
    ssize_t len = getline(&line, &size, stdin);
    if (terminal) {
        tcsetattr(STDIN_FILENO, TCSAFLUSH, &echoing);
        on_deadly_signals(SIG_DFL);
        fputs("\n", stderr);
    }
    if (len > 0 && line[len - 1] == '\n')
        line[--len] = '\0';
    if (len > 0 && len <= 255 && strlen(line) == (size_t)len)
        return line;
    if (len > 0 && strlen(line) < (size_t)len)
        fputs("conesocks: a password cannot contain a NUL byte\n", stderr);
    else
        fputs("conesocks: a password has 1 to 255 bytes\n", stderr);
    free(line);
    return NULL;
}
