/* Finds the options whose change has no effect before the next start; a reload reports them. */
#ifndef CONESOCKS_CONF_CHANGES_H
#define CONESOCKS_CONF_CHANGES_H

#include "conf/types.h"

/* The keys of such options that differ, such as "workers, run.user" (free). NULL: none. */
char *changes_at_start(const struct config *running, const struct config *fresh);

#endif
