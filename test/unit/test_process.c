/* What this process takes of the machine. */
#include "test.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "admin/process.h"

static void this_process_has_memory_and_descriptors(void **state)
{
    (void)state;
    struct process_files files = process_open("/proc/self");
    struct process_use before = process_read(&files);
    assert_true(before.cpu_seconds > 0);
    assert_true(before.resident_bytes >= 65536 && before.resident_bytes < before.virtual_bytes);
    assert_true(before.max_fds > 3);
    int fd = open("/dev/null", O_RDONLY);
    struct process_use after = process_read(&files);
    close(fd);
    if (before.open_fds) /* Linux 6.2 */
        assert_int_equal(after.open_fds, before.open_fds + 1);
    process_close(&files);
}

static void without_proc_the_rest_is_known(void **state)
{
    (void)state;
    struct process_files files = process_open("/nowhere");
    struct process_use use = process_read(&files);
    assert_int_equal(use.resident_bytes + use.virtual_bytes + use.open_fds, 0);
    assert_true(use.max_fds > 3);
    process_close(&files);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_process_has_memory_and_descriptors),
        cmocka_unit_test(without_proc_the_rest_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
