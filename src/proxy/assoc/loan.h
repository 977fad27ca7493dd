/*
 * Accounts for memory that clients make a worker hold after they were admitted: frames that have begun, names, tables
 * of destinations. It is limited for all clients of the worker together, and no client can take what the next one
 * needs.
 */
#ifndef CONESOCKS_PROXY_ASSOC_LOAN_H
#define CONESOCKS_PROXY_ASSOC_LOAN_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

/* What all clients of a worker may hold together. */
#define LOANS_MAX ((size_t)4 * 1024 * 1024)

/* A worker's; all zero at first. */
struct loans {
    size_t lent;
    size_t withheld; /* of LOANS_MAX: while memory is short */
    uint64_t calls;  /* how often they were called back */
};

/* What one client, or user, holds. */
struct loan {
    struct loans *all;
    size_t bytes;
};

/* Takes that much, if there is room. One client alone may hold half of all, n clients together n/(n+1): so there is
 * always room for the next client. */
static inline bool loan_take(struct loan *loan, size_t bytes)
{
    if (loan->bytes + loan->all->lent + bytes > LOANS_MAX - loan->all->withheld)
        return false;
    loan->bytes += bytes;
    loan->all->lent += bytes;
    return true;
}

static inline void loan_give_back(struct loan *loan, size_t bytes)
{
    assert(loan->bytes >= bytes && loan->all->lent >= bytes);
    loan->bytes -= bytes;
    loan->all->lent -= bytes;
}

/* Allocates memory and charges it to the loan. NULL: there is no room, or no memory. */
static inline void *loan_malloc(struct loan *loan, size_t size)
{
    if (!loan_take(loan, size))
        return NULL;
    void *memory = malloc(size);
    if (!memory)
        loan_give_back(loan, size);
    return memory;
}

/* `memory` may be NULL, of size 0. */
static inline void loan_free(struct loan *loan, void *memory, size_t size)
{
    free(memory);
    loan_give_back(loan, size);
}

#endif
