/* Asks the system for what the server needs of it: CPUs, descriptors, buffers; and sends libevent's messages to the
 * log. */
#ifndef CONESOCKS_DAEMON_SYSTEM_H
#define CONESOCKS_DAEMON_SYSTEM_H

#include <stddef.h>
#include <stdint.h>

/* The number of CPUs that this process may use: a container or taskset may allow fewer than the machine has. */
size_t system_cpus(void);

/* Raises the soft limit to the hard one. An association needs three or four descriptors; the soft limit of 1024 exists
 * for programs that use select(). */
void system_raise_descriptor_limit(void);
/* The soft limit; UINT64_MAX: not known. */
uint64_t system_descriptor_limit(void);

/* Logs the size that the kernel grants, which depends on net.core.rmem_max. */
void system_log_receive_buffer(void);

/* Sends libevent's messages to our log: a daemon has no stderr. */
void system_log_libevent(void);

#endif
