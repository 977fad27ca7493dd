/* What no single value can show: whether the options make sense together. */
#ifndef CONESOCKS_CONF_CONSISTENT_H
#define CONESOCKS_CONF_CONSISTENT_H

#include "conf/document.h"
#include "conf/types.h"

/* Settles what follows from several options (need_password) and reports what does not fit; true when all does.
 * `document` gives the places; NULL: the built-in default. */
bool consistent_check(struct config *config, yaml_document_t *document, struct report *report);

#endif
