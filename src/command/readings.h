/* The last two readings of a server's /status: what status shows, and the rates since the one before. */
#ifndef CONESOCKS_COMMAND_READINGS_H
#define CONESOCKS_COMMAND_READINGS_H

#include <stdbool.h>

#include <jansson.h>

struct ask_place;

/* `before` is NULL until there are two of the same process. */
struct readings {
    json_t *now, *before;
    double at, seconds; /* when the last one was taken, and the time between the two */
};

/* Takes a new reading. false: the readings stay as they are, and `*error` contains the reason; free() it. */
bool readings_take(struct readings *readings, const struct ask_place *place, char **error);
void readings_free(struct readings *readings);
/* Waits until the next one is due. */
void readings_pause(unsigned seconds);

/* How much a counter has grown, for each second; `keys` as in ask_member(). Negative: not known yet. */
double readings_rate(const struct readings *readings, const char *keys);

#endif
