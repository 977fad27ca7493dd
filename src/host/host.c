#include "host/host.h"

#include <assert.h>
#include <stdlib.h>

#include "host/addresses.h"
#include "host/shared_port_table.h"
#include "net/ports.h"
#include "net/reserve.h"
#include "policy/own_ports.h"
#include "policy/quota.h"
#include "policy/rates.h"
#include "policy/usage.h"

struct host *host_new(void)
{
    struct host *host = calloc(1, sizeof(*host));
    if (!host)
        return NULL;
    host->handover = (struct host_handover){-1, -1};
    host->ports = ports_new();
    host->own_ports = own_ports_new();
    host->shared_port = shared_port_table_new();
    host->reserve = reserve_new();
    host->quota = quota_new();
    host->usage = usage_new();
    host->user_rates = user_rates_new();
    if (host->ports && host->own_ports && host->shared_port && host->reserve && host->quota && host->usage &&
        host->user_rates)
        return host;
    host_free(host);
    return NULL;
}

void host_free(struct host *host)
{
    if (!host)
        return;
    addresses_free(host->addresses);
    user_rates_free(host->user_rates);
    usage_free(host->usage);
    quota_free(host->quota);
    shared_port_table_free(host->shared_port);
    reserve_free(host->reserve);
    assert(!host->own_ports || own_ports_sockets(host->own_ports) == 0);
    own_ports_free(host->own_ports);
    ports_free(host->ports);
    free(host);
}

bool host_watch_addresses(struct host *host, struct event_base *base,
                          void (*changed)(void *arg, struct own_hosts *hosts), void *arg)
{
    assert(!host->addresses);
    host->addresses = addresses_new(base, changed, arg);
    return host->addresses != NULL;
}
