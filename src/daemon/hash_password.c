#include "daemon/hash_password.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "base/util.h"
#include "daemon/command.h"
#include "policy/auth.h"

static const char usage_text[] = "Usage: conesocks hash-password\n"
                                 "\n"
                                 "Asks for a password twice, or takes the first line of standard input, and prints "
                                 "what belongs into users[].password\n"
                                 "of the configuration.\n";

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

/* A line without its end, or NULL. From a terminal: with a prompt, without echo. */
static char *read_password(const char *prompt)
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
    fputs("conesocks: a password has 1 to 255 bytes\n", stderr);
    free(line);
    return NULL;
}

int hash_password(int argc, char **argv)
{
    if (argc > 1) {
        bool help = strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0;
        fputs(usage_text, help ? stdout : stderr);
        return help ? EXIT_SUCCESS : EXIT_USAGE;
    }
    char *password = read_password("Password: ");
    if (!password)
        return EXIT_FAILURE;
    bool same = true;
    if (isatty(STDIN_FILENO)) {
        char *again = read_password("Again: ");
        same = again && strcmp(password, again) == 0;
        free(again);
        if (!same)
            fputs("conesocks: the two are not the same\n", stderr);
    }
    char *hash = same ? auth_hash_password(password) : NULL;
    explicit_bzero(password, strlen(password));
    free(password);
    if (same && !hash)
        fprintf(stderr, "conesocks: cannot hash the password: %s\n", strerror(errno));
    if (!hash)
        return EXIT_FAILURE;
    puts(hash);
    free(hash);
    return EXIT_SUCCESS;
}
