/*
 * What the active configuration says about a client: the listener that it has connected to, and the terms of its
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
    const char *user;    /* NULL: no login */
};

/* `local` is the address that the client has connected to. NULL: its listener has no name, or a reload has removed it.
 */
const char *client_listener_name(const struct env *env, const union netaddr *local);

/* Compiles its subject for the active rules. `client->user` must outlive the subject. false: no memory. */
bool client_subject_init(struct subject *subject, const struct env *env, const struct proxy_client *client,
                         enum config_command command);

/* `rule` as in struct terms_holder. */
struct terms client_terms(const struct env *env, const struct subject *subject, uint32_t rule,
                          const union netaddr *local);

#endif
