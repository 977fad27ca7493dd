/*
 * The steps of sandbox_enter(), in their order. Each returns false after a line in the log that says what to do. What
 * the kernel or the build does not support is logged as well, but is no failure.
 */
#ifndef CONESOCKS_DAEMON_SANDBOX_IMPL_H
#define CONESOCKS_DAEMON_SANDBOX_IMPL_H

#include <stdbool.h>
#include <stddef.h>

/* Sanitizers look into the process from outside, read its files, and start programs to name what they find. */
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

/* Changes root to another user, and drops supplementary groups and all capabilities but those that a mark or an
 * interface needs. */
bool sandbox_user(const struct config *config);
/* Puts all files out of reach but those that are read while it runs, `paths` (some may be NULL), and the one to write
 * to, `log` or NULL. Needs no_new_privs, like the next step. */
bool sandbox_files(const char *const *paths, size_t count, const char *log);
/* Forbids all system calls but those that the server needs, with or without the kernel path. */
bool sandbox_calls(bool kernel_path);

#endif
