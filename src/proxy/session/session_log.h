/*
 * Writes one line to the log when a session ends: client, destination, duration, bytes each way, and why it ended.
 */
#ifndef CONESOCKS_PROXY_SESSION_SESSION_LOG_H
#define CONESOCKS_PROXY_SESSION_SESSION_LOG_H

struct session;

/* When a session ends or is refused, before anything of it is freed. */
void session_log_end(const struct session *session, const char *why);

#endif
