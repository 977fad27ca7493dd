#include "test.h"

#include <arpa/nameser.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/resolver_message.h"

#define NUMBER 0x1234

/* A message that is written piece by piece; `counts` are the header's. */
static uint8_t packet[70000];
static size_t len;

static void put16(unsigned value)
{
    packet[len++] = (uint8_t)(value >> 8);
    packet[len++] = (uint8_t)value;
}

static void put32(uint32_t value)
{
    put16(value >> 16);
    put16(value & 0xffff);
}

static void put_name(const char *name)
{
    int used = dn_comp(name, packet + len, 256, NULL, NULL);
    assert_true(used > 0);
    len += (size_t)used;
}

static void begin(unsigned flags, const char *name, ns_type type)
{
    len = 0;
    put16(NUMBER);
    put16(flags);
    put32(0x00010000);
    put32(0);
    put_name(name);
    put16(type);
    put16(ns_c_in);
}

static void count_one(size_t section)
{
    packet[5 + 2 * section]++;
}

static void put_record(size_t section, const char *owner, ns_type type, uint32_t ttl, size_t data_len)
{
    count_one(section);
    put_name(owner);
    put16(type);
    put16(ns_c_in);
    put32(ttl);
    put16((unsigned)data_len);
}

static void put_a(const char *owner, uint32_t ttl, uint8_t last)
{
    put_record(1, owner, ns_t_a, ttl, 4);
    put32(0xc0000200u + last);
}

static void put_cname(const char *owner, uint32_t ttl, const char *target)
{
    uint8_t room[256];
    put_record(1, owner, ns_t_cname, ttl, (size_t)dn_comp(target, room, sizeof(room), NULL, NULL));
    put_name(target);
}

static void put_soa(uint32_t ttl, uint32_t minimum)
{
    put_record(2, "", ns_t_soa, ttl, 22);
    put16(0); /* no names */
    for (int i = 0; i < 4; i++)
        put32(0);
    put32(minimum);
}

static struct resolver_answer answer;

/* From memory of just that size, so that a sanitizer sees what is read beyond it. */
static bool take(const char *name, int family)
{
    uint8_t *copy = malloc(len);
    memcpy(copy, packet, len);
    bool taken = resolver_answer_read(&answer, copy, len, NUMBER, name, family);
    free(copy);
    return taken;
}

static void expect(enum resolver_status status, size_t count, uint32_t ttl)
{
    assert_true(take("www.test", AF_INET));
    assert_int_equal(answer.status, status);
    assert_int_equal(answer.count, count);
    if (status != RESOLVER_FAILED)
        assert_int_equal(answer.ttl_s, ttl);
}

static void expect_last_byte(size_t index, uint8_t last)
{
    size_t host_len;
    assert_int_equal(netaddr_host(&answer.addresses[index], &host_len)[3], last);
}

static void writes_what_libc_writes(void **state)
{
    (void)state;
    uint8_t ours[RESOLVER_QUESTION_MAX], theirs[512];
    const struct {
        const char *name;
        int family, type;
    } cases[] = {{"www.test", AF_INET, ns_t_a}, {"a", AF_INET6, ns_t_aaaa}};
    for (size_t i = 0; i < 2; i++) {
        size_t written = resolver_question_write(ours, NUMBER, cases[i].name, cases[i].family);
        int expected =
            res_mkquery(ns_o_query, cases[i].name, ns_c_in, cases[i].type, NULL, 0, NULL, theirs, sizeof(theirs));
        assert_int_equal(written, expected);
        assert_memory_equal(ours + 2, theirs + 2, written - 2);
        assert_int_equal(ours[0] << 8 | ours[1], NUMBER);
    }
    char longest[NAME_TEXT_MAX + 1];
    for (size_t i = 0; i < NAME_TEXT_MAX; i++)
        longest[i] = (i + 1) % 64 ? 'a' : '.';
    longest[NAME_TEXT_MAX] = '\0';
    assert_int_equal(resolver_question_write(ours, NUMBER, longest, AF_INET), RESOLVER_QUESTION_MAX - 1);
    assert_int_equal(resolver_question_write(ours, NUMBER, "a..b", AF_INET), 0);
}

static void reads_addresses(void **state)
{
    (void)state;
    begin(0x8180, "WWW.test", ns_t_a);
    put_a("www.test", 300, 1);
    put_a("wWw.teST", 200, 2);
    put_a("other.test", 10, 3); /* not asked for */
    expect(RESOLVER_FOUND, 2, 200);
    expect_last_byte(0, 1);
    expect_last_byte(1, 2);

    begin(0x8180, "www.test", ns_t_a);
    for (uint8_t i = 0; i < 40; i++)
        put_a("www.test", 0xffffffff, i); /* negative, so none */
    expect(RESOLVER_FOUND, RESOLVER_ADDRESSES_MAX, 0);

    begin(0x8180, "www.test", ns_t_a);
    put_record(1, "www.test", ns_t_a, 300, 3); /* three bytes are no address */
    put16(0), packet[len++] = 0;
    expect(RESOLVER_NOT_FOUND, 0, 5);
}

