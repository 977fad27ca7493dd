/*
 * Text for a terminal: escapes what clients chose, and measures, cuts and wraps lines. Widths are columns in the
 * current locale (LC_CTYPE).
 */
#ifndef CONESOCKS_COMMAND_TERMINAL_H
#define CONESOCKS_COMMAND_TERMINAL_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TERMINAL_ANY_WIDTH ((size_t)1 << 30) /* no line is that long, and sums with it do not overflow */

/* `text` with every byte that is not a visible character as \xNN. Backslashes stay, because the server has escaped its
 * texts already. free() it; NULL: out of memory. */
char *terminal_escape(const char *text);
/* The same of a text that vprintf() would print. */
char *terminal_escape_format(const char *format, va_list arguments) __attribute__((format(printf, 1, 0)));
/* The width of an escaped text. */
size_t terminal_width(const char *text);
/* How many bytes of an escaped text fit into `width` columns. */
size_t terminal_fit(const char *text, size_t width);
/* Writes an escaped text; if it is wider than `width`, the middle is left out, because an address ends with its port
 * and a name with its domain. */
void terminal_shorten(FILE *out, const char *text, size_t width);
/* Writes an escaped text, wrapped between words at `width`. The first line continues after `column` columns, the others
 * are indented by `indent`. */
void terminal_wrap(FILE *out, const char *text, size_t column, size_t indent, size_t width);
/* The columns of the terminal at `fd`, and its lines unless `lines` is NULL. Not a terminal: TERMINAL_ANY_WIDTH and 0.
 */
size_t terminal_size(int fd, size_t *lines);

/* ---- numbers for people ---- */

#define TERMINAL_NUMBER_MAX 32
/* "950", "12.3k", "4.5M" */
const char *terminal_count(char text[TERMINAL_NUMBER_MAX], uint64_t count);
/* "950 B", "1.2 KiB" */
const char *terminal_bytes(char text[TERMINAL_NUMBER_MAX], uint64_t bytes);
/* "0 bit/s", "950 bit/s", "1.2 Mbit/s" */
const char *terminal_rate(char text[TERMINAL_NUMBER_MAX], double bytes_per_second);
/* "12s", "5m 2s", "3h 4m", "2d 5h" */
const char *terminal_duration(char text[TERMINAL_NUMBER_MAX], uint64_t seconds);

#endif
