#include "net/resolver_unbound.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <pthread.h>
#include <stdio.h>

#define LOG_MODULE "resolver"
#include "base/log.h"

/* libunbound's log target and hash seed belong to the process, and it guards neither: workers set up one at a time. */
static pthread_mutex_t setup_lock = PTHREAD_MUTEX_INITIALIZER;

static const struct {
    const char *name, *value;
} settings[] = {
    {"module-config:", "iterator"},    /* no validator: DNSSEC is the forwarder's task, and needs trust anchors */
    {"use-caps-for-id:", "yes"},       /* 0x20: the case of the name must come back, which is hard to guess */
    {"edns-buffer-size:", "1232"},     /* fits the smallest IPv6 MTU: no fragments */
    {"do-not-query-localhost:", "no"}, /* 127.0.0.53 is a common stub */
    {"unblock-lan-zones:", "yes"},     /* the forwarder may know private networks */
    /* Room for one worker: descriptors (the default is 4,096), caches, and no slabs, which are for threads. */
    {"outgoing-range:", "256"},
    {"num-queries-per-thread:", "1024"},
    {"msg-cache-size:", "1m"},
    {"rrset-cache-size:", "2m"},
    {"msg-cache-slabs:", "1"},
    {"rrset-cache-slabs:", "1"},
    {"infra-cache-slabs:", "1"},
    {"infra-cache-numhosts:", "64"},
    {"cache-max-negative-ttl:", "60"},
    {"serve-expired:", "no"},
    /* Silence ends a query by the number of sends, whose failure is not cached, before it ends it by the attempts at
     * one server, whose failure answers for the name for another 5 s. */
    {"max-sent-count:", "8"},
    {"outbound-msg-retry:", "32"},
};

/* Names that libunbound would deny by itself, where libc asks the server. "localhost" is answered before. */
static const char *const asked_zones[] = {"test.", "home.arpa."};

/* For how many seconds a server's delays and failures are remembered. libunbound doubles its patience with each loss,
 * up to two minutes: forgetting makes it ask a server that was down again within two seconds. A longer memory spares
 * the others' lookups the time that a dead one among them costs. */
static const char *memory_of(size_t servers)
{
    return servers == 1 ? "1" : "5";
}

static int add_server(struct ub_ctx *context, const union netaddr *server)
{
    char host[INET6_ADDRSTRLEN], text[sizeof(host) + sizeof("%4294967295@65535")];
    size_t len;
    inet_ntop(server->sa.sa_family, netaddr_host(server, &len), host, sizeof(host));
    if (server->sa.sa_family == AF_INET6 && server->v6.sin6_scope_id != 0)
        snprintf(text, sizeof(text), "%s%%%u@%u", host, server->v6.sin6_scope_id, netaddr_port(server));
    else
        snprintf(text, sizeof(text), "%s@%u", host, netaddr_port(server));
    return ub_ctx_set_fwd(context, text);
}

static void ignore_answer(void *arg, int rcode, void *packet, int packet_len, int security, char *why_bogus,
                          int limited)
{
    (void)arg, (void)rcode, (void)packet, (void)packet_len, (void)security, (void)why_bogus, (void)limited;
}

/* Returns what could not be done, or NULL, with libunbound's code in `*error`. */
static const char *set_up(struct ub_ctx *context, const union netaddr *servers, size_t count, int *error)
{
    ub_ctx_debugout(context, NULL); /* else it writes to stderr */
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if ((*error = ub_ctx_set_option(context, settings[i].name, settings[i].value)) != 0)
            return settings[i].name;
    if ((*error = ub_ctx_set_option(context, "infra-host-ttl:", memory_of(count))) != 0)
        return "infra-host-ttl";
    for (size_t i = 0; i < count; i++)
        if ((*error = add_server(context, &servers[i])) != 0)
            return "name server";
    for (size_t i = 0; i < sizeof(asked_zones) / sizeof(asked_zones[0]); i++)
        if ((*error = ub_ctx_zone_remove(context, asked_zones[i])) != 0)
            return asked_zones[i];
    /* The first query builds the rest: now, under the lock, and where a failure can be told. This one stays inside. */
    *error = ub_resolve_event(context, "localhost", ns_t_a, ns_c_in, NULL, ignore_answer, NULL);
    return *error != 0 ? "first query" : NULL;
}

struct ub_ctx *unbound_new(struct event_base *base, const union netaddr *servers, size_t count)
{
    pthread_mutex_lock(&setup_lock);
    int error = UB_INITFAIL;
    const char *failed = "context (is libunbound built with libevent?)";
    struct ub_ctx *context = ub_ctx_create_event(base);
    if (context)
        failed = set_up(context, servers, count, &error);
    if (failed) {
        ub_ctx_delete(context);
        context = NULL;
    }
    pthread_mutex_unlock(&setup_lock);
    if (failed)
        log_error("libunbound %s cannot be set up: %s: %s", ub_version(), failed, ub_strerror(error));
    return context;
}

void unbound_delete(struct ub_ctx *context)
{
    pthread_mutex_lock(&setup_lock);
    ub_ctx_delete(context);
    pthread_mutex_unlock(&setup_lock);
}
