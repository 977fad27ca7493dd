#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/config.h"
#include "conf/schema.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define HASH         "$y$j9T$abcdefgh$9WNEpu8Mx2S4KNGvbVWKM6clOSoY6.YEl7AYF4DGV04"
#define USERS        "users: [{name: alice, password: " HASH "}]\n"

static const char *source_dir;

static struct config *parse_bytes(const char *text, size_t size, char **errors, char **warnings)
{
    /* Of exactly this size, so that a read past its end is seen. */
    char *exact = malloc(size ? size : 1);
    assert_non_null(exact);
    memcpy(exact, text, size);
    struct config *config = config_parse("c.yaml", exact, size, errors, warnings);
    free(exact);
    return config;
}

/* A configuration that must load, with exactly these warnings (NULL: none). */
static struct config *good_with(const char *text, const char *expected_warnings)
{
    char *errors, *warnings;
    struct config *config = parse_bytes(text, strlen(text), &errors, &warnings);
    if (!config)
        fail_msg("refused: %s", errors);
    assert_null(errors);
    if (!expected_warnings && warnings)
        fail_msg("warns: %s", warnings);
    if (expected_warnings) {
        assert_non_null(warnings);
        assert_string_equal(warnings, expected_warnings);
    }
    free(warnings);
    return config;
}

static struct config *good(const char *text)
{
    return good_with(text, NULL);
}

static void bad_bytes(const char *text, size_t size, const char *expected_errors)
{
    char *errors, *warnings;
    struct config *config = parse_bytes(text, size, &errors, &warnings);
    assert_null(config);
    assert_non_null(errors);
    assert_string_equal(errors, expected_errors);
    free(errors);
    free(warnings);
}

static void bad(const char *text, const char *expected_errors)
{
    bad_bytes(text, strlen(text), expected_errors);
}

static char *dump(const struct config *config, bool secrets)
{
    char *text;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    config_dump(config, out, secrets);
    fclose(out);
    return text;
}

static struct config *built_in(void)
{
    char *errors, *warnings;
    struct config *config = config_load(NULL, &errors, &warnings);
    assert_non_null(config);
    assert_null(errors);
    assert_null(warnings);
    return config;
}

/* ---- the defaults ---- */

static void no_file_is_a_proxy_for_this_host(void **state)
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
    assert_true(config->limits.datagrams_per_association == CONFIG_UNLIMITED);
    assert_true(config->limits.datagrams_per_user == CONFIG_UNLIMITED);
    assert_int_equal(config->timeouts.connect_ms, 15000);
    assert_int_equal(config->timeouts.login_cache_ms, 60000);
    assert_null(config->users_file);
    assert_int_equal(config->workers, 0);
    assert_int_equal(config->log.level, LOG_LEVEL_INFO);
    assert_int_equal(config->log.target, LOG_TARGET_STDERR);
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
    /* Of these everybody may know the hashes, and does. */
    if (warnings && !strstr(warnings, ": warning: everybody may read it"))
        fail_msg("%s", warnings);
    free(warnings);
    return config;
}

