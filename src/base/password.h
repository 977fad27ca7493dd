/* Reads a password from the terminal, for the commands that need one. */
#ifndef CONESOCKS_BASE_PASSWORD_H
#define CONESOCKS_BASE_PASSWORD_H

/* A line of standard input without its end, to be freed, or NULL with the reason on standard error. From a terminal:
 * with a prompt, without echo. */
char *password_ask(const char *prompt);

#endif
