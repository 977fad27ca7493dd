/*
 * The answer to a GET of HTTP/1.0, as it comes in. Pure: no descriptor, no memory of its own.
 *
 * Whoever answers may be anybody, by mistake or on purpose: lengths are bounded, and what is not plainly an answer is
 * none.
 */
#ifndef CONESOCKS_COMMAND_HTTP_ANSWER_H
#define CONESOCKS_COMMAND_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX ((size_t)8 << 10)
#define HTTP_BODY_MAX ((size_t)16 << 20)

enum http_progress {
    HTTP_MORE,      /* it may still become an answer */
    HTTP_COMPLETE,  /* `answer` is filled in */
    HTTP_WRONG,     /* it is none */
    HTTP_TOO_LARGE, /* or it says so of itself */
    HTTP_CUT_SHORT, /* it ended before its end */
};

struct http_answer {
    int status;       /* 100 to 999 */
    const char *body; /* within the bytes; not ended by NUL */
    size_t body_len;
};

/* What the bytes are that have come so far. `ended`: no more will come. */
enum http_progress http_answer_read(const char *bytes, size_t len, bool ended, struct http_answer *answer);

#endif
