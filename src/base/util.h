/* Small things that C forgot. */
#ifndef CONESOCKS_BASE_UTIL_H
#define CONESOCKS_BASE_UTIL_H

#include <stddef.h>

/* The struct that `pointer`, the address of its `member`, lies in. */
#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif
