/* Values for rates: bytes or datagrams per second. */
#include <string.h>

#include "conf/types.h"
#include "conf/value.h"

/* Reads the number at the beginning. Returns the unit after it, and after one space; NULL: there is no number. */
static const char *rate_split(const char *text, uint32_t *number)
{
    static const struct schema_row range = {.max = UINT32_MAX};
    char digits[12];
    size_t len = strspn(text, "0123456789");
    if (len >= sizeof(digits))
        return NULL;
    memcpy(digits, text, len);
    digits[len] = '\0';
    len += text[len] == ' ';
    return value_number.parse(&range, digits, number) ? NULL : text + len;
}

static const char unlimited[] = "unlimited";

static const char *rate_store(const struct schema_row *row, uint64_t rate, void *field)
{
    if (rate < row->min || rate > row->max)
        return "";
    *(uint64_t *)field = rate;
    return NULL;
}

static bool rate_store_unlimited(const char *text, void *field)
{
    if (strcmp(text, unlimited) != 0)
        return false;
    *(uint64_t *)field = CONFIG_UNLIMITED;
    return true;
}

static void rate_format(void (*write)(uint64_t rate, FILE *out), const void *field, FILE *out)
{
    uint64_t rate = *(const uint64_t *)field;
    if (rate == CONFIG_UNLIMITED)
        fputs(unlimited, out);
    else
        write(rate, out);
}

/* ---- bandwidth ---- */

/* A rate is written in the first unit that divides it; the largest unit comes first. */
static const struct {
    const char *name;
    uint64_t bytes;
} units[] = {{"GiB/s", 1024 * 1024 * 1024},
             {"Gbit/s", 125000000},
             {"MiB/s", 1024 * 1024},
             {"Mbit/s", 125000},
             {"KiB/s", 1024},
             {"kbit/s", 125}};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

/* Spellings that can mean nothing else. Not "mbps": for tc(8), that is megabytes. */
static const struct {
    const char *name;
    uint64_t bytes;
} spellings[] = {{"kbit", 125},       {"Kbit", 125},         {"Kbit/s", 125},    {"kbps", 125},    {"Kbps", 125},
                 {"Mbit", 125000},    {"mbit", 125000},      {"mbit/s", 125000}, {"Mbps", 125000}, {"Gbit", 125000000},
                 {"gbit", 125000000}, {"gbit/s", 125000000}, {"Gbps", 125000000}};

/* The bytes per second of a unit; 0: it is none. */
static uint64_t bandwidth_unit(const char *unit)
{
    for (size_t i = 0; i < UNIT_COUNT; i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].bytes;
    for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
        if (strcmp(unit, spellings[i].name) == 0)
            return spellings[i].bytes;
    return 0;
}

static const char *bandwidth_parse(const struct schema_row *row, const char *text, void *field)
{
    uint32_t number;
    if (rate_store_unlimited(text, field))
        return NULL;
    const char *unit = rate_split(text, &number);
    if (!unit)
        return "";
    uint64_t bytes = bandwidth_unit(unit);
    if (bytes > 0)
        return rate_store(row, number * bytes, field);
    if (*unit == '.' || *unit == ',')
        return "use a whole number, such as 1500kbit/s";
    return "the units are kbit/s, Mbit/s and Gbit/s (bits), KiB/s, MiB/s and GiB/s (bytes)";
}

static void bandwidth_write(uint64_t rate, FILE *out)
{
    size_t i = 0;
    while (i < UNIT_COUNT - 1 && rate % units[i].bytes != 0)
        i++;
    fprintf(out, "%ju%s", (uintmax_t)(rate / units[i].bytes), units[i].name);
}

static void bandwidth_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    rate_format(bandwidth_write, field, out);
}

const struct value_type value_bandwidth = {.name = "bandwidth",
                                           .size = sizeof(uint64_t),
                                           .parse = bandwidth_parse,
                                           .format = bandwidth_format,
                                           .what = "unlimited, or a bandwidth",
                                           .bound = bandwidth_write};

/* ---- datagrams ---- */

static const char *datagrams_parse(const struct schema_row *row, const char *text, void *field)
{
    uint32_t number;
    if (rate_store_unlimited(text, field))
        return NULL;
    const char *unit = rate_split(text, &number);
    if (!unit)
        return "";
    return strcmp(unit, "/s") == 0 ? rate_store(row, number, field) : "the unit is /s";
}

static void datagrams_write(uint64_t rate, FILE *out)
{
    fprintf(out, "%ju/s", (uintmax_t)rate);
}

static void datagrams_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    rate_format(datagrams_write, field, out);
}

const struct value_type value_datagrams = {.name = "datagram rate",
                                           .size = sizeof(uint64_t),
                                           .parse = datagrams_parse,
                                           .format = datagrams_format,
                                           .what = "unlimited, or a number of datagrams",
                                           .bound = datagrams_write};
