/*
 * Chooses the sentences for the end of a report: what the results mean to a player. Pure.
 */
#ifndef CONESOCKS_CHECK_SUMMARY_H
#define CONESOCKS_CHECK_SUMMARY_H

#include "check/result.h"

#define SUMMARY_MAX 2

/* The meaning of the worst result first, then that of a headline or, without one, of the next worst. No sentence comes
 * twice. Returns how many there are; they belong to the results. */
size_t summary_choose(const struct check_result *results, size_t count, const char *sentences[SUMMARY_MAX]);

#endif
