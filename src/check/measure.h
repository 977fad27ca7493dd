/*
 * The arithmetic of the steps that measure. Pure: what is tried, and when, is the caller's.
 */
#ifndef CONESOCKS_CHECK_MEASURE_H
#define CONESOCKS_CHECK_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the largest size that passes ---- */

#define SIZE_MOST 65000 /* what is asked for; a datagram can hold some more, headers take the rest */

/* Larger ones pass no better than smaller ones: up a ladder to the first that does not pass, then by halves. */
struct size_search {
    size_t works; /* the largest that has passed so far; 0: none */
    size_t fails; /* the smallest that has not; 0: none */
};

/* The next one to try; 0: it is over, exactly below 2,000 bytes, to a sixty-fourth above. */
size_t size_search_next(const struct size_search *search);
void size_search_tell(struct size_search *search, size_t size, bool passed);

/* ---- how long a silent mapping lives ---- */

#define LIFETIME_WAITS 8

/* After how many seconds of silence an association each is asked for a sign of life, all at the same time: closer
 * together towards the bound, which is the last. 120 s, which RFC 4787 asks for, is among them if it is below. Returns
 * how many. */
size_t lifetime_waits(unsigned bound, unsigned waits[LIFETIME_WAITS]);

/* ---- delays ---- */

/* In any order; it is sorted afterwards. 0 of none. */
uint32_t median(uint32_t *values, size_t count);
/* The mean difference between one and the next, in the order in which they were measured (RFC 3550 calls that jitter,
 * when it is smoothed). */
uint32_t jitter(const uint32_t *values, size_t count);

/* ---- what has become of numbered datagrams ---- */

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
