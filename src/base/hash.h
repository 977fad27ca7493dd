/*
 * uthash as this project uses it: running out of memory is the caller's to see (HASH_ADD leaves hh.tbl NULL), and the
 * hash function is one that both compilers take without a warning. Tables that strangers fill are small and bounded.
 */
#ifndef CONESOCKS_BASE_HASH_H
#define CONESOCKS_BASE_HASH_H

#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION     HASH_FNV
#include <uthash.h>

#endif
