/* Values for hosts: an address, a name, or auto. */
#include <assert.h>
#include <ctype.h>
#include <net/if.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/netaddr.h"
#include "conf/types.h"
#include "conf/value.h"

bool value_is_name(const char *name)
{
    size_t len = strlen(name), label = 0;
    bool digits = true;
    if (len == 0 || len > 253)
        return false;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)name[i];
        if (c == '.') {
            if (label == 0)
                return false;
            label = 0;
            digits = true;
        } else if (isalnum(c) || c == '-' || c == '_') {
            digits &= isdigit(c) != 0;
            if (++label > 63)
                return false;
        } else {
            return false;
        }
    }
    return label > 0 && !digits;
}

/* ---- advertised address ---- */

static const char *advertise_parse(const char *text, const struct value_type *address, void *field)
{
    struct config_advertise advertise = {0};
    if (strcmp(text, "auto") == 0) {
        advertise.automatic = true;
    } else if (value_is_name(text)) {
        advertise.name = strdup(text);
        if (!advertise.name)
            return "out of memory";
    } else {
        const char *hint = address->parse(NULL, text, &advertise.address);
        if (hint)
            return hint;
        if (netaddr_is_any(&advertise.address))
            return "clients cannot send to this address";
    }
    *(struct config_advertise *)field = advertise;
    return NULL;
}

static const char *advertise_v4_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return advertise_parse(text, &value_address_v4, field);
}

static const char *advertise_v6_parse(const struct schema_row *row, const char *text, void *field)
{
    (void)row;
    return advertise_parse(text, &value_address_v6, field);
}

static void advertise_format(const struct schema_row *row, const void *field, FILE *out)
{
    const struct config_advertise *advertise = field;
    if (advertise->automatic)
        fputs("auto", out);
    else if (advertise->name)
        fputs(advertise->name, out);
    else
        value_address.format(row, &advertise->address, out);
}

static_assert(offsetof(struct config_advertise, name) == 0, "raw.c frees what an owned field starts with");
#define ADVERTISE_TYPE(parse_, what_)                                                                                  \
    {                                                                                                                  \
        .name = "address or name", .size = sizeof(struct config_advertise), .owned = true, .parse = (parse_),          \
        .format = advertise_format, .what = (what_)                                                                    \
    }
const struct value_type value_advertise_v4 =
    ADVERTISE_TYPE(advertise_v4_parse, "auto, an IPv4 address, such as 192.0.2.1, or a host name");
const struct value_type value_advertise_v6 =
    ADVERTISE_TYPE(advertise_v6_parse, "auto, an IPv6 address, such as 2001:db8::1, or a host name");

/* ---- host ---- */

static const char *host_parse(const struct schema_row *row, const char *text, void *field)
{
    struct config_host host = {0};
    if (value_is_name(text)) {
        host.name = strdup(text);
        if (!host.name)
            return "out of memory";
    } else {
        const char *hint = value_address.parse(row, text, &host.address);
        if (hint)
            return hint;
        if (netaddr_is_any(&host.address))
            return "nothing can connect to this address";
    }
    *(struct config_host *)field = host;
    return NULL;
}

static void host_format(const struct schema_row *row, const void *field, FILE *out)
{
    const struct config_host *host = field;
    if (host->name)
        fputs(host->name, out);
    else
        value_address.format(row, &host->address, out);
}

static_assert(offsetof(struct config_host, name) == 0, "raw.c frees what an owned field starts with");
const struct value_type value_host = {.name = "address or name",
                                      .size = sizeof(struct config_host),
                                      .owned = true,
                                      .parse = host_parse,
                                      .format = host_format,
                                      .what = "an IP address, such as 192.0.2.1 or 2001:db8::1, or a host name"};

/* ---- where to listen ---- */

/* The interface has to exist, as that of a link-local address. */
static const char *listen_address_parse(const struct schema_row *row, const char *text, void *field)
{
    union netaddr any = netaddr_any(AF_INET6);
    const char *hint = value_address.parse(row, text, field);
    if (hint && text[0] && strlen(text) < IF_NAMESIZE && (any.v6.sin6_scope_id = if_nametoindex(text)) != 0) {
        *(union netaddr *)field = any;
        return NULL;
    }
    const bool like_interface = hint && isalpha((unsigned char)text[0]) && !strpbrk(text, ":./%") && !hint[0];
    return like_interface ? "this host has no interface with that name (ip link lists them)" : hint;
}

static void listen_address_format(const struct schema_row *row, const void *field, FILE *out)
{
    (void)row;
    char text[NETADDR_TEXT_MAX];
    fputs(config_listener_format_host(field, text), out);
}

const struct value_type value_listen_address = {
    .name = "address",
    .size = sizeof(union netaddr),
    .parse = listen_address_parse,
    .format = listen_address_format,
    .what = "an IPv4 or IPv6 address without a port, such as 127.0.0.1 or ::1, or an interface, such as eth0",
};
