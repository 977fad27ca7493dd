/* What is concluded from what servers and strangers have seen: a row for each situation. */
#include "check/nat_evidence.h"

#include <string.h>

#include "base/util.h"
#include "test.h"

#define ARRIVED NAT_ARRIVED
#define SILENT  NAT_SILENT

/* "A1" sees "x1": an address is a letter, a port a digit. */
static union netaddr place(const char *text)
{
    uint8_t host[4] = {203, 0, 113, (uint8_t)text[0]};
    return netaddr_from_bytes(host, sizeof(host), (uint16_t)(1000 + text[1]));
}

/* "A1x1 B1x1": each view is a place and what it sees. */
static void set_views(struct nat_evidence *e, const char *text)
{
    for (; *text; text += text[4] ? 5 : 4)
        e->views[e->view_count++] = (struct nat_view){.from = place(text), .mapped = place(text + 2)};
}

static void mapping(void **state)
{
    static const struct {
        const char *views;
        enum nat_behaviour mapping;
        const char *odd; /* the place that sees something else; NULL: none */
    } rows[] = {
        {"", NAT_UNKNOWN, NULL},
        {"A1x1", NAT_UNKNOWN, NULL},
        {"A1x1 A2x1", NAT_UNKNOWN, NULL}, /* one address: nothing is known of others */
        {"A1x1 A2x2", NAT_ADDRESS_AND_PORT_DEPENDENT, NULL},
        {"A1x1 B1x1", NAT_ENDPOINT_INDEPENDENT, NULL},
        {"A1x1 B1x2", NAT_DEPENDENT, NULL},
        {"A1x1 B1y1", NAT_DEPENDENT, NULL}, /* the same port of another address */
        {"A1x1 A2x1 B1x2", NAT_ADDRESS_DEPENDENT, NULL},
        {"A1x1 A2x3 B1x2", NAT_ADDRESS_AND_PORT_DEPENDENT, NULL},
        {"A1x1 B1x1 C1x1", NAT_ENDPOINT_INDEPENDENT, NULL},
        {"A1x1 B1x2 C1x3", NAT_DEPENDENT, NULL},
        {"A1x1 B1x1 C1x2", NAT_ENDPOINT_INDEPENDENT, "C1"},
        {"A1x2 B1x1 C1x1", NAT_ENDPOINT_INDEPENDENT, "A1"},
        {"A1x1 B1x1 C1x2 D1x2", NAT_DEPENDENT, NULL}, /* two ways out */
        {"A1x1 B1x1 C1x2 D1x3", NAT_DEPENDENT, NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct nat_evidence e = {.view_count = 0};
        set_views(&e, rows[i].views);
        const struct nat_conclusion c = nat_conclude(&e);
        union netaddr odd = rows[i].odd ? place(rows[i].odd) : (union netaddr){0};
        if (c.verdict.mapping != rows[i].mapping || !c.odd != !rows[i].odd ||
            (c.odd && !netaddr_equal(&c.odd->from, &odd)))
            fail_msg("%s: %s", rows[i].views, nat_behaviour_name(c.verdict.mapping));
    }
}

/* "sA-": silent at first, arrived after another port, not asked after the port. */
static struct nat_stranger stranger(const char *text)
{
    enum nat_seen seen[3];
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        seen[i] = text[i] == 'A' ? ARRIVED : text[i] == 's' ? SILENT : NAT_NOT_ASKED;
    return (struct nat_stranger){.at_first = seen[0], .after_address = seen[1], .after_port = seen[2]};
}

/* The first letters of family, answered, changes, near, one socket, hears. */
static struct nat_own_way own_way(const char *text)
{
    return (struct nat_own_way){.has_family = strchr(text, 'f'),
                                .answered = strchr(text, 'a'),
                                .changes = strchr(text, 'c'),
                                .is_near = strchr(text, 'n'),
                                .one_socket = strchr(text, 'o'),
                                .hears = strchr(text, 'h')};
}

/* All with an endpoint-independent mapping. */
static void filtering(void **state)
{
    static const struct {
        const char *situation, *here, *client, *way;
        enum nat_behaviour filtering;
        enum nat_basis basis;
        enum nat_doubt doubt;
    } rows[] = {
        {"open", "A--", "---", "fa", NAT_ENDPOINT_INDEPENDENT, NAT_BASIS_HERE, 0},
        {"filters addresses", "sA-", "---", "fa", NAT_ADDRESS_DEPENDENT, NAT_BASIS_HERE, 0},
        {"filters ports", "ssA", "---", "fah", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_BASIS_HERE, 0},
        {"a NAT here, and it filters addresses", "sA-", "---", "fac", NAT_ADDRESS_DEPENDENT, NAT_BASIS_HERE, 0},
        {"a NAT here that changes ports", "sss", "A--", "fac", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_OWN_NAT},
        {"the same, and the proxy filters", "sss", "s-A", "fac", NAT_DEPENDENT, NAT_BASIS_CLIENT, 0},
        {"no UDP here", "s--", "s-s", "f", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_NO_WAY},
        {"no UDP here but to the proxy", "A--", "---", "f", NAT_ENDPOINT_INDEPENDENT, NAT_BASIS_HERE, 0},
        {"no IPv6 here", "---", "A--", "", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_NO_FAMILY},
        {"near, with hairpin", "A--", "A--", "fan", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_NEAR_OPEN},
        {"near, without hairpin", "sss", "A--", "fan", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_NEAR_SILENT},
        {"near, and it filters", "ssA", "---", "fan", NAT_ADDRESS_AND_PORT_DEPENDENT, NAT_BASIS_HERE, 0},
        {"one socket for both sides", "sss", "A--", "fao", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_ONE_SOCKET},
        {"a firewall before the port", "sss", "---", "fa", NAT_UNKNOWN, NAT_BASIS_NONE, NAT_DOUBT_LOST},
        {"the opening was not asked for", "s-A", "---", "fa", NAT_DEPENDENT, NAT_BASIS_HERE, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct nat_evidence e = {
            .here = stranger(rows[i].here), .client = stranger(rows[i].client), .way = own_way(rows[i].way)};
        set_views(&e, "A1x1 B1x1");
        const struct nat_conclusion c = nat_conclude(&e);
        bool unknown = rows[i].filtering == NAT_UNKNOWN;
        if (c.verdict.filtering != rows[i].filtering || c.basis != rows[i].basis || c.doubt != rows[i].doubt ||
            (c.verdict.type == NAT_TYPE_UNKNOWN) != unknown)
            fail_msg("%s: %s, basis %d, doubt %d", rows[i].situation, nat_behaviour_name(c.verdict.filtering), c.basis,
                     c.doubt);
    }
}

/* A server's second address is on the internet: it decides. */
static void a_second_address_decides(void **state)
{
    struct nat_evidence e = {.here = {.at_first = ARRIVED}, .way = {.has_family = true, .answered = true}};
    (void)state;
    set_views(&e, "A1x1 B1x1");
    e.server = (struct nat_observations){
        .from_other_both = SILENT, .from_other_port = SILENT, .proof_other_both = ARRIVED, .proof_other_port = ARRIVED};
    struct nat_conclusion c = nat_conclude(&e);
    assert_int_equal(c.verdict.filtering, NAT_ADDRESS_AND_PORT_DEPENDENT);
    assert_int_equal(c.basis, NAT_BASIS_SERVER);
    e.server = (struct nat_observations){.from_other_both = ARRIVED};
    e.way.is_near = true;
    c = nat_conclude(&e);
    assert_int_equal(c.verdict.type, NAT_OPEN);
    assert_int_equal(c.basis, NAT_BASIS_SERVER);
}

/* Nobody who is near can show that a proxy is open, and what stays silent never shows that it is not. */
static void nothing_is_guessed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 729 * 64; i++) {
        unsigned n = i / 64;
        struct nat_evidence e = {
            .here = {(enum nat_seen)(n % 3), (enum nat_seen)(n / 3 % 3), (enum nat_seen)(n / 9 % 3)},
            .client = {(enum nat_seen)(n / 27 % 3), (enum nat_seen)(n / 81 % 3), (enum nat_seen)(n / 243 % 3)},
            .way = {i & 1, i & 2, i & 4, i & 8, i & 16, i & 32},
        };
        set_views(&e, "A1x1 B1x1");
        const struct nat_conclusion c = nat_conclude(&e);
        if (c.verdict.type == NAT_OPEN)
            assert_true(e.here.at_first == ARRIVED && !e.way.is_near);
        if (c.verdict.type == NAT_MODERATE)
            assert_true(
                (e.here.at_first == SILENT && (e.here.after_address == ARRIVED || e.here.after_port == ARRIVED)) ||
                (e.client.at_first == SILENT && (e.client.after_address == ARRIVED || e.client.after_port == ARRIVED)));
        assert_true((c.verdict.type == NAT_TYPE_UNKNOWN) == (c.doubt != NAT_DOUBT_NONE));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mapping),
        cmocka_unit_test(filtering),
        cmocka_unit_test(a_second_address_decides),
        cmocka_unit_test(nothing_is_guessed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
