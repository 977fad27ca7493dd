#include "test.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/status.h"
#include "policy/snapshot.h"
#include "proxy/assoc/sketch.h"

static struct snapshot *snapshot;
static struct metrics totals;
static struct session_list *reports[2];
static struct status_users users;
static struct status status;
static json_t *json;

static int begin(void **state)
{
    (void)state;
    char *errors, *warnings;
    snapshot = snapshot_new(config_load(NULL, &errors, &warnings));
    assert_non_null(snapshot);
    totals = (struct metrics){0};
    for (size_t i = 0; i < 2; i++) {
        reports[i] = session_list_new(4);
        assert_non_null(reports[i]);
    }
    status = (struct status){.started = 1795378500,
                             .snapshot = snapshot,
                             .totals = &totals,
                             .workers = reports,
                             .worker_count = 2,
                             .kernel_path = {.why_not = "udp.kernel_path is off"},
                             .limit = 4,
                             .users = &users};
    users = (struct status_users){.today = 20787, .month = 682};
    json = NULL;
    return 0;
}

static int end(void **state)
{
    (void)state;
    json_decref(json);
    free(reports[0]);
    free(reports[1]);
    snapshot_release(snapshot);
    return 0;
}

static void tell(void)
{
    json_error_t error;
    char *text = status_json(&status);
    assert_non_null(text);
    json_decref(json);
    json = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    free(text);
    if (!json)
        fail_msg("%s", error.text);
}

/* What stands at a path such as "udp.filtering" or "sessions.0.id". */
static json_t *at(const char *path)
{
    char copy[128], *rest = copy, *key;
    snprintf(copy, sizeof(copy), "%s", path);
    json_t *value = json;
    while ((key = strsep(&rest, ".")))
        value = json_is_array(value) ? json_array_get(value, strtoul(key, NULL, 10)) : json_object_get(value, key);
    if (!value)
        fail_msg("nothing at %s", path);
    return value;
}

#define expect_text(path, text)     assert_string_equal(json_string_value(at(path)), text)
#define expect_number(path, number) assert_int_equal(json_integer_value(at(path)), number)
#define expect_null(path)           assert_true(json_is_null(at(path)))

