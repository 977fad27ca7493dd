#include "net/resolver.h"

#include <arpa/nameser.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "net/resolver_files.h"
#include "net/resolver_unbound.h"

#define LOG_MODULE "resolver"
#include "base/log.h"
#include "base/metrics.h"

#define LABEL_MAX 63

/* Queries under way in all: libunbound keeps a few KiB for each and sets no limit of its own. One client may have as
 * many as are left for others, so that however few clients want all, there is one for who comes next. */
#define QUERIES_MAX 1024

/* How many queries one client has under way. */
struct client {
    struct netaddr_subscriber key;
    uint32_t queries;
};

struct resolver_query {
    LIST_ENTRY(resolver_query) entry;
    struct resolver *resolver;
    struct client *client;
    void *charge;        /* NULL: none */
    resolver_done *done; /* NULL: forgotten, but libunbound has yet to answer */
    void *arg;
    struct event event; /* its time is up, or it is settled */
    bool asked;         /* libunbound has it, as `async_id` */
    int async_id;
    int family;
    enum resolver_status status;
    uint64_t begun_us;
    size_t count;
    union netaddr addresses[RESOLVER_ADDRESSES_MAX];
    char name[NAME_TEXT_MAX + 2];
};

struct resolver {
    struct event_base *base;
    struct ub_ctx *unbound;
    struct timeval timeout;
    uint32_t per_client;
    void (*release)(void *charge);
    struct metrics *metrics;
    union netaddr *servers; /* of the options */
    size_t server_count;    /* 0: resolv.conf's are used */
    char *hosts_path, *resolv_conf_path;
    struct file_stamp hosts_stamp, resolv_conf_stamp;
    struct hosts hosts;
    struct resolv_conf resolv_conf;
    void *clients; /* a tsearch(3) tree of struct client */
    LIST_HEAD(, resolver_query) queries;
    size_t query_count;
};

/* Names. */

static bool is_name_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* What inet_aton(3) and browsers would take for the last part of an IPv4 address: decimal, octal or 0x and hex. */
static bool is_number(const char *label, size_t len)
{
    const char *digits = "0123456789";
    if (len >= 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X')) {
        digits = "0123456789abcdefABCDEF";
        label += 2;
        len -= 2;
    }
    for (size_t i = 0; i < len; i++)
        if (!strchr(digits, label[i]))
            return false;
    return true;
}

bool resolver_name_valid(const char *name, size_t len)
{
    if (len > 0 && name[len - 1] == '.')
        len--; /* "example.com." is the same name */
    if (len == 0 || len > NAME_TEXT_MAX)
        return false;
    size_t label = 0; /* where the present one begins */
    for (size_t i = 0; i < len; i++) {
        if (name[i] == '.') {
            if (i == label)
                return false;
            label = i + 1;
        } else if (!is_name_char(name[i]) || i - label == LABEL_MAX) {
            return false;
        }
    }
    return label < len && !is_number(name + label, len - label);
}

/* "localhost" and all below it are this host, whatever a file or a server says (RFC 6761). */
static bool is_localhost(const char *name)
{
    static const char localhost[] = "localhost";
    size_t len = strlen(name), tail = sizeof(localhost) - 1;
    return len >= tail && strcasecmp(name + len - tail, localhost) == 0 && (len == tail || name[len - tail - 1] == '.');
}

/* Clients. */

static int compare_clients(const void *a, const void *b)
{
    const struct client *left = a, *right = b;
    return memcmp(&left->key, &right->key, sizeof(left->key));
}

/* Counts one more query for a client; NULL when it has its share under way, or no memory. */
static struct client *client_take(struct resolver *resolver, const union netaddr *address)
{
    struct client wanted = {.key = netaddr_subscriber(address)};
    struct client **found = tsearch(&wanted, &resolver->clients, compare_clients);
    if (!found)
        return NULL;
    if (*found == &wanted) { /* new: the tree must own it */
        *found = malloc(sizeof(wanted));
        if (!*found) {
            *found = &wanted;
            tdelete(&wanted, &resolver->clients, compare_clients);
            return NULL;
        }
        **found = wanted;
    }
    struct client *client = *found;
    bool has_share = resolver->per_client > 0 && client->queries >= resolver->per_client;
    if (has_share || client->queries >= QUERIES_MAX - resolver->query_count)
        return NULL;
    client->queries++;
    return client;
}

