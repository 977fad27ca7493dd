#include "proxy/client_terms.h"

const char *client_listener_name(const struct env *env, const union netaddr *local)
{
    const struct config_listener *listener = config_listener_for(env->config, local);
    return listener ? listener->name : NULL;
}

bool client_subject_init(struct subject *subject, const struct env *env, const struct proxy_client *client,
                         enum config_command command)
{
    return subject_init(subject, env->rules, &client->peer, client->user, client_listener_name(env, &client->local),
                        command);
}

struct terms client_terms(const struct env *env, const struct subject *subject, uint32_t rule,
                          const union netaddr *local)
{
    const struct terms_holder holder = {
        .rule = rule,
        .user = subject->user ? users_find(&env->snapshot->users, subject->user) : NULL,
        .listener = config_listener_for(env->config, local),
        .client = &subject->client,
        .local = local,
    };
    return terms_find(env->config, &holder);
}