static void the_sample_says_what_the_defaults_are(void **state)
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
#define FAR "outbound: {upstream: far}\n"
static const char *const changes[] = {
    "listen: [{address: \"::1\"}]",
    "listen: [{port: 1081}]",
    "listen: [{auth: none}]",
    "listen: [{open: true}]",
    "listen: [{}, {port: 1081}]",
    "listen: [{auth: none, open: true, proxy_protocol: required, proxy_from: [10.0.0.5]}]",
    "listen: [{auth: none, open: true, proxy_protocol: required, proxy_from: [10.0.0.0/8, \"fd00::5\"]}]",
    "users: [{name: alice, password: " HASH "}]",
    "users: [{name: bob, password: " HASH "}]",
    "users: [{name: alice, password: " HASH ", bandwidth: 10MiB/s, datagrams: 500/s}]",
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
    "udp: {offload: off}",
    "bind: {enabled: false}",
    "bind: {ports: 30000-30999}",
    "bind: {timeout: 30s}",
    "outbound: {address_v4: 192.0.2.1}",
    "outbound: {address_v4: 192.0.2.1 192.0.2.2}",
    "outbound: {address_v6: \"2001:db8::1\"}",
    "outbound: {address_v6: \"2001:db8::2 2001:db8::1\"}",
    "udp: {df: probe}",
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
    "timeouts: {login_cache: off}",
    "workers: 5",
    "log: {level: debug}",
    "log: {target: syslog}",
    "run: {user: somebody}",
    "run: {group: somebody}",
    "run: {sandbox: off}",
    "run: {pid_file: /run/x.pid}",
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

static void every_option_makes_a_difference(void **state)
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

static void every_option_is_among_these_changes(void **state)
{
    (void)state;
    char *list;
    size_t size;
    FILE *out = open_memstream(&list, &size);
    schema_list(out);
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

static void upstreams_have_to_make_sense(void **state)
{
    (void)state;
    bad("outbound: {upstream: fur}\n"
        "upstreams:\n"
        "- {name: far, address: 192.0.2.9}\n"
        "- {name: far, address: 192.0.2.9}\n"
        "- {name: none, address: 192.0.2.9}\n"
        "- {name: a, address: 127.0.0.1}\n"
        "- {name: b, address: 192.0.2.9, password: x}\n"
        "users: [{name: bob, password: " HASH ", upstream: fur}]\n"
        "rules:\n"
        "- {action: allow, upstream: Far}\n"
        "- {action: deny, upstream: far}\n"
        "- {action: allow, to: [192.0.2.1], upstream: far}\n"
        "- {action: allow, to: [192.0.2.1], upstream: none, command: [connect]}\n",
        "c.yaml:11:28: rules[1].upstream: found where action is deny, expected with allow only\n"
        "c.yaml:12:46: rules[2].upstream: found together with to or ports, but a UDP association has the same for all "
        "destinations; leave out to and ports, or say command: [connect]\n"
        "c.yaml:1:22: outbound.upstream: found a name that none of upstreams has, expected one that does, or none\n"
        "c.yaml:8:102: users[0].upstream: found a name that none of upstreams has, expected one that does, or none\n"
        "c.yaml:10:29: rules[0].upstream: found a name that none of upstreams has, expected one that does, or none\n"
        "c.yaml:4:10: upstreams[1].name: found the name of upstreams[0], expected another\n"
        "c.yaml:5:10: upstreams[2].name: found a word with a meaning of its own, expected a name\n"
        "c.yaml:6:22: upstreams[3].address: found one of this proxy's own listeners, which would be a loop; expected "
        "another server\n"
        "c.yaml:7:43: upstreams[4].password: found without a user, expected both or neither\n");
    bad("upstreams: [{name: a, address: 0.0.0.0}, {name: b, address: \"a b\"}, {address: c.example}]\n",
        "c.yaml:1:32: upstreams[0].address: found \"0.0.0.0\", expected an IP address, such as 192.0.2.1 or "
        "2001:db8::1, "
        "or a host name; nobody is found there\n"
        "c.yaml:1:61: upstreams[1].address: found \"a b\", expected an IP address, such as 192.0.2.1 or 2001:db8::1, "
        "or "
        "a host name\n"
        "c.yaml:1:69: upstreams[2]: found no name, expected one: what rules, users and outbound.upstream call it\n");
}

static void an_upstream_that_nothing_uses_is_a_warning(void **state)
{
    (void)state;
    char *errors, *warnings;
    const char *text = "upstreams: [{name: far, address: 192.0.2.9}]";
    struct config *config = parse_bytes(text, strlen(text), &errors, &warnings);
    assert_non_null(config);
    assert_string_equal(warnings, "c.yaml:1:20: warning: upstreams[0].name: no rule or user has it as its upstream, "
                                  "nor has outbound, so nothing leaves by it\n");
    free(warnings);
    config_free(config);
}

static void a_key_left_out_has_its_default(void **state)
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

/* ---- what does not ---- */

/* Row 55. */
static void every_mistake_is_named_in_one_go(void **state)
{
    (void)state;
    bad("listen:\n"
        "  - adress: 0.0.0.0\n"
        "    port: 1080x\n"
        "  - x\n"
        "udp:\n"
        "  idle: 5\n"
        "  idle: 10m\n"
        "  Idle: 9m\n"
        "users:\n"
        "  - name: \"\"\n"
        "dns: {servers: [1.1.1.1:0, [x]], timeout: {}}\n"
        "log:\n"
        "reach: [all]\n",
        "c.yaml:2:5: listen[0]: found the unknown key \"adress\", expected \"address\"\n"
        "c.yaml:3:11: listen[0].port: found \"1080x\", expected a port from 1 to 65535; digits only\n"
        "c.yaml:4:5: listen[1]: found a single value, expected a mapping (key: value)\n"
        "c.yaml:6:9: udp.idle: found \"5\", expected off, or a duration from 2m to 720h; the unit is missing: ms, s, m "
        "or h\n"
        "c.yaml:7:3: udp.idle: found a second time, expected once; the first is in line 6\n"
        "c.yaml:8:3: udp: found the unknown key \"Idle\", expected \"idle\"\n"
        "c.yaml:10:11: users[0].name: found \"\", expected text with a length in bytes from 1 to 255\n"
        "c.yaml:10:5: users[0]: found no password, expected one: hash of the password; conesocks hash-password makes "
        "one\n"
        "c.yaml:11:17: dns.servers[0]: found \"1.1.1.1:0\", expected an address, address:port or \"[IPv6 "
        "address]:port\"; the port is a number from 1 to 65535\n"
        "c.yaml:11:28: dns.servers[1]: found a list, expected an address, address:port or \"[IPv6 address]:port\"\n"
        "c.yaml:11:43: dns.timeout: found a mapping (key: value), expected a duration from 100ms to 1m\n"
        "c.yaml:12:5: log: found nothing, expected a mapping (key: value)\n"
        "c.yaml:13:8: reach: found a list, expected auto, public, private or all\n");
}

/* Row 56; the values are in test_schema.c. */
static void a_file_that_is_no_configuration_is_refused(void **state)
{
    (void)state;
#define NO_OPTIONS                                                                                                     \
    "c.yaml: found no option; expected at least one, such as \"workers: 0\" (without -c the built-in default holds)\n"
    bad("", NO_OPTIONS);
    bad(" \n\n", NO_OPTIONS);
    bad("# nothing\n", NO_OPTIONS);
    bad("---\n...\n", "c.yaml:2:1: found nothing, expected a mapping (key: value)\n");
    bad("1080\n", "c.yaml:1:1: found a single value, expected a mapping (key: value)\n");
    bad("- a\n", "c.yaml:1:1: found a list, expected a mapping (key: value)\n");
    bad("workers: 1\n---\nworkers: 2\n", "c.yaml:2:1: found a second document; expected one only\n");
    bad("workers: 1\nworkers: 1\n",
        "c.yaml:2:1: workers: found a second time, expected once; the first is in line 1\n");
    bad("worker: 1\n", "c.yaml:1:1: found the unknown key \"worker\", expected \"workers\"\n");
    bad("? [workers]\n: 1\n", "c.yaml:1:3: found a list, expected a key\n");
    bad("workers: !!int 1\n", "c.yaml:1:10: found a tag (!name); leave it out\n");
    bad("workers: &n 1\n", "c.yaml:1:10: found an anchor (&name); leave it out\n");
    bad("log: &n {}\n", "c.yaml:1:6: found an anchor (&name); leave it out\n");
    bad("users: !x []\n", "c.yaml:1:8: found a tag (!name); leave it out\n");
    bad("workers: *n\n", "c.yaml:1:10: found an alias (*name); write the value out\n");
    bad("a: &a [x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\n",
        "c.yaml:1:4: found an anchor (&name); leave it out\n");
    bad("workers: {\n", "c.yaml:2:1: not valid YAML: did not find expected node content (while parsing a flow node, "
                        "line 2)\n");
    bad("listen: []\n", "c.yaml:1:9: listen: found 0 elements, expected 1 to 64\n");
}

static void a_key_that_is_like_no_other_gets_them_all(void **state)
{
    (void)state;
    char *errors, *warnings;
    assert_null(parse_bytes("<<: {workers: 1}", 16, &errors, &warnings));
    const char expected[] =
        "c.yaml:1:1: found the unknown key \"<<\", expected one of listen, users, users_file, rules, ";
    assert_memory_equal(errors, expected, sizeof(expected) - 1);
    assert_string_equal(errors + strlen(errors) - 6, ", run\n");
    free(errors);
}

static void addresses_that_yaml_takes_for_mappings_get_a_hint(void **state)
{
    (void)state;
    bad("listen:\n  - address: ::\n", "c.yaml:2:15: not valid YAML: mapping values are not allowed in this context; "
                                      "put IPv6 addresses in quotes: \"::1\"\n");
    struct config *config = good("listen:\n  - address: ::1\n"); /* as it happens */
    config_free(config);
}

static void bytes_that_are_no_text_are_refused(void **state)
{
    (void)state;
#define BYTES(text, expected) bad_bytes(text, sizeof(text) - 1, expected)
    BYTES("workers: 1\0\nlog: {}\n", "c.yaml:1:11: found bytes that are not UTF-8 text (control characters are not "
                                     "allowed), expected YAML\n");
    BYTES("log: {}\nworkers: \xff\n", "c.yaml:2:10: found bytes that are not UTF-8 text (invalid leading UTF-8 octet), "
                                      "expected YAML\n");
    BYTES("\xff\xfew\0o\0r\0k\0", "c.yaml:1:1: found bytes that are not UTF-8 text (invalid leading UTF-8 octet), "
                                  "expected YAML\n");
    BYTES("workers: \"1\\0\"\n", "c.yaml:1:10: workers: found \"1\\x00\", expected a number from 0 to 256; without NUL "
                                 "bytes\n");
    BYTES("\"workers\\0\": 1\n", "c.yaml:1:1: found the unknown key \"workers\\x00\", expected \"workers\"\n");
    BYTES("workers: \"\\e[31m\\n\"\n", "c.yaml:1:10: workers: found \"\\x1b[31m\\x0a\", expected a number from 0 to "
                                       "256\n");
}

static char *repeat(const char *unit, size_t size)
{
    size_t len = strlen(unit);
    char *text = malloc(size + 1);
    assert_non_null(text);
    for (size_t i = 0; i < size; i++)
        text[i] = unit[i % len];
    text[size] = '\0';
    return text;
}

/* Row 56. What takes long to parse would show as a test that times out. */
static void a_giant_is_refused_at_once(void **state)
{
    (void)state;
    static const struct {
        const char *unit;
        size_t size;
        const char *expected;
    } rows[] = {
        {"workers: 1\n", 10000000, "c.yaml: found more than 1024 KiB; expected a configuration\n"},
        {"#", (1 << 20) + 1, "c.yaml: found more than 1024 KiB; expected a configuration\n"},
        {"#", 1 << 20, NO_OPTIONS},
        {"[", 1 << 20, "c.yaml:1:17: found values within values, too deep; no option goes that deep\n"},
        {"{a: ", 1 << 20, "c.yaml:1:65: found values within values, too deep; no option goes that deep\n"},
        {"- ", 1 << 20, "c.yaml:1:33: found values within values, too deep; no option goes that deep\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *text = repeat(rows[i].unit, rows[i].size);
        bad(text, rows[i].expected);
        free(text);
    }
}

static void a_long_list_of_mistakes_ends(void **state)
{
    (void)state;
    char *text = repeat("workers: x\n", 11 * 200), *errors, *warnings;
    assert_null(parse_bytes(text, strlen(text), &errors, &warnings));
    unsigned lines = 0;
    for (const char *c = errors; *c; c++)
        lines += *c == '\n';
    assert_int_equal(lines, 51);
    assert_non_null(strstr(errors, "\nc.yaml: these are 50 mistakes; more may follow\n"));
    free(errors);
    free(text);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    (void)state;
    static const struct {
        const char *path, *expected;
    } rows[] = {
        {"/nonexistent.yaml", "/nonexistent.yaml: cannot be read: No such file or directory\n"},
        {"/", "/: cannot be read: Is a directory\n"},
        {"/dev/zero", "/dev/zero: found more than 1024 KiB; expected a configuration\n"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *errors, *warnings;
        assert_null(config_load(rows[i].path, &errors, &warnings));
        assert_string_equal(errors, rows[i].expected);
        assert_null(warnings);
        free(errors);
    }
}

/* A configuration that all may write to makes everybody root's master, one that all may read gives the hashes away. */
static void who_may_touch_the_file(void **state)
{
    (void)state;
    static const struct {
        mode_t mode;
        const char *text, *said;
        bool refused;
    } rows[] = {
        {0666, "workers: 0\n",
         ": everybody may write to it (mode 0666), expected its owner and group alone; run: ", true},
        {0602, "workers: 0\n",
         ": everybody may write to it (mode 0602), expected its owner and group alone; run: ", true},
        {0644, FAR "upstreams: [{name: far, address: 192.0.2.9, user: a, password: b}]\n",
         ": warning: everybody may read it, and the passwords of its upstreams with it; run: chmod o-r ", false},
        {0644, USERS, ": warning: everybody may read it, and the hashes of its users with it; run: chmod o-r ", false},
        {0644, "workers: 0\n", NULL, false},
        {0640, USERS, NULL, false},
    };
    char path[] = "/tmp/test_config_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *errors, *warnings;
        ssize_t len = (ssize_t)strlen(rows[i].text);
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, rows[i].text, (size_t)len, 0), len);
        assert_int_equal(fchmod(fd, rows[i].mode), 0);
        struct config *config = config_load(path, &errors, &warnings);
        assert_int_equal(config == NULL, rows[i].refused);
        const char *said = rows[i].refused ? errors : warnings;
        if (rows[i].said)
            assert_non_null(strstr(said, rows[i].said));
        else
            assert_null(said);
        free(errors);
        free(warnings);
        config_free(config);
    }
    close(fd);
    unlink(path);
}

/* ---- what must make sense together ---- */

#define OPEN_PROXY(address, login)                                                                                     \
    "found " address " without a login, an open proxy; expected a login (" login "), or address: 127.0.0.1, or, to "   \
    "serve anybody, both auth: none and open: true; or rules that allow some clients (from) and then deny the others " \
    "(- action: deny)\n"
#define ADD_USERS "add users; conesocks hash-password makes the hash"

static void an_open_proxy_is_refused(void **state)
{
    (void)state;
    bad("listen:\n  - address: 0.0.0.0\n", "c.yaml:2:14: listen[0].address: " OPEN_PROXY("0.0.0.0", ADD_USERS));
    bad("listen: [{}, {address: \"::\"}]\n", "c.yaml:1:24: listen[1].address: " OPEN_PROXY("::", ADD_USERS));
    bad("listen: [{address: 198.51.100.1, auth: none}]\n",
        "c.yaml:1:20: listen[0].address: " OPEN_PROXY("198.51.100.1", ADD_USERS));
    bad("listen: [{address: 198.51.100.1, open: true}]\n", /* one of both is a slip; both are a will */
        "c.yaml:1:20: listen[0].address: " OPEN_PROXY("198.51.100.1", ADD_USERS));
    bad(USERS "listen: [{address: \"2001:db8::1\", auth: none}]\n",
        "c.yaml:2:20: listen[0].address: " OPEN_PROXY("2001:db8::1", "auth: password"));
    static const char *const public[] = {"172.15.0.1", "172.32.0.1", "11.0.0.1", "192.169.0.1", "169.255.0.1",
                                         "fc00::1",    "fec0::1",    "::2",      "100.64.0.1",  "::ffff:198.51.100.1"};
    for (size_t i = 0; i < COUNT(public); i++) {
        char text[128], expected[512];
        snprintf(text, sizeof(text), "listen: [{address: \"%s\"}]", public[i]);
        snprintf(expected, sizeof(expected), "c.yaml:1:20: listen[0].address: " OPEN_PROXY("%s", ADD_USERS), public[i]);
        bad(text, expected);
    }
}

/* As behind a cloud's NAT, or a router that forwards a port. */
static void a_private_address_that_the_world_is_led_to_is_public(void **state)
{
    (void)state;
    static const char *const advertised[] = {"advertise_v4: 198.51.100.1", "advertise_v6: \"2001:db8::1\""};
    for (size_t i = 0; i < COUNT(advertised); i++) {
        char text[128], *errors, *warnings;
        snprintf(text, sizeof(text), "listen: [{address: 10.0.0.1}]\nudp: {%s}", advertised[i]);
        assert_null(config_parse("c.yaml", text, strlen(text), &errors, &warnings));
        assert_non_null(strstr(errors, "without a login and a public address advertised (udp), an open proxy"));
        free(errors);
        free(warnings);
    }
    config_free(good("listen: [{address: 10.0.0.1, auth: none, open: true}]\nudp: {advertise_v4: 198.51.100.1}"));
    config_free(good("listen: [{address: 127.0.0.1}]\nudp: {advertise_v4: 198.51.100.1}"));
    config_free(good(USERS "listen: [{address: 10.0.0.1}]\nudp: {advertise_v4: 198.51.100.1}"));
}

static void a_proxy_for_a_network_is_warned_of(void **state)
{
    (void)state;
    static const char *const private[] = {"10.0.0.1",    "172.16.0.1", "172.31.255.255", "192.168.0.1",
                                          "169.254.0.1", "fd00::1",    "fe80::1",        "::ffff:10.0.0.1"};
    for (size_t i = 0; i < COUNT(private); i++) {
        char text[128], expected[512];
        snprintf(text, sizeof(text), "listen: [{address: \"%s\"}]", private[i]);
        snprintf(
            expected, sizeof(expected),
            "c.yaml:1:20: warning: listen[0].address: everybody who can reach %s may use this proxy; add users, or say "
            "open: true if that is meant\n",
            private[i]);
        struct config *config = good_with(text, expected);
        assert_false(config->listen[0].need_password);
        config_free(config);
    }
}

static void who_means_it_or_is_alone_is_left_in_peace(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "listen: [{address: 0.0.0.0, auth: none, open: true}]",
        "listen: [{address: 10.0.0.1, open: true}]",
        "listen: [{address: 127.8.8.8}, {address: \"::1\"}, {address: \"::ffff:127.0.0.1\"}]",
        USERS "listen: [{address: 0.0.0.0}]",
    };
    for (size_t i = 0; i < COUNT(texts); i++)
        config_free(good(texts[i]));
}

