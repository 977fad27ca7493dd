/* Values for rules: networks, destinations and ports. */
#include <assert.h>
#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/netaddr.h"
#include "conf/types.h"
#include "conf/value.h"

/* ---- network ---- */

static bool network_has_bits_beyond(const union netaddr *address, unsigned bits)
{
    size_t len;
    const uint8_t *host = netaddr_host(address, &len);
    for (size_t i = bits / 8; i < len; i++) {
        unsigned mask = i == bits / 8 ? 0xffU >> bits % 8 : 0xff;
        if (host[i] & mask)
            return true;
    }
    return false;
}

static const char *network_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    struct config_network network = {0};
    char host[NETADDR_TEXT_MAX];
    size_t len = strcspn(text, "/");
    if (len >= sizeof(host) || strchr(text, '%'))
        return "";
    memcpy(host, text, len);
    host[len] = '\0';
    if (!netaddr_parse(&network.address, host, 0))
        return isdigit((unsigned char)text[0]) && strchr(text, '-') ? "write a range of addresses as networks" : "";
    bool v4 = network.address.sa.sa_family == AF_INET;
    const struct schema_row range = {.max = v4 ? 32 : 128};
    uint32_t bits = (uint32_t)range.max;
    if (text[len] == '/' && value_number.parse(&range, text + len + 1, &bits) != NULL)
        return v4 ? "the prefix has 0 to 32 bits" : "the prefix has 0 to 128 bits";
    network.bits = (uint8_t)bits;
    if (network_has_bits_beyond(&network.address, bits))
        return "the address has bits set after the prefix";
    /* Rules compare the final IPv4 address, so such a network would never match. */
    if (netaddr_canonical(&network.address).sa.sa_family != network.address.sa.sa_family)
        return "write the IPv4 network instead";
    *(struct config_network *)field = network;
    return NULL;
}

static void network_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    const struct config_network *network = field;
    char text[NETADDR_TEXT_MAX];
    fputs(netaddr_format_host(&network->address, text), out);
    if (network->bits < (network->address.sa.sa_family == AF_INET ? 32 : 128))
        fprintf(out, "/%u", network->bits);
}

const struct value_type value_network = {.name = "network",
                                         .size = sizeof(struct config_network),
                                         .parse = network_parse,
                                         .format = network_format,
                                         .what = "an address or a network, such as 10.0.0.0/8 or \"2001:db8::/32\""};

/* ---- target ---- */

/* What is wrong with a text that looks like a name; NULL: it does not look like one. */
static const char *target_hint_about_name(const char *text)
{
    size_t len = strlen(text);
    if (strchr(text, '*'))
        return "a domain and everything below it begins with a dot";
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c > 127)
            return "write the name in its ASCII form, such as xn--bcher-kva.example";
    return len > 1 && text[len - 1] == '.' ? "remove the dot at the end" : NULL;
}

static const char *target_parse(const struct schema_row *row, const char *text, void *field)
{
    struct config_target target = {.kind = CONFIG_TARGET_NETWORK};
    bool suffix = text[0] == '.';
    if (strcmp(text, "any") == 0) {
        target.kind = CONFIG_TARGET_ANY;
    } else if (strcmp(text, "private") == 0) {
        target.kind = CONFIG_TARGET_PRIVATE;
    } else if (strcmp(text, "all") == 0 || strcmp(text, "public") == 0) {
        return "this would be the name of a host"; /* reach has these words */
    } else if (value_is_name(text + suffix)) {
        target.kind = suffix ? CONFIG_TARGET_SUFFIX : CONFIG_TARGET_NAME;
        target.name = strdup(text);
        if (!target.name)
            return "out of memory";
        for (char *c = target.name; *c; c++)
            *c = (char)tolower((unsigned char)*c);
    } else {
        const char *hint = network_parse(row, text, &target.network);
        const char *better = target_hint_about_name(text);
        if (hint)
            return better ? better : hint;
    }
    *(struct config_target *)field = target;
    return NULL;
}

static void target_format(const struct schema_row *row, const void *field, FILE *out)
{
    const struct config_target *target = field;
    switch (target->kind) {
    case CONFIG_TARGET_NETWORK:
        network_format(row, &target->network, out);
        break;
    case CONFIG_TARGET_NAME:
    case CONFIG_TARGET_SUFFIX:
        fputs(target->name, out);
        break;
    case CONFIG_TARGET_PRIVATE:
        fputs("private", out);
        break;
    case CONFIG_TARGET_ANY:
        fputs("any", out);
        break;
    }
}

/* raw.c frees what an owned field starts with. */
static_assert(offsetof(struct config_target, name) == 0, "the name comes first");
const struct value_type value_target = {.name = "destination",
                                        .size = sizeof(struct config_target),
                                        .owned = true,
                                        .parse = target_parse,
                                        .format = target_format,
                                        .what = "any, private, an address, a network (10.0.0.0/8), a host name, or a "
                                                "domain and everything below it (.example.com)"};

/* ---- ports ---- */

static const char *ports_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    static const struct schema_row range = {.min = 1, .max = UINT16_MAX};
    char first_text[8];
    const char *dash = strchr(text, '-');
    size_t len = strcspn(text, "- ");
    uint32_t first, last;
    if (strchr(text, ','))
        return "only one port or one range fits here";
    if (len >= sizeof(first_text) || (dash && strspn(text + len, " ") != (size_t)(dash - text) - len))
        return "";
    memcpy(first_text, text, len);
    first_text[len] = '\0';
    if (value_number.parse(&range, first_text, &first) != NULL || (!dash && text[len]))
        return "";
    last = first;
    if (dash && value_number.parse(&range, dash + 1 + strspn(dash + 1, " "), &last) != NULL)
        return "";
    if (last < first)
        return "the first port is higher than the last";
    *(struct config_ports *)field = (struct config_ports){(uint16_t)first, (uint16_t)last};
    return NULL;
}

static void ports_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    const struct config_ports *ports = field;
    fprintf(out, "%u", ports->first);
    if (ports->last != ports->first)
        fprintf(out, "-%u", ports->last);
}

const struct value_type value_ports = {.name = "ports",
                                       .size = sizeof(struct config_ports),
                                       .parse = ports_parse,
                                       .format = ports_format,
                                       .what = "a port from 1 to 65535, or a range such as 6881-6999"};
