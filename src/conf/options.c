#include "conf/options.h"

#include "conf/options_impl.h"
#include "conf/words.h"

static const char *const reach_words[] = {
    [CONFIG_REACH_AUTO] = "auto",
    [CONFIG_REACH_PUBLIC] = "public",
    [CONFIG_REACH_PRIVATE] = "private",
    [CONFIG_REACH_ALL] = "all",
    NULL,
};
ALL_HAVE_WORDS(reach_words, CONFIG_REACH_ALL);
static const char *const icmp_words[] = {
    [CONFIG_ICMP_IGNORE] = "ignore",
    [CONFIG_ICMP_COUNT] = "count",
    NULL,
};
ALL_HAVE_WORDS(icmp_words, CONFIG_ICMP_COUNT);
static const char *const offload_words[] = {
    [CONFIG_OFFLOAD_AUTO] = "auto",
    [CONFIG_OFFLOAD_OFF] = "off",
    NULL,
};
ALL_HAVE_WORDS(offload_words, CONFIG_OFFLOAD_OFF);
static const char *const kernel_path_words[] = {
    [CONFIG_KERNEL_PATH_OFF] = "off",
    [CONFIG_KERNEL_PATH_AUTO] = "auto",
    NULL,
};
ALL_HAVE_WORDS(kernel_path_words, CONFIG_KERNEL_PATH_AUTO);
static const char *const df_words[] = {
    [CONFIG_DF_ALLOW_FRAGMENTS] = "allow-fragments",
    [CONFIG_DF_PROBE] = "probe",
    NULL,
};
ALL_HAVE_WORDS(df_words, CONFIG_DF_PROBE);
static const char *const carry_words[] = {
    [CONFIG_CARRY_NONE] = "none",
    [CONFIG_CARRY_ECN] = "ecn",
    [CONFIG_CARRY_ECN_AND_DSCP] = "ecn-and-dscp",
    NULL,
};
ALL_HAVE_WORDS(carry_words, CONFIG_CARRY_ECN_AND_DSCP);
static const char *const prefer_words[] = {
    [CONFIG_PREFER_IPV6] = "ipv6",
    [CONFIG_PREFER_IPV4] = "ipv4",
    [CONFIG_PREFER_IPV6_ONLY] = "ipv6-only",
    [CONFIG_PREFER_IPV4_ONLY] = "ipv4-only",
    NULL,
};
ALL_HAVE_WORDS(prefer_words, CONFIG_PREFER_IPV4_ONLY);
static const char *const level_words[] = {
    [LOG_LEVEL_ERROR] = "error",
    [LOG_LEVEL_WARNING] = "warning",
    [LOG_LEVEL_INFO] = "info",
    [LOG_LEVEL_DEBUG] = "debug",
    NULL,
};
ALL_HAVE_WORDS(level_words, LOG_LEVEL_DEBUG);
static const char *const target_words[] = {
    [LOG_TARGET_STDERR] = "stderr",
    [LOG_TARGET_SYSLOG] = "syslog",
    [LOG_TARGET_FILE] = "file",
    NULL,
};
ALL_HAVE_WORDS(target_words, LOG_TARGET_FILE);
static const char *const format_words[] = {
    [LOG_FORMAT_TEXT] = "text",
    [LOG_FORMAT_JSON] = "json",
    NULL,
};
ALL_HAVE_WORDS(format_words, LOG_FORMAT_JSON);

static const char *const sandbox_words[] = {
    [CONFIG_SANDBOX_OFF] = "off",
    [CONFIG_SANDBOX_ON] = "on",
    NULL,
};
ALL_HAVE_WORDS(sandbox_words, CONFIG_SANDBOX_ON);

