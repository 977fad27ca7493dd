#include "policy/terms.h"

#include <assert.h>
#include <stdarg.h>
#include <string.h>
#include <sys/random.h>

#include "conf/value.h"
#include "conf/words.h"
#include "policy/reach.h"
#include "policy/rules.h"

/* From the narrowest to the widest: the first that sets a term decides. */
enum { OF_RULE, OF_USER, OF_LISTENER, LEVELS };

static const struct config_terms silent;

static void terms_levels(const struct config *config, const struct terms_holder *holder,
                         const struct config_terms *levels[LEVELS])
{
    levels[OF_RULE] = holder->rule == RULES_NO_MATCH ? &silent : &config->rules[holder->rule].terms;
    levels[OF_USER] = holder->user ? &holder->user->terms : &silent;
    levels[OF_LISTENER] = holder->listener ? &holder->listener->terms : &silent;
}

/* The narrowest one that is set; 0: any amount. */
static uint64_t terms_rate(uint64_t narrow, uint64_t middle, uint64_t wide)
{
    uint64_t rate = narrow ? narrow : middle ? middle : wide;
    return rate == CONFIG_UNLIMITED ? 0 : rate;
}

static const struct config_upstream *terms_upstream(const struct config *config, const char *name)
{
    for (size_t i = 0; name && i < config->upstream_count; i++)
        if (strcmp(config->upstreams[i].name, name) == 0)
            return &config->upstreams[i];
    return NULL;
}

/* FNV-1a (RFC 9923). */
static uint64_t bytes_hash(uint64_t seed, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        seed = (seed ^ bytes[i]) * UINT64_C(0x100000001b3);
    return seed;
}

/* Rendezvous hashing: the address with the highest hash together with this client. So all workers pick the same one,
 * and a client gets another one only when its address is removed from the list, or a new one has a higher hash. */
static union netaddr pool_pick_of_list(const struct config_pool *pool, const union netaddr *client)
{
    const struct netaddr_subscriber subscriber = netaddr_subscriber(client);
    uint64_t seed = bytes_hash(UINT64_C(0xcbf29ce484222325), subscriber.bytes, sizeof(subscriber.bytes)), highest = 0;
    union netaddr picked = {0};
    for (size_t i = 0; i < pool->count; i++) {
        size_t len;
        const uint8_t *host = netaddr_host(&pool->addresses[i], &len);
        uint64_t drawn = bytes_hash(seed, host, len);
        drawn = (drawn ^ drawn >> 32) * UINT64_C(0x9e3779b97f4a7c15); /* the last byte has to reach the first bits */
        if (i == 0 || drawn > highest) {
            highest = drawn;
            picked = pool->addresses[i];
        }
    }
    assert(picked.sa.sa_family != AF_UNSPEC);
    return picked;
}

/* Other hosts cannot answer to a loopback or link-local address: the system chooses for clients that have connected
 * there. */
static union netaddr pool_pick_local(const union netaddr *local, int family)
{
    if (local->sa.sa_family != family)
        return (union netaddr){0};
    const enum reach_place place = reach_place_of(local);
    union netaddr picked = place == REACH_LOOPBACK || place == REACH_LINK_LOCAL ? (union netaddr){0} : *local;
    netaddr_set_port(&picked, 0);
    return picked;
}

/* The n-th address behind the first one of a network. */
static union netaddr network_address(const struct config_pool *pool, uint32_t n)
{
    uint8_t host[16];
    size_t len;
    const uint8_t *first = netaddr_host(&pool->addresses[0], &len);
    memcpy(host, first, len);
    for (size_t i = len; n > 0 && i-- > 0; n >>= 8) {
        n += host[i];
        host[i] = (uint8_t)n;
    }
    return netaddr_from_bytes(host, len, 0);
}

