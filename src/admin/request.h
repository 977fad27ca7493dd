/*
 * The head of an HTTP request, from bytes. Pure: whatever a stranger sends, it ends in a request or in the status to
 * refuse it with.
 */
#ifndef CONESOCKS_ADMIN_REQUEST_H
#define CONESOCKS_ADMIN_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a whole head; browsers send one or two thousand bytes, and more with cookies of other servers on this host. */
#define REQUEST_HEAD_MAX 8192
#define REQUEST_TEXT_MAX 256 /* of each part that is looked at, with its NUL */

struct request {
    bool head_only; /* HEAD: the answer without its body */
    char path[REQUEST_TEXT_MAX], query[REQUEST_TEXT_MAX];
    char host[REQUEST_TEXT_MAX]; /* of an absolute target, else of the Host header; empty: none, as in HTTP/1.0 */
};

/* Reads a head of GET or HEAD. Returns 200; 0: it is not complete yet; or the HTTP status to refuse it with. */
int request_parse(const char *text, size_t len, struct request *request);

/* Is its host an address or localhost? A name in somebody else's hands may lead a browser here. */
bool request_names_address(const struct request *request);

/* Reads `key=number` of the query. What is left out leaves `number` alone; false: no number from `min` to `max`. */
bool request_number(const struct request *request, const char *key, uint64_t min, uint64_t max, uint64_t *number);

#endif