static union netaddr addr(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

static struct session_list_row *add_row(size_t worker, uint64_t id, enum session_kind kind)
{
    struct session_list_row *row = &reports[worker]->rows[reports[worker]->row_count++];
    *row = (struct session_list_row){.id = id, .kind = kind, .age_ms = 61999, .client = addr("10.0.0.2", 5000)};
    return row;
}

/* ---- the whole ---- */

static void what_the_default_configuration_looks_like(void **state)
{
    (void)state;
    status.uptime_ms = 90999;
    tell();
    expect_text("version", CONESOCKS_VERSION);
    expect_number("pid", getpid());
    expect_text("started", "2026-11-22T20:15:00Z");
    expect_number("uptime_seconds", 90);
    expect_text("state", "running");
    expect_null("configuration.file");
    expect_null("configuration.last_error");
    expect_null("configuration.waiting_for_start");
    expect_text("listeners.0.address", "127.0.0.1:1080");
    assert_true(json_is_false(at("listeners.0.login")) && json_is_false(at("listeners.0.proxy_protocol")));
    assert_true(json_is_true(at("udp.enabled")));
    expect_text("udp.mapping", "endpoint-independent");
    expect_text("udp.filtering", "endpoint-independent");
    expect_text("udp.ports", "any");
    expect_text("udp.external_ports", "any");
    expect_null("udp.advertise_v4");
    expect_null("udp.idle_seconds");
    assert_int_equal(json_array_size(at("port_ranges")), 0);
    assert_int_equal(json_array_size(at("workers")), 2);
    assert_int_equal(json_array_size(at("drops")), 0);
    expect_null("memory.used_bytes");
    expect_null("memory.limit_bytes");
    expect_text("memory.level", "ample");
    assert_int_equal(json_array_size(at("sessions")), 0);
    expect_null("next");
    status.draining = true;
    tell();
    expect_text("state", "draining");
}

static void the_configuration_is_shown(void **state)
{
    (void)state;
    struct config *config = snapshot->config;
    snapshot->advertised[FAMILY_V4] = addr("192.0.2.1", 0);
    config->udp.filtering = CONFIG_FILTERING_ADDRESS_AND_PORT_DEPENDENT;
    config->udp.ports = (struct config_ports){1080, 1080};
    config->udp.external_ports = (struct config_ports){30000, 30999};
    config->udp.idle_ms = 300000;
    config->listen[0].need_password = true;
    config->listen[0].proxy_protocol = CONFIG_PROXY_PROTOCOL_REQUIRED;
    status.configuration.file = "/etc/conesocks/cone\"socks.yaml";
    status.configuration.reloads = 3;
    status.configuration.failed = 2;
    status.configuration.waiting_for_start = "workers, run.user";
    status.configuration.last_error = "conesocks.yaml:3:1: found the unknown key \xff";
    status.memory.known = true;
    status.memory.used = 5;
    status.memory.limit = 10;
    status.memory.level = MEMORY_SHORT;
    status.port_count = 1;
    status.ports[0] = (struct port_usage){"udp.external_ports", 30000, 30999, {12, 34, 2000, 2, 1, false}};
    tell();
    expect_text("port_ranges.0.option", "udp.external_ports");
    expect_text("port_ranges.0.range", "30000-30999");
    expect_number("port_ranges.0.used", 12);
    expect_number("port_ranges.0.resting", 34);
    expect_number("port_ranges.0.total", 2000);
    expect_number("port_ranges.0.full", 1);
    expect_text("udp.advertise_v4", "192.0.2.1");
    expect_text("udp.filtering", "address-and-port-dependent");
    expect_text("udp.ports", "1080");
    expect_text("udp.external_ports", "30000-30999");
    expect_number("udp.idle_seconds", 300);
    assert_true(json_is_true(at("listeners.0.login")) && json_is_true(at("listeners.0.proxy_protocol")));
    expect_text("configuration.file", "/etc/conesocks/cone\"socks.yaml");
    expect_number("configuration.reloads", 3);
    expect_number("configuration.reloads_failed", 2);
    expect_text("configuration.waiting_for_start", "workers, run.user");
    expect_text("configuration.last_error", "conesocks.yaml:3:1: found the unknown key \\xff");
    expect_number("memory.used_bytes", 5);
    expect_number("memory.limit_bytes", 10);
    expect_text("memory.level", "low");
}

static void the_counters_are_shown(void **state)
{
    (void)state;
    totals.sessions_total = 7;
    totals.lookups_total = 8;
    totals.lookups_failed_total = 1;
    totals.limited_associations_total = 4;
    totals.auth_throttled_total = 6;
    totals.udp_dropped_total[DROP_NO_CLIENT] = 5;
    snapshot->config->limits.associations = 100;
    snapshot->config->limits.sessions = 0;
    status.sessions_held = 12;
    status.associations_held = 9;
    for (size_t i = 0; i < 2; i++) {
        reports[i]->counts = (struct session_list_counts){.associations = 1 + i, .streams = 10, .negotiating = 100};
        reports[i]->lookups = 2;
        reports[i]->server_count = 1;
        reports[i]->servers[0] = addr("2001:db8::53", 53);
    }
    tell();
    expect_number("totals.sessions_total", 7);
    expect_number("totals.udp_up_bytes_total", 0);
    assert_int_equal(json_array_size(at("drops")), 1);
    expect_text("drops.0.reason", "no_client");
    expect_number("drops.0.count", 5);
    expect_text("drops.0.means", drop_reason_help(DROP_NO_CLIENT));
    expect_text("drops.0.advice", drop_reason_advice(DROP_NO_CLIENT));
    expect_number("workers.1.associations", 2);
    expect_number("workers.1.sessions", 112);
    expect_number("open.sessions", 223);
    expect_number("open.associations", 3);
    expect_number("open.streams", 20);
    expect_number("open.negotiating", 200);
    assert_int_equal(json_array_size(at("resolver.servers")), 1);
    expect_text("resolver.servers.0", "[2001:db8::53]:53");
    expect_number("resolver.lookups", 8);
    expect_number("resolver.failed", 1);
    expect_number("resolver.waiting", 4);
    expect_text("limits.0.name", "sessions");
    expect_null("limits.0.limit");
    expect_number("limits.0.used", 12);
    expect_text("limits.4.name", "associations");
    expect_number("limits.4.limit", 100);
    expect_number("limits.4.used", 9);
    expect_number("limits.4.refused", 4);
    expect_null("limits.5.used");
    expect_text("limits.9.name", "failed_logins");
    expect_number("limits.9.refused", 6);
}

static void the_kernel_path_is_shown(void **state)
{
    (void)state;
    tell();
    assert_true(json_is_false(at("kernel_path.active")));
    expect_text("kernel_path.why_not", "udp.kernel_path is off");
    expect_null("kernel_path.interfaces");
    status.kernel_path =
        (struct admin_kernel_path){.view = {.interfaces = "eth0 eth1", .slots_used = 3, .slots = 16384}};
    tell();
    assert_true(json_is_true(at("kernel_path.active")));
    expect_null("kernel_path.why_not");
    expect_text("kernel_path.interfaces", "eth0 eth1");
    expect_number("kernel_path.slots_used", 3);
    expect_number("kernel_path.slots", 16384);
    assert_int_equal(json_object_size(at("kernel_path.passed")), 0);
}

/* ---- sessions ---- */

static void an_association(void **state)
{
    (void)state;
    struct session_list_row *row = add_row(0, 3, KIND_ASSOCIATION);
    struct assoc_flow *flow = &row->assoc.flow;
    row->assoc.idle_ms = 2999;
    row->assoc.filtering = CONFIG_FILTERING_ADDRESS_DEPENDENT;
    flow->relay = addr("10.0.0.1", 4000);
    flow->external[FAMILY_V4] = addr("192.0.2.1", 5000);
    flow->external[FAMILY_V6] = addr("::", 0); /* not opened yet */
    flow->up_datagrams = 1;
    flow->up_bytes = 2;
    flow->down_datagrams = 3;
    flow->down_bytes = UINT64_C(1) << 40;
    row->assoc.dropped[DROP_FILTERED] = 4;
    sketch_add(&flow->destinations, &flow->relay);
    tell();
    expect_number("sessions.0.id", 3);
    expect_text("sessions.0.kind", "udp");
    expect_text("sessions.0.client", "10.0.0.2:5000");
    expect_null("sessions.0.user");
    expect_null("sessions.0.upstream");
    expect_number("sessions.0.age_seconds", 61);
    expect_number("sessions.0.idle_seconds", 2);
    expect_text("sessions.0.relay", "10.0.0.1:4000");
    expect_null("sessions.0.client_udp");
    assert_int_equal(json_array_size(at("sessions.0.external")), 1);
    expect_text("sessions.0.external.0", "192.0.2.1:5000");
    expect_text("sessions.0.mapping", "endpoint-independent");
    expect_text("sessions.0.filtering", "address-dependent");
    expect_number("sessions.0.destinations", 1);
    expect_number("sessions.0.up_datagrams", 1);
    expect_number("sessions.0.up_bytes", 2);
    expect_number("sessions.0.down_datagrams", 3);
    expect_number("sessions.0.down_bytes", UINT64_C(1) << 40);
    assert_int_equal(json_object_size(at("sessions.0.dropped")), 1);
    expect_number("sessions.0.dropped.filtered", 4);
    assert_true(json_is_true(at("sessions.0.kernel_path.active")));
    expect_null("sessions.0.kernel_path.why_not");
    expect_number("sessions.0.kernel_path.up_datagrams", 0);
    row->assoc.kernel = (struct kernel_use){KERNEL_REASON_UPSTREAM, .up_datagrams = 12, .down_datagrams = 34};
    flow->client = addr("10.0.0.2", 6000);
    row->assoc.mappings[0] = (struct assoc_mapping){6000, {5000, 0}};
    row->assoc.mappings[1] = (struct assoc_mapping){6001, {5001, 5002}};
    row->assoc.mapping_count = 2;
    strcpy(row->assoc.exits, "far, none");
    strcpy(row->upstream, "office");
    row->kind = KIND_ASSOCIATION_OVER_TCP;
    reports[0]->merged = 0;
    tell();
    expect_text("sessions.0.kind", "udp-over-tcp");
    expect_text("sessions.0.client_udp", "10.0.0.2:6000");
    expect_text("sessions.0.other_upstreams", "far, none");
    assert_int_equal(json_array_size(at("sessions.0.client_ports")), 2);
    expect_text("sessions.0.client_ports.0.client_udp", "10.0.0.2:6000");
    assert_int_equal(json_array_size(at("sessions.0.client_ports.0.external")), 1);
    expect_text("sessions.0.client_ports.0.external.0", "192.0.2.1:5000");
    expect_text("sessions.0.client_ports.1.client_udp", "10.0.0.2:6001");
    expect_text("sessions.0.client_ports.1.external.0", "192.0.2.1:5001");
    expect_text("sessions.0.client_ports.1.external.1", "[::]:5002");
    expect_text("sessions.0.upstream", "office");
    assert_true(json_is_false(at("sessions.0.kernel_path.active")));
    expect_text("sessions.0.kernel_path.why_not", "upstream");
    expect_number("sessions.0.kernel_path.up_datagrams", 12);
    expect_number("sessions.0.kernel_path.down_datagrams", 34);
    expect_text("sessions.0.mapping", "upstream");
    expect_text("sessions.0.filtering", "upstream");
}

static void streams_and_handshakes(void **state)
{
    (void)state;
    struct session_list_row *connect = add_row(0, 1, KIND_CONNECT), *bind = add_row(1, 2, KIND_BIND);
    add_row(0, 9, KIND_NEGOTIATION);
    reports[0]->more = true;
    strcpy(connect->stream.destination, "example.com:443");
    connect->stream.remote = addr("2001:db8::1", 443);
    connect->stream.up_bytes = 5;
    connect->stream.down_bytes = 6;
    bind->stream.down_bytes = 7;
    tell();
    expect_text("sessions.0.kind", "connect");
    expect_text("sessions.0.destination", "example.com:443");
    expect_text("sessions.0.remote", "[2001:db8::1]:443");
    expect_number("sessions.0.up_bytes", 5);
    expect_number("sessions.0.down_bytes", 6);
    expect_text("sessions.1.kind", "bind");
    expect_null("sessions.1.destination");
    expect_null("sessions.1.remote");
    expect_text("sessions.2.kind", "negotiation");
    expect_number("next", 9);
}

/* Rows 50 and 51: whatever bytes a client chose, the answer is JSON, and says what they were. */
static void rows_50_and_51_any_bytes_are_text(void **state)
{
    (void)state;
    static const char *const names[][2] = {
        {"bob", "bob"},
        {"\"}],\"state\":\"owned", "\"}],\"state\":\"owned"},
        {"<script>alert(1)</script>", "<script>alert(1)</script>"},
        {"a\nb\r\t\x1b[31m\x7f", "a\\x0ab\\x0d\\x09\\x1b[31m\\x7f"},
        {"\xff\xfe \xc3( \xed\xa0\x80", "\\xff\\xfe \\xc3( \\xed\\xa0\\x80"},
        {"J\xc3\xbcrgen \xf0\x9f\x8e\xae", "J\xc3\xbcrgen \xf0\x9f\x8e\xae"},
        {"back\\slash", "back\\x5cslash"},
    };
    struct session_list_row *row = add_row(0, 1, KIND_CONNECT);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        strcpy(row->user, names[i][0]);
        strcpy(row->stream.destination, names[i][0]);
        reports[0]->merged = 0;
        tell();
        expect_text("sessions.0.user", names[i][1]);
        expect_text("sessions.0.destination", names[i][1]);
        expect_text("state", "running");
    }
    memset(row->user, 0xff, sizeof(row->user) - 1); /* the longest name, each byte escaped */
    memset(row->upstream, 1, sizeof(row->upstream) - 1);
    reports[0]->merged = 0;
    tell();
    assert_int_equal(json_string_length(at("sessions.0.user")), 4 * (sizeof(row->user) - 1));
}

