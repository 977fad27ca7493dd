/*
 * The loaded configuration: the struct that all of the program reads. config.h fills it from a YAML file, and options.c
 * describes each option.
 */
#ifndef CONESOCKS_CONF_TYPES_H
#define CONESOCKS_CONF_TYPES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/log.h"
#include "base/netaddr.h"
#include "conf/network.h"

/* Who may send to an association's external port (RFC 4787 section 5). */
enum config_filtering {
    CONFIG_FILTERING_INHERITED, /* in struct config_terms only */
    CONFIG_FILTERING_ENDPOINT_INDEPENDENT,
    CONFIG_FILTERING_ADDRESS_DEPENDENT,
    CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT,
};
/* Where clients may go if no rule matches. */
enum config_reach { CONFIG_REACH_AUTO, CONFIG_REACH_PUBLIC, CONFIG_REACH_PRIVATE, CONFIG_REACH_ALL };
/* Which address family is tried first, or at all. */
enum config_prefer { CONFIG_PREFER_IPV6, CONFIG_PREFER_IPV4, CONFIG_PREFER_IPV6_ONLY, CONFIG_PREFER_IPV4_ONLY };

/* How clients of a listener log in. Auto: with a password if there are users, otherwise not at all. */
enum config_auth { CONFIG_AUTH_AUTO, CONFIG_AUTH_NONE, CONFIG_AUTH_PASSWORD };

/* Whether connections come from a balancer that sends a PROXY protocol header first. */
enum config_proxy_protocol { CONFIG_PROXY_PROTOCOL_OFF, CONFIG_PROXY_PROTOCOL_REQUIRED };

/* What to do with ICMP errors about sent datagrams. */
enum config_icmp { CONFIG_ICMP_IGNORE, CONFIG_ICMP_COUNT };

/* Whether the kernel joins and splits datagrams (UDP_GRO, UDP_SEGMENT). */
enum config_offload { CONFIG_OFFLOAD_AUTO, CONFIG_OFFLOAD_OFF };

/* Whether a program in the kernel relays established UDP flows. */
enum config_kernel_path { CONFIG_KERNEL_PATH_OFF, CONFIG_KERNEL_PATH_AUTO };

/* Which IP header bits are copied through the relay with each datagram. */
enum config_carry { CONFIG_CARRY_NONE, CONFIG_CARRY_ECN, CONFIG_CARRY_ECN_AND_DSCP };

/* Whether routers may fragment the datagrams that we send. */
enum config_df { CONFIG_DF_ALLOW_FRAGMENTS, CONFIG_DF_PROBE };

/* What a rule does with the requests that it matches, and the commands of such requests. */
enum config_action { CONFIG_ACTION_ALLOW, CONFIG_ACTION_DENY };
enum config_command { CONFIG_COMMAND_CONNECT, CONFIG_COMMAND_BIND, CONFIG_COMMAND_UDP, CONFIG_COMMAND_COUNT };

enum config_target_kind {
    CONFIG_TARGET_NETWORK,
    CONFIG_TARGET_NAME,   /* that host name */
    CONFIG_TARGET_SUFFIX, /* that domain and everything below it; the name starts with a dot */
    CONFIG_TARGET_PRIVATE,
    CONFIG_TARGET_ANY,
};

/* A destination that a rule matches. */
struct config_target {
    char *name; /* in lower case; NULL: not a name */
    enum config_target_kind kind;
    struct config_network network;
};

struct config_ports {
    uint16_t first, last; /* both included */
};

/* A rate without a limit. */
#define CONFIG_UNLIMITED UINT64_MAX
/* The most that udp.client_ports allows. */
#define CONFIG_CLIENT_PORTS_MAX 16

/* The longest name of an interface that the kernel accepts. */
#define CONFIG_INTERFACE_MAX 15
/* Marks a configured DSCP, because code point 0 is a value too. */
#define CONFIG_DSCP_SAID 0x40U

enum config_pool_kind {
    CONFIG_POOL_NONE,     /* inherited, or chosen by the system */
    CONFIG_POOL_LIST,     /* each client gets one of the addresses */
    CONFIG_POOL_LISTENER, /* the address that the client has connected to */
    CONFIG_POOL_NETWORK,  /* each session gets one of the network's addresses, at random */
};

/* Addresses of one family that traffic leaves from. */
struct config_pool {
    union netaddr *addresses; /* of a list, or the first one of a network; NULL: none */
    size_t count;
    enum config_pool_kind kind;
    uint8_t bits; /* of the network's prefix */
};

/* Terms: how the traffic of a rule, a user or a listener is relayed. A zero member is inherited: a rule inherits from
 * the user's entry, that from the listener, and that from the rest of the configuration. */
