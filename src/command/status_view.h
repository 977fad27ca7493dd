/* Prints a /status as text and tables for a terminal. */
#ifndef CONESOCKS_COMMAND_STATUS_VIEW_H
#define CONESOCKS_COMMAND_STATUS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

struct status_reading {
    const json_t *now, *before; /* `before` may be NULL: then no rates are shown */
    double seconds;             /* between the two */
};

struct status_frame {
    size_t width;  /* columns, or TERMINAL_ANY_WIDTH */
    size_t height; /* lines in all, which limits the tables; 0: any number */
    size_t rows;   /* of each table, at most */
};

/* Escapes every text that the server or its clients chose. false: out of memory. */
bool status_view_print(const struct status_reading *reading, const struct status_frame *frame, FILE *out);

#endif
