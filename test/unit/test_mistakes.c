/* Errors that people make in YAML files of proxies, and the form to paste that they are shown. */
#include "configuration.h"

struct mistake {
    const char *text, *expected;
};

static void expect_mistakes(const struct mistake *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bad(rows[i].text, rows[i].expected);
}

#define NOT_A_MAPPING "found a single value, expected a mapping (key: value)"
#define NOT_A_LIST    "expected a list; [] is an empty one"
#define KEY_FORM      "a colon and a space belong after a key: write "

static void a_key_without_its_colon_shows_the_form(void **state)
{
    (void)state;
    static const struct mistake rows[] = {
        {"listen:\n  - address 127.0.0.1\n",
         "c.yaml:2:5: listen[0]: " NOT_A_MAPPING "; " KEY_FORM "address: 127.0.0.1\n"},
        {"listen:\n  - address:127.0.0.1\n",
         "c.yaml:2:5: listen[0]: " NOT_A_MAPPING "; " KEY_FORM "address: 127.0.0.1\n"},
        {"udp:\n  ports:30000-30999\n", "c.yaml:2:3: udp: " NOT_A_MAPPING "; " KEY_FORM "ports: 30000-30999\n"},
        {"workers = 2\n", "c.yaml:1:1: " NOT_A_MAPPING "; " KEY_FORM "workers: 2\n"},
        {"users:\n  - password hunter2\n", "c.yaml:2:5: users[0]: " NOT_A_MAPPING "; " KEY_FORM "password: ...\n"},
        {"listen:\n  - address 127.0.0.1\n    port: 1080\n",
         "c.yaml:3:9: not valid YAML: mapping values are not allowed in this context; line 2: a colon and a space "
         "belong between key and value\n"},
        {"listen:\n  - port: 1\n    auth:none\n",
         "c.yaml:4:1: not valid YAML: could not find expected ':' (while scanning a simple key, line 3); line 3: a "
         "colon and a space belong between key and value\n"},
    };
    expect_mistakes(rows, COUNT(rows));
}

static void a_value_for_a_list_shows_the_list(void **state)
{
    (void)state;
    static const struct mistake rows[] = {
        {"listen: 127.0.0.1:1080\n", "c.yaml:1:9: listen: found a single value, " NOT_A_LIST
                                     "; write listen: [{address: 127.0.0.1, port: 1080}]\n"},
        {"listen: 1080\n", "c.yaml:1:9: listen: found a single value, " NOT_A_LIST
                           "; write listen: [{address: 127.0.0.1, port: 1080}]\n"},
        {"listen: :1081\n",
         "c.yaml:1:9: listen: found a single value, " NOT_A_LIST "; write listen: [{address: 0.0.0.0, port: 1081}]\n"},
        {"listen: [\"socks5://[::1]:1081\"]\n",
         "c.yaml:1:10: listen[0]: " NOT_A_MAPPING "; write - {address: \"::1\", port: 1081}\n"},
        {"listen:\n",
         "c.yaml:1:8: listen: found nothing, " NOT_A_LIST "; write listen: [{address: 127.0.0.1, port: 1080}]\n"},
        {"listen: {address: 127.0.0.1}\n", "c.yaml:1:9: listen: found a mapping (key: value), " NOT_A_LIST
                                           "; put \"- \" (a dash and a space) before \"address\"\n"},
        {"listen:\n  -address: 127.0.0.1\n", "c.yaml:2:3: listen: found a mapping (key: value), " NOT_A_LIST
                                             "; put \"- \" (a dash and a space) before \"address\"\n"},
        {"users: {alice: hunter2}\n", "c.yaml:1:8: users: found a mapping (key: value), " NOT_A_LIST
                                      "; write users: [{name: alice, password: \"...\"}]\n"},
        {"users: [\"alice:hunter2\"]\n",
         "c.yaml:1:9: users[0]: " NOT_A_MAPPING "; write - {name: alice, password: \"...\"}\n"},
        {"rules: [deny all]\n", "c.yaml:1:9: rules[0]: " NOT_A_MAPPING "; write - {action: allow}\n"},
        {"rules: [{deny: any, action: deny}]\n",
         "c.yaml:1:10: rules[0]: found the unknown key \"deny\", expected \"action: deny\"\n"},
        {"rules: [{action: deny, to: 10.0.0.0/8}]\n",
         "c.yaml:1:28: rules[0].to: found a single value, " NOT_A_LIST "; write to: [10.0.0.0/8]\n"},
        {"rules: [{action: deny, ports: \"25, 465\"}]\n",
         "c.yaml:1:31: rules[0].ports: found a single value, " NOT_A_LIST "; write ports: [25, 465]\n"},
        {"udp: {ports: [30000, 31000]}\n", "c.yaml:1:14: udp.ports: found a list, expected random, or a port from 1 to "
                                           "65535, or a range such as 6881-6999; write ports: 30000-31000\n"},
        {"outbound: {address_v4: [192.0.2.1, 192.0.2.2]}\n",
         "c.yaml:1:24: outbound.address_v4: found a list, expected auto, or listener, or a network such as "
         "192.0.2.0/24, or one or more IPv4 addresses "
         "with spaces "
         "between them, such as 192.0.2.1 192.0.2.2; write address_v4: 192.0.2.1 192.0.2.2\n"},
        {"log: debug\n", "c.yaml:1:6: log: " NOT_A_MAPPING "; write log: {level: debug}\n"},
        {"admin: 127.0.0.1:1081\n",
         "c.yaml:1:8: admin: " NOT_A_MAPPING "; write admin: {address: 127.0.0.1, port: 1081}\n"},
        {"admin: true\n", "c.yaml:1:8: admin: " NOT_A_MAPPING "\n"},
        {"dns: [9.9.9.9]\n", "c.yaml:1:6: dns: found a list, expected a mapping (key: value); write dns: {servers: "
                             "[\"9.9.9.9:53\"]}\n"},
        {"admin: 1081\n", "c.yaml:1:8: admin: " NOT_A_MAPPING "; write admin: {port: 1081}\n"},
        {"udp: [{enabled: true}]\n",
         "c.yaml:1:6: udp: found a list, expected a mapping (key: value); remove the dash before its keys\n"},
    };
    expect_mistakes(rows, COUNT(rows));
}

