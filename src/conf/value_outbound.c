/* Values for outbound traffic: addresses, interface, DSCP. */
#include <assert.h>
#include <ctype.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/netaddr.h"
#include "conf/types.h"
#include "conf/value.h"

/* ---- addresses: one, or several with a space between them, since libcyaml takes a value or a list, not either ---- */

#define POOL_MAX 1024

static const char *pool_add_address(const struct value_type *address, const char *text, size_t len,
                                    struct config_pool *pool)
{
    char one[NETADDR_TEXT_MAX];
    union netaddr *next = &pool->addresses[pool->count];
    if (len == 0 || len >= sizeof(one))
        return "";
    memcpy(one, text, len);
    one[len] = '\0';
    const char *hint = address->parse(NULL, one, next);
    for (size_t i = 0; i < pool->count && !hint; i++)
        if (netaddr_equal(&pool->addresses[i], next))
            hint = "one address is listed twice";
    pool->count += !hint;
    return hint;
}

#define POOL_LISTENER_WORD "listener"

static const char *pool_parse_network(int family, const char *text, struct config_pool *pool)
{
    enum { BITS_MAX_V4 = 30, BITS_MAX_V6 = 126 }; /* a network of a few addresses, of which the first is not used */
    struct config_network network;
    const char *hint = value_network.parse(NULL, text, &network);
    if (hint)
        return hint;
    if (network.address.sa.sa_family != family)
        return "";
    if (network.bits > (family == AF_INET ? BITS_MAX_V4 : BITS_MAX_V6))
        return "write the addresses of such a small network";
    pool->addresses = malloc(sizeof(*pool->addresses));
    if (!pool->addresses)
        return "out of memory";
    pool->addresses[0] = network.address;
    pool->count = 1;
    pool->kind = CONFIG_POOL_NETWORK;
    pool->bits = network.bits;
    return NULL;
}

static const char *pool_parse_list(const struct value_type *address, const char *text, struct config_pool *field)
{
    struct config_pool pool = {.kind = CONFIG_POOL_LIST};
    size_t count = 1;
    for (const char *c = text; *c; c++)
        count += *c == ' ';
    if (count > POOL_MAX)
        return "at most 1024 addresses";
    pool.addresses = calloc(count, sizeof(*pool.addresses));
    const char *hint = pool.addresses ? NULL : "out of memory";
    for (size_t i = 0; i < count && !hint; i++) {
        size_t len = strcspn(text, " ");
        hint = pool_add_address(address, text, len, &pool);
        text += len + 1;
    }
    if (hint)
        free(pool.addresses);
    else
        *field = pool;
    return hint;
}

static const char *pool_parse(const struct value_type *address, int family, const char *text, struct config_pool *pool)
{
    if (strcmp(text, POOL_LISTENER_WORD) == 0) {
        *pool = (struct config_pool){.kind = CONFIG_POOL_LISTENER};
        return NULL;
    }
    return strchr(text, '/') ? pool_parse_network(family, text, pool) : pool_parse_list(address, text, pool);
}

static const char *pool_v4_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return pool_parse(&value_address_v4, AF_INET, text, field);
}

static const char *pool_v6_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return pool_parse(&value_address_v6, AF_INET6, text, field);
}

static void pool_format(const struct schema_row *row, const void *field, FILE *out)
{
    const struct config_pool *pool = field;
    if (pool->kind == CONFIG_POOL_LISTENER)
        fputs(POOL_LISTENER_WORD, out);
    for (size_t i = 0; i < pool->count; i++) {
        fputs(i ? " " : "", out);
        value_address.format(row, &pool->addresses[i], out);
    }
    if (pool->kind == CONFIG_POOL_NETWORK)
        fprintf(out, "/%u", pool->bits);
}