static void client_give_back(struct resolver *resolver, struct client *client)
{
    if (--client->queries > 0)
        return;
    tdelete(client, &resolver->clients, compare_clients);
    free(client);
}

/* Queries. */

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static void query_unlink(struct resolver_query *query)
{
    event_del(&query->event);
    LIST_REMOVE(query, entry);
    query->resolver->query_count--;
    client_give_back(query->resolver, query->client);
    if (query->charge)
        query->resolver->release(query->charge);
}

static void query_delete(struct resolver_query *query)
{
    query_unlink(query);
    free(query);
}

/* Hands the answer over from the event loop: libunbound answers from its cache before it returns, and its own state is
 * in mid-flight when it calls. */
static void settle(struct resolver_query *query, enum resolver_status status)
{
    query->status = status;
    event_active(&query->event, EV_TIMEOUT, 0);
}

static void add_address(struct resolver_query *query, const uint8_t *host, size_t len)
{
    if (query->count < RESOLVER_ADDRESSES_MAX)
        query->addresses[query->count++] = netaddr_from_bytes(host, len, 0);
}

/* Takes the addresses from an answer. libunbound has followed the aliases and thrown out what does not belong. */
static enum resolver_status read_answer(struct resolver_query *query, const uint8_t *packet, int packet_len)
{
    ns_msg message;
    if (ns_initparse(packet, packet_len, &message) != 0)
        return RESOLVER_FAILED;
    int rcode = ns_msg_getflag(message, ns_f_rcode);
    if (rcode != ns_r_noerror)
        return rcode == ns_r_nxdomain ? RESOLVER_NOT_FOUND : RESOLVER_FAILED;
    const ns_type type = query->family == AF_INET6 ? ns_t_aaaa : ns_t_a;
    const size_t len = query->family == AF_INET6 ? NS_IN6ADDRSZ : NS_INADDRSZ;
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        ns_rr record;
        if (ns_parserr(&message, ns_s_an, i, &record) != 0)
            break; /* what came before is good */
        if (ns_rr_type(record) == type && ns_rr_rdlen(record) == len)
            add_address(query, ns_rr_rdata(record), len);
    }
    return query->count > 0 ? RESOLVER_FOUND : RESOLVER_NOT_FOUND;
}

static void on_answer(void *arg, int rcode, void *packet, int packet_len, int security, char *why_bogus, int limited)
{
    (void)security, (void)why_bogus, (void)limited;
    struct resolver_query *query = arg;
    query->asked = false;
    if (!query->done)
        query_delete(query);
    else
        settle(query, rcode == 0 ? read_answer(query, packet, packet_len) : RESOLVER_FAILED);
}

static void query_ask(struct resolver_query *query)
{
    int type = query->family == AF_INET6 ? ns_t_aaaa : ns_t_a;
    event_add(&query->event, &query->resolver->timeout);
    query->asked = true; /* the answer may come before ub_resolve_event returns */
    if (ub_resolve_event(query->resolver->unbound, query->name, type, ns_c_in, query, on_answer, &query->async_id) !=
        0) {
        query->asked = false;
        settle(query, RESOLVER_FAILED);
    }
}

void resolver_charge(struct resolver_query *query, void *charge)
{
    query->charge = charge;
}

/* Only libunbound can end a query that it has, so a forgotten one keeps its client's place until then: else a client
 * could have any number under way by giving each up at once. */
void resolver_cancel(struct resolver_query *query)
{
    event_del(&query->event);
    query->done = NULL;
    if (!query->asked)
        query_delete(query);
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct resolver_query *query = arg;
    resolver_done *done = query->done;
    void *done_arg = query->arg;
    if (query->resolver->metrics)
        metrics_lookup(query->resolver->metrics, now_us() - query->begun_us);
    if (query->asked) {
        resolver_cancel(query);
        done(done_arg, RESOLVER_TIMED_OUT, NULL, 0);
    } else {
        query_unlink(query); /* `done` may free the resolver */
        done(done_arg, query->status, query->addresses, query->count);
        free(query);
    }
}

