/* What of a new configuration has to wait for the next start. */
#ifndef CONESOCKS_CONF_CHANGES_H
#define CONESOCKS_CONF_CHANGES_H

#include "conf/types.h"

/* The keys that take effect at the start only and differ: "workers, run.user" (free). NULL: there are none. */
char *changes_at_start(const struct config *running, const struct config *fresh);

#endif
