/*
 * The rules of a configuration, compiled: finds the first one that matches a subject and a destination. What that rule
 * means is in verdict.h.
 *
 * What stays the same for a session (client, user, listener, command) is looked up once, in its subject. Per datagram
 * only the destination's network is searched, which takes the same time whatever the number of rules.
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

/* Who asks, and for which command. Its memory grows only with the rules about its own client, user or listener. */
struct subject {
    const struct rules *rules; /* NULL: there are none */
    const char *user;          /* NULL: no login */
    union netaddr client;      /* unmapped */
    enum config_command command;
    uint32_t *personal; /* the rules with from, user or listener that apply to it, in order; NULL: none */
    uint32_t personal_count, anywhere_count; /* behind them: those of them that take every destination */
    uint32_t first_opening; /* of all rules that apply, the first that allows some addresses; UINT32_MAX: none */
};

/* `user` is NULL without a login. It and `rules` must outlive the subject. `listener` is the name of the listener that
 * the client has connected to; NULL: it has none. false: no memory. */
bool subject_init(struct subject *subject, const struct rules *rules, const union netaddr *client, const char *user,
                  const char *listener, enum config_command command);
/* Looks up the same in other rules, unless these are its rules already. `listener` is the name that the listener has
 * now. The old rules must still exist. false: no memory, and nothing has changed. */
bool subject_renew(struct subject *subject, const struct rules *rules, const char *listener);
/* Also of a subject that is all zero. */
void subject_deinit(struct subject *subject);

#define RULES_NO_MATCH UINT32_MAX

struct rules_match {
    uint32_t rule; /* its index, or RULES_NO_MATCH */
    unsigned bits; /* of the network that matched; 0: another criterion did */
};

/* The first rule for a canonical address and a port; `name` is what the client asked for (lower case), NULL when it was
 * the address. */
struct rules_match rules_find(const struct subject *subject, const char *name, const union netaddr *canonical,
                              uint16_t port);

/* The first rule for a name that this process does not resolve, so rules about addresses do not count; or
 * RULES_NO_MATCH. */
uint32_t rules_find_name(const struct subject *subject, const char *name, uint16_t port);

/* The first rule that matches every destination and port. Its terms are those of an association, wherever that sends:
 * mapping and filtering must not depend on the destination (RFC 4787). Other rules can name an upstream, which has a
 * mapping of its own. */
uint32_t rules_find_everywhere(const struct subject *subject);

/* The rule that denies `name` and `port` whatever the address, so the name need not be resolved; RULES_NO_MATCH: only
 * the address can tell. */
uint32_t rules_deny_name(const struct subject *subject, const char *name, uint16_t port);

/* The first rule about the subject from `rule` on, or RULES_NO_MATCH. */
uint32_t rules_next(const struct subject *subject, uint32_t rule);
/* The same, of the rules that match every address. */
uint32_t rules_next_everywhere(const struct subject *subject, uint32_t rule);

/* ---- where verdicts change (for destinations.h) ---- */

#define RULES_PORT_WORDS (65536 / 64)

/* A set of ports. */
struct rules_ports {
    uint64_t bits[RULES_PORT_WORDS];
};

/* The first port of each piece in which no range of a rule begins or ends. */
const struct rules_ports *rules_port_pieces(const struct rules *rules);

/* The first address of the i-th piece whose addresses are in the same networks of all rules; false: no more. */
bool rules_address_piece(const struct rules *rules, size_t i, union netaddr *address);

/* Whether some rule names exactly that: "example.com", or ".example.com". */
bool rules_mention(const struct rules *rules, const char *text);

#endif
