/* A Unix socket in the file system: what may stand in its way, and what of that goes. */
#include "test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/unix_socket.h"

static char folder[] = "/tmp/test_unix_socket.XXXXXX", path[64];

static int make_folder(void **state)
{
    (void)state;
    snprintf(path, sizeof(path), "%s/socket", mkdtemp(folder) ? folder : "");
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    return rmdir(folder);
}

static int remove_socket(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static void user_and_group_may_connect(void **state)
{
    (void)state;
    struct stat status;
    mode_t before = umask(0);
    int fd = unix_socket_listen(path, SOCK_STREAM, 0660);
    assert_true(fd >= 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0660);
    assert_int_equal(umask(before), 0);
    close(fd);
}

static void a_stale_socket_is_replaced(void **state)
{
    (void)state;
    int first = unix_socket_listen(path, SOCK_STREAM, 0660);
    assert_true(first >= 0);
    assert_int_equal(unix_socket_listen(path, SOCK_STREAM, 0660), -EADDRINUSE);
    close(first);
    int second = unix_socket_listen(path, SOCK_STREAM, 0660);
    assert_true(second >= 0);
    close(second);
}

static void another_kind_of_file_stays(void **state)
{
    (void)state;
    FILE *file = fopen(path, "w");
    fclose(file);
    assert_int_equal(unix_socket_listen(path, SOCK_STREAM, 0660), -ENOTSOCK);
    assert_int_equal(access(path, F_OK), 0);
    unlink(path);
    assert_int_equal(symlink("/dev/null", path), 0);
    assert_int_equal(unix_socket_listen(path, SOCK_STREAM, 0660), -ENOTSOCK);
    assert_int_equal(access("/dev/null", F_OK), 0);
}

static void a_missing_folder_is_an_error(void **state)
{
    (void)state;
    char deep[128], longer[256];
    snprintf(deep, sizeof(deep), "%s/none/socket", folder);
    assert_int_equal(unix_socket_listen(deep, SOCK_STREAM, 0660), -ENOENT);
    memset(longer, 'a', sizeof(longer));
    longer[0] = '/';
    longer[108] = '\0';
    assert_int_equal(unix_socket_listen(longer, SOCK_STREAM, 0660), -ENAMETOOLONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(user_and_group_may_connect, remove_socket),
        cmocka_unit_test_teardown(a_stale_socket_is_replaced, remove_socket),
        cmocka_unit_test_teardown(another_kind_of_file_stays, remove_socket),
        cmocka_unit_test_teardown(a_missing_folder_is_an_error, remove_socket),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
