#include "conf/options_impl.h"
#include "conf/words.h"

static const char *const auth_words[] = {
    [CONFIG_AUTH_AUTO] = "auto",
    [CONFIG_AUTH_NONE] = "none",
    [CONFIG_AUTH_PASSWORD] = "password",
    NULL,
};
ALL_HAVE_WORDS(auth_words, CONFIG_AUTH_PASSWORD);
static const char *const proxy_protocol_words[] = {
    [CONFIG_PROXY_PROTOCOL_OFF] = "off",
    [CONFIG_PROXY_PROTOCOL_REQUIRED] = "required",
    NULL,
};
ALL_HAVE_WORDS(proxy_protocol_words, CONFIG_PROXY_PROTOCOL_REQUIRED);
static const char *const action_words[] = {
    [CONFIG_ACTION_ALLOW] = "allow",
    [CONFIG_ACTION_DENY] = "deny",
    NULL,
};
ALL_HAVE_WORDS(action_words, CONFIG_ACTION_DENY);

const struct schema_row config_listen_rows[] = {
    /* The address comes first: reading it resets the port in the same field. */
    {"address", .type = &value_address, FIELD(struct config_listener, address), .initial = "127.0.0.1",
     .help = "address to accept clients on; 0.0.0.0 or \"::\" means every address of this host"},
    {"port", .type = &value_port, FIELD(struct config_listener, address), RANGE(1, UINT16_MAX), .initial = "1080",
     .help = "TCP port to accept clients on"},
    {"auth", .type = &value_choice, FIELD(struct config_listener, auth), .words = auth_words, .initial = "auto",
     .help = "how clients log in; auto: password when there are users, else none"},
    {"open", .type = &value_bool, FIELD(struct config_listener, open), .initial = "false",
     .help = "let anybody who can reach this address use the proxy without a login"},
    {"proxy_protocol", .type = &value_choice, FIELD(struct config_listener, proxy_protocol),
     .words = proxy_protocol_words, .initial = "off",
     .help = "whether a balancer puts a PROXY protocol header (version 1 or 2) before each connection"},
    {"proxy_from", VALUES(struct config_listener, proxy_from, proxy_from_count), .type = &value_network, RANGE(0, 1024),
     .help = "balancers whose header is trusted; this listener accepts connections from them only"},
    {"trusted", VALUES(struct config_listener, trusted, trusted_count), .type = &value_network, RANGE(0, 1024),
     .help = "client networks that need no login here, although others do"},
    {0},
};

const struct schema_row config_user_rows[] = {
    {"name", .type = &value_text, FIELD(struct config_user, name), RANGE(1, 255), .help = "the name to log in with"},
    {"password", .type = &value_hash, FIELD(struct config_user, password),
     .help = "hash of the password; conesocks hash-password makes one"},
    {"expires", .type = &value_day, FIELD(struct config_user, expires), .none = "never", .initial = "never",
     .help = "the last day that this user may log in, in UTC"},
    {"volume", .type = &value_volume, FIELD(struct config_user, volume), VOLUMES, .none = "default",
     .initial = "default", .help = "payload per month, both directions together; default: limits.volume_per_user"},
    {"addresses", .type = &value_number, FIELD(struct config_user, addresses), RANGE(1, LIMIT_MAX), .none = "default",
     .initial = "default",
     .help = "from how many client addresses this user may have connections at once; default: "
             "limits.addresses_per_user"},
    {"sessions", .type = &value_number, FIELD(struct config_user, sessions), RANGE(1, LIMIT_MAX), .none = "default",
     .initial = "default",
     .help = "how many connections this user may have at once; default: limits.sessions_per_user"},
    {"associations", .type = &value_number, FIELD(struct config_user, associations), RANGE(1, LIMIT_MAX),
     .none = "default", .initial = "default",
     .help = "how many UDP associations this user may have at once; default: limits.associations_per_user"},
    {"address_v4", TERM(struct config_user, pool_v4, address_v4), .none = "default",
     .help = "IPv4 addresses that this user's traffic leaves from; each client gets one of them"},
    {"address_v6", TERM(struct config_user, pool_v6, address_v6), .none = "default",
     .help = "IPv6 addresses that this user's traffic leaves from; each client gets one of them"},
    {"mark", TERM(struct config_user, mark, mark), .none = "default",
     .help = "firewall mark (SO_MARK) for routing and firewall rules of the system"},
    {"interface", TERM(struct config_user, interface, interface), .none = "default",
     .help = "interface that traffic leaves by"},
    {"dscp", TERM(struct config_user, dscp, dscp), .none = "default", .help = "DSCP of packets to destinations"},
    {"filtering", TERM(struct config_user, choice, filtering), .words = config_filtering_words,
     RANGE(CONFIG_FILTERING_INHERITED, CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT),
     .help = "who on the internet may send to an external port"},
    {"bandwidth", TERM(struct config_user, bandwidth, bandwidth), BANDWIDTHS, .none = "default",
     .help = "payload per second and direction, for all sessions of this user together"},
    {"datagrams", TERM(struct config_user, datagrams, datagrams), DATAGRAM_RATES, .none = "default",
     .help = "datagrams per second and direction, for all associations of this user together"},
    {"upstream", TERM(struct config_user, text, upstream), RANGE(1, 255), .none = "default",
     .help = "the upstream SOCKS5 server for this user's requests; none: connect directly"},
    {0},
};

