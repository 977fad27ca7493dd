#include "conf/options.h"

#include "conf/types.h"
#include "conf/value.h"
#include "conf/words.h"

#define MS   ((uint64_t)1)
#define SEC  (1000 * MS)
#define MIN  (60 * SEC)
#define HOUR (60 * MIN)
#define MIB  ((uint64_t)1 << 20)
#define GIB  ((uint64_t)1 << 30)

#define LIMIT_MAX 1000000

#define FIELD(structure, member) .offset = offsetof(structure, member), .size = sizeof(((structure *)NULL)->member)
#define OPTION(type_, member)    .type = &value_##type_, FIELD(struct config, member)
#define LIST(kind_, member, count_member)                                                                              \
    .kind = (kind_), FIELD(struct config, member), .count_offset = offsetof(struct config, count_member),              \
    .element_size = sizeof(*((struct config *)NULL)->member)
#define VALUES(structure, member, count_member)                                                                        \
    .kind = SCHEMA_VALUES, FIELD(structure, member), .count_offset = offsetof(structure, count_member),                \
    .element_size = sizeof(*((structure *)NULL)->member), .initial = "[]"
#define RULE_LIST(member, count_member) VALUES(struct config_rule, member, count_member)
#define TERM(structure, type_, member)  .type = &value_##type_, FIELD(structure, terms.member), .initial = "default"
#define GROUP(rows_)                    .kind = SCHEMA_GROUP, .rows = (rows_)
#define RANGE(from, to)                 .min = (from), .max = (to)
#define BANDWIDTHS                      RANGE(1024, UINT64_C(12500000000))
#define DATAGRAM_RATES                  RANGE(1, 100000000)

/* Of each enum, in its order. */
static const char *const auth_words[] = {
    [CONFIG_AUTH_AUTO] = "auto",
    [CONFIG_AUTH_NONE] = "none",
    [CONFIG_AUTH_PASSWORD] = "password",
    NULL,
};
static const char *const proxy_protocol_words[] = {
    [CONFIG_PROXY_PROTOCOL_OFF] = "off",
    [CONFIG_PROXY_PROTOCOL_REQUIRED] = "required",
    NULL,
};
static const char *const action_words[] = {
    [CONFIG_ACTION_ALLOW] = "allow",
    [CONFIG_ACTION_DENY] = "deny",
    NULL,
};
static const char *const reach_words[] = {
    [CONFIG_REACH_AUTO] = "auto",
    [CONFIG_REACH_PUBLIC] = "public",
    [CONFIG_REACH_PRIVATE] = "private",
    [CONFIG_REACH_ALL] = "all",
    NULL,
};
static const char *const icmp_words[] = {
    [CONFIG_ICMP_IGNORE] = "ignore",
    [CONFIG_ICMP_COUNT] = "count",
    NULL,
};
static const char *const offload_words[] = {
    [CONFIG_OFFLOAD_AUTO] = "auto",
    [CONFIG_OFFLOAD_OFF] = "off",
    NULL,
};
static const char *const df_words[] = {
    [CONFIG_DF_ALLOW_FRAGMENTS] = "allow-fragments",
    [CONFIG_DF_PROBE] = "probe",
    NULL,
};
static const char *const carry_words[] = {
    [CONFIG_CARRY_NONE] = "none",
    [CONFIG_CARRY_ECN] = "ecn",
    [CONFIG_CARRY_ECN_AND_DSCP] = "ecn-and-dscp",
    NULL,
};
static const char *const prefer_words[] = {
    [CONFIG_PREFER_IPV6] = "ipv6",
    [CONFIG_PREFER_IPV4] = "ipv4",
    [CONFIG_PREFER_IPV6_ONLY] = "ipv6-only",
    [CONFIG_PREFER_IPV4_ONLY] = "ipv4-only",
    NULL,
};
static const char *const level_words[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
    NULL,
};
static const char *const target_words[] = {
    [LOG_TARGET_STDERR] = "stderr",
    [LOG_TARGET_SYSLOG] = "syslog",
    [LOG_TARGET_FILE] = "file",
    NULL,
};
static const char *const format_words[] = {
    [LOG_FORMAT_TEXT] = "text",
    [LOG_FORMAT_JSON] = "json",
    NULL,
};