static const struct schema_row udp_rows[] = {
    {"enabled", OPTION(bool, udp.enabled), .initial = "true", .help = "relay datagrams (UDP ASSOCIATE)"},
    {"over_tcp", OPTION(bool, udp.over_tcp), .initial = "true",
     .help = "also relay datagrams inside the control connection (command 5, as hev-socks5-tunnel does)"},
    {"over_tcp_max", OPTION(number, udp.over_tcp_max), RANGE(1, 65535), .initial = "1472",
     .help = "largest payload in bytes that is sent to such a client; larger datagrams are dropped"},
    {"filtering", OPTION(choice, udp.filtering), .words = config_filtering_words,
     RANGE(CONFIG_FILTERING_ENDPOINT_INDEPENDENT, CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT),
     .initial = "endpoint-independent", .help = "who on the internet may send to a client's external port"},
    {"idle", OPTION(duration, udp.idle_ms), RANGE(10 * SEC, 720 * HOUR), .none = "off", .initial = "off",
     .help = "end an association after this long without a datagram either way"},
    {"rebind_after", OPTION(duration, udp.rebind_after_ms), RANGE(SEC, HOUR), .initial = "15s",
     .help = "how long a client must be silent before it may send from another port"},
    {"client_ports", OPTION(number, udp.client_ports), RANGE(1, CONFIG_CLIENT_PORTS_MAX), .initial = "1",
     .help = "how many ports a client may send from in one association; each gets an external port of its own"},
    {"advertise_v4", OPTION(advertise_v4, udp.advertise_v4), .none = "none", .initial = "none",
     .help = "IPv4 address that clients are told to send to; none: the one they connected to"},
    {"advertise_v6", OPTION(advertise_v6, udp.advertise_v6), .none = "none", .initial = "none",
     .help = "IPv6 address that clients are told to send to; none: the one they connected to"},
    {"ports", OPTION(ports, udp.ports), .none = "random", .initial = "random",
     .help = "ports that clients send datagrams to, one per association; a single port is shared by all"},
    {"external_ports", OPTION(ports, udp.external_ports), .none = "random", .initial = "random",
     .help = "ports that the internet sees, one per association and family"},
    {"port_rest", OPTION(duration, udp.port_rest_ms), RANGE(SEC, HOUR), .none = "off", .initial = "2m",
     .help = "how long a port rests before another association gets it"},
    {"icmp", OPTION(choice, udp.icmp), .words = icmp_words, .initial = "ignore", .at_start = true,
     .help = "what to do with ICMP errors about sent datagrams"},
    {"offload", OPTION(choice, udp.offload), .words = offload_words, .initial = "auto", .at_start = true,
     .help = "let the kernel join and split datagrams (GRO, GSO) where possible"},
    {"kernel_path", OPTION(choice, udp.kernel_path), .words = kernel_path_words, .initial = "off", .at_start = true,
     .help = "let a program in the kernel relay established flows; they bypass the packet filter (nftables)"},
    {"carry", OPTION(choice, udp.carry), .words = carry_words, .initial = "ecn",
     .help = "which IP header bits of each datagram the relay keeps"},
    {"df", OPTION(choice, udp.df), .words = df_words, .initial = "allow-fragments",
     .help = "what to do with too large datagrams: fragment them, or drop them so that applications can probe the path "
             "MTU"},
    {"keep_port", OPTION(bool, udp.keep_port), .initial = "false",
     .help = "use the client's own port number as external port, if it is free"},
    {0},
};

static const struct schema_row bind_rows[] = {
    {"enabled", OPTION(bool, bind.enabled), .initial = "true",
     .help = "let clients wait for an incoming connection (BIND)"},
    {"ports", OPTION(ports, bind.ports), .none = "random", .initial = "random",
     .help = "ports for incoming connections, one per request"},
    {"timeout", OPTION(duration, bind.timeout_ms), RANGE(SEC, HOUR), .initial = "2m",
     .help = "how long a port waits for its connection"},
    {0},
};

static const struct schema_row outbound_rows[] = {
    {"address_v4", OPTION(pool_v4, outbound.address_v4), .none = "auto", .initial = "auto",
     .help = "IPv4 addresses that traffic leaves from; each client gets one of them; listener: the one it connected "
             "to; auto: the system chooses"},
    {"address_v6", OPTION(pool_v6, outbound.address_v6), .none = "auto", .initial = "auto",
     .help = "IPv6 addresses that traffic leaves from; each client gets one of them; listener: the one it connected "
             "to; auto: the system chooses"},
    {"mark", OPTION(mark, outbound.mark), .none = "none", .initial = "none",
     .help = "firewall mark (SO_MARK) for routing and firewall rules of the system"},
    {"interface", OPTION(interface, outbound.interface), .none = "auto", .initial = "auto",
     .help = "interface that traffic leaves by; auto: the one of the route"},
    {"dscp", OPTION(dscp, outbound.dscp), .none = "default", .initial = "default",
     .help = "DSCP of packets to destinations; default: the system's, which is 0"},
    {"prefer", OPTION(choice, outbound.prefer), .words = prefer_words, .initial = "ipv6",
     .help = "which address family is tried first, or only"},
    {"upstream", OPTION(text, outbound.upstream), RANGE(1, 255), .none = "none", .initial = "none",
     .help = "the upstream SOCKS5 server for all requests; none: connect directly"},
    {0},
};