/* Not the first one, which stands for the network or its routers, and not the last one, IPv4's broadcast address. */
static union netaddr pool_pick_at_random(const struct config_pool *pool)
{
    uint8_t host[16], random[16];
    size_t len, ones = 0;
    const uint8_t *first = netaddr_host(&pool->addresses[0], &len);
    memcpy(host, first, len);
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return network_address(pool, 1);
    for (size_t bit = pool->bits; bit < 8 * len; bit++) {
        const uint8_t drawn = random[bit / 8] & (uint8_t)(0x80 >> bit % 8);
        host[bit / 8] |= drawn;
        ones += drawn != 0;
    }
    const size_t host_bits = 8 * len - pool->bits;
    if (ones == 0 || ones == host_bits)
        host[len - 1] ^= 1;
    return netaddr_from_bytes(host, len, 0);
}

/* With listen[].address_by_port: the n-th port's own. */
static union netaddr pool_pick_by_port(const struct config_pool *pool, const struct terms_holder *holder)
{
    const uint16_t first = holder->listener->ports.first, port = netaddr_port(holder->local);
    const uint32_t n = port > first && port <= holder->listener->ports.last ? (uint32_t)port - first : 0;
    if (pool->kind == CONFIG_POOL_NETWORK)
        return network_address(pool, n + 1);
    assert(pool->kind == CONFIG_POOL_LIST && n < pool->count);
    return pool->addresses[n];
}

/* AF_UNSPEC: the system chooses. */
static union netaddr pool_pick(const struct config_pool *pool, const struct terms_holder *holder, int family)
{
    const struct config_listener *listener = holder->listener;
    const bool own = listener && (pool == &listener->terms.address_v4 || pool == &listener->terms.address_v6);
    if (own && listener->address_by_port)
        return pool_pick_by_port(pool, holder);
    switch (pool->kind) {
    case CONFIG_POOL_LIST:
        return pool_pick_of_list(pool, holder->client);
    case CONFIG_POOL_LISTENER:
        return pool_pick_local(holder->local, family);
    case CONFIG_POOL_NETWORK:
        return pool_pick_at_random(pool);
    case CONFIG_POOL_NONE:
        break;
    }
    return (union netaddr){0};
}

struct terms terms_find(const struct config *config, const struct terms_holder *holder)
{
    assert(holder->rule == RULES_NO_MATCH || holder->rule < config->rule_count);
    uint32_t dscp = config->outbound.dscp;
    const struct config_pool *v4 = &config->outbound.address_v4, *v6 = &config->outbound.address_v6;
    const struct config_terms *levels[LEVELS];
    const char *upstream = config->outbound.upstream;
    struct terms terms = {
        .filtering = config->udp.filtering,
        .mark = config->outbound.mark,
        .interface = config->outbound.interface,
    };
    terms_levels(config, holder, levels);
    terms.session.bytes =
        terms_rate(levels[OF_RULE]->bandwidth, levels[OF_LISTENER]->bandwidth, config->limits.bandwidth_per_session);
    terms.session.datagrams = terms_rate(levels[OF_RULE]->datagrams, levels[OF_LISTENER]->datagrams,
                                         config->limits.datagrams_per_association);
    terms.user.bytes = terms_rate(levels[OF_USER]->bandwidth, 0, config->limits.bandwidth_per_user);
    terms.user.datagrams = terms_rate(levels[OF_USER]->datagrams, 0, config->limits.datagrams_per_user);
    for (int i = LEVELS - 1; i >= 0; i--) {
        const struct config_terms *said = levels[i];
        if (said->filtering != CONFIG_FILTERING_INHERITED)
            terms.filtering = said->filtering;
        if (said->address_v4.kind != CONFIG_POOL_NONE)
            v4 = &said->address_v4;
        if (said->address_v6.kind != CONFIG_POOL_NONE)
            v6 = &said->address_v6;
        if (said->mark != 0)
            terms.mark = said->mark;
        if (said->interface)
            terms.interface = said->interface;
        if (said->dscp != 0)
            dscp = said->dscp;
        if (said->upstream)
            upstream = said->upstream;
    }
    terms.address_v4 = pool_pick(v4, holder, AF_INET);
    terms.address_v6 = pool_pick(v6, holder, AF_INET6);
    terms.from_network = v6->kind == CONFIG_POOL_NETWORK;
    terms.dscp = (uint8_t)(dscp & ~CONFIG_DSCP_SAID);
    terms.upstream = terms_upstream(config, upstream);
    return terms;
}

