/* The types of values that options have. All are strict: they accept the whole text or nothing. A second spelling is
 * accepted only where it cannot mean anything else: "yes", "100 Mbit/s", "30000 - 31000". The dump shows the first. */
#ifndef CONESOCKS_CONF_VALUE_H
#define CONESOCKS_CONF_VALUE_H

#include "conf/schema.h"

extern const struct value_type value_bool;           /* bool: true, false; yes, no, on, off */
extern const struct value_type value_number;         /* uint32_t */
extern const struct value_type value_mark;           /* uint32_t, 1 or more: 16, 0x10 */
extern const struct value_type value_duration;       /* uint64_t, milliseconds: 500ms, 15s, 5m, 1h */
extern const struct value_type value_memory;         /* uint64_t, bytes: 64MiB; CONFIG_MEMORY_OFF */
extern const struct value_type value_choice;         /* an enum: one of the row's words */
extern const struct value_type value_text;           /* char *, of min to max bytes */
extern const struct value_type value_secret;         /* the same, never shown */
extern const struct value_type value_path;           /* char *, absolute */
extern const struct value_type value_socket;         /* the same, or auto: in the folder that systemd made for us */
extern const struct value_type value_hash;           /* char *, a crypt(3) hash of a strong method */
extern const struct value_type value_address;        /* union netaddr; the port becomes 0 */
extern const struct value_type value_address_v4;     /* the same, IPv4 only */
extern const struct value_type value_address_v6;     /* the same, IPv6 only */
extern const struct value_type value_listen_address; /* the same, or an interface: "::" with its index as scope */
extern const struct value_type value_port; /* the port of a union netaddr whose address has been read already */
extern const struct value_type
    value_server; /* union netaddr: address, address:port, [v6]:port; port 53 when left out */

/* struct config_advertise: value_host.c. */
extern const struct value_type value_advertise_v4, value_advertise_v6;

/* For outbound traffic: value_outbound.c. */
extern const struct value_type value_pool_v4, value_pool_v6; /* struct config_pool: 192.0.2.1 192.0.2.2 */
extern const struct value_type value_interface;              /* char *: eth1 */
extern const struct value_type value_dscp;                   /* uint32_t, CONFIG_DSCP_SAID and the code point: ef, 46 */
extern const struct value_type value_host;                   /* struct config_host: an address or a name */

/* Whether it is a host name that cannot be mistaken for an address. */
bool value_is_name(const char *name);

/* For rules: value_rule.c. */
extern const struct value_type value_network; /* struct config_network: 10.0.0.0/8, 192.0.2.1, 2001:db8::/32 */
extern const struct value_type value_target;  /* struct config_target: a network, name, .domain, private or any */
extern const struct value_type value_ports;   /* struct config_ports: 53 or 6881-6999 */

/* Rates: value_rate.c. uint64_t, or CONFIG_UNLIMITED. */
extern const struct value_type value_bandwidth; /* bytes per second: 80Mbit/s, 10MiB/s */
extern const struct value_type value_datagrams; /* datagrams per second: 500/s */

/* For users: value_user.c. */
extern const struct value_type value_day;    /* uint32_t, days since 1970-01-01: 2026-12-31 */
extern const struct value_type value_volume; /* uint64_t, bytes, or CONFIG_UNLIMITED: 100GiB, 1TB */

#endif
