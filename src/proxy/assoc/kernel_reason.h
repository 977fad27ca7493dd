/* Why user space relays all datagrams of an association although there is a kernel path (kernel/kernel_path.h): for the
 * code that decides, and for the code that shows it. */
#ifndef CONESOCKS_PROXY_ASSOC_KERNEL_REASON_H
#define CONESOCKS_PROXY_ASSOC_KERNEL_REASON_H

#include <stdint.h>

#include "conf/config.h"
#include "policy/terms.h"

/* Enumerator, word in the status, plain words. */
#define KERNEL_REASONS(X)                                                                                              \
    X(NONE, "none", "the kernel relays its established flows")                                                         \
    X(INACTIVE, "inactive", "the kernel path is off (udp.kernel_path), pauses, or cannot work on this host")           \
    X(OVER_TCP, "over TCP", "its datagrams are frames on the control connection")                                      \
    X(UPSTREAM, "upstream", "its datagrams leave by an upstream")                                                      \
    X(SHARED_PORT, "shared port", "all associations share one port (udp.ports)")                                       \
    X(CLIENT_PORTS, "client ports", "its client may use several ports (udp.client_ports)")                             \
    X(EGRESS, "interface or mark", "an interface or a mark is set for its datagrams")                                  \
    X(PROBE, "df probe", "udp.df is set to probe")                                                                     \
    X(CLIENT, "client port", "its client's port is not known yet, or may still change")                                \
    X(FLOW, "no flow", "no destination of the client's address family has had a second datagram lately")               \
    X(SLOTS, "no slot", "all slots of the kernel path are in use")                                                     \
    X(INTERFACE, "no interface", "no Ethernet interface of the kernel path leads to its client")                       \
    X(RESOURCES, "no resources", "the system has refused what the kernel path needs")

enum kernel_reason {
#define X(enumerator, word, meaning) KERNEL_REASON_##enumerator,
    KERNEL_REASONS(X)
#undef X
        KERNEL_REASON_COUNT
};
const char *kernel_reason_word(enum kernel_reason reason);
const char *kernel_reason_meaning(enum kernel_reason reason);

/* What an association has of the kernel path. */
struct kernel_use {
    enum kernel_reason reason;             /* KERNEL_REASON_NONE: the kernel relays its established flows */
    uint64_t up_datagrams, down_datagrams; /* that the kernel has relayed */
};

/* What keeps every association under these terms in user space. */
enum kernel_reason kernel_reason_of(const struct config *config, const struct terms *terms);

#endif
