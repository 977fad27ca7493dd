/* Holds a document against the schema: every key known and given once, every value of its kind and in its range. */
#ifndef CONESOCKS_CONF_SCHEMA_CHECK_H
#define CONESOCKS_CONF_SCHEMA_CHECK_H

#include "conf/document.h"
#include "conf/report.h"

/* Says all that is wrong in the report; true when nothing is. */
bool schema_check_document(yaml_document_t *document, struct report *report);

#endif