const struct schema_row config_rule_rows[] = {
    {"action", .type = &value_choice, FIELD(struct config_rule, action), .words = action_words,
     .help = "whether to allow or deny a request that the rule matches"},
    {"from", RULE_LIST(from, from_count), .type = &value_network, RANGE(0, 65536),
     .help = "client networks that the rule matches; empty: all"},
    {"user", RULE_LIST(users, user_count), .type = &value_text, RANGE(0, 255),
     .help = "users that the rule matches; empty: all, also clients without a login"},
    {"command", RULE_LIST(commands, command_count), .type = &value_choice, .words = config_command_words,
     RANGE(0, CONFIG_COMMAND_COUNT), .help = "commands that the rule matches; empty: all"},
    {"to", RULE_LIST(to, to_count), .type = &value_target, RANGE(0, 65536),
     .help = "destinations that the rule matches; empty: all"},
    {"ports", RULE_LIST(ports, port_count), .type = &value_ports, RANGE(0, 1024),
     .help = "destination ports that the rule matches; empty: all"},
    {"address_v4", TERM(struct config_rule, pool_v4, address_v4), .none = "default",
     .help = "IPv4 addresses that allowed traffic leaves from; each client gets one of them"},
    {"address_v6", TERM(struct config_rule, pool_v6, address_v6), .none = "default",
     .help = "IPv6 addresses that allowed traffic leaves from; each client gets one of them"},
    {"mark", TERM(struct config_rule, mark, mark), .none = "default",
     .help = "firewall mark (SO_MARK) for routing and firewall rules of the system"},
    {"interface", TERM(struct config_rule, interface, interface), .none = "default",
     .help = "interface that traffic leaves by"},
    {"dscp", TERM(struct config_rule, dscp, dscp), .none = "default", .help = "DSCP of packets to destinations"},
    {"filtering", TERM(struct config_rule, choice, filtering), .words = config_filtering_words,
     RANGE(CONFIG_FILTERING_INHERITED, CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT),
     .help = "who on the internet may send to an external port"},
    {"bandwidth", TERM(struct config_rule, bandwidth, bandwidth), BANDWIDTHS, .none = "default",
     .help = "payload per second and direction, for each session"},
    {"datagrams", TERM(struct config_rule, datagrams, datagrams), DATAGRAM_RATES, .none = "default",
     .help = "datagrams per second and direction, for each association"},
    {"upstream", TERM(struct config_rule, text, upstream), RANGE(1, 255), .none = "default",
     .help = "the upstream SOCKS5 server for allowed requests; none: connect directly"},
    {0},
};

const struct schema_row config_upstream_rows[] = {
    {"name", .type = &value_text, FIELD(struct config_upstream, name), RANGE(1, 255),
     .help = "the name that rules, users and outbound.upstream refer to"},
    {"address", .type = &value_host, FIELD(struct config_upstream, host), .help = "its address or host name"},
    {"port", .type = &value_number, FIELD(struct config_upstream, port), RANGE(1, UINT16_MAX), .initial = "1080",
     .help = "its TCP port"},
    {"user", .type = &value_text, FIELD(struct config_upstream, user), RANGE(1, 255), .none = "none", .initial = "none",
     .help = "user name to log in with"},
    {"password", .type = &value_secret, FIELD(struct config_upstream, password), RANGE(1, 255), .none = "none",
     .initial = "none", .help = "password to log in with, in plain text"},
    {0},
};