/* A listener without a login is as closed as its rules. */
static void rules_that_name_clients_close_a_proxy(void **state)
{
    (void)state;
    static const char *const closed[] = {
        "[{action: allow, from: [192.0.2.0/24]}, {action: deny}]",
        "[{action: deny}]",
        "[{action: allow, from: [10.0.0.0/8, \"fc00::/7\"]}, {action: deny}]",
        "[{action: deny, to: [10.0.0.0/8]}, {action: allow, from: [192.0.2.1], to: [any]}, {action: deny, to: [any]}]",
    };
    static const char *const open[] = {
        "[]",
        "[{action: allow}, {action: deny, to: [10.0.0.0/8]}]",
        "[{action: allow, from: [192.0.2.0/24]}]",
        "[{action: allow, from: [0.0.0.0/0]}, {action: deny}]",
        "[{action: allow, from: [192.0.2.1, \"::/0\"]}, {action: deny}]",
        "[{action: allow, from: [0.0.0.0/1, 128.0.0.0/1]}, {action: deny}]",
        "[{action: allow, from: [\"2000::/3\"]}, {action: deny}]",
        "[{action: allow, from: [192.0.2.0/24]}, {action: deny, command: [udp]}]",
        "[{action: allow, from: [192.0.2.0/24]}, {action: deny, to: [0.0.0.0/0]}]",
        "[{action: allow, to: [192.0.2.7]}, {action: deny}]",
    };
    char text[256];
    for (size_t i = 0; i < COUNT(closed); i++) {
        snprintf(text, sizeof(text), "listen: [{address: 0.0.0.0}]\nrules: %s", closed[i]);
        config_free(good(text));
    }
    for (size_t i = 0; i < COUNT(open); i++) {
        char *errors, *warnings;
        snprintf(text, sizeof(text), "listen: [{address: 0.0.0.0}]\nrules: %s", open[i]);
        assert_null(config_parse("c.yaml", text, strlen(text), &errors, &warnings));
        assert_non_null(strstr(errors, "an open proxy"));
        free(errors);
        free(warnings);
    }
}