static void a_key_in_the_wrong_place_is_told_where_it_belongs(void **state)
{
    (void)state;
    static const struct mistake rows[] = {
        {"listen:\n  - address: 127.0.0.1\nport: 1080\n",
         "c.yaml:3:1: found the unknown key \"port\", expected inside listen (above); indent it like the keys "
         "there\n"},
        {"udp:\nenabled: true\n",
         "c.yaml:1:5: udp: found nothing, expected a mapping (key: value); indent its keys below it, or remove this "
         "line\n"
         "c.yaml:2:1: found the unknown key \"enabled\", expected inside udp (above); indent it like the keys "
         "there\n"},
        {"udp:\n  enabled: true\n  log: {}\n",
         "c.yaml:3:3: udp: found the unknown key \"log\", expected at the top level; begin it in column 1\n"},
        {"udp: {advertise: 192.0.2.1}\n", "c.yaml:1:7: udp: found the unknown key \"advertise\", expected "
                                          "\"advertise_v4\"\n"},
        {"limits: {destinations: false}\n",
         "c.yaml:1:10: limits: found the unknown key \"destinations\", expected inside log\n"},
        {"run: {filtering: endpoint-independent}\n", "c.yaml:1:7: run: found the unknown key \"filtering\", expected "
                                                     "one of user, group, sandbox, pid_file, handover\n"},
        {"users: [{username: alice}]\n",
         "c.yaml:1:10: users[0]: found the unknown key \"username\", expected \"name\"\n"
         "c.yaml:1:9: users[0]: found no name, which is required: the name to log in with\n"
         "c.yaml:1:9: users[0]: found no password, which is required: hash of the password; conesocks hash-password "
         "makes one\n"},
        {"udp: {enabled:no}\n", "c.yaml:1:7: udp: found the unknown key \"enabled:no\", expected \"enabled\"; a space "
                                "belongs after the colon\n"},
        {"rules:\n  - action: deny\n    to:\n    - private\n      ports: [25]\n",
         "c.yaml:5:12: not valid YAML: mapping values are not allowed in this context; line 5 begins in the column of "
         "a "
         "list's element, expected that of the other keys\n"},
        {"[listen]\nport = 1080\n",
         "c.yaml:2:1: not valid YAML: did not find expected <document start>; expected lines "
         "such as \"workers: 0\"\n"},
        {"listen:\n  - address: 127.0.0.1\n   port: 1080\n",
         "c.yaml:3:4: not valid YAML: did not find expected '-' indicator (while parsing a block collection, line 2); "
         "line 3 begins in column 4, but the key in line 2 in column 5; keys that belong together begin in the same "
         "column\n"},
        {"listen:\n  - address: 127.0.0.1\n      port: 1080\n",
         "c.yaml:3:11: not valid YAML: mapping values are not allowed in this context; line 3 begins in column 7, but "
         "the key in line 2 in column 5; keys that belong together begin in the same column\n"},
        {"  workers: 2\nlog: {}\n",
         "c.yaml:2:1: not valid YAML: did not find expected <document start>; line 2 begins in column 1, but line 1 in "
         "column 3; keys that belong together begin in the same column\n"},
        {"listen:\n  -port: 1\n   open: no\n", "c.yaml:3:8: not valid YAML: mapping values are not allowed in this "
                                               "context; line 2: a space belongs after the dash\n"},
    };
    expect_mistakes(rows, COUNT(rows));
}

