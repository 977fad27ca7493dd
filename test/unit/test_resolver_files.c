#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "net/resolver_files.h"

static struct resolv_conf parse(const char *text)
{
    char *copy = strdup(text);
    struct resolv_conf conf;
    resolv_conf_parse(&conf, copy);
    free(copy);
    return conf;
}

static void expect_server(const struct resolv_conf *conf, size_t i, const char *wanted)
{
    char text[NETADDR_TEXT_MAX];
    assert_true(i < conf->server_count);
    assert_string_equal(netaddr_format(&conf->servers[i], text), wanted);
}

static void reads_servers(void **state)
{
    (void)state;
    struct resolv_conf conf = parse("# nameserver 192.0.2.9\n"
                                    "; nameserver 192.0.2.9\n"
                                    "nameserver 192.0.2.1\n"
                                    "nameserver\n"
                                    "nameserver elsewhere\n"
                                    "nameserver 192.0.2\n"
                                    "nameservers 192.0.2.9\n"
                                    "\n"
                                    "nameserver\t2001:db8::1 # trailing words\r\n"
                                    "nameserver fe80::1%lo\n"
                                    "nameserver 192.0.2.4\n");
    assert_int_equal(conf.server_count, 3);
    expect_server(&conf, 0, "192.0.2.1:53");
    expect_server(&conf, 1, "[2001:db8::1]:53");
    expect_server(&conf, 2, "[fe80::1%lo]:53");
}

/* Without a usable server this host is asked, as libc does. */
static void falls_back_to_this_host(void **state)
{
    (void)state;
    static const char *const texts[] = {"", "\n", "search example\n", "nameserver nonsense\n"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct resolv_conf conf = parse(texts[i]);
        assert_int_equal(conf.server_count, 1);
        expect_server(&conf, 0, "127.0.0.1:53");
    }
    struct resolv_conf conf;
    resolv_conf_parse(&conf, NULL);
    expect_server(&conf, 0, "127.0.0.1:53");
}

static void expect_hosts(const struct hosts *hosts, const char *name, const char *wanted)
{
    char found[256] = "", text[NETADDR_TEXT_MAX];
    size_t count;
    const struct hosts_entry *entries = hosts_find(hosts, name, &count);
    assert_int_equal(entries != NULL, count > 0);
    for (size_t i = 0; i < count; i++) {
        strcat(found, i ? " " : "");
        strcat(found, netaddr_format_host(&entries[i].address, text));
    }
    assert_string_equal(found, wanted);
}

static void reads_hosts(void **state)
{
    (void)state;
    struct hosts hosts;
    assert_true(hosts_parse(&hosts, strdup("127.0.0.1\tlocalhost\r\n"
                                           "# 192.0.2.9 comment\n"
                                           "192.0.2.2  Web www # 192.0.2.9\n"
                                           "192.0.2.3\n"
                                           "192.0.2.4#glued hash\n"
                                           "nonsense web\n"
                                           "192.0.2.300 web\n"
                                           "2001:db8::2 web\n"
                                           "192.0.2.1 web\n"
                                           "fe80::1%lo near\n"
                                           "fe80::1%no-such-interface far")));
    expect_hosts(&hosts, "localhost", "127.0.0.1");
    expect_hosts(&hosts, "WEB", "192.0.2.2 2001:db8::2 192.0.2.1");
    expect_hosts(&hosts, "www", "192.0.2.2");
    expect_hosts(&hosts, "near", "fe80::1%lo");
    const char *const absent[] = {"we", "webb", "", "comment", "192.0.2.9", "hash", "glued", "far", "a", "zzz"};
    for (size_t i = 0; i < sizeof(absent) / sizeof(absent[0]); i++)
        expect_hosts(&hosts, absent[i], "");
    hosts_clear(&hosts);
    expect_hosts(&hosts, "web", "");
    assert_true(hosts_parse(&hosts, NULL));
    expect_hosts(&hosts, "web", "");
    assert_true(hosts_parse(&hosts, strdup("")));
    expect_hosts(&hosts, "web", "");
    hosts_clear(&hosts);
}

static void finds_each_of_many_hosts(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    char *text = NULL, name[32], wanted[32];
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; i < MANY; i++)
        fprintf(out, "10.0.%d.%d host%d.example\n", i / 256, i % 256, i * 7919 % MANY);
    fclose(out);
    struct hosts hosts;
    assert_true(hosts_parse(&hosts, text));
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "host%d.example", i * 7919 % MANY);
        snprintf(wanted, sizeof(wanted), "10.0.%d.%d", i / 256, i % 256);
        expect_hosts(&hosts, name, wanted);
    }
    hosts_clear(&hosts);
}

