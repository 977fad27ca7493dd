/*
 * A network of its own for tests of the kernel path: this process's namespace has the interfaces kp0 (192.0.2.1/24,
 * 2001:db8::1/64) and kp1, the two ends of a cable. Needs root.
 */
#ifndef CONESOCKS_TEST_UNIT_KERNEL_NAMESPACE_H
#define CONESOCKS_TEST_UNIT_KERNEL_NAMESPACE_H

#include <sched.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/netaddr.h"
#include "test.h"

static inline void run(const char *command)
{
    if (system(command) != 0)
        fail_msg("%s", command);
}

/* false: this process may not have one. */
static inline bool namespace_enter(void)
{
    if (unshare(CLONE_NEWNET) < 0)
        return false;
    run("ip link set lo up");
    run("ip link add kp0 type veth peer name kp1");
    run("ip address add 192.0.2.1/24 dev kp0");
    run("ip address add 2001:db8::1/64 dev kp0 nodad");
    run("ip link set kp0 up");
    run("ip link set kp1 up");
    return true;
}

static inline union netaddr at(const char *host, uint16_t port)
{
    union netaddr address;
    assert_true(netaddr_parse(&address, host, port));
    return address;
}

#endif
