/*
 * What a step found: sentences for people, and data for programs.
 */
#ifndef CONESOCKS_CHECK_RESULT_H
#define CONESOCKS_CHECK_RESULT_H

#include <jansson.h>

/* What the exit status of `conesocks check` means. */
enum check_exit { CHECK_ALL_WELL = 0, CHECK_WRONG = 1, CHECK_USAGE = 2 /* EXIT_USAGE */, CHECK_UNKNOWN = 3 };

enum check_status {
    CHECK_OK,
    CHECK_INFO,    /* good to know; neither right nor wrong */
    CHECK_SKIPPED, /* could not be found out, and `found` contains the reason */
    CHECK_WARNING, /* works here, but not for everybody, or not as well as it could */
    CHECK_FAILED,
    CHECK_STATUSES,
};

struct check_result {
    char id[24], title[24]; /* the step's */
    enum check_status status;
    char *found;       /* one sentence, without the full stop; NULL: the step has nothing to tell, and is not shown */
    char *cause, *fix; /* the likely cause, and what to do about it; NULL: nothing is wrong, or unknown */
    json_t *data;      /* an object, or NULL */
};

/* For tables. */
struct advice {
    const char *cause, *fix;
};

void result_say(struct check_result *result, enum check_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void result_cause(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void result_fix(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Both at once; either may be NULL. */
void result_advise(struct check_result *result, const char *cause, const char *fix);
/* Adds what json_pack() makes of the format, an object. */
void result_data(struct check_result *result, const char *format, ...);
void result_deinit(struct check_result *result);

const char *check_status_name(enum check_status status);

#endif