static void punctuation_gets_a_hint(void **state)
{
    (void)state;
    static const struct mistake rows[] = {
        {"listen: [{port: 1 open: no}]\n",
         "c.yaml:1:23: not valid YAML: did not find expected ',' or '}' (while parsing a flow mapping, line 1); a "
         "comma between two keys or the } at the end is missing\n"},
        {"listen:\n  - {port: 1},\n", "c.yaml:2:14: not valid YAML: did not find expected '-' indicator (while parsing "
                                      "a block collection, line 2); remove the comma\n"},
        {"workers: 2; log: {}\n", "c.yaml:1:16: not valid YAML: mapping values are not allowed in this context; write "
                                  "one key in a line, and a value with a colon in quotes\n"},
        {"workers:2\nudp: {enabled: no}\n", "c.yaml:2:4: not valid YAML: mapping values are not allowed in this "
                                            "context; line 1: a colon and a space belong "
                                            "between key and value\n"},
        {"// mine\nworkers: 2\n",
         "c.yaml:2:8: not valid YAML: mapping values are not allowed in this context; line 1: a "
         "comment begins with #\n"},
        {"listen: - port: 1\n", "c.yaml:1:9: not valid YAML: block sequence entries are not allowed in this context; "
                                "begin a line of its own with the dash\n"},
        {"users: [{name: ${NAME}}]\n",
         "c.yaml:1:17: not valid YAML: did not find expected ',' or '}' (while parsing a flow mapping, line 1); "
         "variables are not replaced in this file\n"},
        {"users: [{name: @alice}]\n",
         "c.yaml:1:16: not valid YAML: found character that cannot start any token (while scanning for the next "
         "token, line 1); a value that begins with @ belongs in quotes\n"},
        {"rules: [{action: deny, to: [*.example]}]\n",
         "c.yaml:1:30: not valid YAML: did not find expected alphabetic or numeric character (while scanning an alias, "
         "line 1); a value that begins with * or & belongs in quotes\n"},
        {"log: {file: \"C:\\x\"}\n",
         "c.yaml:1:18: not valid YAML: did not find expected hexdecimal number (while parsing a quoted scalar, line "
         "1)\n"},
        {"log: {file: \"/a\\d\"}\n",
         "c.yaml:1:16: not valid YAML: found unknown escape character (while parsing a quoted scalar, line 1); in "
         "double quotes a backslash has a meaning; use single quotes\n"},
    };
    expect_mistakes(rows, COUNT(rows));
}

/* The end of the error about one value. */
static void expect_suggestion(const char *text, const char *expected)
{
    char *errors, *warnings, line[128];
    assert_null(parse_bytes(text, strlen(text), &errors, &warnings));
    snprintf(line, sizeof(line), "%s\n", expected);
    if (strlen(errors) < strlen(line) || strcmp(errors + strlen(errors) - strlen(line), line) != 0)
        fail_msg("%s: \"%s\" expected, not %s", text, expected, errors);
    free(errors);
    free(warnings);
}

