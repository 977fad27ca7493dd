/* Collects the errors and warnings of a configuration, so that people see all of them at once. */
#ifndef CONESOCKS_CONF_REPORT_H
#define CONESOCKS_CONF_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A place in the file, counted from 1; line 0: the file as a whole. */
struct place {
    size_t line, column;
};

struct report {
    const char *file;
    FILE *errors, *warnings;
    char *error_text, *warning_text;
    size_t error_size, warning_size;
    unsigned error_count, warning_count;
};

/* After this many, the rest is not worth reading. */
#define REPORT_ERRORS_MAX   50U
#define REPORT_WARNINGS_MAX 50U

bool report_init(struct report *report, const char *file);
/* Gives the texts to the caller (free), each NULL if it is empty. */
void report_finish(struct report *report, char **errors, char **warnings);

/* "file:line:column: key: message", with "warning: " before the key of one; `key` may be "" or NULL. */
void report_error(struct report *report, struct place place, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void report_warning(struct report *report, struct place place, const char *key, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
static inline bool report_full(const struct report *report)
{
    return report->error_count >= REPORT_ERRORS_MAX;
}

#endif
