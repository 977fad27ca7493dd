/* A /status in words and tables, for a terminal. */
#ifndef CONESOCKS_COMMAND_STATUS_VIEW_H
#define CONESOCKS_COMMAND_STATUS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

struct status_reading {
    const json_t *now, *before; /* `before` may be NULL: there are no rates then */
    double seconds;             /* between the two */
};

struct status_frame {
    size_t width;  /* columns, or TERMINAL_ANY_WIDTH */
    size_t height; /* lines that the tables may make it, where it has more room than the rest takes; 0: any number */
    size_t rows;   /* of each table, at most */
};

/* Writes nothing unescaped that the server or its clients chose. false: out of memory. */
bool status_view_print(const struct status_reading *reading, const struct status_frame *frame, FILE *out);

#endif
