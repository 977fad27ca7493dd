/*
 * Associations that send datagrams to targets which send them back, all in one thread: each association has slots, a
 * slot is one datagram on its way or none.
 */
#ifndef CONESOCKS_BENCH_ECHO_H
#define CONESOCKS_BENCH_ECHO_H

#include "load.h"

struct echo;

/* Opens `count` associations through the proxy, and `targets` targets. Ends the program when the server refuses. */
struct echo *echo_new(const struct settings *settings, struct report *report, unsigned count, unsigned window,
                      unsigned size, unsigned targets);
void echo_free(struct echo *echo);

/* Fills every free slot of an association. */
void echo_send(struct echo *echo, unsigned association);

/* Waits for datagrams and handles them, and gives up the slots that have waited for too long. */
void echo_turn(struct echo *echo);

/* Sends so many datagrams a second, one from each association in turn, whether or not answers come; 0 ends that. */
void echo_pace(struct echo *echo, unsigned per_second);

/* Whether a slot that became free sends the next datagram at once. */
void echo_refill(struct echo *echo, bool refill);

unsigned echo_in_flight(const struct echo *echo);

/* Turns until nothing is in flight. */
void echo_drain(struct echo *echo);

#endif
