/*
 * Text for a terminal: what strangers chose must not steer it, and lines must fit. Widths are columns, by the locale
 * (LC_CTYPE) in force.
 */
#ifndef CONESOCKS_COMMAND_TERMINAL_H
#define CONESOCKS_COMMAND_TERMINAL_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TERMINAL_ANY_WIDTH ((size_t)1 << 30) /* no line is that long, and sums with it do not overflow */

/* `text` with everything as \xNN that is no visible character of the locale; backslashes stay, for what the server
 * sends is escaped once already. free(); NULL: out of memory. */
char *terminal_escape(const char *text);
/* Columns of an escaped text. */
size_t terminal_width(const char *text);
/* Bytes of an escaped text that fit into `width` columns. */
size_t terminal_fit(const char *text, size_t width);
/* Writes an escaped text, its middle left out where it is wider than `width`: the end of an address is its port, that
 * of a name its domain. */
void terminal_shorten(FILE *out, const char *text, size_t width);
/* Writes an escaped text between words on lines of `width`, each after `indent` spaces; the first follows `column`
 * columns that stand already. */
void terminal_wrap(FILE *out, const char *text, size_t column, size_t indent, size_t width);
/* Columns of the terminal at `fd`, and its lines unless `lines` is NULL; TERMINAL_ANY_WIDTH and 0 when it is none. */
size_t terminal_size(int fd, size_t *lines);

/* ---- numbers for people ---- */

#define TERMINAL_NUMBER_MAX 32
/* "950", "12.3k", "4.5M" */
const char *terminal_count(char text[TERMINAL_NUMBER_MAX], uint64_t count);
/* "950 B", "1.2 KiB" */
const char *terminal_bytes(char text[TERMINAL_NUMBER_MAX], uint64_t bytes);
/* "0", "950 bit/s", "1.2 Mbit/s" */
const char *terminal_rate(char text[TERMINAL_NUMBER_MAX], double bytes_per_second);
/* "12s", "5m 2s", "3h 4m", "2d 5h" */
const char *terminal_duration(char text[TERMINAL_NUMBER_MAX], uint64_t seconds);

#endif
