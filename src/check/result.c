#include "check/result.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/util.h"

/* Writes the text that the arguments after `format` make in place of the one at `text`. */
#define SET_TEXT(text, format)                                                                                         \
    do {                                                                                                               \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        text_replace(text, format, arguments);                                                                         \
        va_end(arguments);                                                                                             \
    } while (0)

static void text_replace(char **text, const char *format, va_list arguments)
{
    free(*text);
    if (vasprintf(text, format, arguments) < 0)
        *text = NULL;
}

void result_say(struct check_result *result, enum check_status status, const char *format, ...)
{
    result->status = status;
    SET_TEXT(&result->found, format);
}

void result_cause(struct check_result *result, const char *format, ...)
{
    SET_TEXT(&result->cause, format);
}

void result_means(struct check_result *result, const char *format, ...)
{
    SET_TEXT(&result->means, format);
}

void result_owner(struct check_result *result, const char *format, ...)
{
    SET_TEXT(&result->owner, format);
}

void result_user(struct check_result *result, const char *format, ...)
{
    SET_TEXT(&result->user, format);
}

void result_fix(struct check_result *result, const char *format, ...)
{
    SET_TEXT(&result->owner, format);
    SET_TEXT(&result->user, format);
}

void result_explain(struct check_result *result, const struct advice *advice)
{
    if (advice->means)
        result_means(result, "%s", advice->means);
    if (advice->cause)
        result_cause(result, "%s", advice->cause);
    if (advice->owner)
        result_owner(result, "%s", advice->owner);
    if (advice->user)
        result_user(result, "%s", advice->user);
}

void result_advise(struct check_result *result, const char *cause, const char *owner)
{
    result_explain(result, &(struct advice){.cause = cause, .owner = owner});
}

void result_data(struct check_result *result, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    json_t *more = json_vpack_ex(NULL, 0, format, arguments);
    va_end(arguments);
    assert(json_is_object(more));
    if (!result->data)
        result->data = json_object();
    json_object_update(result->data, more);
    json_decref(more);
}

void result_deinit(struct check_result *result)
{
    free(result->found);
    free(result->means);
    free(result->cause);
    free(result->owner);
    free(result->user);
    json_decref(result->data);
    *result = (struct check_result){0};
}

const char *check_status_name(enum check_status status)
{
    static const char *const names[] = {"ok", "info", "skipped", "warning", "failed"};
    static_assert(ARRAY_LEN(names) == CHECK_STATUSES, "each has a name");
    assert(status < CHECK_STATUSES);
    return names[status];
}
