/*
 * Checks the password of one session. The worker's cache may know it already; else the helper thread checks it. After
 * too many wrong passwords from one address, logins from there are not checked.
 */
#ifndef CONESOCKS_PROXY_SESSION_LOGIN_H
#define CONESOCKS_PROXY_SESSION_LOGIN_H

#include "base/netaddr.h"
#include "conesocks/socks5.h"

struct auth;
struct log_limit;
struct env;
struct login;
struct logins;

enum login_outcome {
    LOGIN_PENDING, /* with the helper thread */
    LOGIN_RIGHT,
    LOGIN_WRONG,
    LOGIN_EXPIRED, /* right, but the user's access is over: see session_user.h */
    /* Not checked, so nothing may be said about the password: */
    LOGIN_THROTTLED, /* its address has failed too often */
    LOGIN_BUSY,      /* too many are waiting for the helper thread, or there is no memory */
};

/* What a worker knows about logins. `auth` is that of all workers, and outlives all use; `failed_logins` is
 * limits.failed_logins. NULL: no memory. */
struct logins *logins_new(struct auth *auth, uint32_t failed_logins);
/* Another limit from now on. */
void logins_change(struct logins *logins, uint32_t failed_logins);
/* Limits the lines about sessions whose login failed, so that other lines about strangers do not hide them. */
struct log_limit *logins_failed_log(struct logins *logins);
/* Once nothing more can come to the worker's inbox. */
void logins_free(struct logins *logins);

typedef void login_done(void *arg, enum login_outcome outcome);
/* Returns the outcome; for LOGIN_PENDING it comes later, by `done`, unless `*login` is cancelled before. */
enum login_outcome login_begin(struct login **login, struct env *env, const union netaddr *client,
                               const struct socks5_password *given, login_done *done, void *arg);
/* `done` will not be called: the session has ended. */
void login_cancel(struct login *login);

#endif
