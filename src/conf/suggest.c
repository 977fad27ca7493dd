#include "conf/suggest.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/nearest.h"
#include "base/netaddr.h"
#include "conf/types.h"
#include "conf/value.h"

/* A longer text is not a typing error. */
#define SUGGEST_MAX 128

/* ---- rewrites: each makes one text of another, or returns false where it does not apply ---- */

/* What word processors and web pages make of quotes, hyphens and spaces. */
static bool rewrite_typography(const char *text, char *out)
{
    static const struct {
        const char *found, *meant;
    } marks[] = {{"\u201c", ""},  {"\u201d", ""},  {"\u201e", ""},  {"\u2018", ""},  {"\u2019", ""}, {"\u2010", "-"},
                 {"\u2011", "-"}, {"\u2013", "-"}, {"\u2014", "-"}, {"\u2212", "-"}, {"\u00a0", " "}};
    size_t used = 0;
    while (*text) {
        size_t i = 0;
        while (i < sizeof(marks) / sizeof(marks[0]) && strncmp(text, marks[i].found, strlen(marks[i].found)) != 0)
            i++;
        if (i < sizeof(marks) / sizeof(marks[0])) {
            text += strlen(marks[i].found);
            if (*marks[i].meant)
                out[used++] = *marks[i].meant;
        } else {
            out[used++] = *text++;
        }
    }
    out[used] = '\0';
    return true;
}

static bool rewrite_lower(const char *text, char *out)
{
    size_t i = 0;
    for (; text[i]; i++)
        out[i] = (char)tolower((unsigned char)text[i]);
    out[i] = '\0';
    return true;
}

static bool rewrite_without_spaces(const char *text, char *out)
{
    size_t used = 0;
    bool number = isdigit((unsigned char)text[0]) != 0; /* "30000 - 31000", not "two words" */
    for (; *text; text++)
        if (*text != ' ')
            out[used++] = *text;
    out[used] = '\0';
    return number;
}

/* "192.0.2.1, 192.0.2.2": values of one option are separated by one space. */
static bool rewrite_commas(const char *text, char *out)
{
    size_t used = 0;
    for (; *text; text++)
        if (*text != ',' && *text != ' ')
            out[used++] = *text;
        else if (used > 0 && out[used - 1] != ' ')
            out[used++] = ' ';
    out[used] = '\0';
    return true;
}

/* "30000:31000", as iptables has it. */
static bool rewrite_colon(const char *text, char *out)
{
    size_t digits = strspn(text, "0123456789");
    if (text[digits] != ':' || strspn(text + digits + 1, "0123456789") != strlen(text + digits + 1))
        return false;
    strcpy(out, text);
    out[digits] = '-';
    return true;
}

/* "*.example.com" */
static bool rewrite_wildcard(const char *text, char *out)
{
    if (strncmp(text, "*.", 2) != 0)
        return false;
    strcpy(out, text + 1);
    return true;
}

/* "[::1]", "[::1]:1080" and "192.0.2.1:1080" become the address alone. */
static bool rewrite_to_host(const char *text, char *out)
{
    bool bracket = text[0] == '[';
    const char *begin = text + bracket, *end = bracket ? strchr(text, ']') : strchr(text, ':');
    if (!end || strspn(end + 1, ":0123456789") != strlen(end + 1))
        return false;
    const char *colon = strrchr(end, ':');
    if (colon && strtoul(colon + 1, NULL, 10) == 0)
        return false;
    memcpy(out, begin, (size_t)(end - begin));
    out[end - begin] = '\0';
    return true;
}

/* "31.12.2026" and "2026/12/31" */
static bool rewrite_day(const char *text, char *out)
{
    unsigned day, month, year;
    char end;
    if (sscanf(text, "%2u.%2u.%4u%c", &day, &month, &year, &end) != 3 &&
        sscanf(text, "%4u/%2u/%2u%c", &year, &month, &day, &end) != 3)
        return false;
    snprintf(out, SUGGEST_MAX, "%04u-%02u-%02u", year, month, day);
    return true;
}