static void write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void notices_changes(void **state)
{
    (void)state;
    char path[] = "/tmp/conesocks-file-XXXXXX";
    close(mkstemp(path));
    struct file_stamp stamp = {0};
    assert_true(file_changed(path, &stamp));
    assert_false(file_changed(path, &stamp));
    write_text(path, "one");
    assert_true(file_changed(path, &stamp));
    char *text = file_read(path);
    assert_string_equal(text, "one");
    free(text);

    /* Replaced by another file of the same size and time, as a package or DHCP client would. */
    char other[] = "/tmp/conesocks-file-XXXXXX";
    close(mkstemp(other));
    write_text(other, "two");
    const struct timespec times[2] = {stamp.modified, stamp.modified};
    assert_int_equal(utimensat(AT_FDCWD, other, times, 0), 0);
    assert_int_equal(rename(other, path), 0);
    assert_true(file_changed(path, &stamp));
    assert_false(file_changed(path, &stamp));

    unlink(path);
    assert_true(file_changed(path, &stamp));
    assert_false(file_changed(path, &stamp));
    assert_null(file_read(path));
    assert_int_equal(errno, ENOENT);

    struct file_stamp missing = {0};
    assert_true(file_changed(path, &missing)); /* the first look is news, also of nothing */
}

static void reads_only_files(void **state)
{
    (void)state;
    char path[] = "/tmp/conesocks-dir-XXXXXX", fifo[64];
    assert_non_null(mkdtemp(path));
    assert_null(file_read(path));
    snprintf(fifo, sizeof(fifo), "%s/fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_null(file_read(fifo)); /* and does not wait for somebody to write */
    assert_int_equal(errno, EINVAL);
    unlink(fifo);

    write_text(fifo, "");
    char *text = file_read(fifo);
    assert_string_equal(text, "");
    free(text);
    assert_int_equal(truncate(fifo, (off_t)1 << 40), 0);
    assert_null(file_read(fifo));
    assert_int_equal(errno, EFBIG);
    unlink(fifo);
    rmdir(path);
}

static struct resolv_conf conf;
static struct file_stamp conf_stamp;
static atomic_uint_fast64_t told;

static void expect_servers(const char *path, bool news, size_t count, const char *first)
{
    char text[NETADDR_TEXT_MAX];
    assert_int_equal(resolv_conf_follow(&conf, path, &conf_stamp, &told), news);
    assert_int_equal(conf.server_count, count);
    assert_string_equal(netaddr_format_host(&conf.servers[0], text), first);
}

/* Row 67: what cannot be used changes nothing. */
static void row67_keeps_the_last_good_servers(void **state)
{
    (void)state;
    char path[] = "/tmp/conesocks-conf-XXXXXX";
    close(mkstemp(path));
    unlink(path);
    expect_servers(path, true, 1, "127.0.0.1"); /* none was there at the start */
    expect_servers(path, false, 1, "127.0.0.1");
    write_text(path, "nameserver 192.0.2.1\nnameserver 192.0.2.2\n");
    expect_servers(path, true, 2, "192.0.2.1");
    expect_servers(path, false, 2, "192.0.2.1");
    write_text(path, ""); /* as while it is being written */
    expect_servers(path, false, 2, "192.0.2.1");
    unlink(path);
    expect_servers(path, false, 2, "192.0.2.1");
    assert_int_equal(mkdir(path, 0700), 0);
    expect_servers(path, false, 2, "192.0.2.1");
    rmdir(path);
    write_text(path, "nameserver 192.0.2.3\n");

    /* A shortage of descriptors passes. */
    struct rlimit usual, none;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    none = (struct rlimit){0, usual.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    expect_servers(path, false, 2, "192.0.2.1");
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    expect_servers(path, true, 1, "192.0.2.3");
    unlink(path);
}

static void keeps_the_names_that_are_known(void **state)
{
    (void)state;
    char path[] = "/tmp/conesocks-hosts-XXXXXX";
    close(mkstemp(path));
    struct hosts hosts = {0};
    struct file_stamp stamp = {0};
    size_t count;
    write_text(path, "192.0.2.1 box\n");
    assert_true(hosts_follow(&hosts, path, &stamp, &told));
    assert_false(hosts_follow(&hosts, path, &stamp, &told));
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0); /* which cannot be read */
    assert_false(hosts_follow(&hosts, path, &stamp, &told));
    assert_non_null(hosts_find(&hosts, "box", &count));
    rmdir(path);
    assert_true(hosts_follow(&hosts, path, &stamp, &told)); /* there is none now */
    assert_null(hosts_find(&hosts, "box", &count));
    hosts_clear(&hosts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_servers),
        cmocka_unit_test(falls_back_to_this_host),
        cmocka_unit_test(reads_hosts),
        cmocka_unit_test(finds_each_of_many_hosts),
        cmocka_unit_test(notices_changes),
        cmocka_unit_test(reads_only_files),
        cmocka_unit_test(row67_keeps_the_last_good_servers),
        cmocka_unit_test(keeps_the_names_that_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
