#include "base/calendar.h"

#include <assert.h>
#include <string.h>

#define DAY_SECONDS   (24 * 60 * 60)
#define FIRST_YEAR    1970
#define YEAR_MONTHS   12
#define TM_FIRST_YEAR 1900

uint32_t calendar_day_at(time_t time)
{
    if (time < 0)
        return 0;
    const time_t day = time / DAY_SECONDS;
    return day > CALENDAR_DAY_MAX ? CALENDAR_DAY_MAX : (uint32_t)day;
}

uint32_t calendar_today(void)
{
    return calendar_day_at(time(NULL));
}

static struct tm calendar_parts(uint32_t day)
{
    const time_t midnight = (time_t)day * DAY_SECONDS;
    struct tm parts = {0};
    assert(day <= CALENDAR_DAY_MAX);
    gmtime_r(&midnight, &parts);
    return parts;
}

uint32_t calendar_month_of(uint32_t day)
{
    const struct tm parts = calendar_parts(day);
    return (uint32_t)((parts.tm_year + TM_FIRST_YEAR - FIRST_YEAR) * YEAR_MONTHS + parts.tm_mon);
}

/* Reads exactly `count` digits. */
static bool calendar_read_number(const char *text, size_t count, int *number)
{
    *number = 0;
    for (size_t i = 0; i < count; i++) {
        if (text[i] < '0' || text[i] > '9')
            return false;
        *number = *number * 10 + (text[i] - '0');
    }
    return true;
}

bool calendar_parse_day(const char *text, uint32_t *day)
{
    struct tm parts = {0};
    char same[CALENDAR_DAY_TEXT_MAX];
    if (strlen(text) != sizeof("2026-12-31") - 1 || text[4] != '-' || text[7] != '-' ||
        !calendar_read_number(text, 4, &parts.tm_year) || !calendar_read_number(text + 5, 2, &parts.tm_mon) ||
        !calendar_read_number(text + 8, 2, &parts.tm_mday) || parts.tm_year < FIRST_YEAR)
        return false;
    parts.tm_year -= TM_FIRST_YEAR;
    parts.tm_mon--;
    const uint32_t found = calendar_day_at(timegm(&parts));
    if (strcmp(calendar_format_day(found, same), text) != 0) /* timegm() makes 2026-03-02 of 2026-02-30 */
        return false;
    *day = found;
    return true;
}

const char *calendar_format_day(uint32_t day, char text[static CALENDAR_DAY_TEXT_MAX])
{
    const struct tm parts = calendar_parts(day);
    (void)strftime(text, CALENDAR_DAY_TEXT_MAX, "%Y-%m-%d", &parts);
    return text;
}

const char *calendar_format_month(uint32_t month, char text[static CALENDAR_MONTH_TEXT_MAX])
{
    const struct tm parts = {.tm_year = (int)(month / YEAR_MONTHS) + FIRST_YEAR - TM_FIRST_YEAR,
                             .tm_mon = (int)(month % YEAR_MONTHS),
                             .tm_mday = 1};
    (void)strftime(text, CALENDAR_MONTH_TEXT_MAX, "%Y-%m", &parts);
    return text;
}
