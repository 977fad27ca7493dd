/*
 * Counters. One row here makes the struct member, the sum over workers, the name and the help text.
 * Each worker owns one `struct metrics` and is its only writer; any thread may read (relaxed, so a sum is a snapshot of
 * nearly one moment).
 */
#ifndef CONESOCKS_BASE_METRICS_H
#define CONESOCKS_BASE_METRICS_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

/* Why a datagram was dropped: enumerator, name in logs and metrics, plain words, and what to do about many of them. */
#define DROP_REASONS(X)                                                                                                \
    X(STRANGER, stranger, "to a relay port, from an address that is not the client's",                                 \
      "nothing, unless there are many: somebody scans this host, or a client sends from another address than it "      \
      "connects from")                                                                                                 \
    X(OTHER_ADDRESS, other_address, "to a relay port, from another address of the client's IPv6 network",              \
      "have the client connect and send from one address: switch off its temporary IPv6 addresses (Linux: sysctl "     \
      "net.ipv6.conf.all.use_tempaddr=0), or have it connect over IPv4")                                               \
    X(OTHER_PORT, other_port, "from the client's address but another port while the client is active",                 \
      "if the client uses several sockets (Discord and some iOS apps do), raise udp.client_ports; else let it send "   \
      "from one port for as long as its connection lives, or lower udp.rebind_after")                                  \
    X(BAD_HEADER, bad_header, "from a client, with no valid SOCKS5 UDP header",                                        \
      "see whether the client puts a SOCKS5 header before each datagram")                                              \
    X(FRAGMENT, fragment, "from a client, with FRAG not 0",                                                            \
      "turn SOCKS5 fragmentation off in the client: this proxy, like most, accepts whole datagrams only")              \
    X(BAD_DESTINATION, bad_destination, "to port 0 or to a name that is no host name",                                 \
      "nothing here: the client asks for a destination that cannot exist")                                             \
    X(REFUSED, refused, "to a destination that the policy denies",                                                     \
      "if it should be allowed, conesocks explain shows what denies it (rules, reach); a firewall on this host may "   \
      "do so, too")                                                                                                    \
    X(RATE, rate, "beyond the rate of the association or its user",                                                    \
      "raise limits.datagrams_per_association or limits.bandwidth_per_session, or those of the user or rule, if the "  \
      "client should have more")                                                                                       \
    X(UNRESOLVED, unresolved, "to a name that could not be resolved",                                                  \
      "see whether the name servers answer (dns.servers), and whether the name exists")                                \
    X(QUEUE_FULL, queue_full,                                                                                          \
      "to a name or upstream that has no answer yet, or another thread, while too many waited",                        \
      "see whether the name servers answer quickly (dns.servers); a client that asks for many names at once may need " \
      "a higher limits.lookups_per_association")                                                                       \
    X(UNFINISHED, unfinished, "over TCP, incomplete: the rest did not arrive in time, or there was no memory for it",  \
      "nothing, unless there are many: then a client stalls in the middle of its datagrams, or limits.memory is low")  \
    X(NO_SOCKET, no_socket, "to an address family that has no external socket",                                        \
      "see whether this host has that family, and whether ports and descriptors are left (udp.external_ports, ulimit " \
      "-n)")                                                                                                           \
    X(NO_UPSTREAM, no_upstream, "to an upstream that has granted no association for them",                             \
      "see the log's lines about this upstream, and whether it allows so many associations")                           \
    X(NO_CLIENT, no_client, "from the internet, before the client's first datagram",                                   \
      "nothing, unless there are many: a peer was faster than the client's first datagram")                            \
    X(FILTERED, filtered, "from a peer that the filtering mode does not let in",                                       \
      "if games or calls fail, set udp.filtering to endpoint-independent: then every peer may send")                   \
    X(OVERSIZE, oversize, "too large together with its header",                                                        \
      "let the client send smaller datagrams; see udp.df and udp.over_tcp_max")                                        \
    X(SEND_FULL, send_full, "because the send buffer was full",                                                        \
      "if there are many, the network card or the line is slower than what comes in; a burst now and then does no "    \
      "harm")                                                                                                          \
    X(UNREACHABLE, unreachable, "because no route led to the destination",                                             \
      "see whether this host has a route there (ip route get ADDRESS), for IPv6 above all")                            \
    X(SEND_FAILED, send_failed, "because the system refused to send it",                                               \
      "see the kernel's log: the system gives no other reason")