/* The length of a prefix: a number, or a netmask such as 255.255.255.0. */
static bool prefix_bits(const char *text, unsigned max, unsigned *bits)
{
    union netaddr mask;
    size_t len;
    if (strspn(text, "0123456789") == strlen(text)) {
        *bits = (unsigned)strtoul(text, NULL, 10);
        return *text && *bits <= max;
    }
    if (!netaddr_parse(&mask, text, 0) || mask.sa.sa_family != AF_INET || max != 32)
        return false;
    const uint8_t *bytes = netaddr_host(&mask, &len);
    uint32_t value = (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
    *bits = (unsigned)__builtin_popcount(value);
    return value == (uint32_t)(UINT64_C(0xffffffff00000000) >> *bits);
}

/* "192.168.1.5/24" and "192.168.1.0/255.255.255.0" become 192.168.1.0/24. */
static bool rewrite_network(const char *text, char *out)
{
    union netaddr address;
    unsigned bits;
    const char *slash = strchr(text, '/');
    if (!slash)
        return false;
    memcpy(out, text, (size_t)(slash - text));
    out[slash - text] = '\0';
    if (!netaddr_parse(&address, out, 0) || !prefix_bits(slash + 1, address.sa.sa_family == AF_INET ? 32 : 128, &bits))
        return false;
    uint8_t *host = address.sa.sa_family == AF_INET ? (uint8_t *)&address.v4.sin_addr : address.v6.sin6_addr.s6_addr;
    for (unsigned i = bits; i < (address.sa.sa_family == AF_INET ? 32 : 128); i++)
        host[i / 8] &= (uint8_t) ~(0x80U >> i % 8);
    char host_text[NETADDR_TEXT_MAX];
    netaddr_format_host(&address, host_text);
    return snprintf(out, SUGGEST_MAX, "%s/%u", host_text, bits) < SUGGEST_MAX;
}

/* ---- other words and units ---- */

struct suggest_pair {
    const char *found, *meant;
};

/* A word may stand for several; the type of the option decides. */
static const struct suggest_pair words[] = {
    {"yes", "true"},
    {"yes", "on"},
    {"yes", "auto"},
    {"on", "auto"},
    {"true", "on"},
    {"true", "auto"},
    {"enabled", "true"},
    {"enabled", "on"},
    {"enabled", "auto"},
    {"1", "true"},
    {"1", "on"},
    {"no", "off"},
    {"false", "off"},
    {"disabled", "false"},
    {"disabled", "off"},
    {"never", "off"},
    {"0", "false"},
    {"0", "off"},
    {"0", "unlimited"},
    {"0s", "off"},
    {"none", "off"},
    {"none", "unlimited"},
    {"none", "auto"},
    {"off", "none"},
    {"off", "unlimited"},
    {"infinite", "unlimited"},
    {"unlimited", "off"},
    {"null", "none"},
    {"~", "none"},
    {"auto", "random"},
    {"any", "random"},
    {"localhost", "127.0.0.1"},
    {"*", "0.0.0.0"},
    {"*", "any"},
    {"all", "any"},
    {"any", "0.0.0.0"},
    {"all", "0.0.0.0"},
    {"block", "deny"},
    {"reject", "deny"},
    {"drop", "deny"},
    {"accept", "allow"},
    {"permit", "allow"},
    {"pass", "allow"},
    {"direct", "allow"},
    {"tcp", "connect"},
    {"associate", "udp"},
    {"udpassociate", "udp"},
    {"udp_associate", "udp"},
    {"warn", "warning"},
    {"err", "error"},
    {"notice", "info"},
    {"trace", "debug"},
    {"verbose", "debug"},
    {"stdout", "stderr"},
    {"full-cone", "endpoint-independent"},
    {"fullcone", "endpoint-independent"},
    {"full cone", "endpoint-independent"},
    {"open", "endpoint-independent"},
    {"restricted-cone", "address-dependent"},
    {"moderate", "address-dependent"},
    {"port-restricted", "address-and-port-dependent"},
    {"port-restricted-cone", "address-and-port-dependent"},
    {"strict", "address-and-port-dependent"},
    {"userpass", "password"},
    {"username", "password"},
    {"noauth", "none"},
    {"internet", "public"},
    {"any", "all"},
    {"v4", "ipv4"},
    {"v6", "ipv6"},
};

/* What follows a number. In bandwidths, B is a byte and b a bit. */
static const struct suggest_pair units[] = {
    {"sec", "s"},       {"secs", "s"},      {"second", "s"},    {"seconds", "s"},   {"S", "s"},
    {"min", "m"},       {"mins", "m"},      {"minute", "m"},    {"minutes", "m"},   {"M", "m"},
    {"hour", "h"},      {"hours", "h"},     {"hr", "h"},        {"H", "h"},         {"K", "KiB"},
    {"k", "KiB"},       {"kB", "KiB"},      {"KB", "KiB"},      {"M", "MiB"},       {"m", "MiB"},
    {"MB", "MiB"},      {"mb", "MiB"},      {"mib", "MiB"},     {"G", "GiB"},       {"g", "GiB"},
    {"GB", "GiB"},      {"gb", "GiB"},      {"gib", "GiB"},     {"T", "TiB"},       {"TB", "TiB"},
    {"KiB", "KiB/s"},   {"MiB", "MiB/s"},   {"GiB", "GiB/s"},   {"KB/s", "KiB/s"},  {"MB/s", "MiB/s"},
    {"GB/s", "GiB/s"},  {"KBps", "KiB/s"},  {"MBps", "MiB/s"},  {"GBps", "GiB/s"},  {"k", "kbit/s"},
    {"K", "kbit/s"},    {"M", "Mbit/s"},    {"m", "Mbit/s"},    {"G", "Gbit/s"},    {"g", "Gbit/s"},
    {"Kb/s", "kbit/s"}, {"kb/s", "kbit/s"}, {"Mb/s", "Mbit/s"}, {"mb/s", "Mbit/s"}, {"mbps", "Mbit/s"},
    {"gbps", "Gbit/s"}, {"Gb/s", "Gbit/s"}, {"Mb", "Mbit/s"},   {"Gb", "Gbit/s"},   {"", "/s"},
    {"pps", "/s"},      {"p/s", "/s"},      {"pkt/s", "/s"},
};

/* ---- trying ---- */

/* Writes a valid value (`out` NULL: nothing). */
static bool suggest_valid(const struct schema_row *row, const char *text, FILE *out)
{
    union {
        char *text; /* an owned field starts with its pointer */
        union netaddr address;
        max_align_t aligned;
        unsigned char bytes[SCHEMA_FIELD_MAX];
    } field = {0};
    if (row->type == &value_port)
        field.address.sa.sa_family = AF_INET; /* it belongs to an address that has been read before */
    bool valid = schema_parse(row, text, &field) == NULL;
    if (valid && out)
        schema_format(row, &field, out);
    if (row->type->owned)
        free(field.text);
    return valid;
}

bool suggest_is_valid(const struct schema_row *row, const char *text)
{
    return suggest_valid(row, text, NULL);
}

static bool suggest_word(const struct schema_row *row, const char *text, FILE *out)
{
    char lower[SUGGEST_MAX];
    rewrite_lower(text, lower);
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(lower, words[i].found) == 0 && suggest_valid(row, words[i].meant, out))
            return true;
    return false;
}

