/* conesocks check: tests any SOCKS5 server and reports its NAT type, what does not work, and why. */
#ifndef CONESOCKS_CHECK_CHECK_H
#define CONESOCKS_CHECK_CHECK_H

/* `argv[0]` is "check". Returns the exit status, of enum check_exit in check/result.h. */
int check(int argc, char **argv);

#endif