#define BALANCER "{proxy_protocol: required, proxy_from: [10.0.0.5]"

/* Row 53: nobody is believed by default, and a balancer's clients are not those of its address. */
static void a_balancer_is_named(void **state)
{
    (void)state;
    bad(USERS "listen: [{proxy_protocol: required}]\n",
        "c.yaml:2:27: listen[0].proxy_from: found no balancer that would be believed; expected the addresses or "
        "networks of those that send the PROXY protocol, such as proxy_from: [10.0.0.5]\n");
    bad("listen: [" BALANCER "}]\n",
        "c.yaml:1:10: listen[0].address: found 127.0.0.1 without a login behind a balancer, which may bring anybody; "
        "expected a login (" ADD_USERS "), or, to serve anybody, both auth: none and open: true; or rules that allow "
        "some clients (from) and then deny the others (- action: deny)\n");
    config_free(good_with("listen: [{proxy_from: [10.0.0.5]}]",
                          "c.yaml:1:23: warning: listen[0].proxy_from: changes nothing without proxy_protocol: "
                          "required\n"));
    config_free(good("listen: [" BALANCER ", auth: none, open: true}]"));
    config_free(good("listen: [" BALANCER "}]\nrules: [{action: allow, from: [192.0.2.1]}, {action: deny}]"));
}

