/* A configuration that is one: the defaults, what loads, and what is dumped. */
#include "configuration.h"

static const char *source_dir;

/* ---- the defaults ---- */

static void without_a_file_it_listens_on_loopback(void **state)
{
    (void)state;
    struct config *config = built_in();
    char text[NETADDR_TEXT_MAX];
    assert_int_equal(config->listen_count, 1);
    assert_string_equal(netaddr_format(&config->listen[0].address, text), "127.0.0.1:1080");
    assert_false(config->listen[0].need_password);
    assert_false(config->listen[0].open);
    assert_true(config->listen[0].private_only);
    assert_int_equal(config->user_count, 0);
    assert_int_equal(config->reach, CONFIG_REACH_AUTO);
    assert_true(config->udp.enabled);
    assert_true(config->udp.over_tcp);
    assert_int_equal(config->udp.over_tcp_max, 1472);
    assert_int_equal(config->udp.filtering, CONFIG_FILTERING_ENDPOINT_INDEPENDENT);
    assert_int_equal(config->udp.idle_ms, 0);
    assert_int_equal(config->udp.rebind_after_ms, 15000);
    assert_int_equal(config->udp.ports.first, 0);
    assert_int_equal(config->udp.port_rest_ms, 120000);
    assert_int_equal(config->outbound.address_v4.count, 0);
    assert_int_equal(config->outbound.address_v6.count, 0);
    assert_int_equal(config->outbound.prefer, CONFIG_PREFER_IPV6);
    assert_int_equal(config->dns.server_count, 0);
    assert_int_equal(config->dns.timeout_ms, 5000);
    assert_int_equal(config->limits.lookups_per_client, 256);
    assert_int_equal(config->limits.lookups_per_association, 16);
    assert_int_equal(config->limits.lookups_per_user, 0);
    assert_int_equal(config->limits.sessions, 0);
    assert_int_equal(config->limits.sessions_per_client, 0);
    assert_int_equal(config->limits.sessions_per_user, 0);
    assert_int_equal(config->limits.associations, 0);
    assert_int_equal(config->limits.associations_per_client, 0);
    assert_int_equal(config->limits.associations_per_user, 0);
    assert_int_equal(config->limits.handshakes_per_client, 256);
    assert_int_equal(config->timeouts.handshake_ms, 10000);
    assert_int_equal(config->limits.failed_logins, 10);
    assert_true(config->limits.bandwidth_per_session == CONFIG_UNLIMITED);
    assert_true(config->limits.bandwidth_per_user == CONFIG_UNLIMITED);
    assert_true(config->limits.volume_per_user == CONFIG_UNLIMITED);
    assert_int_equal(config->limits.addresses_per_user, 0);
    assert_true(config->limits.datagrams_per_association == CONFIG_UNLIMITED);
    assert_true(config->limits.datagrams_per_user == CONFIG_UNLIMITED);
    assert_int_equal(config->timeouts.connect_ms, 15000);
    assert_int_equal(config->timeouts.stream_idle_ms, 0);
    assert_int_equal(config->timeouts.login_cache_ms, 60000);
    assert_null(config->users_file);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->log.level, LOG_LEVEL_INFO);
    assert_int_equal(config->log.format, LOG_FORMAT_TEXT);
    assert_int_equal(config->log.target, LOG_TARGET_STDERR);
    assert_null(config->log.file);
    assert_true(config->log.destinations);
    assert_null(config->run.user);
    assert_null(config->run.group);
    assert_int_equal(config->run.sandbox, CONFIG_SANDBOX_ON);
    assert_null(config->run.pid_file);
    config_free(config);
    config_free(NULL);
}

static struct config *load_sample(const char *name)
{
    char path[4096], *errors, *warnings;
    snprintf(path, sizeof(path), "%s/../../config/%s", source_dir, name);
    struct config *config = config_load(path, &errors, &warnings);
    if (!config)
        fail_msg("%s", errors);
    /* These hashes are public examples. */
    if (warnings && !strstr(warnings, ": warning: anybody can read this file"))
        fail_msg("%s", warnings);
    free(warnings);
    return config;
}

static void the_sample_file_contains_the_defaults(void **state)
{
    (void)state;
    struct config *config = load_sample("conesocks.yaml"), *defaults = built_in();
    assert_true(config_equal(config, defaults));
    config_free(config);
    config_free(defaults);
}

