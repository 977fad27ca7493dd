#include "check/result.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void say(char **text, const char *format, va_list arguments)
{
    free(*text);
    if (vasprintf(text, format, arguments) < 0)
        *text = NULL;
}

void result_say(struct check_result *result, enum check_status status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    result->status = status;
    say(&result->found, format, arguments);
    va_end(arguments);
}

void result_cause(struct check_result *result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(&result->cause, format, arguments);
    va_end(arguments);
}

void result_fix(struct check_result *result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    say(&result->fix, format, arguments);
    va_end(arguments);
}

void result_data(struct check_result *result, const char *key, json_t *value)
{
    if (!result->data)
        result->data = json_object();
    json_object_set_new(result->data, key, value);
}

void result_deinit(struct check_result *result)
{
    free(result->found);
    free(result->cause);
    free(result->fix);
    json_decref(result->data);
    *result = (struct check_result){0};
}

const char *check_status_name(enum check_status status)
{
    static const char *const names[] = {"ok", "info", "skipped", "warning", "failed"};
    return names[status];
}