static void follows_aliases_in_any_order(void **state)
{
    (void)state;
    begin(0x8180, "www.test", ns_t_a);
    put_a("end.test", 300, 1);
    put_cname("middle.test", 100, "end.test");
    put_cname("www.test", 200, "middle.test");
    expect(RESOLVER_FOUND, 1, 100);
    assert_string_equal(answer.alias, "");

    begin(0x8180, "www.test", ns_t_a); /* the server leaves the rest to us */
    put_cname("www.test", 200, "elsewhere.test");
    expect(RESOLVER_NOT_FOUND, 0, 200);
    assert_string_equal(answer.alias, "elsewhere.test");
    put_soa(60, 60); /* or says that there is nothing */
    expect(RESOLVER_NOT_FOUND, 0, 60);
    assert_string_equal(answer.alias, "");

    begin(0x8180, "www.test", ns_t_a);
    put_cname("www.test", 200, "loop.test");
    put_cname("loop.test", 200, "www.test");
    expect(RESOLVER_FAILED, 0, 0);
}

static void reads_what_does_not_exist(void **state)
{
    (void)state;
    begin(0x8183, "www.test", ns_t_a);
    put_soa(3600, 30);
    expect(RESOLVER_NOT_FOUND, 0, 30);
    begin(0x8183, "www.test", ns_t_a);
    put_soa(3600, 3600);
    expect(RESOLVER_NOT_FOUND, 0, 60);
    begin(0x8183, "www.test", ns_t_a);
    expect(RESOLVER_NOT_FOUND, 0, 5);
    begin(0x8180, "www.test", ns_t_a);
    expect(RESOLVER_NOT_FOUND, 0, 5);
    begin(0x8100, "www.test", ns_t_a); /* a server that resolves for nobody */
    expect(RESOLVER_FAILED, 0, 0);
    for (unsigned rcode = 1; rcode < 16; rcode++) {
        begin(0x8180 | rcode, "www.test", ns_t_a);
        if (rcode != ns_r_nxdomain)
            expect(RESOLVER_FAILED, 0, 0);
    }
}

static void row67_reads_truncated_answers(void **state)
{
    (void)state;
    begin(0x8380, "www.test", ns_t_a);
    expect(RESOLVER_FAILED, 0, 0);
    assert_true(answer.truncated);
    put_a("www.test", 300, 1);
    expect(RESOLVER_FOUND, 1, 300);
    assert_true(answer.truncated);
    len--; /* in the middle of a record */
    expect(RESOLVER_FAILED, 0, 0);
    assert_true(answer.truncated);
}

/* Row 37: what does not answer the question. */
static void takes_no_other_answer(void **state)
{
    (void)state;
    begin(0x8180, "www.test", ns_t_a);
    put_a("www.test", 300, 1);
    assert_true(take("www.test", AF_INET));
    assert_false(take("www.test", AF_INET6));
    assert_false(take("ww.test", AF_INET));
    assert_false(take("www.tes", AF_INET));
    packet[0] ^= 1;
    assert_false(take("www.test", AF_INET));
    packet[0] ^= 1;
    packet[2] ^= 0x80; /* a question */
    assert_false(take("www.test", AF_INET));
    packet[2] ^= 0x80 | 0x08; /* another operation */
    assert_false(take("www.test", AF_INET));
    packet[2] ^= 0x08;
    for (size_t whole = len--; len > 0; len--)
        assert_false(take("www.test", AF_INET)), assert_true(len < whole);

    begin(0x8181, "", ns_t_a); /* a server that cannot read it repeats nothing */
    len = NS_HFIXEDSZ;
    packet[5] = 0;
    expect(RESOLVER_FAILED, 0, 0);
    packet[3] = 0x80;
    assert_false(take("www.test", AF_INET));
}

/* However many records a packet has, reading it takes no time to speak of. */
static void bounds_the_work_of_a_packet(void **state)
{
    (void)state;
    begin(0x8180, "www.test", ns_t_a);
    char owner[16] = "www.test", target[16];
    unsigned count = 0;
    for (; len < 60000; count++) {
        snprintf(target, sizeof(target), "n%u.test", count);
        put_cname(owner, 300, target);
        strcpy(owner, target);
    }
    packet[6] = (uint8_t)(count >> 8);
    packet[7] = (uint8_t)count;
    expect(RESOLVER_FAILED, 0, 0); /* too long a chain */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_what_libc_writes),       cmocka_unit_test(reads_addresses),
        cmocka_unit_test(follows_aliases_in_any_order),  cmocka_unit_test(reads_what_does_not_exist),
        cmocka_unit_test(row67_reads_truncated_answers), cmocka_unit_test(takes_no_other_answer),
        cmocka_unit_test(bounds_the_work_of_a_packet),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
