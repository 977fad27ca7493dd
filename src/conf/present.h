/* What the configuration names and does not exist: users, and addresses, interfaces and folders of this host. */
#ifndef CONESOCKS_CONF_PRESENT_H
#define CONESOCKS_CONF_PRESENT_H

#include "conf/document.h"
#include "conf/types.h"

/* Warns of each. Asks the system, and waits for nothing. */
void present_check(const struct config *config, yaml_document_t *document, struct report *report);

#endif