static const struct schema_row dns_rows[] = {
    {"servers", LIST(SCHEMA_VALUES, dns.servers, dns.server_count), .type = &value_server, RANGE(0, 16),
     .initial = "[]", .help = "name servers; empty: those of /etc/resolv.conf"},
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
    LIMIT(sessions, "unlimited", "connections at once"),
    LIMIT(sessions_per_client, "unlimited", "connections of one client address (IPv6: one /64) at once"),
    LIMIT(sessions_per_user, "unlimited", "connections of one user at once"),
    LIMIT(associations, "unlimited", "UDP associations at once"),
    LIMIT(associations_per_client, "unlimited", "UDP associations of one client address (IPv6: one /64) at once"),
    LIMIT(associations_per_user, "unlimited", "UDP associations of one user at once"),
    LIMIT(addresses_per_user, "unlimited", "client addresses (IPv6: /64) of one user at once"),
    LIMIT(handshakes_per_client, "256", "unfinished handshakes of one client address (IPv6: one /64) at once"),
    {"lookups_per_client", OPTION(number, limits.lookups_per_client), RANGE(1, 65535), .initial = "256",
     .help = "names being resolved at once for one client address"},
    LIMIT(lookups_per_user, "unlimited", "names being resolved at once for one user"),
    {"lookups_per_association", OPTION(number, limits.lookups_per_association), RANGE(1, 65535), .initial = "16",
     .help = "names being resolved at once for one UDP association"},
    {"memory", OPTION(memory, limits.memory), RANGE(16 * MIB, 1024 * GIB), .none = "auto", .initial = "auto",
     .at_start = true,
     .help = "memory limit; near it, new work is refused and buffers are freed; auto: the limit set by the system"},
    {"failed_logins", OPTION(number, limits.failed_logins), RANGE(1, 1000), .none = "off", .initial = "10",
     .help = "wrong passwords per minute from one client address (IPv6: one /64); off: any number"},
    {"bandwidth_per_session", OPTION(bandwidth, limits.bandwidth_per_session), BANDWIDTHS, .initial = "unlimited",
     .help = "payload per second and direction, for one CONNECT or association"},
    {"bandwidth_per_user", OPTION(bandwidth, limits.bandwidth_per_user), BANDWIDTHS, .initial = "unlimited",
     .help = "payload per second and direction, for all sessions of one user together"},
    {"datagrams_per_association", OPTION(datagrams, limits.datagrams_per_association), DATAGRAM_RATES,
     .initial = "unlimited", .help = "datagrams per second and direction, for one association"},
    {"datagrams_per_user", OPTION(datagrams, limits.datagrams_per_user), DATAGRAM_RATES, .initial = "unlimited",
     .help = "datagrams per second and direction, for all associations of one user together"},
    {"volume_per_user", OPTION(volume, limits.volume_per_user), VOLUMES, .initial = "unlimited",
     .help = "payload of one user per month (UTC), both directions together"},
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
     .help = "how long a correct login is cached before the password is hashed again"},
    {"drain", OPTION(duration, timeouts.drain_ms), RANGE(0, 24 * HOUR), .initial = "0s",
     .help = "how long sessions may continue after SIGTERM"},
    {0},
};

static const struct schema_row log_rows[] = {
    {"level", OPTION(choice, log.level), .words = level_words, .initial = "info",
     .help = "the least urgent lines to log"},
    {"format", OPTION(choice, log.format), .words = format_words, .initial = "text",
     .help = "format of log lines; json: one object per line"},
    {"target", OPTION(choice, log.target), .words = target_words, .initial = "stderr", .at_start = true,
     .help = "where log lines go"},
    {"file", OPTION(path, log.file), .none = "none", .initial = "none", .at_start = true,
     .help = "log file for target: file; opened again at each SIGHUP"},
    {"destinations", OPTION(bool, log.destinations), .initial = "true",
     .help = "show in the log and the status where clients go"},
    {0},
};