static const char *const sandbox_words[] = {
    [CONFIG_SANDBOX_OFF] = "off",
    [CONFIG_SANDBOX_ON] = "on",
    NULL,
};

static const struct schema_row listen_rows[] = {
    /* The address first: reading it resets the port, which shares its field. */
    {"address", .type = &value_address, FIELD(struct config_listener, address), .initial = "127.0.0.1",
     .help = "address to accept clients on; 0.0.0.0 or \"::\" for every one this host has"},
    {"port", .type = &value_port, FIELD(struct config_listener, address), RANGE(1, UINT16_MAX), .initial = "1080",
     .help = "TCP port to accept clients on"},
    {"auth", .type = &value_choice, FIELD(struct config_listener, auth), .words = auth_words, .initial = "auto",
     .help = "how clients log in; auto: password when there are users, else none"},
    {"open", .type = &value_bool, FIELD(struct config_listener, open), .initial = "false",
     .help = "serve anybody who can reach this address, without a login"},
    {"proxy_protocol", .type = &value_choice, FIELD(struct config_listener, proxy_protocol),
     .words = proxy_protocol_words, .initial = "off",
     .help = "whether each connection begins with a balancer's word on whose it is (PROXY protocol 1 or 2)"},
    {"proxy_from", VALUES(struct config_listener, proxy_from, proxy_from_count), .type = &value_network, RANGE(0, 1024),
     .help = "the balancers that are believed, and whom alone this listener serves"},
    {0},
};

static const struct schema_row user_rows[] = {
    {"name", .type = &value_text, FIELD(struct config_user, name), RANGE(1, 255), .help = "the name to log in with"},
    {"password", .type = &value_hash, FIELD(struct config_user, password),
     .help = "hash of the password; conesocks hash-password makes one"},
    {"sessions", .type = &value_number, FIELD(struct config_user, sessions), RANGE(1, LIMIT_MAX), .none = "default",
     .initial = "default", .help = "this user's connections at once; default: limits.sessions_per_user"},
    {"associations", .type = &value_number, FIELD(struct config_user, associations), RANGE(1, LIMIT_MAX),
     .none = "default", .initial = "default",
     .help = "this user's UDP associations at once; default: limits.associations_per_user"},
    {"address_v4", TERM(struct config_user, pool_v4, address_v4), .none = "default",
     .help = "IPv4 addresses to connect and send from, each client from one, for this user"},
    {"address_v6", TERM(struct config_user, pool_v6, address_v6), .none = "default",
     .help = "IPv6 addresses to connect and send from, each client from one, for this user"},
    {"mark", TERM(struct config_user, mark, mark), .none = "default",
     .help = "mark for the system's routing and firewall rules"},
    {"interface", TERM(struct config_user, interface, interface), .none = "default",
     .help = "interface to connect and send by"},
    {"dscp", TERM(struct config_user, dscp, dscp), .none = "default", .help = "DSCP of what goes to destinations"},
    {"filtering", TERM(struct config_user, choice, filtering), .words = config_filtering_words,
     RANGE(CONFIG_FILTERING_INHERITED, CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT),
     .help = "who on the internet may send to an external port"},
    {"bandwidth", TERM(struct config_user, bandwidth, bandwidth), BANDWIDTHS, .none = "default",
     .help = "payload that all sessions of this user relay in a second, each way"},
    {"datagrams", TERM(struct config_user, datagrams, datagrams), DATAGRAM_RATES, .none = "default",
     .help = "datagrams that all associations of this user relay in a second, each way"},
    {"upstream", TERM(struct config_user, text, upstream), RANGE(1, 255), .none = "default",
     .help = "the SOCKS5 server that this user's requests leave by; none: straight to their destinations"},
    {0},
};

