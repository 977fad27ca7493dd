/* A SOCKS5 client: what a load needs of RFC 1928, without a login. */
#ifndef CONESOCKS_BENCH_CLIENT_H
#define CONESOCKS_BENCH_CLIENT_H

#include "base/netaddr.h"
#include "conesocks/socks5.h"

/* What the program's exit status says. */
enum { EXIT_WRONG = 1, EXIT_USAGE = 2, EXIT_SERVER = 3 };

/* Says what is wrong with the server or the system, and ends the program. */
_Noreturn void bench_die(int status, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct association {
    int control; /* < 0: there is no server */
    int udp;     /* `udp` is connected to the relay: the kernel checks who answers */
};

/* All wait for the server, and end the program when it refuses, keeps silent or hangs up. */
struct association client_associate(const union netaddr *proxy);
int client_connect(const union netaddr *proxy, const union netaddr *destination);

/* Without a server: as if the target were the relay. */
struct association client_direct(const union netaddr *target);

/* The same in steps, so that many can be on their way at once. Each waits for the answer to the one before. */
int client_greet(const union netaddr *proxy);
void client_ask(int fd, uint8_t command, const union netaddr *destination);
union netaddr client_answer(int fd);
void client_ask_relay(int control, const union netaddr *proxy);
struct association client_relay(int control, const union netaddr *proxy);

void client_close(struct association *association);

#endif