static const struct schema_row admin_rows[] = {
    /* The address comes first: reading it resets the port in the same field. */
    {"address", OPTION(address, admin.address), .initial = "127.0.0.1", .at_start = true,
     .help = "address of the admin listener (HTTP: status page, metrics)"},
    {"port", OPTION(port, admin.address), RANGE(0, UINT16_MAX), .initial = "0", .at_start = true,
     .help = "TCP port of the admin listener; 0: none"},
    {"socket", OPTION(socket, admin.socket), .file = "admin.socket", .none = "none", .initial = "auto",
     .at_start = true, .help = "Unix socket of the admin listener; auto: /run/conesocks/admin.socket under systemd"},
    {"open", OPTION(bool, admin.open), .initial = "false", .at_start = true,
     .help = "allow an address that other hosts can reach"},
    {0},
};

static const struct schema_row run_rows[] = {
    {"user", OPTION(text, run.user), RANGE(1, 255), .none = "auto", .initial = "auto", .at_start = true,
     .help = "user to switch to when started as root; auto: nobody"},
    {"group", OPTION(text, run.group), RANGE(1, 255), .none = "auto", .initial = "auto", .at_start = true,
     .help = "group to switch to when started as root; auto: the user's own"},
    {"sandbox", OPTION(choice, run.sandbox), .words = sandbox_words, .initial = "on", .at_start = true,
     .help = "give up every file and system call that the proxy does not need"},
    {"pid_file", OPTION(path, run.pid_file), .none = "none", .initial = "none", .at_start = true,
     .help = "file for the process id, kept locked; none: /run/conesocks.pid as a daemon, no file otherwise"},
    {"handover", OPTION(socket, run.handover), .file = "handover", .none = "none", .initial = "auto", .at_start = true,
     .help = "socket for a new process to take over from this one (--take-over); auto: /run/conesocks/handover under "
             "systemd"},
    {0},
};

const struct schema_row config_options[] = {
    {"listen", LIST(SCHEMA_LIST, listen, listen_count), .rows = config_listen_rows, RANGE(1, 4096),
     .initial = "127.0.0.1:1080", .help = "where to accept clients"},
    {"users", LIST(SCHEMA_LIST, users, inline_user_count), .rows = config_user_rows, RANGE(0, 65536), .initial = "[]",
     .help = "who may log in"},
    {"users_file", OPTION(path, users_file), .none = "none", .initial = "none",
     .help =
         "file with more users, one name:hash or name:hash:key=value,... per line; others must not be able to read it"},
    {"rules", LIST(SCHEMA_LIST, rules, rule_count), .rows = config_rule_rows, RANGE(0, 65536), .initial = "[]",
     .help = "who may go where; the first rule that matches decides; if none matches, reach decides"},
    {"upstreams", LIST(SCHEMA_LIST, upstreams, upstream_count), .rows = config_upstream_rows, RANGE(0, 64),
     .initial = "[]", .help = "other SOCKS5 servers that requests may go through"},
    {"reach", OPTION(choice, reach), .words = reach_words, .initial = "auto",
     .help = "where clients may go when no rule matches; auto: where they could go without this proxy"},
    {"udp", GROUP(udp_rows), .help = "the datagram relay"},
    {"bind", GROUP(bind_rows), .help = "incoming connections for a client (BIND)"},
    {"outbound", GROUP(outbound_rows), .help = "the side that faces the internet"},
    {"dns", GROUP(dns_rows), .help = "how names are resolved"},
    {"limits", GROUP(limits_rows), .help = "limits for clients, users and the whole server"},
    {"timeouts", GROUP(timeouts_rows), .help = "time limits"},
    {"workers", OPTION(number, workers), RANGE(0, 256), .initial = "0", .at_start = true,
     .help = "worker threads; 0: one per CPU"},
    {"log", GROUP(log_rows), .help = "what is logged, and where"},
    {"admin", GROUP(admin_rows), .help = "the admin listener: status page, metrics"},
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