static const struct schema_row rule_rows[] = {
    {"action", .type = &value_choice, FIELD(struct config_rule, action), .words = action_words,
     .help = "what becomes of what the rule matches"},
    {"from", RULE_LIST(from, from_count), .type = &value_network, RANGE(0, 65536),
     .help = "the clients it is about; none: all"},
    {"user", RULE_LIST(users, user_count), .type = &value_text, RANGE(0, 255),
     .help = "the users it is about; none: all, also those without a login"},
    {"command", RULE_LIST(commands, command_count), .type = &value_choice, .words = config_command_words,
     RANGE(0, CONFIG_COMMAND_COUNT), .help = "the commands it is about; none: all"},
    {"to", RULE_LIST(to, to_count), .type = &value_target, RANGE(0, 65536),
     .help = "the destinations it is about; none: all"},
    {"ports", RULE_LIST(ports, port_count), .type = &value_ports, RANGE(0, 1024),
     .help = "the destinations' ports it is about; none: all"},
    {"address_v4", TERM(struct config_rule, pool_v4, address_v4), .none = "default",
     .help = "IPv4 addresses to connect and send from, each client from one, for what the rule lets through"},
    {"address_v6", TERM(struct config_rule, pool_v6, address_v6), .none = "default",
     .help = "IPv6 addresses to connect and send from, each client from one, for what the rule lets through"},
    {"mark", TERM(struct config_rule, mark, mark), .none = "default",
     .help = "mark for the system's routing and firewall rules"},
    {"interface", TERM(struct config_rule, interface, interface), .none = "default",
     .help = "interface to connect and send by"},
    {"dscp", TERM(struct config_rule, dscp, dscp), .none = "default", .help = "DSCP of what goes to destinations"},
    {"filtering", TERM(struct config_rule, choice, filtering), .words = config_filtering_words,
     RANGE(CONFIG_FILTERING_INHERITED, CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT),
     .help = "who on the internet may send to an external port"},
    {"bandwidth", TERM(struct config_rule, bandwidth, bandwidth), BANDWIDTHS, .none = "default",
     .help = "payload that each session relays in a second, each way"},
    {"datagrams", TERM(struct config_rule, datagrams, datagrams), DATAGRAM_RATES, .none = "default",
     .help = "datagrams that each association relays in a second, each way"},
    {"upstream", TERM(struct config_rule, text, upstream), RANGE(1, 255), .none = "default",
     .help = "the SOCKS5 server that what the rule lets through leaves by; none: straight to the destination"},
    {0},
};

static const struct schema_row upstream_rows[] = {
    {"name", .type = &value_text, FIELD(struct config_upstream, name), RANGE(1, 255),
     .help = "what rules, users and outbound.upstream call it"},
    {"address", .type = &value_host, FIELD(struct config_upstream, host), .help = "where it is: an address or a name"},
    {"port", .type = &value_number, FIELD(struct config_upstream, port), RANGE(1, UINT16_MAX), .initial = "1080",
     .help = "its TCP port"},
    {"user", .type = &value_text, FIELD(struct config_upstream, user), RANGE(1, 255), .none = "none", .initial = "none",
     .help = "the name to log in there with"},
    {"password", .type = &value_secret, FIELD(struct config_upstream, password), RANGE(1, 255), .none = "none",
     .initial = "none", .help = "the password to log in there with, as it is"},
    {0},
};

