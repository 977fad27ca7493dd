#include "policy/user_limits.h"

static uint64_t limit_pick(uint64_t own, uint64_t of_all)
{
    const uint64_t limit = own ? own : of_all;
    return limit == CONFIG_UNLIMITED ? 0 : limit;
}

struct user_limits user_limits_find(const struct config *config, const struct config_user *user)
{
    static const struct config_user nothing;
    const struct config_user *own = user ? user : &nothing;
    return (struct user_limits){
        .sessions = (uint32_t)limit_pick(own->sessions, config->limits.sessions_per_user),
        .associations = (uint32_t)limit_pick(own->associations, config->limits.associations_per_user),
        .addresses = (uint32_t)limit_pick(own->addresses, config->limits.addresses_per_user),
        .volume = limit_pick(own->volume, config->limits.volume_per_user),
        .bandwidth = limit_pick(own->terms.bandwidth, config->limits.bandwidth_per_user),
        .own_volume = own->volume != 0,
        .own_addresses = own->addresses != 0,
    };
}

bool user_has_expired(const struct config_user *user, uint32_t today)
{
    return user && user->expires && today > user->expires;
}
