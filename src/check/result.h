/*
 * What a step found: sentences for people, and data for programs.
 */
#ifndef CONESOCKS_CHECK_RESULT_H
#define CONESOCKS_CHECK_RESULT_H

#include <stdbool.h>

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
    bool is_headline; /* its meaning belongs in the final result, whatever its status */
    /* Sentences without the full stop. NULL: none. */
    char *found;        /* what was seen; NULL: the step has nothing to tell, and is not shown */
    char *means;        /* what that means to a player */
    char *cause;        /* the likely cause */
    char *owner, *user; /* what to do for the server's owner, and for people who only use it */
    json_t *data;       /* an object, or NULL */
};

/* What tables of advice contain; NULL: nothing. */
struct advice {
    const char *means, *cause, *owner, *user;
};

void result_say(struct check_result *result, enum check_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void result_means(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void result_cause(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void result_owner(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
void result_user(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* What to do whether the server is yours or not: sets both. */
void result_fix(struct check_result *result, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The cause and what the owner does about it; either may be NULL. */
void result_advise(struct check_result *result, const char *cause, const char *owner);
/* Each member that is not NULL. */
void result_explain(struct check_result *result, const struct advice *advice);
/* Adds what json_pack() makes of the format, an object. */
void result_data(struct check_result *result, const char *format, ...);
void result_deinit(struct check_result *result);

const char *check_status_name(enum check_status status);

#endif
