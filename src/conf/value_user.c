/* Values for users: the last day of their access, and the volume that they may use in a month. */
#include <string.h>

#include "base/calendar.h"
#include "conf/types.h"
#include "conf/value.h"

/* ---- day ---- */

static const char *day_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    uint32_t day;
    if (!calendar_parse_day(text, &day))
        return strchr(text, '/') || strchr(text, '.') ? "write it as year-month-day" : "";
    if (day == 0) /* which stands for "never" */
        return "";
    *(uint32_t *)field = day;
    return NULL;
}

static void day_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    char text[CALENDAR_DAY_TEXT_MAX];
    fputs(calendar_format_day(*(const uint32_t *)field, text), out);
}

const struct value_type value_day = {.name = "day",
                                     .size = sizeof(uint32_t),
                                     .parse = day_parse,
                                     .format = day_format,
                                     .what = "a day, such as 2026-12-31"};

/* ---- volume ---- */

static const char unlimited[] = "unlimited";

/* Those that a volume is written in come first, the largest first. */
static const struct {
    const char *name;
    uint64_t bytes;
} units[] = {{"TiB", UINT64_C(1) << 40},   {"TB", UINT64_C(1000000000000)}, {"GiB", UINT64_C(1) << 30},
             {"GB", UINT64_C(1000000000)}, {"MiB", UINT64_C(1) << 20},      {"MB", UINT64_C(1000000)}};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

static const char *volume_read_number(const char *text, uint64_t *number)
{
    static const struct schema_row range = {.max = UINT32_MAX};
    char digits[12];
    uint32_t found;
    size_t len = strspn(text, "0123456789");
    if (len == 0 || len >= sizeof(digits))
        return NULL;
    memcpy(digits, text, len);
    digits[len] = '\0';
    if (value_number.parse(&range, digits, &found))
        return NULL;
    *number = found;
    return text + len;
}

static const char *volume_parse(const struct schema_row *row, const char *text, void *field)
{
    uint64_t number;
    if (strcmp(text, unlimited) == 0) {
        *(uint64_t *)field = CONFIG_UNLIMITED;
        return NULL;
    }
    const char *unit = volume_read_number(text, &number);
    if (!unit)
        return "";
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (strcmp(unit, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].bytes, &number) || number < row->min || number > row->max)
            return "";
        *(uint64_t *)field = number;
        return NULL;
    }
    return *unit ? "the units are MiB, GiB and TiB, or MB, GB and TB" : "the unit is missing: MiB, GiB or TiB";
}

static void volume_write(uint64_t volume, FILE *out)
{
    size_t i = 0;
    while (i < UNIT_COUNT - 1 && volume % units[i].bytes != 0)
        i++;
    fprintf(out, "%ju%s", (uintmax_t)(volume / units[i].bytes), units[i].name);
}

static void volume_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    const uint64_t volume = *(const uint64_t *)field;
    if (volume == CONFIG_UNLIMITED)
        fputs(unlimited, out);
    else
        volume_write(volume, out);
}

const struct value_type value_volume = {.name = "volume",
                                        .size = sizeof(uint64_t),
                                        .parse = volume_parse,
                                        .format = volume_format,
                                        .what = "unlimited, or a volume",
                                        .bound = volume_write};