/* Row 21 */
static void behind_a_balancer_reach_is_public(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum config_reach reach;
    } cases[] = {
        {USERS "listen: [{}, {port: 1081, proxy_protocol: required, proxy_from: [10.0.0.5]}]", CONFIG_REACH_PUBLIC},
        {USERS "listen: [" BALANCER "}]\nreach: private", CONFIG_REACH_PRIVATE},
        {USERS "listen: [{}, {port: 1081}]", CONFIG_REACH_AUTO},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct config *config = good(cases[i].text);
        assert_int_equal(config->reach_in_force, cases[i].reach);
        config_free(config);
    }
}

static void a_rule_in_vain_is_warned_of(void **state)
{
    (void)state;
    static const struct {
        const char *first, *second;
        bool in_vain;
    } pairs[] = {
        {"to: [10.0.0.0/8]", "to: [10.1.0.0/16]", true},
        {"to: [10.1.0.0/16]", "to: [10.0.0.0/8]", false},
        {"to: [10.0.0.0/8]", "to: [\"a00::/8\"]", false},
        {"to: [10.0.0.0/8, 11.0.0.0/8]", "to: [11.1.1.1, 10.1.1.1]", true},
        {"to: [10.0.0.0/8]", "to: [10.1.1.1, 11.1.1.1]", false},
        {"to: [private]", "to: [192.168.7.0/24]", true},
        {"to: [private]", "to: [192.0.0.0/8]", false},
        {"to: [10.0.0.0/8]", "to: [private]", false},
        {"to: [any]", "to: [x.example]", true},
        {"to: [any]", "{}", true},
        {"to: [.example]", "to: [x.example, example, .y.example]", true},
        {"to: [.example]", "to: [anexample]", false},
        {"to: [example]", "to: [.example]", false},
        {"to: [x.example]", "to: [X.example]", true},
        {"ports: [1-100]", "ports: [5-10, 20]", true},
        {"ports: [1-100]", "ports: [100-101]", false},
        {"ports: [1-100]", "{}", false},
        {"from: [10.0.0.0/9]", "from: [10.127.0.0/16]", true},
        {"from: [10.0.0.0/9]", "from: [10.128.0.0/16]", false},
        {"from: [10.0.0.0/9]", "{}", false},
        {"user: [a, b]", "user: [b]", true},
        {"user: [a]", "user: [b]", false},
        {"command: [udp]", "command: [udp, connect]", false},
        {"command: [udp, connect]", "command: [connect]", true},
        {"command: [udp], ports: [1]", "ports: [1]", false},
    };
    for (size_t i = 0; i < COUNT(pairs); i++) {
        char text[256];
        bool empty = pairs[i].second[0] == '{';
        snprintf(text, sizeof(text), "rules:\n- {%s, action: deny}\n- {action: allow%s%s}\n", pairs[i].first,
                 empty ? "" : ", ", empty ? "" : pairs[i].second);
        config_free(pairs[i].in_vain
                        ? good_with(text,
                                    "c.yaml:3:12: warning: rules[1].action: never decides: rules[0] takes all that it "
                                    "matches\n")
                        : good(text));
    }
}

