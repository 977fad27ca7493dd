/*
 * The arithmetic for steps that measure: sizes, waits, delays and lost datagrams. Pure: the caller does the measuring.
 */
#ifndef CONESOCKS_CHECK_MEASURE_H
#define CONESOCKS_CHECK_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the largest size that passes ---- */

#define SIZE_MOST 65000 /* tried at most: a datagram can hold a little more, but headers need the rest */

/* A search: up a ladder of sizes to the first that does not pass, then by halves. Larger ones pass no better than
 * smaller ones. */
struct size_search {
    size_t works; /* the largest that has passed so far; 0: none */
    size_t fails; /* the smallest that has not; 0: none */
};

/* The next size to try; 0: the search is over. The result is exact below 2,000 bytes, and within 1/64 above. */
size_t size_search_next(const struct size_search *search);
void size_search_tell(struct size_search *search, size_t size, bool passed);

/* ---- how long a silent mapping lives ---- */

#define LIFETIME_WAITS 8

/* The seconds of silence to test, one association for each, from short to `bound`. 120 s, which RFC 4787 asks for, is
 * one of them if it is below the bound. Returns how many. */
size_t lifetime_waits(unsigned bound, unsigned waits[LIFETIME_WAITS]);

/* ---- delays ---- */

/* Sorts the values. 0 when there are none. */
uint32_t median(uint32_t *values, size_t count);
/* The mean difference between one value and the next, in the order of measurement (like RFC 3550, but not smoothed). */
uint32_t jitter(const uint32_t *values, size_t count);

/* ---- numbered datagrams ---- */

#define ARRIVALS_MAX 256

struct arrivals {
    uint8_t times[ARRIVALS_MAX]; /* how often each has come */
    unsigned last;               /* the highest number that has */
    unsigned late;               /* came after one with a higher number */
};

void arrivals_note(struct arrivals *arrivals, unsigned number);
/* Of the first `sent`. */
unsigned arrivals_lost(const struct arrivals *arrivals, unsigned sent);
unsigned arrivals_doubled(const struct arrivals *arrivals, unsigned sent);

#endif
