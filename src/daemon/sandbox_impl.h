/*
 * The steps of sandbox_enter(), in their order. Each returns false after a line in the log that says what to do; what
 * only the kernel or the build lacks is told as well, but is no failure.
 */
#ifndef CONESOCKS_DAEMON_SANDBOX_IMPL_H
#define CONESOCKS_DAEMON_SANDBOX_IMPL_H

#include <stdbool.h>
#include <stddef.h>

/* Sanitizers look into the process from outside, read its files and start programs to name what they find. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANDBOX_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANDBOX_SANITIZED true
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED false
#endif

struct config;

/* Another user where we are root, no supplementary group, no capability but those that a mark or an interface takes. */
bool sandbox_user(const struct config *config);
/* No file but those that are read while it runs, `paths`, of which some may be NULL, and to write to, `log` or NULL.
 * Needs no_new_privs, like the next. */
bool sandbox_files(const char *const *paths, size_t count, const char *log);
/* No system call but those that relaying takes. */
bool sandbox_calls(void);

#endif