/* Answers from what this host knows, and tells whether it does. A name in the hosts file is not asked for in the other
 * family either: "0.0.0.0 example.com" is there to hide it. */
static bool answer_locally(struct resolver_query *query)
{
    static const uint8_t loopback_v4[4] = {127, 0, 0, 1}, loopback_v6[16] = {[15] = 1};
    char name[sizeof(query->name)];
    size_t len = strlen(query->name), count = 0;
    memcpy(name, query->name, len + 1);
    if (name[len - 1] == '.')
        name[len - 1] = '\0';

    const struct hosts_entry *entries = hosts_find(&query->resolver->hosts, name, &count);
    bool localhost = is_localhost(name);
    if (localhost && query->family == AF_INET)
        add_address(query, loopback_v4, sizeof(loopback_v4));
    else if (localhost)
        add_address(query, loopback_v6, sizeof(loopback_v6));
    else
        for (size_t i = 0; i < count; i++)
            if (entries[i].address.sa.sa_family == query->family && query->count < RESOLVER_ADDRESSES_MAX)
                query->addresses[query->count++] = entries[i].address;
    return localhost || count > 0;
}

/* The resolver. */

static bool same_servers(const union netaddr *a, size_t a_count, const union netaddr *b, size_t b_count)
{
    if (a_count != b_count)
        return false;
    for (size_t i = 0; i < a_count; i++)
        if (!netaddr_equal(&a[i], &b[i]))
            return false;
    return true;
}

static void end_unbound(struct resolver *resolver)
{
    for (struct resolver_query *query = LIST_FIRST(&resolver->queries); query; query = LIST_NEXT(query, entry))
        if (query->asked)
            ub_cancel(resolver->unbound, query->async_id); /* else its end would call back */
    unbound_delete(resolver->unbound);
}

/* Moves to other servers: what is under way is asked again there. On failure all stays as it is. */
static bool use_servers(struct resolver *resolver, const union netaddr *servers, size_t count)
{
    struct ub_ctx *new = unbound_new(resolver->base, servers, count);
    if (!new)
        return false;
    end_unbound(resolver);
    resolver->unbound = new;
    struct resolver_query *query = LIST_FIRST(&resolver->queries);
    while (query) {
        struct resolver_query *next = LIST_NEXT(query, entry);
        if (query->asked && query->done)
            query_ask(query);
        else if (query->asked)
            query_delete(query);
        query = next;
    }
    return true;
}

static void read_hosts(struct resolver *resolver)
{
    char *text = file_read(resolver->hosts_path);
    if (!text)
        log_debug("%s: %s: no names from it", resolver->hosts_path, strerror(errno));
    hosts_clear(&resolver->hosts);
    if (!hosts_parse(&resolver->hosts, text))
        log_warning("%s: not used for want of memory", resolver->hosts_path);
}

static bool read_resolv_conf(struct resolver *resolver)
{
    struct resolv_conf conf;
    char *text = file_read(resolver->resolv_conf_path);
    if (!text)
        log_debug("%s: %s", resolver->resolv_conf_path, strerror(errno));
    resolv_conf_parse(&conf, text);
    free(text);
    const struct resolv_conf *before = &resolver->resolv_conf;
    bool move = resolver->server_count == 0 &&
                !same_servers(conf.servers, conf.server_count, before->servers, before->server_count);
    if (move && !use_servers(resolver, conf.servers, conf.server_count))
        return false;
    if (move)
        log_debug("%s: %zu name servers", resolver->resolv_conf_path, conf.server_count);
    resolver->resolv_conf = conf;
    return true;
}

/* Looked at before each lookup, like libc: a laptop moves, an administrator edits. */
static bool follow_files(struct resolver *resolver)
{
    if (file_changed(resolver->hosts_path, &resolver->hosts_stamp))
        read_hosts(resolver);
    return !file_changed(resolver->resolv_conf_path, &resolver->resolv_conf_stamp) || read_resolv_conf(resolver);
}

