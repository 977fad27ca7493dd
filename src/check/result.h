/*
 * What a step has found out: in words for people, and as data for programs.
 */
#ifndef CONESOCKS_CHECK_RESULT_H
#define CONESOCKS_CHECK_RESULT_H

#include <jansson.h>

enum check_status {
    CHECK_OK,
    CHECK_INFO,    /* good to know; neither right nor wrong */
    CHECK_SKIPPED, /* could not be found out, and `found` says why */
    CHECK_WARNING, /* works here, but not for everybody, or not as well as it could */
    CHECK_FAILED,
};

struct check_result {
    const char *id, *title; /* the step's */
    enum check_status status;
    char *found;       /* one sentence, without the full stop; NULL: the step had nothing to say, and is not shown */
    char *cause, *fix; /* what is likely behind it, and what to do about it; NULL: nothing is wrong, or nobody knows */
    json_t *data;      /* an object, or NULL */
};

void result_say(struct check_result *result, enum check_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void result_cause(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void result_fix(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Takes over the value. */
void result_data(struct check_result *result, const char *key, json_t *value);
void result_deinit(struct check_result *result);

const char *check_status_name(enum check_status status);

#endif
