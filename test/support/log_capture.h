/*
 * Keeps what is logged between two points of a test, to compare it: standard error goes into a pipe meanwhile.
 */
#ifndef TEST_SUPPORT_LOG_CAPTURE_H
#define TEST_SUPPORT_LOG_CAPTURE_H

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

struct log_capture {
    int ends[2], saved;
};

static inline void log_capture_begin(struct log_capture *capture)
{
    capture->saved = dup(STDERR_FILENO);
    assert_true(capture->saved >= 0 && pipe(capture->ends) == 0);
    assert_int_equal(fcntl(capture->ends[0], F_SETFL, O_NONBLOCK), 0);
    assert_true(dup2(capture->ends[1], STDERR_FILENO) >= 0);
    log_set_level(LOG_LEVEL_INFO);
}

/* Ends it: `expected` must have been logged meanwhile. */
static inline void log_capture_expect(struct log_capture *capture, const char *expected)
{
    static char text[65536];
    log_set_level(LOG_LEVEL_WARNING);
    assert_true(dup2(capture->saved, STDERR_FILENO) >= 0);
    ssize_t n = read(capture->ends[0], text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    close(capture->ends[0]);
    close(capture->ends[1]);
    close(capture->saved);
    if (!strstr(text, expected))
        fail_msg("not logged: %s; but: %s", expected, text);
}

#endif
