/* One session, as /status shows it. */
#ifndef CONESOCKS_ADMIN_STATUS_SESSION_H
#define CONESOCKS_ADMIN_STATUS_SESSION_H

#include <jansson.h>

#include "conf/config.h"
#include "proxy/session/session_list.h"

/* A filtering mode's name, as in the configuration. */
const char *status_filtering(enum config_filtering filtering);
/* NULL: no memory. */
json_t *status_session(const struct session_list_row *row);

#endif
