#include "test.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "admin/unix_socket.h"
#include "conf/config.h"
#include "daemon/handover_wire.h"
#include "daemon/inherited.h"
#include "daemon/takeover.h"
#include "net/sock.h"

static char folder[] = "/tmp/test_takeover.XXXXXX", path[64];
static struct config config;
static union netaddr address;

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/handover", folder);
    config.run.handover = path;
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* ---- the other end, in a process of its own ---- */

static void say(int to, uint32_t version, uint32_t kind, uint32_t count, const int *fds, size_t fd_count)
{
    struct handover_message message = {version, kind, count};
    struct iovec part = {&message, sizeof(message)};
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(8 * sizeof(int))] = {0};
    struct msghdr packet = {.msg_iov = &part, .msg_iovlen = 1};
    if (fd_count > 0) {
        packet.msg_control = control;
        packet.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
        struct cmsghdr *rights = CMSG_FIRSTHDR(&packet);
        *rights = (struct cmsghdr){CMSG_LEN(fd_count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
        memcpy(CMSG_DATA(rights), fds, fd_count * sizeof(int));
    }
    (void)!sendmsg(to, &packet, MSG_NOSIGNAL);
}

static int listener(void)
{
    int fd = sock_listen(&address, true);
    assert_true(fd >= 0);
    address = sock_local(fd);
    return fd;
}

static void closes_at_once(int to)
{
    close(to);
}

static void stops_in_between(int to)
{
    int fd = listener();
    say(to, HANDOVER_VERSION, HANDOVER_LISTENERS, 1, &fd, 1);
}

static void speaks_another_version(int to)
{
    say(to, HANDOVER_VERSION + 1, HANDOVER_ALL, 0, NULL, 0);
}

static void counts_wrong(int to)
{
    int fd = listener();
    say(to, HANDOVER_VERSION, HANDOVER_LISTENERS, 1, &fd, 1);
    say(to, HANDOVER_VERSION, HANDOVER_ALL, 2, NULL, 0);
}

static void sends_nonsense(int to)
{
    (void)!send(to, "nonsense of some length", 23, MSG_NOSIGNAL);
}

static void sends_what_does_not_listen(int to)
{
    int fd = sock_udp_open(NULL, AF_INET, false);
    say(to, HANDOVER_VERSION, HANDOVER_LISTENERS, 1, &fd, 1);
    say(to, HANDOVER_VERSION, HANDOVER_ALL, 1, NULL, 0);
}

/* Two sockets, one of them twice; and messages that are not expected. */
static void does_it_well(int to)
{
    int first = listener(), fds[] = {first, listener(), first};
    say(to, HANDOVER_VERSION, HANDOVER_LISTENERS, 3, fds, 3);
    say(to, HANDOVER_VERSION, HANDOVER_PID_FILE, 1, fds, 1);
    say(to, HANDOVER_VERSION, HANDOVER_PID_FILE, 1, fds, 1);
    say(to, HANDOVER_VERSION, HANDOVER_ADMIN_TCP, 1, fds, 1);
    say(to, HANDOVER_VERSION, HANDOVER_ADMIN_SOCKET, 1, fds, 1);
    say(to, HANDOVER_VERSION, HANDOVER_UDP, 1, fds, 1);
    say(to, HANDOVER_VERSION, 99, 1, fds, 1);
    say(to, HANDOVER_VERSION, HANDOVER_ALL, 9, NULL, 0);
}

/* All messages but the last ones. */
static void gives_one(int to)
{
    int fd = listener();
    say(to, HANDOVER_VERSION, HANDOVER_LISTENERS, 1, &fd, 1);
    say(to, HANDOVER_VERSION, HANDOVER_ALL, 1, NULL, 0);
}

static char state_of(pid_t process)
{
    char place[64], text[512], *end;
    snprintf(place, sizeof(place), "/proc/%d/stat", (int)process);
    FILE *file = fopen(place, "re");
    size_t len = file ? fread(text, 1, sizeof(text) - 1, file) : 0;
    text[len] = '\0';
    end = strrchr(text, ')');
    if (file)
        fclose(file);
    return end ? end[2] : '?';
}

/* It ends with unread data, which resets the connection. A taker that was stopped meanwhile sees the reset first. */
static void gives_up(int to)
{
    struct pollfd answer = {.fd = to, .events = POLLIN};
    gives_one(to);
    (void)poll(&answer, 1, -1);
    kill(getppid(), SIGSTOP);
    while (state_of(getppid()) != 'T')
        sched_yield();
    say(to, HANDOVER_VERSION, HANDOVER_TOO_LATE, 0, NULL, 0);
    close(to);
    kill(getppid(), SIGCONT);
}

static void gave_up_before(int to)
{
    gives_one(to);
    say(to, HANDOVER_VERSION, HANDOVER_TOO_LATE, 0, NULL, 0);
    close(to);
}

static void gives_and_dies(int to)
{
    gives_one(to);
    close(to);
}

static size_t open_descriptors(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* The exit status of the other end: whether it heard HANDOVER_SERVES. */
static int finish(pid_t other)
{
    int status;
    assert_int_equal(waitpid(other, &status, 0), other);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static pid_t run(void (*act)(int to))
{
    int waiting = unix_socket_listen(path, SOCK_SEQPACKET, 0600);
    assert_true(waiting >= 0);
    pid_t other = fork();
    assert_true(other >= 0);
    if (other == 0) {
        struct handover_message answer = {0};
        fcntl(waiting, F_SETFL, 0);
        int to = accept(waiting, NULL, NULL);
        act(to);
        if (fcntl(to, F_GETFD) < 0 || act == stops_in_between)
            _exit(1);
        bool serves = recv(to, &answer, sizeof(answer), 0) == sizeof(answer) && answer.kind == HANDOVER_SERVES;
        say(to, 0, 0, 0, &to, 1); /* a socket opened meanwhile */
        say(to, HANDOVER_VERSION, HANDOVER_GONE, 0, NULL, 0);
        _exit(serves ? 0 : 1);
    }
    close(waiting);
    return other;
}

/* ---- this end ---- */

static void a_failed_takeover_leaks_no_descriptor(void **state)
{
    (void)state;
    void (*const acts[])(int) = {closes_at_once, stops_in_between, speaks_another_version,
                                 counts_wrong,   sends_nonsense,   sends_what_does_not_listen};
    address = netaddr_any(AF_INET);
    close(listener()); /* its port is chosen here, for both ends to know */
    for (size_t i = 0; i < sizeof(acts) / sizeof(acts[0]); i++) {
        size_t before = open_descriptors();
        struct inherited *listeners = inherited_new();
        struct takeover takeover;
        pid_t other = run(acts[i]);
        assert_false(takeover_begin(&takeover, &config, listeners));
        assert_false(takeover_is_under_way(&takeover));
        inherited_free(listeners);
        assert_int_equal(finish(other), 1);
        assert_int_equal(open_descriptors(), before);
    }
}

static void only_wanted_sockets_are_kept(void **state)
{
    (void)state;
    size_t before = open_descriptors();
    struct inherited *listeners = inherited_new();
    struct takeover takeover;
    address = netaddr_any(AF_INET);
    close(listener());
    pid_t other = run(does_it_well);
    assert_true(takeover_begin(&takeover, &config, listeners));
    assert_true(takeover_is_under_way(&takeover));
    assert_true(takeover.pid_file >= 0);
    assert_int_equal(takeover.admin.tcp, -1); /* not at the address that the configuration names */
    assert_int_equal(takeover.admin.local, -1);
    assert_int_equal(takeover.handover, -1);
    assert_int_equal(open_descriptors(), before + 5); /* two listeners, of UDP, the pid file, the other end */
    assert_true(inherited_has(listeners, &address));
    assert_int_equal(takeover.udp_count, 1);
    assert_true(takeover_finish(&takeover));
    assert_int_equal(takeover.udp_count, 2);
    takeover_abandon(&takeover);
    inherited_free(listeners);
    assert_int_equal(finish(other), 0);
    assert_int_equal(open_descriptors(), before);
}

static bool finishes_after(void (*act)(int to))
{
    struct inherited *listeners = inherited_new();
    struct takeover takeover;
    pid_t other = run(act);
    assert_true(takeover_begin(&takeover, &config, listeners));
    if (act != gives_up)
        assert_int_equal(finish(other), 1);
    bool serves = takeover_finish(&takeover);
    if (act == gives_up)
        assert_int_equal(finish(other), 1);
    takeover_abandon(&takeover);
    inherited_free(listeners);
    return serves;
}

/* Exactly one of the two servers serves. */
static void a_taker_that_is_too_late_does_not_serve(void **state)
{
    (void)state;
    address = netaddr_any(AF_INET);
    close(listener());
    assert_false(finishes_after(gives_up));
    assert_false(finishes_after(gave_up_before));
    assert_true(finishes_after(gives_and_dies));
}

static void no_running_server_is_no_error(void **state)
{
    (void)state;
    struct takeover takeover;
    struct config without = {0};
    unlink(path);
    assert_true(takeover_begin(&takeover, &config, NULL)); /* no file */
    assert_false(takeover_is_under_way(&takeover));
    close(unix_socket_listen(path, SOCK_SEQPACKET, 0600)); /* its file remains */
    assert_true(takeover_begin(&takeover, &config, NULL));
    assert_false(takeover_is_under_way(&takeover));
    assert_true(takeover_begin(&takeover, &without, NULL)); /* nowhere to ask */
    assert_false(takeover_is_under_way(&takeover));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failed_takeover_leaks_no_descriptor),
        cmocka_unit_test(only_wanted_sockets_are_kept),
        cmocka_unit_test(a_taker_that_is_too_late_does_not_serve),
        cmocka_unit_test(no_running_server_is_no_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