static void the_examples_load(void **state)
{
    (void)state;
    struct config *lan = load_sample("lan.yaml"), *vps = load_sample("vps.yaml"),
                  *chained = load_sample("chained.yaml");
    assert_true(lan->listen[0].need_password && lan->user_count == 1);
    assert_false(lan->listen[0].private_only);
    assert_true(vps->listen[0].need_password && vps->user_count == 1);
    assert_true(netaddr_is_any(&lan->listen[0].address));
    assert_int_equal(vps->reach, CONFIG_REACH_PUBLIC);
    assert_string_equal(chained->rules[1].terms.upstream, chained->upstreams[0].name);
    config_free(lan);
    config_free(vps);
    config_free(chained);
}

/* ---- what loads ---- */

/* Every option away from its default: what a new one must be added to. */
static const char *const changes[] = {
    "listen: [{address: \"::1\"}]",
    "listen: [{port: 1081}]",
    "listen: [{auth: none}]",
    "listen: [{open: true}]",
    "listen: [{}, {port: 1081}]",
    "listen: [{auth: none, open: true, proxy_protocol: required, proxy_from: [10.0.0.5]}]",
    "listen: [{auth: none, open: true, proxy_protocol: required, proxy_from: [10.0.0.0/8, \"fd00::5\"]}]",
    "listen: [{name: lan}]",
    "rules: [{action: deny, listener: [lan]}]\nlisten: [{name: lan}]",
    "listen: [{address_v4: 192.0.2.2}]",
    "listen: [{address_v4: listener}]",
    "listen: [{address_v6: \"2001:db8::2\"}]",
    "listen: [{address_v6: listener}]",
    "listen: [{port: 30000-31999}]",
    "listen: [{address_v6: \"2001:db8::/64\"}]",
    "listen: [{address_v6: \"2001:db8::/64\", address_by_port: true}]",
    "listen: [{mark: 0x10}]",
    "listen: [{interface: wg0}]",
    "listen: [{dscp: 0}]",
    "listen: [{filtering: endpoint-independent}]",
    "listen: [{bandwidth: 10MiB/s, datagrams: 500/s}]",
    "listen: [{bandwidth: unlimited, datagrams: unlimited}]",
    "listen: [{upstream: none}]",
    "users: [{name: alice, password: " HASH "}]",
    "users: [{name: bob, password: " HASH "}]",
    "users: [{name: alice, password: " HASH ", bandwidth: 10MiB/s, datagrams: 500/s}]",
    "users: [{name: alice, password: " HASH ", expires: 2026-12-31}]",
    "users: [{name: alice, password: " HASH ", volume: 100GiB}]",
    "users: [{name: alice, password: " HASH ", volume: unlimited}]",
    "users: [{name: alice, password: " HASH ", addresses: 3}]",
    "listen: [{trusted: [192.168.0.0/16, \"fd00::/8\"]}]\n" USERS,
    "users: [{name: alice, password: " HASH ", bandwidth: unlimited, datagrams: unlimited}]",
    "users: [{name: bob, password: $6$abc$K4v3HcZ8yAmpRfxML6S46NCcqy9r4/"
    "KdbQpFvqSWsBf4dgySOEOo1DHJTrmn2BsJK2aNmPN8Tfb826D2o9.z51}]",
    "users: [{name: \"*a: \\n\\e\\u00e9#\", password: " HASH "}, {name: 'null', password: " HASH "}]",
    "users: [{name: alice, password: " HASH ", sessions: 7}]",
    "users: [{name: alice, password: " HASH ", associations: 7}]",
    "users: [{name: bob, password: " HASH ", address_v4: 192.0.2.2}]",
    "users: [{name: bob, password: " HASH ", address_v6: \"2001:db8::2\"}]",
    "users: [{name: bob, password: " HASH ", mark: 0x10}]",
    "users: [{name: bob, password: " HASH ", interface: wg0}]",
    "users: [{name: bob, password: " HASH ", dscp: 0}]",
    "users: [{name: bob, password: " HASH ", filtering: endpoint-independent}]",
    "users_file: /etc/conesocks/users",
    "rules: [{action: deny}]",
    "rules: [{action: allow}]",
    "rules: [{action: allow, address_v4: 192.0.2.3}]",
    "rules: [{action: allow, address_v6: \"2001:db8::3\"}]",
    "rules: [{action: allow, mark: 4294967295}]",
    "rules: [{action: allow, interface: wg0}]",
    "rules: [{action: allow, dscp: 63}]",
    "rules: [{action: allow, filtering: address-dependent}]",
    "rules: [{action: deny, from: [10.0.0.0/8, \"2001:db8::/32\", 0.0.0.0/0]}]",
    "rules: [{action: deny, user: [alice, bob]}]",
    "rules: [{action: deny, command: [udp]}]",
    "rules: [{action: deny, command: [connect, bind]}]",
    "rules: [{action: deny, to: [any, private, 192.0.2.1, \"fd00::/8\", Ads.Example, .x.test]}]",
    "rules: [{action: deny, ports: [25, 6881-6999]}]",
    "rules: [{action: deny, ports: [25]}]",
    "rules: [{action: allow, bandwidth: 80Mbit/s}]",
    "rules: [{action: allow, datagrams: 1/s}]",
    "rules: [{action: allow, upstream: none}]",
    "users: [{name: bob, password: " HASH ", upstream: none}]",
    "upstreams: [{name: far, address: 192.0.2.9}]\n" FAR,
    "upstreams: [{name: far, address: far.example}]\n" FAR,
    "upstreams: [{name: far, address: \"2001:db8::9\", port: 1081}]\n" FAR,
    "upstreams: [{name: far, address: 192.0.2.9, user: me}]\n" FAR,
    "upstreams: [{name: far, address: 192.0.2.9, user: me, password: 'se: #cret'}]\n" FAR,
    "upstreams: [{name: far, address: 192.0.2.9}, {name: near, address: 192.0.2.8}]\n" FAR
    "users: [{name: bob, password: " HASH ", upstream: near}]",
    "outbound: {upstream: far}\n"
    "upstreams: [{name: far, address: 192.0.2.7}]",
    "rules: [{action: allow, upstream: far}]\n"
    "upstreams: [{name: far, address: 192.0.2.9}]",
    "reach: all",
    "udp: {enabled: false}",
    "udp: {over_tcp: false}",
    "udp: {over_tcp_max: 65535}",
    "udp: {filtering: address-and-port-dependent}",
    "udp: {idle: 5m}",
    "udp: {rebind_after: 1500ms}",
    "udp: {advertise_v4: 198.51.100.7}",
    "udp: {advertise_v4: auto}",
    "udp: {advertise_v4: proxy.example}",
    "udp: {advertise_v6: \"2001:db8::7\"}",
    "udp: {ports: 30000-30999}",
    "udp: {ports: 1080}",
    "udp: {external_ports: 1024-65535}",
    "udp: {port_rest: 30s}",
    "udp: {icmp: count}",
    "udp: {offload: off}",
    "udp: {kernel_path: auto}",
    "bind: {enabled: false}",
    "bind: {ports: 30000-30999}",
    "bind: {timeout: 30s}",
    "outbound: {address_v4: 192.0.2.1}",
    "outbound: {address_v4: 192.0.2.1 192.0.2.2}",
    "outbound: {address_v6: \"2001:db8::1\"}",
    "outbound: {address_v6: \"2001:db8::2 2001:db8::1\"}",
    "udp: {df: probe}",
    "udp: {client_ports: 4}",
    "udp: {keep_port: true}",
    "udp: {carry: none}",
    "udp: {carry: ecn-and-dscp}",
    "outbound: {mark: 1}",
    "outbound: {interface: fifteen-letters}",
    "outbound: {dscp: ef}",
    "outbound: {dscp: cs0}",
    "outbound: {prefer: ipv4-only}",
    "dns: {servers: [192.0.2.53, \"[2001:db8::53]:5353\"]}",
    "dns: {timeout: 1s}",
    "limits: {lookups_per_client: 1}",
    "limits: {lookups_per_association: 2}",
    "limits: {lookups_per_user: 3}",
    "limits: {sessions: 4}",
    "limits: {sessions_per_client: 5}",
    "limits: {sessions_per_user: 6}",
    "limits: {associations: 7}",
    "limits: {associations_per_client: 8}",
    "limits: {associations_per_user: 9}",
    "limits: {addresses_per_user: 2}",
    "limits: {volume_per_user: 1TB}",
    "limits: {handshakes_per_client: unlimited}",
    "limits: {failed_logins: off}",
    "limits: {memory: off}",
    "limits: {memory: 65537KiB}",
    "limits: {bandwidth_per_session: 1Gbit/s}",
    "limits: {bandwidth_per_user: 999kbit/s}",
    "limits: {datagrams_per_association: 100000000/s}",
    "limits: {datagrams_per_user: 64/s}",
    "timeouts: {handshake: 3s}",
    "timeouts: {connect: 4s}",
    "timeouts: {stream_idle: 124m}",
    "timeouts: {login_cache: off}",
    "timeouts: {drain: 30s}",
    "workers: 5",
    "log: {level: debug}",
    "log: {format: json}",
    "log: {target: syslog}",
    "log: {target: file, file: /var/log/conesocks/log}",
    "log: {destinations: false}",
    "admin: {address: 127.0.0.2}",
    "admin: {port: 1081}",
    "admin: {socket: /run/x.sock}",
    "admin: {open: true}",
    "run: {user: somebody}",
    "run: {group: somebody}",
    "run: {sandbox: off}",
    "run: {pid_file: /run/x.pid}",
    "run: {handover: /run/x.sock}",
};

