/* What the checks of consistent.h share; for its files only. */
#ifndef CONESOCKS_CONF_CONSISTENT_IMPL_H
#define CONESOCKS_CONF_CONSISTENT_IMPL_H

#include <stdbool.h>

#include "conf/spot.h"
#include "conf/types.h"

struct consistency {
    yaml_document_t *document;
    struct report *report;
};

/* Fills in what follows for each listener from the other options, then checks it. Returns whether any requires a login.
 */
bool consistent_listeners(const struct consistency *check, struct config *config);

#endif
