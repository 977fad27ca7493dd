/* Warns about users, addresses, interfaces and folders that the configuration names but that do not exist. */
#ifndef CONESOCKS_CONF_PRESENT_H
#define CONESOCKS_CONF_PRESENT_H

#include "conf/document.h"
#include "conf/types.h"

/* Asks the system, but never waits (it resolves no names). */
void present_check(const struct config *config, yaml_document_t *document, struct report *report);

#endif
