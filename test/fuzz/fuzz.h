/*
 * What every fuzzer shares. A fuzzer copies its input to a heap buffer of exactly its size, so that AddressSanitizer
 * sees a read of one byte too far, gives it to the production code, and requires properties of what comes back.
 */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #condition);                                    \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* free() it. Nothing at all is NULL: a malloc of 0 bytes has one that may be read unnoticed. */
static inline uint8_t *exact_copy(const void *bytes, size_t size)
{
    if (size == 0)
        return NULL;
    uint8_t *copy = malloc(size);
    REQUIRE(copy);
    return memcpy(copy, bytes, size);
}

#endif
