#include "command/terminal.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <wchar.h>
#include <wctype.h>

/* The size in bytes of the first character, 0 if it is not visible, and its width. */
static size_t terminal_visible(const char *text, size_t *columns)
{
    wchar_t wide;
    mbstate_t state = {0};
    size_t len = mbrtowc(&wide, text, strnlen(text, MB_CUR_MAX), &state);
    /* Characters without a width include the marks that change the text direction. */
    int width = len > 0 && len <= MB_CUR_MAX && iswprint((wint_t)wide) ? wcwidth(wide) : 0;
    *columns = width > 0 ? (size_t)width : 0;
    return width > 0 ? len : 0;
}

char *terminal_escape(const char *text)
{
    char *out = malloc(4 * strlen(text) + 1), *end = out;
    if (!out)
        return NULL;
    while (*text) {
        size_t columns, len = terminal_visible(text, &columns);
        if (len > 0)
            end = mempcpy(end, text, len);
        else
            end += sprintf(end, "\\x%02x", (unsigned char)*text);
        text += len ? len : 1;
    }
    *end = '\0';
    return out;
}

char *terminal_escape_format(const char *format, va_list arguments)
{
    char *text = NULL;
    if (vasprintf(&text, format, arguments) < 0)
        return NULL;
    char *escaped = terminal_escape(text);
    free(text);
    return escaped;
}

size_t terminal_fit(const char *text, size_t width)
{
    size_t used = 0, at = 0;
    while (text[at]) {
        size_t columns, len = terminal_visible(text + at, &columns);
        if (used + columns > width)
            break;
        used += columns;
        at += len ? len : 1;
    }
    return at;
}

/* The width of the first `len` bytes. */
static size_t terminal_width_of(const char *text, size_t len)
{
    size_t width = 0, columns;
    for (size_t at = 0; at < len; width += columns) {
        size_t bytes = terminal_visible(text + at, &columns);
        at += bytes ? bytes : 1;
    }
    return width;
}

size_t terminal_width(const char *text)
{
    return terminal_width_of(text, strlen(text));
}

void terminal_shorten(FILE *out, const char *text, size_t width)
{
    if (terminal_width(text) <= width) {
        fputs(text, out);
        return;
    }
    if (width == 0)
        return;
    size_t room = width - 1, head = terminal_fit(text, room / 2), columns;
    const char *tail = text + head;
    size_t left = terminal_width(tail);
    for (; left > room - room / 2; left -= columns) {
        size_t len = terminal_visible(tail, &columns);
        tail += len ? len : 1;
    }
    /* A wide character that did not fit leaves one column to fill. */
    size_t used = terminal_width_of(text, head) + left;
    assert(used <= room);
    fprintf(out, "%.*s%s%s%*s", (int)head, text, MB_CUR_MAX > 1 ? "…" : "~", tail, (int)(room - used), "");
}

void terminal_wrap(FILE *out, const char *text, size_t column, size_t indent, size_t width)
{
    for (bool first = true; *text; first = false) {
        size_t len = strcspn(text, " "), columns = terminal_width_of(text, len);
        bool fits = column + 1 + columns <= width;
        if (!first)
            fprintf(out, "%s%*s", fits ? " " : "\n", fits ? 0 : (int)indent, "");
        column = (first ? column : fits ? column + 1 : indent) + columns;
        fwrite(text, 1, len, out);
        text += len;
        text += strspn(text, " ");
    }
    fputc('\n', out);
}

size_t terminal_size(int fd, size_t *lines)
{
    struct winsize size;
    bool known = ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    if (lines)
        *lines = known ? size.ws_row : 0;
    return known ? size.ws_col : TERMINAL_ANY_WIDTH;
}

/* ---- numbers for people ---- */

/* Formats with at most three digits before the unit, as the status page does (src/admin/page/format.js). */
static const char *terminal_scaled(char *text, double value, double step, const char *const *units, const char *unit)
{
    while (value >= 999.5 && units[1]) {
        value /= step;
        units++;
    }
    char number[TERMINAL_NUMBER_MAX];
    int len = snprintf(number, sizeof(number), "%.*f", **units && value < 99.95 ? 1 : 0, value);
    if (len > 2 && strcmp(number + len - 2, ".0") == 0)
        number[len - 2] = '\0';
    snprintf(text, TERMINAL_NUMBER_MAX, "%.16s%s%s", number, *units, unit);
    return text;
}

const char *terminal_count(char text[TERMINAL_NUMBER_MAX], uint64_t count)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", NULL};
    return terminal_scaled(text, (double)count, 1000, units, "");
}

const char *terminal_bytes(char text[TERMINAL_NUMBER_MAX], uint64_t bytes)
{
    static const char *const units[] = {"", " Ki", " Mi", " Gi", " Ti", " Pi", NULL};
    return terminal_scaled(text, (double)bytes, 1024, units, bytes < 1000 ? " B" : "B");
}

const char *terminal_rate(char text[TERMINAL_NUMBER_MAX], double bytes_per_second)
{
    static const char *const units[] = {"", " k", " M", " G", " T", NULL};
    double bits = bytes_per_second > 0 ? 8 * bytes_per_second : 0;
    if (bits < 0.5)
        return strcpy(text, "0 bit/s");
    return terminal_scaled(text, bits, 1000, units, bits < 999.5 ? " bit/s" : "bit/s");
}

const char *terminal_duration(char text[TERMINAL_NUMBER_MAX], uint64_t seconds)
{
    uint64_t minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (days > 0)
        snprintf(text, TERMINAL_NUMBER_MAX, "%" PRIu64 "d %" PRIu64 "h", days, hours % 24);
    else if (hours > 0)
        snprintf(text, TERMINAL_NUMBER_MAX, "%" PRIu64 "h %" PRIu64 "m", hours, minutes % 60);
    else if (minutes > 0)
        snprintf(text, TERMINAL_NUMBER_MAX, "%" PRIu64 "m %" PRIu64 "s", minutes, seconds % 60);
    else
        snprintf(text, TERMINAL_NUMBER_MAX, "%" PRIu64 "s", seconds);
    return text;
}
