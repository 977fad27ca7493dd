#include "proxy/client_terms.h"

const struct config_listener *client_listener(const struct env *env, const struct proxy_client *client)
{
    return config_listener_for(env->config, &client->local, client->interface);
}

const char *client_listener_name(const struct env *env, const struct proxy_client *client)
{
    const struct config_listener *listener = client_listener(env, client);
    return listener ? listener->name : NULL;
}

bool client_subject_init(struct subject *subject, const struct env *env, const struct proxy_client *client,
                         enum config_command command)
{
    return subject_init(subject, env->rules, &client->peer, client->user, client_listener_name(env, client), command);
}

struct terms client_terms(const struct env *env, const struct subject *subject, uint32_t rule,
                          const struct proxy_client *client)
{
    const struct terms_holder holder = {
        .rule = rule,
        .user = subject->user ? users_find(&env->snapshot->users, subject->user) : NULL,
        .listener = client_listener(env, client),
        .client = &subject->client,
        .local = &client->local,
    };
    return terms_find(env->config, &holder);
}
