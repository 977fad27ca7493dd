/* The external end that sends straight to the destinations: a socket of one family, which the internet sees. */
#ifndef CONESOCKS_PROXY_ASSOC_EXTERNAL_DIRECT_H
#define CONESOCKS_PROXY_ASSOC_EXTERNAL_DIRECT_H

#include "proxy/assoc/ends.h"

extern const struct external_ops external_direct_ops;

#endif
