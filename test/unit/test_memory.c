#include "test.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/config.h"
#include "daemon/memory.h"

#define MIB (UINT64_C(1) << 20)

/* A /proc/self and a /sys/fs/cgroup of the test's own. */
static char root[64], proc[80], groups[80];

static int begin(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/conesocks-test-XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(proc, sizeof(proc), "%s/proc", root);
    snprintf(groups, sizeof(groups), "%s/groups", root);
    mkdir(proc, 0700);
    mkdir(groups, 0700);
    return 0;
}

static void remove_all(int folder, const char *name)
{
    int fd = openat(folder, name, O_DIRECTORY | O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
        unlinkat(folder, name, 0);
        return;
    }
    DIR *directory = fdopendir(fd);
    for (const struct dirent *entry; (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_all(fd, entry->d_name);
    closedir(directory);
    unlinkat(folder, name, AT_REMOVEDIR);
}

static int end(void **state)
{
    (void)state;
    remove_all(AT_FDCWD, root);
    return 0;
}

/* Writes a file below the root, with the folders that lead to it. */
static void put(const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *slash = path + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0700);
        *slash = '/';
    }
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static struct memory *open_auto(void)
{
    return memory_open(0, proc, groups);
}

static void expect_use(struct memory *memory, uint64_t in_sockets, uint64_t used, uint64_t limit)
{
    struct memory_use use;
    assert_non_null(memory);
    assert_true(memory_read(memory, in_sockets, &use));
    assert_int_equal(use.used, used);
    assert_int_equal(use.limit, limit);
}

static void nothing_limits_us(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "\n",
        "0\n",
        "0:\n",
        "0::\n",
        "0::relative\n",
        "nonsense",
        "0::/a/b\n",
        "4:memory:/a\n",
        "3:cpu,cpuacct:/a\n",
        "0::/../../..\n",
    };
    put("groups/a/memory.max", "max\n");
    put("groups/a/memory.high", "max\n");
    put("groups/a/memory.current", "1048576\n");
    put("groups/memory/a/memory.limit_in_bytes", "9223372036854771712\n");
    put("groups/memory/a/memory.usage_in_bytes", "1048576\n");
    assert_null(open_auto()); /* no /proc */
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        put("proc/cgroup", texts[i]);
        assert_null(open_auto());
    }
    assert_null(memory_open(CONFIG_MEMORY_OFF, proc, groups));
    assert_null(memory_open(64 * MIB, proc, groups)); /* no statm: logged */
}

static void a_group_of_version_2(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/system.slice/conesocks.service\n");
    put("groups/system.slice/conesocks.service/memory.max", "104857600\n");
    put("groups/system.slice/conesocks.service/memory.high", "max\n");
    put("groups/system.slice/conesocks.service/memory.current", "1048576\n");
    put("groups/system.slice/memory.max", "max\n");
    struct memory *memory = open_auto();
    expect_use(memory, 999, 1 * MIB, 100 * MIB); /* sockets are counted by the kernel */
    assert_false(memory_counts_sockets(memory));
    assert_string_equal(memory_limited_by(memory), "control group /system.slice/conesocks.service");
    put("groups/system.slice/conesocks.service/memory.high",
        "52428800\n"); /* limits may change: files are read again */
    expect_use(memory, 0, 1 * MIB, 50 * MIB);
    memory_close(memory);
}

static void a_group_of_version_1(void **state)
{
    (void)state;
    put("proc/cgroup", "12:cpu,cpuacct:/x\n4:hugetlb,memory:/m\n1:name=systemd:/\n0::/unified\n");
    put("groups/unified/memory.max", "1\n");
    put("groups/memory/m/memory.limit_in_bytes", "67108864\n");
    put("groups/memory/m/memory.usage_in_bytes", "2097152\n");
    struct memory *memory = open_auto();
    expect_use(memory, 0, 2 * MIB, 64 * MIB);
    memory_close(memory);
}

/* What the kernel takes back by itself is no shortage; asked for only near the marks. */
static void the_cache_of_files_does_not_count(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/g\n");
    put("groups/g/memory.max", "104857600\n");
    put("groups/g/memory.current", "103809024\n"); /* 99 MiB */
    put("groups/g/memory.stat", "anon 1\ninactive_file 41943040\nactive_file 3\nworkingset_refault_file 9\n");
    struct memory *memory = open_auto();
    expect_use(memory, 0, 59 * MIB, 100 * MIB);
    put("groups/g/memory.stat", "inactive_file 999999999999\n");
    expect_use(memory, 0, 0, 100 * MIB);
    put("groups/g/memory.stat", "anon 1\n");
    expect_use(memory, 0, 99 * MIB, 100 * MIB);
    put("groups/g/memory.current", "1048576\n");
    put("groups/g/memory.stat", "inactive_file 1048576\n");
    expect_use(memory, 0, 1 * MIB, 100 * MIB);
    memory_close(memory);
}

