#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>

#include "conf/report.h"

bool report_init(struct report *report, const char *file)
{
    *report = (struct report){.file = file};
    report->errors = open_memstream(&report->error_text, &report->error_size);
    report->warnings = open_memstream(&report->warning_text, &report->warning_size);
    if (report->errors && report->warnings)
        return true;
    report_finish(report, NULL, NULL);
    return false;
}

static void report_take_text(FILE *stream, char **text, const size_t *size, char **out)
{
    if (stream)
        fclose(stream);
    if (out && *size > 0) {
        *out = *text;
    } else {
        free(*text);
        if (out)
            *out = NULL;
    }
    *text = NULL;
}

void report_finish(struct report *report, char **errors, char **warnings)
{
    if (report_full(report))
        fprintf(report->errors, "%s: stopped after %u errors; there may be more\n", report->file, REPORT_ERRORS_MAX);
    if (report->warning_count > REPORT_WARNINGS_MAX)
        fprintf(report->warnings, "%s: warning: %u more warnings, not shown\n", report->file,
                report->warning_count - REPORT_WARNINGS_MAX);
    report_take_text(report->errors, &report->error_text, &report->error_size, errors);
    report_take_text(report->warnings, &report->warning_text, &report->warning_size, warnings);
}

static void report_write_line(FILE *out, const char *file, struct place place, const char *severity, const char *key,
                              const char *format, va_list args)
{
    fprintf(out, "%s:", file);
    if (place.line > 0)
        fprintf(out, "%zu:%zu:", place.line, place.column);
    fputs(severity, out);
    if (key && *key)
        fprintf(out, " %s:", key);
    fputc(' ', out);
    vfprintf(out, format, args);
    fputc('\n', out);
}

void report_error(struct report *report, struct place place, const char *key, const char *format, ...)
{
    if (report_full(report))
        return;
    assert(report->errors);
    report->error_count++;
    va_list args;
    va_start(args, format);
    report_write_line(report->errors, report->file, place, "", key, format, args);
    va_end(args);
}

void report_warning(struct report *report, struct place place, const char *key, const char *format, ...)
{
    if (report->warning_count++ >= REPORT_WARNINGS_MAX)
        return;
    va_list args;
    va_start(args, format);
    report_write_line(report->warnings, report->file, place, " warning:", key, format, args);
    va_end(args);
}
