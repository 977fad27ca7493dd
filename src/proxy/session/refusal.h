/*
 * Why a request was refused, in words for the session log: what has failed, and what an operator can change.
 */
#ifndef CONESOCKS_PROXY_SESSION_REFUSAL_H
#define CONESOCKS_PROXY_SESSION_REFUSAL_H

#include "conesocks/socks5.h"
#include "proxy/session/shortage.h"

struct stream;

/* Of a stream that was not granted, but answered with `code`. */
const char *refusal_of_stream(const struct stream *stream, enum socks5_reply code);

/* Of an association that could not be opened: `error` is its errno, `of_ports` the shortage if there was no port. May
 * use `text`. */
const char *refusal_of_assoc(int error, const struct shortage *of_ports, char text[SHORTAGE_TEXT_MAX]);

#endif