static void a_bad_rule_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *hint;
    } wrong[] = {
        {"from", "10.0.0.1/8", "bits are set beyond the prefix"},
        {"from", "10.0.0.0/33", "the prefix has 0 to 32 bits"},
        {"from", "10.0.0.0/08", "the prefix has 0 to 32 bits"},
        {"from", "2001:db8::/129", "the prefix has 0 to 128 bits"},
        {"from", "fe80::1%lo", "\"2001:db8::/32\"\n"},
        {"from", "::ffff:10.0.0.0/104", "write the IPv4 network that is inside it"},
        {"to", "64:ff9b::/96", "write the IPv4 network that is inside it"},
        {"to", "2002::/16", "write the IPv4 network that is inside it"},
        {"to", "*.example", "written .example.com"},
        {"to", "1.2", "(.example.com)\n"},
        {"to", "", "(.example.com)\n"},
        {"to", ".", "(.example.com)\n"},
        {"to", "a..b", "(.example.com)\n"},
        {"to", "a b", "(.example.com)\n"},
        {"ports", "0", "6881-6999\n"},
        {"ports", "65536", "6881-6999\n"},
        {"ports", "5-", "6881-6999\n"},
        {"ports", "-5", "6881-6999\n"},
        {"ports", "9-5", "the first port is higher than the last"},
        {"command", "tcp", "connect, bind or udp"},
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[128], place[64], *errors, *warnings;
        snprintf(text, sizeof(text), "rules: [{action: deny, %s: [\"%s\"]}]", wrong[i].key, wrong[i].value);
        snprintf(place, sizeof(place), ": rules[0].%s[0]: found \"", wrong[i].key);
        assert_null(config_parse("c.yaml", text, strlen(text), &errors, &warnings));
        if (!strstr(errors, place) || !strstr(errors, wrong[i].hint))
            fail_msg("%s: %s", text, errors);
        free(errors);
        free(warnings);
    }
    bad("rules: [{to: [any]}]\n",
        "c.yaml:1:9: rules[0]: found no action, expected one: what becomes of what the rule matches\n");
}