static const struct schema_row udp_rows[] = {
    {"enabled", OPTION(bool, udp.enabled), .initial = "true", .help = "relay datagrams (UDP ASSOCIATE)"},
    {"over_tcp", OPTION(bool, udp.over_tcp), .initial = "true",
     .help = "relay datagrams inside the control connection, too (command 5 of hev-socks5-tunnel)"},
    {"over_tcp_max", OPTION(number, udp.over_tcp_max), RANGE(1, 65535), .initial = "1472",
     .help = "bytes of payload that such a client is sent at most; larger datagrams are dropped"},
    {"filtering", OPTION(choice, udp.filtering), .words = config_filtering_words,
     RANGE(CONFIG_FILTERING_ENDPOINT_INDEPENDENT, CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT),
     .initial = "endpoint-independent", .help = "who on the internet may send to a client's external port"},
    {"idle", OPTION(duration, udp.idle_ms), RANGE(2 * MIN, 720 * HOUR), .none = "off", .initial = "off",
     .help = "end an association after this long without a datagram either way"},
    {"rebind_after", OPTION(duration, udp.rebind_after_ms), RANGE(SEC, HOUR), .initial = "15s",
     .help = "how long a client must be silent before it may send from another port"},
    {"advertise_v4", OPTION(advertise_v4, udp.advertise_v4), .none = "none", .initial = "none",
     .help = "IPv4 address that clients are told to send to; none: the one that they have connected to"},
    {"advertise_v6", OPTION(advertise_v6, udp.advertise_v6), .none = "none", .initial = "none",
     .help = "the same for IPv6"},
    {"ports", OPTION(ports, udp.ports), .none = "random", .initial = "random",
     .help = "ports that clients send to, one per association; a single one: the same for all"},
    {"external_ports", OPTION(ports, udp.external_ports), .none = "random", .initial = "random",
     .help = "ports that the internet sees, one per association and family"},
    {"port_rest", OPTION(duration, udp.port_rest_ms), RANGE(SEC, HOUR), .none = "off", .initial = "2m",
     .help = "how long a port is left alone before another association gets it"},
    {"icmp", OPTION(choice, udp.icmp), .words = icmp_words, .initial = "ignore", .at_start = true,
     .help = "what becomes of the errors that routers and hosts report about datagrams"},
    {"offload", OPTION(choice, udp.offload), .words = offload_words, .initial = "auto", .at_start = true,
     .help = "let the kernel join and cut datagrams (GRO, GSO) where it can"},
    {"carry", OPTION(choice, udp.carry), .words = carry_words, .initial = "ecn",
     .help = "what of the IP header goes through with each datagram"},
    {"df", OPTION(choice, udp.df), .words = df_words, .initial = "allow-fragments",
     .help = "whether datagrams that are too large are fragmented, or dropped so that applications can probe the path"},
    {"keep_port", OPTION(bool, udp.keep_port), .initial = "false",
     .help = "use the client's port number for the external port, when the client has named it and it is free"},
    {0},
};

static const struct schema_row bind_rows[] = {
    {"enabled", OPTION(bool, bind.enabled), .initial = "true", .help = "let clients ask for a connection to come in"},
    {"ports", OPTION(ports, bind.ports), .none = "random", .initial = "random",
     .help = "ports that these connections come to, one per request"},
    {"timeout", OPTION(duration, bind.timeout_ms), RANGE(SEC, HOUR), .initial = "2m",
     .help = "how long a port waits for its one connection"},
    {0},
};

static const struct schema_row outbound_rows[] = {
    {"address_v4", OPTION(pool_v4, outbound.address_v4), .none = "auto", .initial = "auto",
     .help = "IPv4 addresses to connect and send from, each client from one; auto: the system chooses"},
    {"address_v6", OPTION(pool_v6, outbound.address_v6), .none = "auto", .initial = "auto",
     .help = "IPv6 addresses to connect and send from, each client from one; auto: the system chooses"},
    {"mark", OPTION(mark, outbound.mark), .none = "none", .initial = "none",
     .help = "mark for the system's routing and firewall rules"},
    {"interface", OPTION(interface, outbound.interface), .none = "auto", .initial = "auto",
     .help = "interface to connect and send by; auto: that of the route"},
    {"dscp", OPTION(dscp, outbound.dscp), .none = "default", .initial = "default",
     .help = "DSCP of what goes to destinations; default: the system's, which is 0"},
    {"prefer", OPTION(choice, outbound.prefer), .words = prefer_words, .initial = "ipv6",
     .help = "which addresses of a name are tried first, or at all"},
    {"upstream", OPTION(text, outbound.upstream), RANGE(1, 255), .none = "none", .initial = "none",
     .help = "the SOCKS5 server that requests leave by; none: straight to their destinations"},
    {0},
};

static const struct schema_row dns_rows[] = {
    {"servers", LIST(SCHEMA_VALUES, dns.servers, dns.server_count), .type = &value_server, RANGE(0, 16),
     .initial = "[]", .help = "servers that resolve names; none: those of /etc/resolv.conf"},
    {"timeout", OPTION(duration, dns.timeout_ms), RANGE(100 * MS, MIN), .initial = "5s",
     .help = "how long a name may take to resolve"},
    {0},
};

#define LIMIT(key_, initial_, help_)                                                                                   \
    {                                                                                                                  \
#key_, OPTION(number, limits.key_), RANGE(1, LIMIT_MAX), .none = "unlimited", .initial = (initial_),           \
                                                                 .help = (help_)                                       \
    }
