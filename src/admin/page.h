/*
 * The status page: one HTML document, joined from src/admin/page at build time. It loads /status and /history, and
 * nothing else.
 */
#ifndef CONESOCKS_ADMIN_PAGE_H
#define CONESOCKS_ADMIN_PAGE_H

#include <stddef.h>

extern const struct admin_page {
    const char *html; /* UTF-8; no NUL at its end */
    size_t size;
    /* Content-Security-Policy: even if a text of a client got into the page as HTML, it could not run. */
    const char *policy;
} admin_page;

#endif
