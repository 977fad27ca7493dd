/* Finds the known word that a mistyped one most likely means, for error messages. */
#ifndef CONESOCKS_BASE_NEAREST_H
#define CONESOCKS_BASE_NEAREST_H

#include <stddef.h>

struct nearest {
    const char *typed;
    const char *word; /* the most similar of those offered; NULL: none is similar */
    size_t distance;
};

struct nearest nearest_to(const char *typed);
/* Compares with another known word; `word` has to live as long as `nearest`. */
void nearest_offer(struct nearest *nearest, const char *word);

#endif