static_assert(offsetof(struct config_pool, addresses) == 0, "raw.c frees what an owned field starts with");
#define POOL_TYPE(parse_, what_)                                                                                       \
    {                                                                                                                  \
        .name = "addresses", .size = sizeof(struct config_pool), .owned = true, .parse = (parse_),                     \
        .format = pool_format, .what = (what_)                                                                         \
    }
const struct value_type value_pool_v4 =
    POOL_TYPE(pool_v4_parse,
              "listener, or a network such as 192.0.2.0/24, or one or more IPv4 addresses with spaces between them, "
              "such as 192.0.2.1 192.0.2.2");
const struct value_type value_pool_v6 =
    POOL_TYPE(pool_v6_parse,
              "listener, or a network such as 2001:db8::/64, or one or more IPv6 addresses with spaces between them, "
              "such as 2001:db8::1 2001:db8::2");

/* ---- interface ---- */

static_assert(CONFIG_INTERFACE_MAX == IFNAMSIZ - 1, "as the kernel has it");

/* The names that the kernel accepts. */
static const char *interface_parse(const struct schema_row *row, const char *text, void *field)
{
    static const struct schema_row length = {.min = 1, .max = CONFIG_INTERFACE_MAX};
    (void)row;
    for (const char *c = text; *c; c++)
        if (isspace((unsigned char)*c) || *c == '/' || *c == ':')
            return "";
    return strcmp(text, ".") == 0 || strcmp(text, "..") == 0 ? "" : value_text.parse(&length, text, field);
}

static void interface_format(const struct schema_row *row, const void *field, FILE *out)
{
    value_text.format(row, field, out);
}

const struct value_type value_interface = {.name = "interface",
                                           .size = sizeof(char *),
                                           .owned = true,
                                           .parse = interface_parse,
                                           .format = interface_format,
                                           .what = "the name of an interface, such as eth1, with 1 to 15 bytes"};

/* ---- DSCP ---- */

/* RFC 2474, 2597, 3246, 5865 and 8622; a code point without a name is written as a number. */
static const struct {
    const char *name;
    uint8_t code;
} code_points[] = {
    {"cs0", 0},   {"le", 1},    {"cs1", 8},  {"af11", 10}, {"af12", 12}, {"af13", 14}, {"cs2", 16}, {"af21", 18},
    {"af22", 20}, {"af23", 22}, {"cs3", 24}, {"af31", 26}, {"af32", 28}, {"af33", 30}, {"cs4", 32}, {"af41", 34},
    {"af42", 36}, {"af43", 38}, {"cs5", 40}, {"va", 44},   {"ef", 46},   {"cs6", 48},  {"cs7", 56},
};
static_assert(CONFIG_DSCP_SAID > 63, "the flag is no part of a code point");
#define CODE_POINTS (sizeof(code_points) / sizeof(code_points[0]))

static const char *dscp_parse(const struct schema_row *row, const char *text, void *field)
{
    static const struct schema_row range = {.max = 63};
    (void)row;
    uint32_t code = 0;
    size_t i = 0;
    while (i < CODE_POINTS && strcmp(text, code_points[i].name) != 0)
        i++;
    if (i < CODE_POINTS)
        code = code_points[i].code;
    else if (value_number.parse(&range, text, &code) != NULL)
        return "";
    *(uint32_t *)field = CONFIG_DSCP_SAID | code;
    return NULL;
}

static void dscp_format(const struct schema_row *row, const void *field, FILE *out)
{
    uint32_t code = *(const uint32_t *)field & ~CONFIG_DSCP_SAID;
    (void)row;
    for (size_t i = 0; i < CODE_POINTS; i++) {
        if (code_points[i].code == code) {
            fputs(code_points[i].name, out);
            return;
        }
    }
    fprintf(out, "%u", code);
}

const struct value_type value_dscp = {.name = "DSCP",
                                      .size = sizeof(uint32_t),
                                      .parse = dscp_parse,
                                      .format = dscp_format,
                                      .what = "a number from 0 to 63, or a name, such as ef, cs1 or af41"};