/* A word of the option with a letter too many, too few or wrong. */
static bool suggest_typo(const struct schema_row *row, const char *text, FILE *out)
{
    struct nearest nearest = nearest_to(text);
    for (size_t i = (size_t)row->min; row->words && row->words[i]; i++)
        nearest_offer(&nearest, row->words[i]);
    if (row->none)
        nearest_offer(&nearest, row->none);
    return nearest.word && suggest_valid(row, nearest.word, out);
}

static bool suggest_unit(const struct schema_row *row, const char *text, FILE *out)
{
    char plain[SUGGEST_MAX], meant[SUGGEST_MAX + 8];
    rewrite_without_spaces(text, plain);
    size_t digits = strspn(plain, "0123456789");
    for (size_t i = 0; digits > 0 && i < sizeof(units) / sizeof(units[0]); i++) {
        if (strcmp(plain + digits, units[i].found) != 0)
            continue;
        snprintf(meant, sizeof(meant), "%.*s%s", (int)digits, plain, units[i].meant);
        if (suggest_valid(row, meant, out))
            return true;
    }
    return false;
}

bool suggest_value(const struct schema_row *row, const char *text, FILE *out)
{
    static bool (*const rewrites[])(const char *text, char *out) = {
        rewrite_lower,    rewrite_without_spaces, rewrite_commas,  rewrite_colon,
        rewrite_wildcard, rewrite_to_host,        rewrite_network, rewrite_day,
    };
    char plain[SUGGEST_MAX], other[SUGGEST_MAX];
    if (row->type->secret || strlen(text) >= sizeof(plain))
        return false;
    rewrite_typography(text, plain);
    bool found = suggest_valid(row, plain, out) || suggest_word(row, plain, out) || suggest_unit(row, plain, out);
    for (size_t i = 0; i < sizeof(rewrites) / sizeof(rewrites[0]) && !found; i++)
        found = rewrites[i](plain, other) && suggest_valid(row, other, out);
    return found || suggest_typo(row, plain, out);
}
