/* Builds the JSON of one session, a row of /status. */
#ifndef CONESOCKS_ADMIN_STATUS_SESSION_H
#define CONESOCKS_ADMIN_STATUS_SESSION_H

#include <jansson.h>

#include "proxy/session/session_list.h"

/* NULL: no memory. */
json_t *status_session(const struct session_list_row *row);

#endif
