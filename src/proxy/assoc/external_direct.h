/* The usual external end: one socket for each address family, open to everybody unless filtering is stricter. */
#ifndef CONESOCKS_PROXY_ASSOC_EXTERNAL_DIRECT_H
#define CONESOCKS_PROXY_ASSOC_EXTERNAL_DIRECT_H

struct assoc;

/* Opens the association's end for destinations of that family. 0 or a negative errno. */
int external_direct_open(struct assoc *assoc, int family);

#endif
