/* Checks a document against the table of options: known keys, given once, with valid values. */
#ifndef CONESOCKS_CONF_SCHEMA_CHECK_H
#define CONESOCKS_CONF_SCHEMA_CHECK_H

#include "conf/document.h"
#include "conf/report.h"

/* Reports every error; true: there is none. */
bool schema_check_document(yaml_document_t *document, struct report *report);

#endif