/* None: those of resolv.conf, which at the start is yet to be read. On failure all stays as it is. */
static bool take_servers(struct resolver *resolver, const union netaddr *servers, size_t count)
{
    const struct resolv_conf *conf = &resolver->resolv_conf;
    union netaddr *copy = calloc(count + 1, sizeof(*copy));
    if (!copy)
        return false;
    for (size_t i = 0; i < count; i++)
        copy[i] = servers[i];
    bool later = count == 0 && !resolver->unbound;
    if (!later && !use_servers(resolver, count ? copy : conf->servers, count ? count : conf->server_count)) {
        free(copy);
        return false;
    }
    free(resolver->servers);
    resolver->servers = copy;
    resolver->server_count = count;
    return true;
}

static void take_limits(struct resolver *resolver, const struct resolver_options *options)
{
    resolver->timeout.tv_sec = (time_t)(options->timeout_ms / 1000);
    resolver->timeout.tv_usec = (suseconds_t)(options->timeout_ms % 1000 * 1000);
    resolver->per_client = options->per_client;
}

bool resolver_change(struct resolver *resolver, const struct resolver_options *options)
{
    take_limits(resolver, options); /* first, for what is asked again */
    return same_servers(options->servers, options->server_count, resolver->servers, resolver->server_count) ||
           take_servers(resolver, options->servers, options->server_count);
}

const union netaddr *resolver_servers(const struct resolver *resolver, size_t *count)
{
    const struct resolv_conf *conf = &resolver->resolv_conf;
    *count = resolver->server_count ? resolver->server_count : conf->server_count;
    return resolver->server_count ? resolver->servers : conf->servers;
}

size_t resolver_waiting(const struct resolver *resolver)
{
    return resolver->query_count;
}

static bool copy_files(struct resolver *resolver, const struct resolver_options *options)
{
    resolver->release = options->release;
    resolver->metrics = options->metrics;
    resolver->hosts_path = strdup(options->hosts_file ? options->hosts_file : "/etc/hosts");
    resolver->resolv_conf_path = strdup(options->resolv_conf ? options->resolv_conf : "/etc/resolv.conf");
    return resolver->hosts_path && resolver->resolv_conf_path;
}

struct resolver *resolver_new(struct event_base *base, const struct resolver_options *options)
{
    struct resolver *resolver = calloc(1, sizeof(*resolver));
    if (!resolver)
        return NULL;
    resolver->base = base;
    LIST_INIT(&resolver->queries);
    take_limits(resolver, options);
    if (!copy_files(resolver, options) || !take_servers(resolver, options->servers, options->server_count) ||
        !follow_files(resolver)) {
        resolver_free(resolver);
        return NULL;
    }
    return resolver;
}

void resolver_free(struct resolver *resolver)
{
    if (!resolver)
        return;
    end_unbound(resolver);
    while (!LIST_EMPTY(&resolver->queries))
        query_delete(LIST_FIRST(&resolver->queries));
    hosts_clear(&resolver->hosts);
    free(resolver->servers);
    free(resolver->hosts_path);
    free(resolver->resolv_conf_path);
    free(resolver);
}

struct resolver_query *resolver_lookup(struct resolver *resolver, const union netaddr *client, const char *name,
                                       int family, resolver_done *done, void *arg)
{
    size_t len = strlen(name);
    if (resolver->query_count >= QUERIES_MAX || !resolver_name_valid(name, len))
        return NULL;
    struct resolver_query *query = calloc(1, sizeof(*query));
    if (!query)
        return NULL;
    query->client = client_take(resolver, client);
    if (!query->client) {
        free(query);
        return NULL;
    }
    query->resolver = resolver;
    query->done = done;
    query->arg = arg;
    query->family = family;
    query->begun_us = now_us();
    memcpy(query->name, name, len + 1);
    evtimer_assign(&query->event, resolver->base, on_event, query);
    LIST_INSERT_HEAD(&resolver->queries, query, entry);
    resolver->query_count++;

    follow_files(resolver);
    if (answer_locally(query))
        settle(query, query->count > 0 ? RESOLVER_FOUND : RESOLVER_NOT_FOUND);
    else
        query_ask(query);
    return query;
}
