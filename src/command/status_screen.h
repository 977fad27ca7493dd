/* Composes one screen of status --watch: what matters first, in as many lines as the terminal has. */
#ifndef CONESOCKS_COMMAND_STATUS_SCREEN_H
#define CONESOCKS_COMMAND_STATUS_SCREEN_H

#include <stdbool.h>
#include <stddef.h>

struct readings;

enum status_screen_view {
    STATUS_SCREEN_OVERVIEW, /* warnings, some users, then sessions */
    STATUS_SCREEN_USERS,
    STATUS_SCREEN_SESSIONS,
    STATUS_SCREEN_DETAILS, /* the server, and what it drops */
};

struct status_screen {
    enum status_screen_view view;
    size_t width, height;
    const char *clock; /* the time, for the first line */
    const char *error; /* why there is no newer reading; NULL: there is */
    bool has_keys;     /* they are listed in the last line */
};

/* The view of a key; false: the key has none. */
bool status_screen_view_of(int key, enum status_screen_view *view);
/* The lines to draw; free() it. NULL: out of memory. */
char *status_screen_compose(const struct status_screen *screen, const struct readings *readings);

#endif