static const struct schema_row limits_rows[] = {
    LIMIT(sessions, "unlimited", "clients' connections at once"),
    LIMIT(sessions_per_client, "unlimited", "connections of one client address (IPv6: one /64) at once"),
    LIMIT(sessions_per_user, "unlimited", "connections of one user at once"),
    LIMIT(associations, "unlimited", "UDP associations at once"),
    LIMIT(associations_per_client, "unlimited", "UDP associations of one client address (IPv6: one /64) at once"),
    LIMIT(associations_per_user, "unlimited", "UDP associations of one user at once"),
    LIMIT(handshakes_per_client, "256",
          "connections of one client address (IPv6: one /64) that have not got as far as a request"),
    {"lookups_per_client", OPTION(number, limits.lookups_per_client), RANGE(1, 65535), .initial = "256",
     .help = "names being resolved at once for one client address"},
    LIMIT(lookups_per_user, "unlimited", "names being resolved at once for one user"),
    {"lookups_per_association", OPTION(number, limits.lookups_per_association), RANGE(1, 65535), .initial = "16",
     .help = "names being resolved at once for one UDP association"},
    {"memory", OPTION(memory, limits.memory), RANGE(16 * MIB, 1024 * GIB), .none = "auto", .initial = "auto",
     .at_start = true,
     .help = "memory to stay within, by refusing and giving back; auto: the limit that the system sets us"},
    {"failed_logins", OPTION(number, limits.failed_logins), RANGE(1, 1000), .none = "off", .initial = "10",
     .help = "wrong passwords a minute from one client address (IPv6: one /64); off: any number"},
    {"bandwidth_per_session", OPTION(bandwidth, limits.bandwidth_per_session), BANDWIDTHS, .initial = "unlimited",
     .help = "payload that one CONNECT or association relays in a second, each way"},
    {"bandwidth_per_user", OPTION(bandwidth, limits.bandwidth_per_user), BANDWIDTHS, .initial = "unlimited",
     .help = "the same for all sessions of one user together"},
    {"datagrams_per_association", OPTION(datagrams, limits.datagrams_per_association), DATAGRAM_RATES,
     .initial = "unlimited", .help = "datagrams that one association relays in a second, each way"},
    {"datagrams_per_user", OPTION(datagrams, limits.datagrams_per_user), DATAGRAM_RATES, .initial = "unlimited",
     .help = "the same for all associations of one user together"},
    {0},
};

static const struct schema_row timeouts_rows[] = {
    {"handshake", OPTION(duration, timeouts.handshake_ms), RANGE(SEC, 10 * MIN), .initial = "10s",
     .help = "how long a client may take from connecting to a complete request"},
    {"connect", OPTION(duration, timeouts.connect_ms), RANGE(SEC, 10 * MIN), .initial = "15s",
     .help = "how long a CONNECT may take to reach its destination, and an upstream to answer"},
    {"stream_idle", OPTION(duration, timeouts.stream_idle_ms), RANGE(MIN, 720 * HOUR), .none = "off", .initial = "off",
     .help = "end a CONNECT or BIND after this long without a byte either way"},
    {"login_cache", OPTION(duration, timeouts.login_cache_ms), RANGE(SEC, HOUR), .none = "off", .initial = "1m",
     .help = "how long a right login counts before its password is hashed again"},
    {"drain", OPTION(duration, timeouts.drain_ms), RANGE(0, 24 * HOUR), .initial = "0s",
     .help = "how long sessions may go on after SIGTERM"},
    {0},
};

static const struct schema_row log_rows[] = {
    {"level", OPTION(choice, log.level), .words = level_words, .initial = "info",
     .help = "the least urgent lines to log"},
    {"format", OPTION(choice, log.format), .words = format_words, .initial = "text",
     .help = "how they are written; json: an object a line"},
    {"target", OPTION(choice, log.target), .words = target_words, .initial = "stderr", .at_start = true,
     .help = "where log lines go"},
    {"file", OPTION(path, log.file), .none = "none", .initial = "none", .at_start = true,
     .help = "the file of log.target: file, opened again at each SIGHUP"},
    {"destinations", OPTION(bool, log.destinations), .initial = "true",
     .help = "tell in the log and the status where clients go"},
    {0},
};