/* Where a term would never hold, or hold for some datagrams of an association only. */
static void terms_of_a_rule_are_for_all_that_it_lets_through(void **state)
{
    (void)state;
    static const char everywhere[] = "found together with to or ports, but a UDP association has the same for "
                                     "all destinations; leave out to "
                                     "and ports";
    static const struct {
        const char *rule, *key, *hint;
    } wrong[] = {
        {"action: deny, mark: 1", "mark", "found where action is deny, expected with allow only"},
        {"action: allow, command: [connect, bind], filtering: address-dependent", "filtering",
         "found where command leaves udp out, expected with udp: only datagrams have that"},
        {"action: allow, filtering: address-dependent, to: [10.0.0.0/8]", "filtering", everywhere},
        {"mark: 1, action: allow, ports: [53]", "mark", everywhere},
        {"interface: eth1, action: allow, ports: [53]", "interface", everywhere},
        {"dscp: 0, action: allow, ports: [53]", "dscp", everywhere},
        {"address_v4: 192.0.2.1, action: allow, command: [udp], to: [.x.test]", "address_v4", everywhere},
        {"address_v6: \"::1\", action: allow, command: [connect, udp], to: [private]", "address_v6", everywhere},
        {"bandwidth: 1MiB/s, action: allow, to: [private]", "bandwidth", everywhere},
        {"action: deny, bandwidth: 1MiB/s", "bandwidth", "found where action is deny, expected with allow only"},
        {"action: allow, command: [connect], datagrams: 1/s", "datagrams",
         "found where command leaves udp out, expected with udp: only datagrams have that"},
    };
    static const char *const right[] = {
        "action: allow, mark: 1, filtering: address-dependent, address_v4: 192.0.2.1, address_v6: \"::1\"",
        "action: allow, mark: 1, from: [10.0.0.0/8], user: [bob], command: [udp], to: [any, 192.0.2.1]",
        "action: allow, mark: 1, address_v4: 192.0.2.1, command: [connect], to: [.x.test], ports: [443]",
        "action: allow, to: [.x.test], ports: [443]",
    };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        char text[256], expected[512];
        bool may_be_connect = wrong[i].hint == everywhere && !strstr(wrong[i].rule, "filtering");
        snprintf(text, sizeof(text), "rules: [{%s}]", wrong[i].rule);
        size_t column = (size_t)(strstr(text, wrong[i].key) - text) + strlen(wrong[i].key) + strlen(": ") + 1;
        snprintf(expected, sizeof(expected), "c.yaml:1:%zu: rules[0].%s: %s%s\n", column, wrong[i].key, wrong[i].hint,
                 may_be_connect ? ", or say command: [connect]" : "");
        bad(text, expected);
    }
    for (size_t i = 0; i < COUNT(right); i++) {
        char text[256];
        snprintf(text, sizeof(text), "rules: [{%s}]", right[i]);
        config_free(good(text));
    }
}

static void one_port_for_all_can_be_opened_by_anybody(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t port;
    } rows[] = {
        {"udp: {ports: 1080}", 1080},
        {"udp: {ports: 1024}", 1024},
        {"udp: {ports: 1080-1080}", 1080},
        {"udp: {ports: 1080-1081}", 0},
        {"udp: {ports: random}", 0},
        {"udp: {ports: 53-54}", 0},
        {"udp: {ports: 1080, external_ports: 1080-1081}", 1080},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct config *config = good(rows[i].text);
        assert_int_equal(config_shared_port(config), rows[i].port);
        config_free(config);
    }
    bad("udp: {ports: 1023}",
        "c.yaml:1:14: udp.ports: found 1023; expected 1024 or more for one port that all share, or "
        "a range, or random\n");
    bad("udp: {ports: 1080, external_ports: 1080}",
        "c.yaml:1:36: udp.external_ports: found the port of udp.ports, expected others\n");
}

static void a_mark_anywhere_is_a_mark(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool has;
    } rows[] = {
        {"{}", false},
        {"outbound: {mark: 1}", true},
        {"users: [{name: bob, password: " HASH "}, {name: al, password: " HASH ", mark: 1}]", true},
        {"rules: [{action: allow, address_v4: 192.0.2.1}]", false},
        {"rules: [{action: deny}, {action: allow, mark: 1}]", true},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char *errors, *warnings;
        struct config *config = config_parse("c.yaml", rows[i].text, strlen(rows[i].text), &errors, &warnings);
        assert_non_null(config);
        assert_int_equal(config_has_mark(config), rows[i].has);
        config_free(config);
        free(warnings);
    }
}

