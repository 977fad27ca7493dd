/*
 * The status page as one HTML document, joined from src/admin/page at build time. It asks /status and /history, and
 * nobody else.
 */
#ifndef CONESOCKS_ADMIN_PAGE_H
#define CONESOCKS_ADMIN_PAGE_H

#include <stddef.h>

extern const struct admin_page {
    const char *html; /* UTF-8; no NUL at its end */
    size_t size;
    /* Content-Security-Policy. Without it, what a client calls itself is one slip from being code. */
    const char *policy;
} admin_page;

#endif
