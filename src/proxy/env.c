#include "proxy/env.h"

#include <assert.h>
#include <string.h>

#include "kernel/kernel_path.h"

static struct port_range env_range(const struct port_range *system, const struct config_ports *configured,
                                   const char *option, uint64_t rest_ms)
{
    struct port_range range = *system;
    if (configured->first) {
        range.random = false;
        range.first = configured->first;
        range.last = configured->last;
    }
    range.option = option;
    range.rest_ms = rest_ms;
    return range;
}

void env_port_ranges(const struct config *config, const struct port_range *system, struct port_range *relay,
                     struct port_range *external)
{
    const uint64_t rest_ms = config->udp.port_rest_ms;
    *relay = env_range(system, &config->udp.ports, "udp.ports", rest_ms);
    *external = env_range(system, &config->udp.external_ports, "udp.external_ports", rest_ms);
    external->except = config_shared_port(config);
}

struct port_range env_bind_ports(const struct env *env)
{
    struct port_range range = env_range(&env->system_ports, &env->config->bind.ports, "bind.ports", 0);
    range.stream = true;
    return range;
}

uint8_t env_carried_tos(const struct env *env)
{
    static const uint8_t bits[] = {[CONFIG_CARRY_ECN] = DGRAM_ECN, [CONFIG_CARRY_ECN_AND_DSCP] = DGRAM_TOS};
    return bits[env->config->udp.carry];
}

struct snapshot *env_use(struct env *env, struct snapshot *snapshot)
{
    struct snapshot *before = env->snapshot;
    assert(!snapshot || snapshot->config);
    env->snapshot = snapshot ? snapshot_hold(snapshot) : NULL;
    env->generation++;
    env->config = env->policy.config = snapshot ? snapshot->config : NULL;
    env->rules = snapshot ? snapshot->rules : NULL;
    if (env->kernel)
        kernel_worker_revoke(env->kernel);
    if (snapshot) {
        memcpy(env->policy.advertised, snapshot->advertised, sizeof(env->policy.advertised));
        env->full_ports.range.option = "udp.ports"; /* until an association finds a range full */
        env->shared_port = config_shared_port(env->config);
        env_port_ranges(env->config, &env->system_ports, &env->relay_ports, &env->external_ports);
        if (env->dgrams)
            dgram_io_carry(env->dgrams, env_carried_tos(env));
    }
    return before;
}

int env_first_family(const struct env *env)
{
    const enum config_prefer prefer = env->config->outbound.prefer;
    return prefer == CONFIG_PREFER_IPV4 || prefer == CONFIG_PREFER_IPV4_ONLY ? AF_INET : AF_INET6;
}
