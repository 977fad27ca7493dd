/*
 * Bytes as text, for tables that a reader of the RFC can check by eye:  "05 01 00 03 03 'abc' 0050 'x'*255 00"
 * Hexadecimal digits in pairs, text in quotes; *N repeats the byte before it so that there are N of it.
 */
#ifndef TEST_SUPPORT_BYTES_H
#define TEST_SUPPORT_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* A table that cannot be read is the test's own fault: say so and stop. */
static inline void bytes_mistake(const char *text, const char *at)
{
    fprintf(stderr, "bytes: \"%s\" at \"%s\": expected hex pairs, 'text' or *N\n", text, at);
    abort();
}

static inline size_t bytes_from_text(const char *text, uint8_t *out, size_t size)
{
    size_t used = 0;
    for (const char *at = text; *at;) {
        if (used == size)
            bytes_mistake(text, at);
        unsigned byte;
        int taken = 0;
        if (*at == ' ') {
            at++;
        } else if (*at == '\'') {
            for (at++; *at && *at != '\'' && used < size; at++)
                out[used++] = (uint8_t)*at;
            at += *at == '\'';
        } else if (*at == '*' && used > 0) {
            size_t more = strtoul(at + 1, (char **)&at, 10) - 1;
            if (more >= size - used)
                bytes_mistake(text, at);
            memset(out + used, out[used - 1], more);
            used += more;
        } else if (sscanf(at, "%2x%n", &byte, &taken) == 1 && taken == 2) {
            out[used++] = (uint8_t)byte;
            at += 2;
        } else {
            bytes_mistake(text, at);
        }
    }
    return used;
}

/* Memory that ends where readable memory ends: one byte too far is a crash in every build, not only a sanitizer's. */
struct edge {
    uint8_t *end;
};
#define EDGE_ROOM 65536

static inline struct edge edge_open(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *start = mmap(NULL, EDGE_ROOM + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (start == MAP_FAILED || mprotect(start + EDGE_ROOM, page, PROT_NONE) != 0) {
        perror("edge");
        abort();
    }
    return (struct edge){.end = start + EDGE_ROOM};
}

/* `size` bytes up to the edge, filled with a value that no encoder writes by chance. */
static inline uint8_t *edge_room(const struct edge *edge, size_t size)
{
    return memset(edge->end - size, 0xa5, size);
}

static inline uint8_t *edge_copy(const struct edge *edge, const void *bytes, size_t len)
{
    return memcpy(edge->end - len, bytes, len);
}

#endif