static void the_tightest_limit_above_counts(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/pod/container\n");
    put("groups/pod/container/memory.max", "209715200\n");
    put("groups/pod/container/memory.current", "1\n");
    put("groups/pod/memory.max", "104857600\n");
    put("groups/pod/memory.current", "2\n");
    put("groups/memory.max", "314572800\n");
    put("groups/memory.current", "3\n");
    struct memory *memory = open_auto();
    expect_use(memory, 0, 2, 100 * MIB);
    assert_string_equal(memory_limited_by(memory), "control group /pod");
    memory_close(memory);
    put("groups/pod/container/memory.max", "104857600\n"); /* of equals our own */
    memory = open_auto();
    expect_use(memory, 0, 1, 100 * MIB);
    memory_close(memory);
}

/* In a container /proc may still name the host's groups, while the files are those of the container. */
static void a_group_whose_path_does_not_exist(void **state)
{
    (void)state;
    put("proc/cgroup", "4:memory:/docker/0123\n");
    put("groups/memory/memory.limit_in_bytes", "67108864\n");
    put("groups/memory/memory.usage_in_bytes", "7\n");
    struct memory *memory = open_auto();
    expect_use(memory, 0, 7, 64 * MIB);
    assert_string_equal(memory_limited_by(memory), "control group /");
    memory_close(memory);
}

static void files_that_cannot_be_parsed(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/g\n");
    put("groups/g/memory.max", "104857600\n");
    put("groups/g/memory.current", "1048576\n");
    struct memory *memory = open_auto();
    static const char *const texts[] = {"", "\n", "-1\n", "x"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct memory_use use;
        put("groups/g/memory.current", texts[i]);
        assert_false(memory_read(memory, 0, &use));
    }
    memory_close(memory);
}

static void a_limit_of_our_own(void **state)
{
    (void)state;
    put("proc/cgroup", "0::/g\n");
    put("groups/g/memory.max", "1\n");
    put("groups/g/memory.current", "1\n");
    put("proc/statm", "41198 1896 980 31 0 7158 0\n");
    struct memory *memory = memory_open(64 * MIB, proc, groups);
    assert_true(memory_counts_sockets(memory));
    expect_use(memory, 1000, 1896 * (uint64_t)sysconf(_SC_PAGESIZE) + 1000, 64 * MIB);
    put("proc/statm", "41198\n");
    struct memory_use use;
    assert_false(memory_read(memory, 0, &use));
    memory_close(memory);
}

/* Row 45: each level is entered at one mark and left at a lower one. */
static void levels_change_at_their_marks(void **state)
{
    (void)state;
    static const struct {
        uint64_t used;
        enum memory_level from_ample, from_short, from_critical;
    } rows[] = {
        {0, MEMORY_AMPLE, MEMORY_AMPLE, MEMORY_AMPLE},
        {7499, MEMORY_AMPLE, MEMORY_AMPLE, MEMORY_AMPLE},
        {7500, MEMORY_AMPLE, MEMORY_SHORT, MEMORY_SHORT},
        {7999, MEMORY_AMPLE, MEMORY_SHORT, MEMORY_SHORT},
        {8000, MEMORY_SHORT, MEMORY_SHORT, MEMORY_SHORT},
        {8799, MEMORY_SHORT, MEMORY_SHORT, MEMORY_SHORT},
        {8800, MEMORY_SHORT, MEMORY_SHORT, MEMORY_CRITICAL},
        {9199, MEMORY_SHORT, MEMORY_SHORT, MEMORY_CRITICAL},
        {9200, MEMORY_CRITICAL, MEMORY_CRITICAL, MEMORY_CRITICAL},
        {99999, MEMORY_CRITICAL, MEMORY_CRITICAL, MEMORY_CRITICAL},
        {UINT64_MAX, MEMORY_CRITICAL, MEMORY_CRITICAL, MEMORY_CRITICAL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct memory_use use = {rows[i].used, 10000};
        assert_int_equal(memory_level_of(use, MEMORY_AMPLE), rows[i].from_ample);
        assert_int_equal(memory_level_of(use, MEMORY_SHORT), rows[i].from_short);
        assert_int_equal(memory_level_of(use, MEMORY_CRITICAL), rows[i].from_critical);
    }
    assert_int_equal(memory_excess((struct memory_use){8800, 10000}), 0);
    assert_int_equal(memory_excess((struct memory_use){100, 10000}), 0);
    assert_int_equal(memory_excess((struct memory_use){9300, 10000}), 500);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(nothing_limits_us),
        TEST(a_group_of_version_2),
        TEST(a_group_of_version_1),
        TEST(the_cache_of_files_does_not_count),
        TEST(the_tightest_limit_above_counts),
        TEST(a_group_whose_path_does_not_exist),
        TEST(files_that_cannot_be_parsed),
        TEST(a_limit_of_our_own),
        TEST(levels_change_at_their_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
