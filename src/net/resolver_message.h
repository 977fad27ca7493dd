/*
 * DNS messages as a stub resolver needs them: writes the question for one name's addresses, and reads the answer to it.
 * Pure: bytes in, values out. libresolv takes the packets apart.
 *
 * The question has no EDNS part: some servers and routers drop questions that have one. With EDNS,
 * answers of more than 512 bytes would need no TCP. libc's resolver does without it, too.
 */
#ifndef CONESOCKS_NET_RESOLVER_MESSAGE_H
#define CONESOCKS_NET_RESOLVER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "net/resolver_files.h"
#include "net/resolver_types.h"

#define RESOLVER_QUESTION_MAX 272 /* header, name, type and class */

struct resolver_answer {
    enum resolver_status status; /* FOUND, NOT_FOUND, or FAILED: the server cannot tell */
    bool truncated;              /* there is more over TCP */
    uint32_t ttl_s;              /* how long it may be kept, or the alias followed */
    size_t count;
    union netaddr addresses[RESOLVER_ADDRESSES_MAX];
    char alias[NAME_TEXT_MAX + 1]; /* the name to ask for instead; empty: none */
};

/* The length, or 0 when the name (without a final dot) cannot be asked for. */
size_t resolver_question_write(uint8_t out[RESOLVER_QUESTION_MAX], uint16_t id, const char *name, int family);

/* false: the packet does not answer this question. */
bool resolver_answer_read(struct resolver_answer *answer, const uint8_t *packet, size_t len, uint16_t id,
                          const char *name, int family);

#endif
