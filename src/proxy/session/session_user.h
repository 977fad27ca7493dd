/*
 * The user of a session, and what its configuration and its usage allow: the last day of its access, the volume of the
 * month, and the number of client addresses.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_USER_H
#define CONESOCKS_PROXY_SESSION_SESSION_USER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "policy/usage.h"

struct env;

struct session_user {
    struct usage_account *account; /* from the request on; NULL: before */
    struct usage_bytes counted;    /* of what the session has relayed */
    char name[];                   /* that the client claims; once it is logged in, the user's */
};

/* `name` has `len` bytes. NULL: no memory. */
struct session_user *session_user_new(const uint8_t *name, size_t len);
/* Its session, whose client is at `client`, has ended. NULL is fine. */
void session_user_free(struct session_user *user, const union netaddr *client);
/* NULL: no login. */
static inline const char *session_user_name(const struct session_user *user)
{
    return user ? user->name : NULL;
}

/* Whether the user's access is over, although its password is right. */
bool session_user_has_expired(const struct env *env, const struct session_user *user);
/* The client has sent its request. NULL, or why it is refused; that is counted and logged. */
const char *session_user_enter(struct session_user *user, struct env *env, const union netaddr *client);
/* Why a user who has entered may not relay now, as a literal, and the counter of that in the metrics; NULL: it may. */
const char *session_user_bar(struct env *env, const struct session_user *user, atomic_uint_fast64_t **counter);

#endif
