/* conesocks check --listen: runs the test server for a check on another machine until it is interrupted. */
#ifndef CONESOCKS_CHECK_LISTEN_H
#define CONESOCKS_CHECK_LISTEN_H

/* `where` is [ADDRESS][:PORT], or NULL: every address of this host that others can reach. `key`: NULL makes one.
 * Returns the exit status. */
int check_listen(const char *where, const char *key);

#endif
