/* What the system and libevent give to the process. */
#ifndef CONESOCKS_DAEMON_SYSTEM_H
#define CONESOCKS_DAEMON_SYSTEM_H

#include <stddef.h>

/* The CPUs that this process may use, which a container or taskset may have made fewer than the machine has. */
size_t system_cpus(void);

/* Each association takes three or four descriptors; the soft limit of 1024 is there for programs that use select(). */
void system_raise_descriptor_limit(void);

/* What the kernel grants depends on net.core.rmem_max; said once, not for each socket. */
void system_log_receive_buffer(void);

/* libevent's own words go where ours go: as a daemon there is no stderr. */
void system_listen_to_libevent(void);

#endif
