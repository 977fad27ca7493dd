/* Which names the resolver asks for. */
#ifndef CONESOCKS_NET_RESOLVER_NAME_H
#define CONESOCKS_NET_RESOLVER_NAME_H

#include <stdbool.h>
#include <stddef.h>

/* A host name that may be asked for: RFC 1123 letters, digits, '-' and '_' in labels of 1 to 63, 253 in all, and not
 * something that an address parser could take for an address ("1", "127.1", "0x7f.1"): the last label is no number. */
bool resolver_name_valid(const char *name, size_t len);

#endif
