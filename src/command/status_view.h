/* Prints everything that a /status contains, as text and tables for a terminal. */
#ifndef CONESOCKS_COMMAND_STATUS_VIEW_H
#define CONESOCKS_COMMAND_STATUS_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct readings;

struct status_frame {
    size_t width; /* columns, or TERMINAL_ANY_WIDTH */
    size_t rows;  /* of each table, at most; 0: no tables */
};

/* Escapes every text that the server or its clients chose. false: out of memory. */
bool status_view_print(const struct readings *readings, const struct status_frame *frame, FILE *out);

#endif
