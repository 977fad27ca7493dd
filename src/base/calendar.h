/*
 * Days and months of the calendar, in UTC, for what the wall clock decides: when access expires, and which month a
 * volume counts for. A day is the number of days since 1970-01-01; a month is the number of months since then.
 */
#ifndef CONESOCKS_BASE_CALENDAR_H
#define CONESOCKS_BASE_CALENDAR_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CALENDAR_DAY_TEXT_MAX   sizeof("2026-12-31")
#define CALENDAR_MONTH_TEXT_MAX sizeof("2026-12")
/* The last day that has such a text: 9999-12-31. */
#define CALENDAR_DAY_MAX 2932896

/* By the wall clock. */
uint32_t calendar_today(void);
/* A time before 1970 counts as the first day, one after 9999 as the last. */
uint32_t calendar_day_at(time_t time);
uint32_t calendar_month_of(uint32_t day);

/* Reads "2026-12-31". false: no such day. */
bool calendar_parse_day(const char *text, uint32_t *day);
/* Writes "2026-12-31". Returns `text`. */
const char *calendar_format_day(uint32_t day, char text[static CALENDAR_DAY_TEXT_MAX]);
/* Writes "2026-12". Returns `text`. */
const char *calendar_format_month(uint32_t month, char text[static CALENDAR_MONTH_TEXT_MAX]);

#endif
