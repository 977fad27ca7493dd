/* A SOCKS5 client: what a load needs of RFC 1928, without a login. */
#ifndef CONESOCKS_BENCH_CLIENT_H
#define CONESOCKS_BENCH_CLIENT_H

#include "base/netaddr.h"

/* What the program's exit status says. */
enum { EXIT_WRONG = 1, EXIT_USAGE = 2, EXIT_SERVER = 3 };

/* Says what is wrong with the server or the system, and ends the program. */
_Noreturn void bench_die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct association {
    int control, udp; /* `udp` is connected to the relay: the kernel checks who answers */
};

/* Both wait for the server, and end the program when it refuses, keeps silent or hangs up. */
struct association client_associate(const union netaddr *proxy);
int client_connect(const union netaddr *proxy, const union netaddr *destination);

void client_close(struct association *association);

#endif
