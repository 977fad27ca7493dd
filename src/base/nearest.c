#include "base/nearest.h"

#include <stdint.h>
#include <string.h>

#define TYPOS_MAX 2 /* with more it is another word */

/* The Levenshtein distance: how many letters to add, remove or change. */
static size_t nearest_distance(const char *a, const char *b)
{
    size_t row[64];
    size_t b_len = strlen(b);
    if (b_len >= sizeof(row) / sizeof(row[0]))
        return SIZE_MAX;
    for (size_t j = 0; j <= b_len; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < b_len; j++) {
            size_t change = diagonal + (a[i] != b[j]);
            size_t drop = row[j + 1] + 1, add = row[j] + 1;
            diagonal = row[j + 1];
            row[j + 1] = change < drop ? change : drop;
            if (add < row[j + 1])
                row[j + 1] = add;
        }
    }
    return row[b_len];
}

struct nearest nearest_to(const char *typed)
{
    return (struct nearest){.typed = typed, .distance = TYPOS_MAX + 1};
}

void nearest_offer(struct nearest *nearest, const char *word)
{
    size_t distance = nearest_distance(word, nearest->typed);
    if (distance >= nearest->distance || distance >= strlen(word))
        return;
    nearest->distance = distance;
    nearest->word = word;
}
