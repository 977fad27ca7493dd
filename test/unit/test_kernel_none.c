/* A build without libbpf, clang or bpftool reports that, and user space relays everything. */
#include "kernel/kernel_path.h"

#include <string.h>

#include "test.h"

static void opening_it_says_what_is_missing(void **state)
{
    (void)state;
    char why[KERNEL_PATH_TEXT_MAX] = "";
    assert_false(kernel_path_is_built());
    assert_null(kernel_path_open(why));
    assert_non_null(strstr(why, "built without"));
    kernel_path_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(opening_it_says_what_is_missing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
