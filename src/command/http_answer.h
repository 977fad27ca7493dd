/*
 * Parses the answer to an HTTP/1.0 GET while it arrives. Pure: no descriptor, no memory of its own. Lengths are
 * bounded, because any program may answer.
 */
#ifndef CONESOCKS_COMMAND_HTTP_ANSWER_H
#define CONESOCKS_COMMAND_HTTP_ANSWER_H

#include <stdbool.h>
#include <stddef.h>

#define HTTP_HEAD_MAX ((size_t)8 << 10)
#define HTTP_BODY_MAX ((size_t)16 << 20)

enum http_progress {
    HTTP_MORE,      /* incomplete so far */
    HTTP_COMPLETE,  /* `answer` is filled in */
    HTTP_WRONG,     /* not an HTTP answer */
    HTTP_TOO_LARGE, /* too large, or announced as too large */
    HTTP_CUT_SHORT, /* the connection ended too early */
};

struct http_answer {
    int status;       /* 100 to 999 */
    const char *body; /* points into the bytes; no NUL at its end */
    size_t body_len;
};

/* Parses all bytes received so far. `ended`: no more will come. */
enum http_progress http_answer_read(const char *bytes, size_t len, bool ended, struct http_answer *answer);

#endif
