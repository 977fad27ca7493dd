/* Tells what is expected instead of an unknown key: a similar key, or the place where this key belongs. */
#ifndef CONESOCKS_CONF_KEY_HINT_H
#define CONESOCKS_CONF_KEY_HINT_H

#include <stdbool.h>
#include <stdio.h>

#include "conf/schema.h"

/* Where an unknown key was found. */
struct key_place {
    const struct schema_row *rows;  /* the known keys there */
    const struct schema_row *above; /* the option that precedes it; NULL: none */
    bool top;                       /* at the top level of the file */
};

/* Writes what follows "expected ". */
void key_hint(const char *key, const struct key_place *place, FILE *out);

#endif