static void a_login_is_asked_for_when_there_are_users(void **state)
{
    (void)state;
    struct config *config = good(USERS "listen: [{}, {port: 1, auth: none}, {port: 2, auth: password}]");
    assert_true(config->listen[0].need_password);
    assert_false(config->listen[1].need_password);
    assert_true(config->listen[2].need_password);
    assert_string_equal(config->users[0].name, "alice");
    assert_string_equal(config->users[0].password, HASH);
    config_free(config);

    bad("listen:\n  - auth: password\n",
        "c.yaml:2:11: listen[0].auth: found password, but there are no users; expected users, or auth: none\n");
    config_free(good_with(USERS "listen: [{auth: none}]",
                          "c.yaml:1:16: warning: users: no listener asks for a login, so these are never asked for\n"));
    config_free(
        good_with(USERS "listen: [{open: true}]",
                  "c.yaml:2:17: warning: listen[0].open: true changes nothing where a password is asked for\n"));
}

static void names_and_listeners_are_unique(void **state)
{
    (void)state;
    bad("users:\n"
        "  - {name: b, password: " HASH "}\n"
        "  - {name: a, password: " HASH "}\n"
        "  - {name: b, password: " HASH "}\n"
        "listen: [{}, {port: 1080, address: 127.0.0.1}]\n",
        "c.yaml:5:36: listen[1].address: found the address and port of listen[0], expected another\n"
        "c.yaml:4:12: users[2].name: found the name of users[0], expected another\n");
}

static void no_password_is_quoted(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "users: [{name: alice, password: hunter2}]",
        "users: [{name: alice, password: [hunter2]}]",
        "users: [{name: alice, password: $1$hunter2}]",
        "users: [{name: alice, password: \"hunter2\\0\"}]",
        "users: [{name: alice, pasword: hunter2}]",
        "users: [\"alice:hunter2\"]",
        "users: {alice: hunter2}",
        "users: hunter2",
        "users: [{name: alice, password: hunter2]",
        "users: [{name: alice, password: !hunter2 x}]",
    };
    for (size_t i = 0; i < COUNT(texts); i++) {
        char *errors, *warnings;
        assert_null(parse_bytes(texts[i], strlen(texts[i]), &errors, &warnings));
        if (strstr(errors, "hunter2"))
            fail_msg("%s", errors);
        free(errors);
    }
    bad("users: [{name: alice, password: hunter2}]", "c.yaml:1:33: users[0].password: found plain text, or a DES hash, "
                                                     "expected a strong crypt(3) hash; run: conesocks hash-password\n");
}

int main(int argc, char **argv)
{
    source_dir = argc > 1 ? argv[1] : ".";
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_file_is_a_proxy_for_this_host),
        cmocka_unit_test(the_sample_says_what_the_defaults_are),
        cmocka_unit_test(the_examples_load),
        cmocka_unit_test(a_dump_loads_as_equal),
        cmocka_unit_test(every_option_makes_a_difference),
        cmocka_unit_test(every_option_is_among_these_changes),
        cmocka_unit_test(a_dump_for_people_shows_no_hash),
        cmocka_unit_test(a_dump_shows_no_password_of_an_upstream),
        cmocka_unit_test(upstreams_have_to_make_sense),
        cmocka_unit_test(an_upstream_that_nothing_uses_is_a_warning),
        cmocka_unit_test(a_key_left_out_has_its_default),
        cmocka_unit_test(every_mistake_is_named_in_one_go),
        cmocka_unit_test(a_file_that_is_no_configuration_is_refused),
        cmocka_unit_test(a_key_that_is_like_no_other_gets_them_all),
        cmocka_unit_test(addresses_that_yaml_takes_for_mappings_get_a_hint),
        cmocka_unit_test(bytes_that_are_no_text_are_refused),
        cmocka_unit_test(a_giant_is_refused_at_once),
        cmocka_unit_test(a_long_list_of_mistakes_ends),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
        cmocka_unit_test(an_open_proxy_is_refused),
        cmocka_unit_test(a_balancer_is_named),
        cmocka_unit_test(behind_a_balancer_reach_is_public),
        cmocka_unit_test(who_may_touch_the_file),
        cmocka_unit_test(a_private_address_that_the_world_is_led_to_is_public),
        cmocka_unit_test(a_proxy_for_a_network_is_warned_of),
        cmocka_unit_test(who_means_it_or_is_alone_is_left_in_peace),
        cmocka_unit_test(rules_that_name_clients_close_a_proxy),
        cmocka_unit_test(a_rule_in_vain_is_warned_of),
        cmocka_unit_test(a_bad_rule_is_refused),
        cmocka_unit_test(terms_of_a_rule_are_for_all_that_it_lets_through),
        cmocka_unit_test(one_port_for_all_can_be_opened_by_anybody),
        cmocka_unit_test(a_mark_anywhere_is_a_mark),
        cmocka_unit_test(a_login_is_asked_for_when_there_are_users),
        cmocka_unit_test(names_and_listeners_are_unique),
        cmocka_unit_test(no_password_is_quoted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