static void a_wrong_value_shows_the_right_spelling(void **state)
{
    (void)state;
    static const struct mistake rows[] = {
        {"udp: {ports: 30000:31000}", "; write 30000-31000"},
        {"udp: {ports: 30000\u201331000}", "; write 30000-31000"},
        {"udp: {ports: \"1080,1081\"}", "; only one port or one range fits here"},
        {"udp: {ports: 31000-30000}", "; the first port is higher than the last"},
        {"udp: {ports: auto}", "; write random"},
        {"udp: {idle: 5 min}", "; write 5m"},
        {"udp: {idle: 300}", "; the unit is missing: ms, s, m or h"},
        {"udp: {idle: 1h30m}", "; use one number with one unit: ms, s, m or h"},
        {"udp: {idle: 0}", "; write off"},
        {"udp: {enabled: 1}", "; write true"},
        {"udp: {filtering: full-cone}", "; write endpoint-independent"},
        {"udp: {advertise_v4: \"192.0.2.1:1080\"}", "; write 192.0.2.1"},
        {"limits: {memory: 512M}", "; write 512MiB"},
        {"limits: {memory: 2 GB}", "; write 2GiB"},
        {"limits: {bandwidth_per_user: 100M}", "; write 100Mbit/s"},
        {"limits: {bandwidth_per_user: 10MB/s}", "; write 10MiB/s"},
        {"limits: {bandwidth_per_user: 1.5Mbit/s}", "; use a whole number, such as 1500kbit/s"},
        {"limits: {datagrams_per_user: 500}", "; write 500/s"},
        {"limits: {sessions: 0}", "; write unlimited"},
        {"listen: [{address: \"[::1]\"}]", "; write ::1"},
        {"listen: [{address: \u2018127.0.0.1\u2019}]", "; write 127.0.0.1"},
        {"listen: [{address: \"0.0.0.0:1080\"}]", "; the port has a key of its own; write 0.0.0.0"},
        {"listen: [{address: localhost}]", "; write 127.0.0.1"},
        {"listen: [{address: \"*\"}]", "; write 0.0.0.0"},
        {"run: {sandbox: yes}", "; write on"},
        {"rules: [{action: alow}]", "; write allow"},
        {"udp: {filtering: adress-dependent}", "; write address-dependent"},
        {"rules: [{action: allow, command: [conect]}]", "; write connect"},
        {"log: {level: WARN}", "; write warning"},
        {"users_file: ~", "; write none"},
        {"dns: {servers: [\"https://dns.example/\"]}",
         "; name servers are asked by plain DNS; TLS and HTTPS are not supported"},
        {"users: [{name: a, password: " HASH ", expires: 31.12.2026}]", "; write 2026-12-31"},
        {"users: [{name: a, password: " HASH ", volume: 100 GiB}]", "; write 100GiB"},
        {"outbound: {address_v4: \"192.0.2.1, 192.0.2.2\"}", "; write 192.0.2.1 192.0.2.2"},
        {"rules: [{action: reject}]", "; write deny"},
        {"rules: [{action: deny, to: [all]}]", "; write any"},
        {"rules: [{action: deny, to: [192.168.1.5/24]}]", "; write 192.168.1.0/24"},
        {"rules: [{action: deny, from: [10.0.0.0/255.0.0.0]}]", "; write 10.0.0.0/8"},
        {"rules: [{action: deny, from: [10.0.0.0/255.0.255.0]}]", "; the prefix has 0 to 32 bits"},
        {"rules: [{action: deny, from: [\"2001:db8::1/32\"]}]", "; write 2001:db8::/32"},
        {"rules: [{action: deny, to: [10.0.0.1-10.0.0.9]}]", "; write a range of addresses as networks"},
        {"rules: [{action: deny, command: [UDP-associate]}]", "expected connect, bind or udp"},
        {"dns: {servers: [\"192.0.2.1:0\"]}", "; the port is a number from 1 to 65535"},
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        expect_suggestion(rows[i].text, rows[i].expected);
}

static void ranges_that_share_ports_are_warned_about(void **state)
{
    (void)state;
    config_free(good_with("udp: {ports: 30000-31000, external_ports: 31000-32000}",
                          "c.yaml:1:43: warning: udp.external_ports: shares ports 31000 to 31000 with udp.ports, so "
                          "fewer associations fit; separate ranges such as 30000-30999 and 31000-31999 are clearer\n"));
    config_free(good("udp: {ports: 30000-31000, external_ports: 30000-31000}"));
    config_free(good("udp: {ports: 30000-30999, external_ports: 31000-31999}"));
    config_free(good("udp: {ports: 30000-30999}"));
    config_free(good("udp: {ports: 2000, external_ports: 1500-3000}")); /* the shared port is left out */
}

/* It takes a time that grows with the file, not with its square. */
static void an_error_below_a_million_empty_lines(void **state)
{
    (void)state;
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    fprintf(out, "- address 127.0.0.1");
    for (int i = 0; i < 1000000; i++)
        fputc('\n', out);
    fprintf(out, "    port: 1080\n");
    fclose(out);
    bad(text, "c.yaml:1000001:9: not valid YAML: mapping values are not allowed in this context; line 1: a colon and a "
              "space belong between key and value\n");
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_key_without_its_colon_shows_the_form),
        cmocka_unit_test(a_value_for_a_list_shows_the_list),
        cmocka_unit_test(a_key_in_the_wrong_place_is_told_where_it_belongs),
        cmocka_unit_test(punctuation_gets_a_hint),
        cmocka_unit_test(an_error_below_a_million_empty_lines),
        cmocka_unit_test(a_wrong_value_shows_the_right_spelling),
        cmocka_unit_test(ranges_that_share_ports_are_warned_about),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
