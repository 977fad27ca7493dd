/*
 * Prints what the steps found: line by line while they run, or as JSON at the end.
 */
#ifndef CONESOCKS_CHECK_REPORT_H
#define CONESOCKS_CHECK_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include "check/result.h"

struct report_style {
    bool json;
    bool live;    /* a line for the running step, which its result replaces */
    bool unicode; /* else ASCII */
    bool colour;
    int width; /* of a line; 0: unlimited */
};

/* The style that suits `out` and the environment's locale. */
struct report_style report_style_for(FILE *out, bool json);

void report_step_begins(FILE *out, const struct report_style *style, const char *title);
void report_step_ends(FILE *out, const struct report_style *style, const struct check_result *result);

/* The exit status: of enum check_exit. */
int report_verdict(const struct check_result *results, size_t count);
/* The last line, or all of the JSON. `head`, for the latter, has what was checked; it is taken over. */
void report_end(FILE *out, const struct report_style *style, const struct check_result *results, size_t count,
                json_t *head);

#endif
