/* Guesses which valid value a wrong one was meant to be, so that an error can show the form to paste. */
#ifndef CONESOCKS_CONF_SUGGEST_H
#define CONESOCKS_CONF_SUGGEST_H

#include <stdbool.h>
#include <stdio.h>

#include "conf/schema.h"

/* Writes the value that `text` is, or most likely means, in its one spelling. false: there is no guess, and nothing was
 * written. Values of secret types are never written. */
bool suggest_value(const struct schema_row *row, const char *text, FILE *out);
/* Whether `text` is a valid value as it stands. */
bool suggest_is_valid(const struct schema_row *row, const char *text);

#endif
