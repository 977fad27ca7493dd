/*
 * Parses the head of an HTTP request. Pure: any bytes end in a request or in the HTTP status to refuse them with.
 */
#ifndef CONESOCKS_ADMIN_HTTP_REQUEST_H
#define CONESOCKS_ADMIN_HTTP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a whole head; browsers send one or two thousand, and more with cookies of other servers on this host. */
#define HTTP_REQUEST_HEAD_MAX 8192
#define HTTP_REQUEST_TEXT_MAX 256 /* of each part that is kept, with its NUL */

struct http_request {
    bool head_only; /* HEAD: the answer without its body */
    char path[HTTP_REQUEST_TEXT_MAX], query[HTTP_REQUEST_TEXT_MAX];
    char host[HTTP_REQUEST_TEXT_MAX]; /* of an absolute target, else of the Host header; empty: there is none, as in
                                         HTTP/1.0 */
};

/* Parses the head of a GET or HEAD request. Returns 200, 0 (not complete yet), or the HTTP status to refuse it with. */
int http_request_parse(const char *text, size_t len, struct http_request *request);

/* Whether its host is an address or localhost. Somebody else's name could lead a browser here (DNS rebinding). */
bool http_request_names_address(const struct http_request *request);

/* Reads `key=number` from the query. A missing key leaves `number` as it is. false: not a number from `min` to `max`.
 */
bool http_request_number(const struct http_request *request, const char *key, uint64_t min, uint64_t max,
                         uint64_t *number);

#endif
