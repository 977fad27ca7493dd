/* This host's addresses, as a test makes them up. */
#ifndef TEST_SUPPORT_OWN_ADDRESSES_H
#define TEST_SUPPORT_OWN_ADDRESSES_H

#include <stdlib.h>

#include "policy/own_hosts.h"

static inline struct own_hosts *hosts_of(const union netaddr *addresses, size_t count)
{
    struct own_networks networks = {0};
    for (size_t i = 0; i < count; i++)
        assert_true(own_networks_add_host(&networks, &addresses[i]));
    struct own_hosts *hosts = own_hosts_new(&networks);
    free(networks.list);
    assert_non_null(hosts);
    return hosts;
}

#endif