static void a_dump_loads_as_equal(void **state)
{
    (void)state;
    struct config *defaults = built_in();
    for (size_t i = 0; i < COUNT(changes); i++) {
        struct config *config = good(changes[i]);
        char *text = dump(config, true);
        struct config *again = good(text);
        if (!config_equal(config, again) || config->listen[0].need_password != again->listen[0].need_password)
            fail_msg("%s: comes back as %s", changes[i], text);
        config_free(again);
        config_free(config);
        free(text);
    }
    config_free(defaults);
}

static void every_option_changes_the_configuration(void **state)
{
    (void)state;
    struct config *configs[COUNT(changes) + 1];
    for (size_t i = 0; i < COUNT(changes); i++)
        configs[i] = good(changes[i]);
    configs[COUNT(changes)] = built_in();
    for (size_t i = 0; i < COUNT(configs); i++)
        for (size_t j = 0; j < COUNT(configs); j++)
            assert_int_equal(config_equal(configs[i], configs[j]), i == j);
    for (size_t i = 0; i < COUNT(configs); i++)
        config_free(configs[i]);
}

static void the_test_changes_every_option(void **state)
{
    (void)state;
    char *list;
    size_t size;
    FILE *out = open_memstream(&list, &size);
    config_options_list(out);
    fclose(out);
    for (char *save, *line = strtok_r(list, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        line[strcspn(line, "\t")] = '\0';
        const char *last = strrchr(line, '.');
        bool found = false;
        for (size_t i = 0; i < COUNT(changes); i++) {
            bool group = strncmp(changes[i], line, strcspn(line, "[.")) == 0;
            found |= group && strstr(changes[i], last ? last + 1 : line);
        }
        if (!found)
            fail_msg("%s has no row in `changes`", line);
    }
    free(list);
}

static void a_dump_for_people_shows_no_hash(void **state)
{
    (void)state;
    struct config *config = good(USERS);
    char *text = dump(config, false);
    assert_null(strstr(text, "$y$"));
    assert_non_null(strstr(text, "- name: alice\n  password: '***'\n"));
    free(text);
    config_free(config);
}

/* Row 50. */
static void a_dump_shows_no_password_of_an_upstream(void **state)
{
    (void)state;
    struct config *config = good(FAR "upstreams: [{name: far, address: 192.0.2.9, user: me, password: hidden}]");
    char *text = dump(config, false);
    assert_null(strstr(text, "hidden"));
    assert_non_null(strstr(text, "  password: '***'\n"));
    free(text);
    config_free(config);
}

static void a_missing_key_has_its_default(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "workers: 0",
        "listen: [{}]",
        "users: []",
        "udp: {}\nlog: {}\n",
        "%YAML 1.1\n---\nworkers: 0\n...\n",
        "\xef\xbb\xbfworkers: 0",
        "\"workers\": \"0\"",
        "workers: 0\r\nlog: {}\r\n",
    };
    struct config *defaults = built_in();
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct config *config = good(texts[i]);
        assert_true(config_equal(config, defaults));
        config_free(config);
    }
    config_free(defaults);
}

int main(int argc, char **argv)
{
    source_dir = argc > 1 ? argv[1] : ".";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_file_it_listens_on_loopback),
        cmocka_unit_test(the_sample_file_contains_the_defaults),
        cmocka_unit_test(the_examples_load),
        cmocka_unit_test(a_dump_loads_as_equal),
        cmocka_unit_test(every_option_changes_the_configuration),
        cmocka_unit_test(the_test_changes_every_option),
        cmocka_unit_test(a_dump_for_people_shows_no_hash),
        cmocka_unit_test(a_dump_shows_no_password_of_an_upstream),
        cmocka_unit_test(a_missing_key_has_its_default),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