struct config_terms {
    enum config_filtering filtering;
    struct config_pool address_v4, address_v6;
    uint32_t mark;
    char *interface; /* NULL: inherited */
    uint32_t dscp;   /* CONFIG_DSCP_SAID and the code point */
    /* Per second and direction, or CONFIG_UNLIMITED. A rule and a listener limit each session, a user's entry all of
     * its sessions together. */
    uint64_t bandwidth, datagrams;
    char *upstream; /* a name in config.upstreams, or CONFIG_NO_UPSTREAM */
};

/* In struct config_terms: connect directly, even if an upstream would be inherited. */
#define CONFIG_NO_UPSTREAM "none"

/* An empty list matches everything. */
struct config_rule {
    enum config_action action;
    struct config_network *from;
    size_t from_count;
    char **users;
    size_t user_count;
    char **listeners; /* their names */
    size_t listener_count;
    enum config_command *commands;
    size_t command_count;
    struct config_target *to;
    size_t to_count;
    struct config_ports *ports;
    size_t port_count;
    struct config_terms terms; /* of an allow rule */
};

/* limits.memory: no limit. */
#define CONFIG_MEMORY_OFF UINT64_MAX

/* Whether the process gives up every file and system call that relaying does not need. */
enum config_sandbox { CONFIG_SANDBOX_OFF, CONFIG_SANDBOX_ON };

/* The address that clients are told to send datagrams to. All zero: the one that they connected to. */
struct config_advertise {
    char *name;            /* a host name to resolve; NULL: none */
    bool automatic;        /* the address that this host uses for its default route */
    union netaddr address; /* AF_UNSPEC: none */
};

/* A host, by name or address. */
struct config_host {
    char *name;            /* to resolve; NULL: an address */
    union netaddr address; /* port 0 */
};

/* Another SOCKS5 server that requests may go through. */
struct config_upstream {
    char *name;
    struct config_host host;
    uint32_t port;
    char *user, *password; /* for the login there; NULL: none */
    size_t line, column;   /* where the address is in the file; 0: nowhere */
};

struct config_listener {
    char *name;            /* for rules; several may have the same; NULL: none */
    union netaddr address; /* with the first of `ports`; "::" with a scope: all addresses of that interface */
    struct config_ports ports;
    bool address_by_port;  /* the n-th port leaves by the n-th of terms.address_v4 and address_v6 */
    enum config_auth auth; /* as configured */
    bool need_password;    /* what follows from auth and the users */
    bool open;             /* without a login, although strangers can reach it */
    bool private_only;     /* follows from the other options: only its address keeps strangers out */
    enum config_proxy_protocol proxy_protocol;
    struct config_network *proxy_from; /* the trusted balancers */
    size_t proxy_from_count;
    struct config_network *trusted; /* clients that need no login here */
    size_t trusted_count;
    struct config_terms terms;
};

/* One port of a listener. */
struct config_endpoint {
    union netaddr address; /* with port */
    uint32_t listener;     /* index in config.listen */
};

struct config_user {
    char *name;
    char *password;                  /* a crypt(3) hash */
    uint32_t expires;                /* the last day of access (calendar.h); 0: never */
    uint64_t volume;                 /* bytes in a month, or CONFIG_UNLIMITED; 0: that of every user */
    uint32_t addresses;              /* of clients at the same time; 0: the limit for every user, here and below */
    uint32_t sessions, associations; /* at once */
    struct config_terms terms;
};

