#include "conf/value.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/netaddr.h"
#include "conf/password_hash.h"
#include "conf/types.h"

/* Reads decimal digits without sign, spaces or leading zeros. Returns the text after them; NULL: not such a number.
 * strtoul() would accept " +5", "010" and "0x10", and stop silently at the x of "1080x". */
static const char *parse_digits(const char *text, uint64_t *number)
{
    if (text[0] < '0' || text[0] > '9' || (text[0] == '0' && text[1] >= '0' && text[1] <= '9'))
        return NULL;
    uint64_t sum = 0;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(sum, 10U, &sum) || __builtin_add_overflow(sum, (uint64_t)(*text - '0'), &sum))
            return NULL;
    *number = sum;
    return text;
}

/* ---- bool ---- */

static bool bool_is_word(const char *text, const char *word)
{
    size_t len = strlen(word), upper = 0;
    if (strcasecmp(text, word) != 0)
        return false;
    for (size_t i = 0; i < len; i++)
        upper += isupper((unsigned char)text[i]) != 0;
    return upper == 0 || upper == len || (upper == 1 && isupper((unsigned char)text[0]));
}

static const char *bool_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    /* All of YAML 1.1's words, in its three spellings: lower case, capitalized, upper case. */
    static const char *const words[][3] = {{"true", "yes", "on"}, {"false", "no", "off"}};
    for (size_t i = 0; i < 2; i++)
        for (size_t j = 0; j < 3; j++)
            if (bool_is_word(text, words[i][j])) {
                *(bool *)field = i == 0;
                return NULL;
            }
    return "";
}

static void bool_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fputs(*(const bool *)field ? "true" : "false", out);
}

const struct value_type value_bool = {
    .name = "boolean", .size = sizeof(bool), .parse = bool_parse, .format = bool_format, .what = "true or false"};

/* ---- number ---- */

static const char *number_parse(const struct schema_row *row, const char *text, void *field)
{
    uint64_t number;
    const char *rest = parse_digits(text, &number);
    if (!rest)
        return text[0] == '0' ? "write it in decimal, without leading zeros" : "";
    if (*rest)
        return "use digits only";
    if (number < row->min || number > row->max)
        return "";
    *(uint32_t *)field = (uint32_t)number;
    return NULL;
}

static void number_bound(uint64_t number, FILE *out)
{
    fprintf(out, "%ju", (uintmax_t)number);
}

static void number_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fprintf(out, "%u", *(const uint32_t *)field);
}

const struct value_type value_number = {.name = "number",
                                        .size = sizeof(uint32_t),
                                        .parse = number_parse,
                                        .format = number_format,
                                        .what = "a number",
                                        .bound = number_bound};

/* ---- mark ---- */

static const char *mark_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    static const struct schema_row range = {.min = 1, .max = UINT32_MAX};
    if (strncmp(text, "0x", 2) != 0)
        return number_parse(&range, text, field);
    size_t digits = strspn(text + 2, "0123456789abcdefABCDEF");
    unsigned long mark = strtoul(text + 2, NULL, 16);
    if (digits > 8 || text[2 + digits] != '\0' || mark == 0)
        return "";
    *(uint32_t *)field = (uint32_t)mark;
    return NULL;
}

static void mark_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fprintf(out, "0x%x", *(const uint32_t *)field);
}

const struct value_type value_mark = {.name = "mark",
                                      .size = sizeof(uint32_t),
                                      .parse = mark_parse,
                                      .format = mark_format,
                                      .what = "a number from 1 to 0xffffffff, such as 16 or 0x10"};

/* ---- duration ---- */

static const struct {
    const char *name;
    uint64_t ms;
} units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};
#define UNIT_COUNT (sizeof(units) / sizeof(units[0]))

static const char *duration_parse(const struct schema_row *row, const char *text, void *field)
{
    uint64_t number;
    const char *rest = parse_digits(text, &number);
    if (!rest)
        return "";
    if (!*rest)
        return "the unit is missing: ms, s, m or h";
    for (size_t i = 0; i < UNIT_COUNT; i++) {
        if (strcmp(rest, units[i].name) != 0)
            continue;
        if (__builtin_mul_overflow(number, units[i].ms, &number) || number < row->min || number > row->max)
            return "";
        *(uint64_t *)field = number;
        return NULL;
    }
    return "use one number with one unit: ms, s, m or h";
}