static void users_are_shown(void **state)
{
    (void)state;
    struct config_user list[] = {
        {.name = (char[]){"alice"}, .expires = 20818, .volume = 1000, .sessions = 10, .terms.bandwidth = 100},
        {.name = (char[]){"bob"}, .expires = 20788},
    };
    struct users of_default = snapshot->users;
    snapshot->config->limits.addresses_per_user = 4;
    assert_true(users_init(&snapshot->users, list, 2));
    tell();
    expect_number("users.total", 0);
    users.total = 7;
    users.count = 3;
    users.list[0] = (struct status_user){
        .used = {.user = "alice", .addresses = 3, .volume = 700, .bytes = {100, 900}, .rate = {1, 79}},
        .sessions = 7,
        .associations = 2};
    users.list[1] = (struct status_user){.used = {.user = "bob"}};
    users.list[2] = (struct status_user){.used = {.user = "gone", .addresses = 4}, .sessions = 9};
    tell();
    expect_number("users.total", 7);
    expect_text("users.list.0.name", "alice");
    expect_number("users.list.0.sessions", 7);
    expect_number("users.list.0.associations", 2);
    expect_number("users.list.0.addresses", 3);
    expect_number("users.list.0.up_bytes", 100);
    expect_number("users.list.0.down_bytes", 900);
    expect_number("users.list.0.up_bytes_per_second", 1);
    expect_number("users.list.0.down_bytes_per_second", 79);
    expect_number("users.list.0.volume_bytes", 700);
    expect_number("users.list.0.volume_limit", 1000);
    expect_text("users.list.0.month", "2026-11");
    expect_text("users.list.0.expires", "2026-12-31");
    expect_number("users.list.0.limits.sessions", 10);
    expect_null("users.list.0.limits.associations");
    expect_number("users.list.0.limits.addresses", 4);
    expect_number("users.list.0.limits.bandwidth", 100);
    expect_null("users.list.0.near"); /* 79 percent of the bandwidth */
    expect_text("users.list.1.near", "expires");
    expect_null("users.list.1.volume_limit");
    expect_null("users.list.2.expires");
    expect_text("users.list.2.near", "addresses");
    users.list[0].used.rate.down = 80;
    tell();
    expect_text("users.list.0.near", "bandwidth");
    users.list[0].used.volume = 900;
    tell();
    expect_text("users.list.0.near", "volume");
    users.list[0].sessions = 10;
    tell();
    expect_text("users.list.0.near", "sessions");
    users_deinit(&snapshot->users);
    snapshot->users = of_default;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(what_the_default_configuration_looks_like),
        TEST(the_configuration_is_shown),
        TEST(the_counters_are_shown),
        TEST(the_kernel_path_is_shown),
        TEST(an_association),
        TEST(streams_and_handshakes),
        TEST(users_are_shown),
        TEST(rows_50_and_51_any_bytes_are_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