static const struct schema_row admin_rows[] = {
    /* The address first, as in listen_rows. */
    {"address", OPTION(address, admin.address), .initial = "127.0.0.1", .at_start = true,
     .help = "address to show on, over HTTP, how it goes"},
    {"port", OPTION(port, admin.address), RANGE(0, UINT16_MAX), .initial = "0", .at_start = true,
     .help = "TCP port of that; 0: none"},
    {"socket", OPTION(path, admin.socket), .none = "none", .initial = "none", .at_start = true,
     .help = "Unix socket for the same"},
    {"open", OPTION(bool, admin.open), .initial = "false", .at_start = true,
     .help = "show it to anybody who can reach an address that is not this host's alone"},
    {0},
};

static const struct schema_row run_rows[] = {
    {"user", OPTION(text, run.user), RANGE(1, 255), .none = "auto", .initial = "auto", .at_start = true,
     .help = "user to become when started as root; auto: nobody"},
    {"group", OPTION(text, run.group), RANGE(1, 255), .none = "auto", .initial = "auto", .at_start = true,
     .help = "group to become a member of when started as root; auto: the user's own"},
    {"sandbox", OPTION(choice, run.sandbox), .words = sandbox_words, .initial = "on", .at_start = true,
     .help = "keep files and system calls out of reach that a proxy does not need"},
    {"pid_file", OPTION(path, run.pid_file), .none = "none", .initial = "none", .at_start = true,
     .help = "file that holds the process id, locked; none: /run/conesocks.pid as a daemon, else no file"},
    {"handover", OPTION(path, run.handover), .none = "none", .initial = "none", .at_start = true,
     .help = "socket at which a new process asks for this one's place (--take-over)"},
    {0},
};

const struct schema_row config_options[] = {
    {"listen", LIST(SCHEMA_LIST, listen, listen_count), .rows = listen_rows, RANGE(1, 64), .initial = "127.0.0.1:1080",
     .help = "where to accept clients"},
    {"users", LIST(SCHEMA_LIST, users, inline_user_count), .rows = user_rows, RANGE(0, 65536), .initial = "[]",
     .help = "who may log in"},
    {"users_file", OPTION(path, users_file), .none = "none", .initial = "none",
     .help = "file with more users, one name:hash a line, which others must not read"},
    {"rules", LIST(SCHEMA_LIST, rules, rule_count), .rows = rule_rows, RANGE(0, 65536), .initial = "[]",
     .help = "who may do what where; the first rule that matches decides, and when none does, reach"},
    {"upstreams", LIST(SCHEMA_LIST, upstreams, upstream_count), .rows = upstream_rows, RANGE(0, 64), .initial = "[]",
     .help = "other SOCKS5 servers that requests may leave by"},
    {"reach", OPTION(choice, reach), .words = reach_words, .initial = "auto",
     .help = "where clients may go; auto: where they could go without this proxy"},
    {"udp", GROUP(udp_rows), .help = "the datagram relay"},
    {"bind", GROUP(bind_rows), .help = "connections that come in for a client"},
    {"outbound", GROUP(outbound_rows), .help = "the side that faces the internet"},
    {"dns", GROUP(dns_rows), .help = "how names are resolved"},
    {"limits", GROUP(limits_rows), .help = "what one client may take"},
    {"timeouts", GROUP(timeouts_rows), .help = "how long things may take"},
    {"workers", OPTION(number, workers), RANGE(0, 256), .initial = "0", .at_start = true,
     .help = "threads; 0: one per CPU"},
    {"log", GROUP(log_rows), .help = "what is logged, and where"},
    {"admin", GROUP(admin_rows), .help = "where to see how it goes: status page, metrics"},
    {"run", GROUP(run_rows), .help = "the process"},
    {0},
};

static void options_list_rows(const struct schema_row *rows, const char *prefix, FILE *out)
{
    for (; rows->key; rows++) {
        char path[128];
        if (rows->kind != SCHEMA_GROUP)
            fprintf(out, "%s%s\t%s%s\t%s\t%s\n", prefix, rows->key, rows->kind == SCHEMA_VALUE ? "" : "list of ",
                    rows->type ? rows->type->name : "mappings", rows->initial ? rows->initial : "", rows->help);
        if (rows->rows) {
            snprintf(path, sizeof(path), "%s%s%s.", prefix, rows->key, rows->kind == SCHEMA_LIST ? "[]" : "");
            options_list_rows(rows->rows, path, out);
        }
    }
}

void config_options_list(FILE *out)
{
    options_list_rows(config_options, "", out);
}