enum drop_reason {
#define X(enumerator, name, help, advice) DROP_##enumerator,
    DROP_REASONS(X)
#undef X
        DROP_REASON_COUNT
};
const char *drop_reason_name(enum drop_reason reason);
const char *drop_reason_help(enum drop_reason reason);
const char *drop_reason_advice(enum drop_reason reason);

#define METRICS(X)                                                                                                     \
    X(sessions_total, "control connections accepted")                                                                  \
    X(sessions_ended_total, "control connections ended")                                                               \
    X(connections_handed_over_total, "connections handed over to a less busy worker thread")                           \
    X(handshakes_failed_total, "control connections that ended before a request was granted")                          \
    X(public_clients_refused_total, "connections from public addresses to a private listener, closed")                 \
    X(proxy_protocol_refused_total, "connections closed: no trusted source, or no valid PROXY protocol header")        \
    X(auth_failed_total, "logins with a wrong user name or password")                                                  \
    X(auth_throttled_total, "logins not checked after too many wrong ones from their address or network")              \
    X(auth_expired_total, "logins and requests refused, and sessions ended, because the user's access has expired")    \
    X(auth_busy_total, "logins not checked because too many were waiting")                                             \
    X(auth_cached_total, "logins accepted from timeouts.login_cache without a check")                                  \
    X(connects_total, "CONNECT requests granted")                                                                      \
    X(binds_total, "BIND requests whose connection arrived")                                                           \
    X(binds_without_port_total, "BIND requests refused because no port was free")                                      \
    X(bind_strangers_total, "connections to a BIND port, closed: the peer was not expected, or not allowed")           \
    X(associations_total, "UDP associations granted")                                                                  \
    X(associations_ended_total, "UDP associations ended")                                                              \
    X(associations_without_port_total, "UDP ASSOCIATE requests refused because no port was free")                      \
    X(ports_reused_early_total, "ports used again before they had rested for udp.port_rest: no other was free")        \
    X(requests_refused_total, "requests answered with a failure")                                                      \
    X(limited_sessions_total, "connections closed at limits.sessions")                                                 \
    X(limited_sessions_per_client_total, "connections closed at limits.sessions_per_client")                           \
    X(limited_sessions_per_user_total, "requests refused at limits.sessions_per_user")                                 \
    X(limited_addresses_per_user_total, "requests refused at limits.addresses_per_user")                               \
    X(limited_volume_per_user_total, "requests refused and sessions ended at limits.volume_per_user")                  \
    X(limited_associations_total, "UDP ASSOCIATE requests refused at limits.associations")                             \
    X(limited_associations_per_client_total, "UDP ASSOCIATE requests refused at limits.associations_per_client")       \
    X(limited_associations_per_user_total, "UDP ASSOCIATE requests refused at limits.associations_per_user")           \
    X(limited_handshakes_per_client_total, "connections closed at limits.handshakes_per_client")                       \
    X(limited_lookups_per_user_total, "lookups refused at limits.lookups_per_user")                                    \
    X(shed_handshakes_total, "connections that were longest in the handshake, closed to make room")                    \
    X(shed_dials_total, "requests whose destination had not answered yet, refused to make room")                       \
    X(shed_associations_total, "associations that were idle longest, ended to make room")                              \
    X(refused_by_rule_total, "datagrams and requests that a rule denies")                                              \
    X(refused_by_reach_total, "datagrams and requests that reach denies")                                              \
    X(refused_own_total, "datagrams and requests to this host's own addresses")                                        \
    X(refused_loop_total, "datagrams and requests to this proxy's own listeners and relay ports")                      \
    X(refused_never_total, "datagrams and requests to multicast, broadcast and unspecified addresses")                 \
    X(upstream_requests_total, "requests forwarded to an upstream")                                                    \
    X(upstream_failed_total, "requests that an upstream did not accept or answer")                                     \
    X(stream_up_bytes_total, "CONNECT and BIND bytes from clients")                                                    \
    X(stream_down_bytes_total, "CONNECT and BIND bytes to clients")                                                    \
    X(udp_up_datagrams_total, "datagrams relayed from clients")                                                        \
    X(udp_up_bytes_total, "payload bytes relayed from clients")                                                        \
    X(udp_down_datagrams_total, "datagrams relayed to clients")                                                        \
    X(udp_down_bytes_total, "payload bytes relayed to clients")                                                        \
    X(udp_kernel_up_datagrams_total, "of udp_up_datagrams_total, those relayed by the kernel path")                    \
    X(udp_kernel_up_bytes_total, "of udp_up_bytes_total, those relayed by the kernel path")                            \
    X(udp_kernel_down_datagrams_total, "of udp_down_datagrams_total, those relayed by the kernel path")                \
    X(udp_kernel_down_bytes_total, "of udp_down_bytes_total, those relayed by the kernel path")                        \
    X(udp_icmp_port_unreachable_total, "ICMP errors: nothing listens at that port of a destination")                   \
    X(udp_icmp_unreachable_total, "ICMP errors: no route to a destination, or a packet filter's refusal")              \
    X(udp_icmp_too_big_total, "ICMP errors: a datagram too large for the path to a destination")                       \
    X(udp_icmp_ttl_total, "ICMP errors: a datagram's TTL expired, or its fragments did not all arrive")                \
    X(lookups_total, "names looked up")                                                                                \
    X(lookups_failed_total, "names that did not resolve")                                                              \
    X(names_moved_total, "names in datagrams that took another address because theirs was silent or denied")           \
    X(lookup_questions_total, "queries sent to name servers, repeated ones included")                                  \
    X(accept_failed_total, "connections not accepted because descriptors or memory were short")                        \
    X(limited_memory_total, "connections and requests refused while memory was short")                                 \
    X(limited_descriptors_total, "connections and requests refused while descriptors were short")                      \
    X(shed_streams_total, "streams whose reader did not read, ended because memory was short")                         \
    X(shed_latest_total, "sessions of the client or user that held most descriptors, ended to make room for another")

/* How long name servers take, in classes: up to so many milliseconds, the last one beyond them all. */
#define LOOKUP_TIMES_MS                                                                                                \
    {                                                                                                                  \
        1, 5, 20, 50, 100, 250, 500, 1000, 2500, 5000                                                                  \
    }
#define LOOKUP_TIME_COUNT 10

struct metrics {
#define X(name, help) atomic_uint_fast64_t name;
    METRICS(X)
#undef X
    atomic_uint_fast64_t udp_dropped_total[DROP_REASON_COUNT];
    atomic_uint_fast64_t lookup_times[LOOKUP_TIME_COUNT + 1], lookup_microseconds;
};

/* Adds to a counter that only the calling thread writes: no locked instruction. */
static inline void metrics_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Counts one lookup that took so long. */
void metrics_lookup(struct metrics *metrics, uint64_t microseconds);

/* sum += part, counter by counter; `sum` belongs to the caller. */
void metrics_sum(struct metrics *sum, const struct metrics *part);
/* One "name value" per counter that is not zero, space separated, for the log; cut after a whole one when it is full
 * (size > 0). Returns `text`. */
const char *metrics_format(const struct metrics *metrics, char *text, size_t size);

#endif
