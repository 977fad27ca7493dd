/*
 * Names what has run out when a session ends to make room for another: descriptors, memory, ports, or a limit. It
 * reaches the session log, which tells what an operator can change.
 */
#ifndef CONESOCKS_PROXY_SESSION_SHORTAGE_H
#define CONESOCKS_PROXY_SESSION_SHORTAGE_H

#include <stdint.h>

struct port_place;

enum shortage_kind {
    SHORTAGE_DESCRIPTORS, /* of this process */
    SHORTAGE_FILES,       /* of the whole host: its table of open files is full */
    SHORTAGE_HOST_MEMORY, /* the kernel has none for another socket */
    SHORTAGE_MEMORY,      /* that we may use: limits.memory */
    SHORTAGE_PORTS,
    SHORTAGE_LIMIT,
};

struct shortage {
    enum shortage_kind kind;
    const char *option;             /* that names the ports, or the limit; NULL for the other kinds */
    uint32_t most;                  /* the limit */
    const struct port_place *place; /* that has no port left; NULL for the other kinds */
};

/* Sessions that end for one newcomer at most: one has two descriptors or more. */
#define MAKE_ROOM_MAX 4

/* For an errno of a call that opens a descriptor. */
struct shortage shortage_of_error(int error);

#define SHORTAGE_TEXT_MAX 192
/* "`what`: the cause and what to change". Returns `text`. */
const char *shortage_format(const struct shortage *shortage, const char *what, char text[SHORTAGE_TEXT_MAX]);

/* The text of a kind without an option; it is constant. */
const char *shortage_text(enum shortage_kind kind);

#endif