struct config {
    struct config_listener *listen;
    size_t listen_count;
    struct config_endpoint *endpoints; /* of all listeners, in the order of netaddr_compare() */
    size_t endpoint_count;
    struct config_user *users; /* those of this file, then those of users_file */
    size_t user_count, inline_user_count;
    char *users_file;          /* NULL: none */
    struct config_rule *rules; /* the first match decides; if none matches, `reach` */
    size_t rule_count;
    struct config_upstream *upstreams;
    size_t upstream_count;
    enum config_reach reach; /* as configured */
    enum config_reach active_reach;
    struct {
        bool enabled, over_tcp;
        uint32_t over_tcp_max; /* payload bytes of a datagram towards a client */
        enum config_filtering filtering;
        uint64_t idle_ms; /* 0 = no limit; below 120,000 against RFC 4787 REQ-5 */
        uint64_t rebind_after_ms;
        struct config_ports ports, external_ports; /* 0: any, at random */
        struct config_advertise advertise_v4, advertise_v6;
        uint64_t port_rest_ms; /* 0 = none */
        enum config_icmp icmp;
        enum config_offload offload;
        enum config_kernel_path kernel_path;
        enum config_carry carry;
        enum config_df df;
        uint32_t client_ports; /* of one association that its client may send from at a time */
        bool keep_port;        /* use the client's port number for the external port */
    } udp;
    struct {
        bool enabled;
        struct config_ports ports; /* 0: any, at random */
        uint64_t timeout_ms;
    } bind;
    struct {
        struct config_pool address_v4, address_v6;
        uint32_t mark;   /* SO_MARK of external sockets; 0: none */
        char *interface; /* NULL: the one of the route */
        uint32_t dscp;   /* CONFIG_DSCP_SAID and the code point; 0: the system's default */
        enum config_prefer prefer;
        char *upstream; /* NULL: none */
    } outbound;
    struct {
        union netaddr *servers; /* with port; empty: those of resolv.conf */
        size_t server_count;
        uint64_t timeout_ms;
    } dns;
    struct {
        uint32_t lookups_per_client;      /* names being resolved at once for one client address */
        uint32_t lookups_per_association; /* the same for one association */
        uint32_t failed_logins;           /* per minute from one client address; 0: any number */
        uint64_t memory;                  /* bytes; 0: the system's limit; or CONFIG_MEMORY_OFF */
        /* At once; 0: any number. */
        uint32_t sessions, sessions_per_client, sessions_per_user;
        uint32_t associations, associations_per_client, associations_per_user;
        uint32_t addresses_per_user;
        uint32_t handshakes_per_client; /* connections without a complete request */
        uint32_t lookups_per_user;
        /* Per second and direction, or CONFIG_UNLIMITED. */
        uint64_t bandwidth_per_session, bandwidth_per_user;
        uint64_t datagrams_per_association, datagrams_per_user;
        uint64_t volume_per_user; /* bytes in a month, or CONFIG_UNLIMITED */
    } limits;
    struct {
        uint64_t handshake_ms, connect_ms;
        uint64_t stream_idle_ms; /* 0 = off */
        uint64_t login_cache_ms; /* 0 = off */
        uint64_t drain_ms;       /* 0 = none */
    } timeouts;
    uint32_t workers; /* 0 = one per CPU */
    struct {
        enum log_level level;
        enum log_format format;
        enum log_target target;
        char *file;        /* for LOG_TARGET_FILE; NULL: none */
        bool destinations; /* may appear in the log and the status */
    } log;
    struct {
        union netaddr address; /* port 0: no TCP */
        char *socket;          /* path of a Unix socket; NULL: none */
        bool open;             /* although other hosts can reach it */
    } admin;
    struct {
        char *user, *group; /* NULL: if started as root, an unprivileged user and its own group */
        enum config_sandbox sandbox;
        char *pid_file; /* NULL: none in the foreground, /run/conesocks.pid as a daemon */
        char *handover; /* a socket's path; NULL: none */
    } run;
};

/* The listener with exactly this address, or one that overlaps it ("::" takes IPv4 as well); NULL: none. These and the
 * next two take the same time however many there are. */
const struct config_listener *config_listener_at(const struct config *config, const union netaddr *address);
const struct config_listener *config_listener_overlapping(const struct config *config, const union netaddr *address);
/* The listener that accepts connections to `local`, the one with the closest address; NULL: none. `interface`: index of
 * the one that the connection is bound to; 0: none. The kernel binds connections of link-local clients, too, whatever
 * their listener. */
const struct config_listener *config_listener_for(const struct config *config, const union netaddr *local,
                                                  unsigned interface);
/* Whether a connection to `own`, an address of this host, arrives at any listener. */
bool config_listens_at(const struct config *config, const union netaddr *own);
const struct config_listener *config_endpoint_listener(const struct config *config, size_t endpoint);
/* Whether a listener's address stands for an interface. */
bool config_is_interface(const union netaddr *address);
/* "0.0.0.0", or the interface's name, into `text` (NETADDR_TEXT_MAX bytes), which is returned. */
const char *config_listener_format_host(const union netaddr *address, char *text);
/* The address and the ports: "0.0.0.0:1080", "[::]:30000-31999", "eth0:1080", into `text` (CONFIG_LISTENER_TEXT_MAX
 * bytes), which is returned. */
#define CONFIG_LISTENER_TEXT_MAX (NETADDR_TEXT_MAX + 8)
const char *config_listener_format(const struct config_listener *listener, char *text);
/* Whether a client needs no login although the listener requires one. */
bool config_listener_trusts(const struct config_listener *listener, const union netaddr *client);
/* The one port that all associations share towards clients; 0: each association has its own. */
uint16_t config_shared_port(const struct config *config);
/* Whether anything sets a mark or an interface: that may need a capability. */
bool config_has_mark(const struct config *config);
bool config_has_interface(const struct config *config);

#endif