/* ---- in words ---- */

struct terms_line {
    FILE *out;
    bool begun;
};

__attribute__((format(printf, 2, 3))) static void line_say(struct terms_line *line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(line->begun ? ", " : "terms: ", line->out);
    vfprintf(line->out, format, args);
    line->begun = true;
    va_end(args);
}

static void line_say_value(struct terms_line *line, const struct value_type *type, const char *key, const void *field,
                           const char *who)
{
    line_say(line, "%s ", key);
    type->format(NULL, field, line->out);
    fprintf(line->out, " (%s)", who);
}

/* The rates of a rule and a user do not override each other: one is each session's, the other is all sessions'
 * together. */
static void line_say_rate(struct terms_line *line, const struct value_type *type, const char *key, uint64_t rate,
                          const char *who)
{
    if (rate)
        line_say_value(line, type, key, &rate, who);
}

static void line_say_level(struct terms_line *line, const struct config_terms *said, const struct config_terms *over,
                           const char *who)
{
    if (said->address_v4.kind && !over->address_v4.kind)
        line_say_value(line, &value_pool_v4, "address_v4", &said->address_v4, who);
    if (said->address_v6.kind && !over->address_v6.kind)
        line_say_value(line, &value_pool_v6, "address_v6", &said->address_v6, who);
    if (said->mark && !over->mark)
        line_say(line, "mark 0x%x (%s)", said->mark, who);
    if (said->interface && !over->interface)
        line_say(line, "interface %s (%s)", said->interface, who);
    if (said->dscp && !over->dscp)
        line_say_value(line, &value_dscp, "dscp", &said->dscp, who);
    if (said->filtering && !over->filtering)
        line_say(line, "filtering %s (%s)", config_filtering_word(said->filtering), who);
    if (said->upstream && !over->upstream)
        line_say(line, "upstream %s (%s)", said->upstream, who);
    line_say_rate(line, &value_bandwidth, "bandwidth", said->bandwidth, who);
    line_say_rate(line, &value_datagrams, "datagrams", said->datagrams, who);
}

/* Adds to `over` the terms that `said` sets, and that wider levels cannot set any more. */
static void terms_cover(struct config_terms *over, const struct config_terms *said)
{
    over->address_v4.kind |= said->address_v4.kind;
    over->address_v6.kind |= said->address_v6.kind;
    over->mark |= said->mark;
    over->interface = over->interface ? over->interface : said->interface;
    over->dscp |= said->dscp;
    over->filtering |= said->filtering;
    over->upstream = over->upstream ? over->upstream : said->upstream;
}

void terms_explain(const struct config *config, const struct terms_holder *holder, FILE *out)
{
    const struct config_terms *levels[LEVELS];
    struct config_terms over = {0};
    struct terms_line line = {.out = out};
    char who[LEVELS][32];
    terms_levels(config, holder, levels);
    snprintf(who[OF_RULE], sizeof(who[0]), "rules[%u]", holder->rule);
    snprintf(who[OF_USER], sizeof(who[0]), "users[%td]", holder->user ? holder->user - config->users : 0);
    snprintf(who[OF_LISTENER], sizeof(who[0]), "listen[%td]", holder->listener ? holder->listener - config->listen : 0);
    for (int i = 0; i < LEVELS; i++) {
        line_say_level(&line, levels[i], &over, who[i]);
        terms_cover(&over, levels[i]);
    }
    if (line.begun)
        fputc('\n', out);
}