static void duration_write(uint64_t ms, FILE *out)
{
    size_t i = ms == 0 ? UNIT_COUNT - 2 : 0; /* zero is "0s" */
    while (ms > 0 && (ms % units[i].ms != 0 || ms < units[i].ms))
        if (++i == UNIT_COUNT - 1)
            break;
    fprintf(out, "%ju%s", (uintmax_t)(ms / units[i].ms), units[i].name);
}

static void duration_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    duration_write(*(const uint64_t *)field, out);
}

const struct value_type value_duration = {.name = "duration",
                                          .size = sizeof(uint64_t),
                                          .parse = duration_parse,
                                          .format = duration_format,
                                          .what = "a duration",
                                          .bound = duration_write};

/* ---- memory ---- */

/* Returns a hint about the error, or NULL. */
static const char *size_parse(const char *text, uint64_t *size)
{
    static const struct {
        const char *name;
        uint64_t bytes;
    } size_units[] = {{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}};
    const char *rest = parse_digits(text, size);
    if (!rest)
        return "";
    for (size_t i = 0; i < sizeof(size_units) / sizeof(size_units[0]); i++)
        if (strcmp(rest, size_units[i].name) == 0)
            return __builtin_mul_overflow(*size, size_units[i].bytes, size) ? "" : NULL;
    return *rest ? "the units are KiB, MiB and GiB" : "the unit is missing: KiB, MiB or GiB";
}

static void size_write(uint64_t size, FILE *out)
{
    if (size % (1 << 30) == 0)
        fprintf(out, "%juGiB", (uintmax_t)(size >> 30));
    else if (size % (1 << 20) == 0)
        fprintf(out, "%juMiB", (uintmax_t)(size >> 20));
    else
        fprintf(out, "%juKiB", (uintmax_t)(size >> 10));
}

static const char *memory_parse(const struct schema_row *row, const char *text, void *field)
{
    uint64_t size = CONFIG_MEMORY_OFF;
    const char *hint = strcmp(text, "off") == 0 ? NULL : size_parse(text, &size);
    if (!hint && size != CONFIG_MEMORY_OFF && (size < row->min || size > row->max))
        hint = "";
    if (!hint)
        *(uint64_t *)field = size;
    return hint;
}

static void memory_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    if (*(const uint64_t *)field == CONFIG_MEMORY_OFF)
        fputs("off", out);
    else
        size_write(*(const uint64_t *)field, out);
}

const struct value_type value_memory = {.name = "size",
                                        .size = sizeof(uint64_t),
                                        .parse = memory_parse,
                                        .format = memory_format,
                                        .what = "off, or a size",
                                        .bound = size_write};

/* ---- choice ---- */

static const char *choice_parse(const struct schema_row *row, const char *text, void *field)
{
    assert(row->words);
    for (unsigned i = (unsigned)row->min; row->words[i]; i++) {
        if (strcmp(text, row->words[i]) == 0) {
            *(unsigned *)field = i;
            return NULL;
        }
    }
    return "";
}

static void choice_format(const struct schema_row *row, const void *field, FILE *out)
{
    fputs(row->words[*(const unsigned *)field], out);
}

const struct value_type value_choice = {
    .name = "choice", .size = sizeof(unsigned), .parse = choice_parse, .format = choice_format};

/* ---- text and path ---- */

static const char *text_copy(const char *text, void *field)
{
    char *copy = strdup(text);
    *(char **)field = copy;
    return copy ? NULL : "out of memory";
}

static void text_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fputs(*(char *const *)field, out);
}

static const char *text_parse(const struct schema_row *row, const char *text, void *field)
{
    size_t len = strlen(text);
    return len < row->min || len > row->max ? "" : text_copy(text, field);
}

const struct value_type value_text = {.name = "text",
                                      .size = sizeof(char *),
                                      .owned = true,
                                      .parse = text_parse,
                                      .format = text_format,
                                      .what = "text with a length in bytes",
                                      .bound = number_bound};

static const char *secret_parse(const struct schema_row *row, const char *text, void *field)
{
    size_t len = strlen(text);
    if (len == 0 && row->min > 0)
        return "an empty password";
    return len < row->min || len > row->max ? "a password of another length" : text_copy(text, field);
}

const struct value_type value_secret = {.name = "password",
                                        .size = sizeof(char *),
                                        .owned = true,
                                        .secret = true,
                                        .parse = secret_parse,
                                        .format = text_format,
                                        .what = "a password with a length in bytes",
                                        .bound = number_bound};

