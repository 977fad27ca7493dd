/* A pool of addresses: one, or several with a space between them. libcyaml takes a value or a list, not either. */
#include <stdlib.h>
#include <string.h>

#include "base/netaddr.h"
#include "conf/config.h"
#include "conf/value.h"

#define POOL_MAX 256

static const char *add_address(const struct value_type *address, const char *text, size_t len, struct config_pool *pool)
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
            hint = "one of them stands there twice";
    pool->count += !hint;
    return hint;
}

static const char *pool_parse(const struct value_type *address, const char *text, void *field)
{
    struct config_pool pool = {0};
    size_t count = 1;
    for (const char *c = text; *c; c++)
        count += *c == ' ';
    if (count > POOL_MAX)
        return "no more than 256 of them";
    pool.addresses = calloc(count, sizeof(*pool.addresses));
    const char *hint = pool.addresses ? NULL : "out of memory";
    for (size_t i = 0; i < count && !hint; i++) {
        size_t len = strcspn(text, " ");
        hint = add_address(address, text, len, &pool);
        text += len + 1;
    }
    if (hint)
        free(pool.addresses);
    else
        *(struct config_pool *)field = pool;
    return hint;
}

static const char *pool_v4_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return pool_parse(&value_address_v4, text, field);
}

static const char *pool_v6_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return pool_parse(&value_address_v6, text, field);
}

static void pool_format(const struct schema_row *row, const void *field, FILE *out)
{
    const struct config_pool *pool = field;
    for (size_t i = 0; i < pool->count; i++) {
        fputs(i ? " " : "", out);
        value_address.format(row, &pool->addresses[i], out);
    }
}

#define POOL_TYPE(parse_, what_)                                                                                       \
    {                                                                                                                  \
        .name = "addresses", .size = sizeof(struct config_pool), .owned = true, .parse = (parse_),                     \
        .format = pool_format, .what = (what_)                                                                         \
    }
const struct value_type value_pool_v4 = POOL_TYPE(
    pool_v4_parse, "an IPv4 address, such as 192.0.2.1, or several with a space between them: 192.0.2.1 192.0.2.2");
const struct value_type value_pool_v6 =
    POOL_TYPE(pool_v6_parse,
              "an IPv6 address, such as 2001:db8::1, or several with a space between them: 2001:db8::1 2001:db8::2");
