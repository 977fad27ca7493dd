/* conesocks check: what a SOCKS5 server, any SOCKS5 server, does well, what not, and whose fault that is. */
#ifndef CONESOCKS_CHECK_CHECK_H
#define CONESOCKS_CHECK_CHECK_H

/* What the exit status says. */
enum { CHECK_ALL_WELL = 0, CHECK_WRONG = 1, CHECK_USAGE = 2, CHECK_UNKNOWN = 3 };

/* `argv[0]` is "check". Returns the exit status. */
int check(int argc, char **argv);

#endif