static const char *path_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return text[0] == '/' ? text_copy(text, field) : "";
}

const struct value_type value_path = {.name = "path",
                                      .size = sizeof(char *),
                                      .owned = true,
                                      .parse = path_parse,
                                      .format = text_format,
                                      .what = "an absolute path, such as /run/conesocks.pid"};

static const char *hash_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    const char *fault = password_hash_fault(text);
    return fault ? fault : text_copy(text, field);
}

const struct value_type value_hash = {.name = "hash",
                                      .size = sizeof(char *),
                                      .owned = true,
                                      .secret = true,
                                      .parse = hash_parse,
                                      .format = text_format,
                                      .what = "a strong crypt(3) hash; run: conesocks hash-password"};

/* ---- addresses ---- */

static const char *address_of_family(const char *text, int family, void *field)
{
    union netaddr addr;
    if (!netaddr_parse(&addr, text, 0))
        return strchr(text, '%') ? "check the interface after the %" : "";
    if (family != AF_UNSPEC && addr.sa.sa_family != family)
        return "this is an address of the other IP version";
    *(union netaddr *)field = addr;
    return NULL;
}

static const char *address_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    const char *hint = address_of_family(text, AF_UNSPEC, field);
    bool with_port = strchr(text, ':') && (strchr(text, '.') || text[0] == '[');
    return hint && with_port ? "the port has a key of its own" : hint;
}

static const char *address_v4_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return address_of_family(text, AF_INET, field);
}

static const char *address_v6_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return address_of_family(text, AF_INET6, field);
}

static void address_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    char text[NETADDR_TEXT_MAX];
    fputs(netaddr_format_host(field, text), out);
}

#define ADDRESS_TYPE(parse_, what_)                                                                                    \
    {                                                                                                                  \
        .name = "address", .size = sizeof(union netaddr), .parse = (parse_), .format = address_format, .what = (what_) \
    }
const struct value_type value_address =
    ADDRESS_TYPE(address_parse, "an IPv4 or IPv6 address without a port, such as 127.0.0.1 or ::1");
const struct value_type value_address_v4 = ADDRESS_TYPE(address_v4_parse, "an IPv4 address, such as 192.0.2.1");
const struct value_type value_address_v6 = ADDRESS_TYPE(address_v6_parse, "an IPv6 address, such as 2001:db8::1");

/* ---- port ---- */

static const char *port_parse(const struct schema_row *row, const char *text, void *field)
{
    uint32_t port;
    const char *hint = number_parse(row, text, &port);
    if (!hint)
        netaddr_set_port(field, (uint16_t)port);
    return hint;
}

static void port_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    fprintf(out, "%u", (unsigned)netaddr_port(field));
}

const struct value_type value_port = {.name = "port",
                                      .size = sizeof(union netaddr),
                                      .parse = port_parse,
                                      .format = port_format,
                                      .what = "a port",
                                      .bound = number_bound};

/* ---- server ---- */

static const char *server_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    if (strstr(text, "://"))
        return "name servers are asked by plain DNS; TLS and HTTPS are not supported";
    char host[NETADDR_TEXT_MAX];
    bool bracket = text[0] == '[';
    const char *colon = strchr(text, ':');
    bool many_colons = colon && strchr(colon + 1, ':');
    const char *begin = bracket ? text + 1 : text;
    const char *end = bracket ? strchr(text, ']') : colon && !many_colons ? colon : text + strlen(text);
    if (!end || (size_t)(end - begin) >= sizeof(host))
        return "";
    memcpy(host, begin, (size_t)(end - begin));
    host[end - begin] = '\0';
    const char *rest = bracket ? end + 1 : end;
    static const struct schema_row port_range = {.min = 1, .max = UINT16_MAX};
    uint32_t port = 53;
    union netaddr addr;
    if (*rest && (*rest != ':' || number_parse(&port_range, rest + 1, &port) != NULL))
        return "the port is a number from 1 to 65535";
    if (!netaddr_parse(&addr, host, (uint16_t)port) || (bracket && addr.sa.sa_family != AF_INET6))
        return "";
    *(union netaddr *)field = addr;
    return NULL;
}

static void server_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    char text[NETADDR_TEXT_MAX];
    fputs(netaddr_format(field, text), out);
}

const struct value_type value_server = {.name = "address and port",
                                        .size = sizeof(union netaddr),
                                        .parse = server_parse,
                                        .format = server_format,
                                        .what = "an address, address:port or \"[IPv6 address]:port\""};
