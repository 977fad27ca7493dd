#include "proxy/upstream/upstream_assoc.h"

#include <assert.h>
#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "upstream"
#include "base/log.h"
#include "net/sock.h"
#include "policy/reach.h"
#include "policy/terms.h"
#include "proxy/env.h"
#include "proxy/upstream/upstream.h"

/* Nothing is said on it any more; only its end counts. */
static void upstream_assoc_on_control(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct upstream_assoc *assoc = arg;
    char scrap[256];
    ssize_t n = recv(fd, scrap, sizeof(scrap), 0);
    if (n > 0 || (n < 0 && errno == EAGAIN))
        return;
    event_del(&assoc->readable);
    assoc->hooks.ended(assoc->hooks.arg, "upstream closed its association");
}

/* Whether what an upstream has bound can be its relay as we see it. Upstreams behind a NAT, in a container or a cloud
 * give the address that they have there, or loopback, or none. */
static bool is_relay_host(const union netaddr *bound, const union netaddr *server)
{
    const union netaddr relay = netaddr_canonical(bound), upstream = netaddr_canonical(server);
    const enum reach_place there = reach_place_of(&relay), here = reach_place_of(&upstream);
    switch (there) {
    case REACH_PUBLIC:
    case REACH_RESERVED:
        return true;
    case REACH_PRIVATE:
        return here == REACH_PRIVATE || here == REACH_LOOPBACK || here == REACH_LINK_LOCAL;
    default:
        return there == here && !reach_never(there);
    }
}

/* Where the upstream's relay is: at the upstream's own address, unless what it has bound can be reached from here. */
static union netaddr upstream_assoc_relay(const struct upstream_answer *answer)
{
    union netaddr relay = is_relay_host(&answer->bound, &answer->server) ? answer->bound : answer->server;
    netaddr_set_port(&relay, netaddr_port(&answer->bound));
    return relay;
}

static int upstream_assoc_find_relay(struct upstream_assoc *assoc, const struct upstream_answer *answer)
{
    const union netaddr relay = upstream_assoc_relay(answer), local = sock_local(assoc->control);
    return netaddr_port(&relay) ? assoc->open(assoc, &relay, &local) : -EADDRNOTAVAIL;
}

static enum socks5_reply upstream_assoc_take_answer(struct upstream_assoc *assoc, const struct upstream_answer *answer)
{
    struct env *env = assoc->env;
    char bound[NETADDR_TEXT_MAX];
    if (answer->code != SOCKS5_REPLY_SUCCEEDED)
        return answer->code;
    assert(answer->fd >= 0 && assoc->control < 0);
    assoc->control = answer->fd;
    int error = upstream_assoc_find_relay(assoc, answer);
    if (error) {
        metrics_add(&env->metrics.upstream_failed_total, 1);
        LOG_LIMITED(&env->upstreams_log, env_now(env), LOG_LEVEL_WARNING,
                    "upstream=%s: cannot send to its relay at %s: %s", assoc->name,
                    netaddr_format(&answer->bound, bound), strerror(-error));
        return SOCKS5_REPLY_GENERAL_FAILURE;
    }
    sock_keepalive(assoc->control);
    event_assign(&assoc->readable, env->base, assoc->control, EV_READ | EV_PERSIST, upstream_assoc_on_control, assoc);
    event_add(&assoc->readable, NULL);
    return SOCKS5_REPLY_SUCCEEDED;
}

static void upstream_assoc_on_answer(void *arg, const struct upstream_answer *answer)
{
    struct upstream_assoc *assoc = arg;
    assert(assoc->request && assoc->hooks.answered);
    assoc->request = NULL;
    assoc->hooks.answered(assoc->hooks.arg, upstream_assoc_take_answer(assoc, answer));
}

int upstream_assoc_ask(struct upstream_assoc *assoc, struct env *env, const struct terms *terms,
                       const union netaddr *client, const char *user, const char *name, upstream_assoc_open *open)
{
    static const uint8_t zero[4];
    /* Where our datagrams will come from is not known before the upstream has said where they go. */
    const struct socks5_addr anywhere = {.atyp = SOCKS5_ATYP_IPV4, .host_len = sizeof(zero), .host = zero};
    assert(terms->upstream);
    *assoc = (struct upstream_assoc){.env = env, .open = open, .control = -1, .name = name};
    assoc->request = upstream_ask(env, client, user, terms, SOCKS5_COMMAND_UDP_ASSOCIATE, &anywhere,
                                  upstream_assoc_on_answer, assoc);
    return assoc->request ? 0 : -ENOMEM;
}

void upstream_assoc_deinit(struct upstream_assoc *assoc)
{
    upstream_cancel(assoc->request);
    if (event_initialized(&assoc->readable))
        event_del(&assoc->readable);
    if (assoc->control >= 0)
        close(assoc->control);
}

size_t upstream_assoc_memory(const struct upstream_assoc *assoc)
{
    return assoc->control >= 0 ? sock_memory(assoc->control) : 0;
}
