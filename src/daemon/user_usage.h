/* Collects what users have used, from what all workers share, for /status. */
#ifndef CONESOCKS_DAEMON_USER_USAGE_H
#define CONESOCKS_DAEMON_USER_USAGE_H

#include "admin/status_users.h"

struct host;

/* NULL: no memory. To be freed. */
struct status_users *user_usage_read(const struct host *host);

#endif
