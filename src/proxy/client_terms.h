/*
 * Looks up what the active configuration sets for a client: the listener that it has connected to, and the terms of its
 * session.
 */
#ifndef CONESOCKS_PROXY_CLIENT_TERMS_H
#define CONESOCKS_PROXY_CLIENT_TERMS_H

#include "policy/terms.h"
#include "proxy/env.h"

/* Who asks for something: a client, at the ends of its control connection. */
struct proxy_client {
    union netaddr peer;  /* its address, or the one that a PROXY protocol header contains */
    union netaddr local; /* our end: the address that it has connected to, or that its balancer has */
    unsigned interface;  /* of a listener at an interface; 0: none */
    const char *user;    /* NULL: no login */
};

/* NULL: a reload has removed it. */
const struct config_listener *client_listener(const struct env *env, const struct proxy_client *client);
/* NULL: it has none, or there is no such listener. */
const char *client_listener_name(const struct env *env, const struct proxy_client *client);

/* Compiles its subject for the active rules. `client->user` must outlive the subject. false: no memory. */
bool client_subject_init(struct subject *subject, const struct env *env, const struct proxy_client *client,
                         enum config_command command);

/* `rule` as in struct terms_holder. */
struct terms client_terms(const struct env *env, const struct subject *subject, uint32_t rule,
                          const struct proxy_client *client);

#endif
