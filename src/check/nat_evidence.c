#include "check/nat_evidence.h"

#include <assert.h>

/* ---- mapping ---- */

/* The first view from the same address; ports do not count. */
static bool is_new_place(const struct nat_evidence *e, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (netaddr_equal_host(&e->views[i].from, &e->views[n].from))
            return false;
    return true;
}

/* How many different addresses see the same as the n-th view; `same` false: how many see something else. */
static size_t count_places(const struct nat_evidence *e, size_t n, bool same)
{
    size_t count = 0;
    for (size_t i = 0; i < e->view_count; i++)
        count += is_new_place(e, i) && netaddr_equal(&e->views[i].mapped, &e->views[n].mapped) == same;
    return count;
}

/* Servers at one address and different ports show whether ports matter. */
static enum nat_behaviour judge_difference(const struct nat_evidence *e)
{
    enum nat_behaviour behaviour = NAT_DEPENDENT;
    for (size_t i = 0; i < e->view_count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!netaddr_equal_host(&e->views[i].from, &e->views[j].from))
                continue;
            if (!netaddr_equal(&e->views[i].mapped, &e->views[j].mapped))
                return NAT_ADDRESS_AND_PORT_DEPENDENT;
            behaviour = NAT_ADDRESS_DEPENDENT;
        }
    }
    return behaviour;
}

/* One that differs from two or more others need not mean a NAT: with a dependent mapping, no two would be the same. */
static enum nat_behaviour judge_views(const struct nat_evidence *e, struct nat_conclusion *c)
{
    size_t most = 0;
    for (size_t i = 0; i < e->view_count; i++) {
        size_t same = count_places(e, i, true);
        most = same > most ? same : most;
        c->places += is_new_place(e, i);
    }
    if (e->view_count < 2)
        return NAT_UNKNOWN;
    bool differ = false;
    for (size_t i = 1; i < e->view_count; i++)
        differ = differ || !netaddr_equal(&e->views[i].mapped, &e->views[0].mapped);
    if (!differ)
        return c->places > 1 ? NAT_ENDPOINT_INDEPENDENT : NAT_UNKNOWN;
    if (most < 2 || most + 1 != c->places)
        return judge_difference(e);
    for (size_t i = 0; i < e->view_count; i++)
        if (count_places(e, i, true) < most)
            c->odd = &e->views[i];
    return NAT_ENDPOINT_INDEPENDENT;
}

static bool is_dependent(enum nat_behaviour behaviour)
{
    return behaviour != NAT_UNKNOWN && behaviour != NAT_ENDPOINT_INDEPENDENT;
}

/* One observed difference is proof. */
static enum nat_behaviour join_mappings(enum nat_behaviour by_views, enum nat_behaviour by_server)
{
    if (is_dependent(by_server) || by_views == NAT_UNKNOWN)
        return by_server;
    return by_views;
}

/* ---- filtering ---- */

static enum nat_behaviour judge_stranger(const struct nat_stranger *s)
{
    if (s->at_first == NAT_ARRIVED)
        return NAT_ENDPOINT_INDEPENDENT;
    if (s->at_first != NAT_SILENT)
        return NAT_UNKNOWN;
    if (s->after_address == NAT_ARRIVED)
        return NAT_ADDRESS_DEPENDENT;
    if (s->after_port == NAT_ARRIVED)
        return s->after_address == NAT_SILENT ? NAT_ADDRESS_AND_PORT_DEPENDENT : NAT_DEPENDENT;
    return NAT_UNKNOWN;
}

static enum nat_doubt judge_doubt(const struct nat_evidence *e)
{
    const struct nat_own_way *way = &e->way;
    if (!way->has_family)
        return NAT_DOUBT_NO_FAMILY;
    if (way->is_near)
        return e->here.at_first == NAT_ARRIVED ? NAT_DOUBT_NEAR_OPEN : NAT_DOUBT_NEAR_SILENT;
    if (!way->answered)
        return NAT_DOUBT_NO_WAY;
    if (way->one_socket)
        return NAT_DOUBT_ONE_SOCKET;
    return way->changes ? NAT_DOUBT_OWN_NAT : NAT_DOUBT_LOST;
}

/* A filter that stops anybody exists, wherever the sender is. A sender outside the network has to show that there is
 * none. */
static void judge_strangers(const struct nat_evidence *e, enum nat_behaviour by_server, struct nat_conclusion *c)
{
    enum nat_behaviour here = judge_stranger(&e->here), client = judge_stranger(&e->client);
    bool here_counts = is_dependent(here) || (here == NAT_ENDPOINT_INDEPENDENT && !e->way.is_near);
    c->proxy_is_open = client == NAT_ENDPOINT_INDEPENDENT || here == NAT_ENDPOINT_INDEPENDENT;
    c->basis = by_server != NAT_UNKNOWN ? NAT_BASIS_SERVER
               : here_counts            ? NAT_BASIS_HERE
               : is_dependent(client)   ? NAT_BASIS_CLIENT
                                        : NAT_BASIS_NONE;
    c->verdict.filtering = c->basis == NAT_BASIS_SERVER   ? by_server
                           : c->basis == NAT_BASIS_HERE   ? here
                           : c->basis == NAT_BASIS_CLIENT ? client
                                                          : NAT_UNKNOWN;
    c->doubt = c->basis == NAT_BASIS_NONE ? judge_doubt(e) : NAT_DOUBT_NONE;
}

struct nat_conclusion nat_conclude(const struct nat_evidence *e)
{
    struct nat_conclusion c = {.odd = NULL};
    const struct nat_verdict by_server = nat_judge(&e->server);
    assert(e->view_count <= NAT_VIEWS_MAX);
    c.verdict.mapping = join_mappings(judge_views(e, &c), by_server.mapping);
    judge_strangers(e, by_server.filtering, &c);
    c.verdict.type = nat_judge_type(c.verdict.mapping, c.verdict.filtering);
    return c;
}
