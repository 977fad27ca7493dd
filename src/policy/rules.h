/*
 * The configuration's rules, compiled: which is the first that matches? What it decides is verdict.h's.
 *
 * What stays the same for a session (client, user, command) is settled once, in its subject; what remains per datagram
 * is a search for the destination's network, whatever the number of rules.
 */
#ifndef CONESOCKS_POLICY_RULES_H
#define CONESOCKS_POLICY_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/netaddr.h"
#include "conf/config.h"

struct rules;

/* `list` must outlive it. NULL: no memory. */
struct rules *rules_compile(const struct config_rule *list, size_t count);
void rules_free(struct rules *rules);

/* One that asks, for one thing. It takes memory for the rules alone that are about its client or user. */
struct subject {
    const struct rules *rules; /* NULL: there are none */
    const char *user;          /* NULL: no login */
    union netaddr client;      /* unmapped */
    enum config_command command;
    uint32_t *personal;                      /* the rules with from or user that apply to it, in order; NULL: none */
    uint32_t personal_count, anywhere_count; /* behind them: those of them that take every destination */
    uint32_t first_opening; /* of all rules that apply, the first that allows some addresses; UINT32_MAX: none */
};

/* `user` is NULL without a login. It and `rules` must outlive the subject. false: no memory. */
bool subject_init(struct subject *subject, const struct rules *rules, const union netaddr *client, const char *user,
                  enum config_command command);
/* Puts it under other rules, unless it is under them already. The old ones must still be there. false: no memory, and
 * nothing has changed. */
bool subject_renew(struct subject *subject, const struct rules *rules);
/* Also of a subject that is all zero. */
void subject_deinit(struct subject *subject);

#define RULES_NO_MATCH UINT32_MAX

struct rules_match {
    uint32_t rule; /* its index, or RULES_NO_MATCH */
    unsigned bits; /* of the network that matched; 0: another criterion did */
};

/* The first rule for a canonical address and a port; `name` is what was asked for (lower case), NULL when it was the
 * address. */
struct rules_match rules_find(const struct subject *subject, const char *name, const union netaddr *canonical,
                              uint16_t port);

/* The first rule for a name that nobody here resolves: those about addresses do not count. Or RULES_NO_MATCH. */
uint32_t rules_find_name(const struct subject *subject, const char *name, uint16_t port);

/* The first rule that takes every destination and port. Wherever an association sends to, it is served on that one's
 * terms: its mapping and filtering must not depend on the destination (RFC 4787). */
uint32_t rules_find_everywhere(const struct subject *subject);

/* The rule that denies `name` and `port` whatever the address is, so that it need not be resolved; RULES_NO_MATCH: it
 * takes the address to tell. */
uint32_t rules_deny_name(const struct subject *subject, const char *name, uint16_t port);

/* The first rule about the subject from `rule` on, or RULES_NO_MATCH. */
uint32_t rules_next(const struct subject *subject, uint32_t rule);
/* The same of those that take every address. */
uint32_t rules_next_everywhere(const struct subject *subject, uint32_t rule);

/* ---- where the answers change (destinations.h) ---- */

#define RULES_PORT_WORDS (65536 / 64)

/* A set of ports. */
struct rules_ports {
    uint64_t bits[RULES_PORT_WORDS];
};

/* The first port of each piece within which no range of a rule begins or ends. */
const struct rules_ports *rules_port_pieces(const struct rules *rules);

/* The first address of the i-th piece that lies in the same networks of all rules; false: there are no more. */
bool rules_address_piece(const struct rules *rules, size_t i, union netaddr *address);

/* Whether some rule is about just that: "example.com", or ".example.com". */
bool rules_mention(const struct rules *rules, const char *text);

#endif
