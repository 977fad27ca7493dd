/* Checks what no single value can show: whether the options fit together. */
#ifndef CONESOCKS_CONF_CONSISTENT_H
#define CONESOCKS_CONF_CONSISTENT_H

#include "conf/document.h"
#include "conf/types.h"

/* Sets the members that follow from several options (need_password), and reports what does not fit. true: no error.
 * `document` gives the places in the file; NULL: the built-in default. */
bool consistent_check(struct config *config, yaml_document_t *document, struct report *report);

#endif
