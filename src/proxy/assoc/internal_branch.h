/* The internal end of a branch (branch.h) that has no socket of its own: it sends by its
 * association's, which receives for it. */
#ifndef CONESOCKS_PROXY_ASSOC_INTERNAL_BRANCH_H
#define CONESOCKS_PROXY_ASSOC_INTERNAL_BRANCH_H

struct assoc;

/* 0: it cannot fail. */
int internal_branch_open(struct assoc *branch, const struct assoc *owner);

#endif
