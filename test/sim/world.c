#include "world.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "host/shared_port_table.h"
#include "net/dgram_io.h"
#include "net/icmp.h"
#include "net/inbox.h"
#include "net/ports.h"
#include "net/sock.h"
#include "policy/rates.h"
#include "proxy/upstream/upstream.h"

#define SOCKETS_MAX 64
#define QUEUE_MAX   64
#define SENT_MAX    512
#define QUERIES_MAX 256

struct arrival {
    union netaddr from;
    uint8_t *bytes;
    size_t len, seg;
};

struct fake_socket {
    int fd; /* an eventfd: readable while something is queued */
    union netaddr local, peer;
    struct sock_egress egress;
    bool keeps_icmp;
    size_t count;
    struct arrival queue[QUEUE_MAX];
};

struct resolver_query {
    bool pending;
    char name[256];
    int family;
    resolver_done *done;
    void *arg;
};

struct env world_env;
struct config world_config;
uint64_t world_now_ms;
int world_send_loss, world_open_fails_family, world_open_error, world_egress_error;
uint32_t world_icmp_too_big;
int world_bind_error;
void (*world_on_bind)(void);
bool world_ipv6_has_route;
uint8_t world_tos;
uint64_t world_quiet_from_ms[FAMILY_COUNT];

static struct fake_socket sockets[SOCKETS_MAX];
static size_t socket_count;
static struct sent sent[SENT_MAX];
static size_t sent_count, sent_read;
static struct resolver_query queries[QUERIES_MAX];
static uint8_t *handed_out[DGRAM_BATCH_MAX];
static size_t handed_out_count;
static size_t asked_count, asked_read; /* requests to upstreams */
static uint16_t next_port;
static struct host world_host; /* only what an association needs of it */

static uint64_t fake_clock(void)
{
    return world_now_ms;
}

union netaddr addr(const char *text, uint16_t port)
{
    union netaddr result;
    if (!netaddr_parse(&result, text, port))
        abort();
    return result;
}

static void release_handed_out(void)
{
    while (handed_out_count)
        free(handed_out[--handed_out_count]);
}

void world_begin(void)
{
    memset(&world_env, 0, sizeof(world_env));
    world_config = (struct config){
        .active_reach = CONFIG_REACH_ALL,
        .udp = {.enabled = true, .rebind_after_ms = 15000, .over_tcp = true, .over_tcp_max = 1472},
        .limits = {.lookups_per_association = 16},
    };
    world_now_ms = 1000000;
    world_send_loss = -1;
    world_open_fails_family = AF_UNSPEC;
    world_egress_error = 0;
    world_icmp_too_big = 0;
    world_bind_error = 0;
    world_on_bind = NULL;
    world_ipv6_has_route = true;
    world_tos = 0;
    next_port = 40000;
    socket_count = sent_count = sent_read = 0;
    memset(queries, 0, sizeof(queries));
    asked_count = asked_read = 0;
    world_env.base = event_base_new();
    world_env.config = world_env.policy.config = &world_config;
    world_env.clock_ms = fake_clock;
    world_host = (struct host){.handover = {-1, -1},
                               .own_ports = own_ports_new(),
                               .shared_port = shared_port_table_new(),
                               .user_rates = user_rates_new()};
    world_env.host = &world_host;
    world_env.policy.own_ports = world_host.own_ports;
}

void world_end(void)
{
    for (size_t i = 0; i < socket_count; i++)
        for (size_t k = 0; k < sockets[i].count; k++)
            free(sockets[i].queue[k].bytes);
    release_handed_out();
    event_base_free(world_env.base);
    own_ports_free(world_host.own_ports);
    shared_port_table_free(world_host.shared_port);
    user_rates_free(world_host.user_rates);
}

void world_run(void)
{
    for (int i = 0; i < 100; i++)
        event_base_loop(world_env.base, EVLOOP_NONBLOCK);
}

/* ---- sockets ---- */

static struct fake_socket *by_fd(int fd)
{
    for (size_t i = socket_count; i-- > 0;)
        if (sockets[i].fd == fd)
            return &sockets[i];
    abort();
}

static bool is_taken(const union netaddr *local)
{
    for (size_t i = 0; i < socket_count; i++)
        if (netaddr_equal(&sockets[i].local, local))
            return true;
    return false;
}

int sock_udp(struct descriptor_reserve *reserve, union netaddr *local, const struct port_range *range, uint64_t now_ms,
             struct port_lease *lease)
{
    (void)reserve, (void)now_ms;
    *lease = (struct port_lease){0};
    if (local->sa.sa_family == world_open_fails_family)
        return -world_open_error;
    netaddr_set_port(local, range->wanted);
    if (!range->wanted || is_taken(local))
        netaddr_set_port(local, next_port++);
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sockets[socket_count++] = (struct fake_socket){.fd = fd, .local = *local};
    lease->port = netaddr_port(local);
    return fd;
}

int sock_udp_open(struct descriptor_reserve *reserve, int family, bool shared)
{
    (void)reserve, (void)family, (void)shared;
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sockets[socket_count++] = (struct fake_socket){.fd = fd};
    return fd;
}

int sock_udp_bind(int fd, const union netaddr *local)
{
    if (world_bind_error)
        return -world_bind_error;
    by_fd(fd)->local = *local;
    if (world_on_bind)
        world_on_bind();
    return 0;
}

void inbox_post(struct inbox *inbox, struct inbox_item *item)
{
    (void)inbox;
    item->run(item);
}

void ports_release(const struct port_range *range, struct port_lease *lease, uint64_t used_until_ms, uint64_t now_ms)
{
    (void)now_ms;
    for (size_t i = 0; range == &world_env.external_ports && i < socket_count; i++)
        if (netaddr_port(&sockets[i].local) == lease->port)
            world_quiet_from_ms[family_index(sockets[i].local.sa.sa_family)] = used_until_ms;
}

bool ports_is_at(const struct port_lease *lease, const struct port_place *place)
{
    (void)lease, (void)place;
    return false;
}

int sock_set_egress(int fd, int family, const struct sock_egress *egress)
{
    struct fake_socket *fake = by_fd(fd);
    if (family != fake->local.sa.sa_family)
        abort();
    if (world_egress_error)
        return -world_egress_error;
    fake->egress = *egress;
    return 0;
}

int sock_udp_connect(int fd, const union netaddr *peer)
{
    by_fd(fd)->peer = *peer; /* what is queued stays queued, as in the kernel */
    return 0;
}

int sock_udp_disconnect(int fd)
{
    by_fd(fd)->peer = (union netaddr){0};
    return 0;
}

void icmp_keep(int fd, int family)
{
    (void)family;
    by_fd(fd)->keeps_icmp = true;
}

void icmp_take(int fd, uint32_t counts[ICMP_KIND_COUNT])
{
    if (!by_fd(fd)->keeps_icmp)
        return;
    counts[ICMP_TOO_BIG] += world_icmp_too_big;
    world_icmp_too_big = 0;
}

void sock_udp_probe(int fd, int family)
{
    (void)fd, (void)family;
}

void sock_udp_set_room(int fd, int bytes)
{
    (void)fd, (void)bytes;
}

void sock_tcp_set_room(int fd, int bytes)
{
    (void)fd, (void)bytes;
}

size_t sock_memory(int fd)
{
    (void)fd;
    return 0;
}

bool sock_has_route(const union netaddr *address, const struct sock_way *way)
{
    (void)way;
    return address->sa.sa_family == AF_INET || world_ipv6_has_route;
}

const struct sock_egress *world_egress_of(const union netaddr *local)
{
    for (size_t i = socket_count; i-- > 0;)
        if (netaddr_equal(&sockets[i].local, local))
            return &sockets[i].egress;
    abort();
}

size_t world_open_sockets(void)
{
    size_t open = 0;
    for (size_t i = 0; i < socket_count; i++) {
        char probe[8];
        bool reused = false;
        for (size_t k = i + 1; k < socket_count; k++)
            reused |= sockets[k].fd == sockets[i].fd;
        if (!reused && (read(sockets[i].fd, probe, 0) == 0 || errno != EBADF))
            open++;
    }
    return open;
}

/* As in the kernel: the one that is connected to the sender, else one that is connected to nobody, the last bound. */
static struct fake_socket *hearing(const union netaddr *from, const union netaddr *to, bool connected)
{
    for (size_t i = socket_count; i-- > 0;) {
        struct fake_socket *fake = &sockets[i];
        bool ours = fake->local.sa.sa_family == to->sa.sa_family && netaddr_port(&fake->local) == netaddr_port(to) &&
                    (netaddr_is_any(&fake->local) || netaddr_equal_host(&fake->local, to));
        bool admitted = connected ? netaddr_equal(&fake->peer, from) : fake->peer.sa.sa_family == AF_UNSPEC;
        bool open = fcntl(fake->fd, F_GETFD) >= 0 && by_fd(fake->fd) == fake;
        if (open && ours && admitted && fake->count < QUEUE_MAX)
            return fake;
    }
    return NULL;
}

bool world_arrive_run(const union netaddr *from, const union netaddr *to, const void *bytes, size_t len, size_t seg)
{
    struct fake_socket *fake = hearing(from, to, true);
    if (!fake)
        fake = hearing(from, to, false);
    if (!fake)
        return false;
    uint8_t *copy = malloc(len ? len : 1); /* exact, so that a read beyond it is noticed */
    memcpy(copy, bytes, len);
    fake->queue[fake->count++] = (struct arrival){*from, copy, len, seg};
    (void)eventfd_write(fake->fd, 1);
    return true;
}

bool world_arrive(const union netaddr *from, const union netaddr *to, const void *bytes, size_t len)
{
    return world_arrive_run(from, to, bytes, len, len);
}

void dgram_io_carry(struct dgram_io *io, uint8_t bits)
{
    (void)io, (void)bits;
}

struct dgram_socket dgram_io_adopt(struct dgram_io *io, int fd, int family)
{
    (void)io, (void)family;
    return (struct dgram_socket){.fd = fd};
}

size_t dgram_io_recv(struct dgram_io *io, struct dgram_socket *socket, struct dgram_run *runs, size_t max)
{
    (void)io;
    struct fake_socket *fake = by_fd(socket->fd);
    size_t n = fake->count < max ? fake->count : max;
    release_handed_out();
    for (size_t i = 0; i < n; i++) {
        const struct arrival *arrival = &fake->queue[i];
        size_t count = arrival->seg ? (arrival->len + arrival->seg - 1) / arrival->seg : 1;
        runs[i] = (struct dgram_run){.tos = world_tos,
                                     .peer = arrival->from,
                                     .data = arrival->bytes,
                                     .count = (uint16_t)count,
                                     .seg = (uint16_t)arrival->seg,
                                     .last = (uint16_t)(arrival->len - (count - 1) * arrival->seg),
                                     .stride = (uint16_t)arrival->seg};
        handed_out[handed_out_count++] = arrival->bytes;
    }
    fake->count -= n;
    memmove(fake->queue, fake->queue + n, fake->count * sizeof(fake->queue[0]));
    eventfd_t ignored;
    if (fake->count == 0)
        (void)eventfd_read(fake->fd, &ignored);
    return n;
}

static void send_one(const struct fake_socket *fake, const struct dgram_run *run, size_t i)
{
    struct sent *out = &sent[sent_count++];
    size_t len = dgram_run_len(run, i);
    bool connected = run->peer.sa.sa_family == AF_UNSPEC;
    if (connected && fake->peer.sa.sa_family == AF_UNSPEC)
        abort(); /* EDESTADDRREQ */
    *out = (struct sent){
        .tos = run->tos, .from = fake->local, .to = connected ? fake->peer : run->peer, .len = run->header_len + len};
    memcpy(out->bytes, run->header, run->header_len);
    if (len <= sizeof(out->bytes) - run->header_len)
        memcpy(out->bytes + run->header_len, dgram_run_at(run, i), len);
}

void dgram_io_send(struct dgram_io *io, struct dgram_socket *socket, struct dgram_batch *batch,
                   struct dgram_tally *tally)
{
    (void)io;
    const struct fake_socket *fake = by_fd(socket->fd);
    for (size_t r = 0; r < batch->count; r++) {
        const struct dgram_run *run = &batch->runs[r];
        if (world_send_loss >= 0) {
            tally->lost[world_send_loss] += run->count;
            continue;
        }
        for (size_t i = 0; i < run->count; i++) {
            send_one(fake, run, i);
            tally->bytes += dgram_run_len(run, i);
        }
        tally->datagrams += run->count;
    }
    batch->count = 0;
}

size_t world_sent_count(void)
{
    return sent_count;
}

const struct sent *world_next_sent(void)
{
    return sent_read < sent_count ? &sent[sent_read++] : NULL;
}

/* ---- resolver ---- */

struct resolver_query *resolver_lookup(struct resolver *resolver, const union netaddr *client, const char *name,
                                       int family, resolver_done *done, void *arg)
{
    (void)resolver, (void)client;
    for (size_t i = 0; i < QUERIES_MAX; i++) {
        struct resolver_query *query = &queries[i];
        if (query->pending)
            continue;
        *query = (struct resolver_query){.pending = true, .family = family, .done = done, .arg = arg};
        memcpy(query->name, name, strlen(name) + 1);
        return query;
    }
    return NULL;
}

void resolver_charge(struct resolver_query *query, void *charge)
{
    (void)query, (void)charge;
}

void resolver_cancel(struct resolver_query *query)
{
    query->pending = false;
}

bool resolver_name_valid(const char *name, size_t len)
{
    return len > 0 && len < 254 && !memchr(name, ' ', len);
}

static size_t read_addresses(const char *text, union netaddr *addresses)
{
    size_t count = 0;
    while (text && *text) {
        char one[64];
        const size_t len = strcspn(text, " ");
        memcpy(one, text, len);
        one[len] = '\0';
        addresses[count++] = addr(one, 0);
        text += len + (text[len] == ' ');
    }
    return count;
}

bool world_answer(const char *name, int family, enum resolver_status status, const char *addresses)
{
    for (size_t i = 0; i < QUERIES_MAX; i++) {
        struct resolver_query *query = &queries[i];
        if (!query->pending || query->family != family || strcmp(query->name, name) != 0)
            continue;
        query->pending = false;
        union netaddr found[RESOLVER_ADDRESSES_MAX];
        const size_t count = read_addresses(addresses, found);
        query->done(query->arg, status, found, count);
        return true;
    }
    return false;
}

size_t world_pending_queries(void)
{
    size_t count = 0;
    for (size_t i = 0; i < QUERIES_MAX; i++)
        count += queries[i].pending;
    return count;
}

/* ---- upstreams ---- */

struct upstream {
    upstream_done *done; /* NULL: not asked, or cancelled */
    void *arg;
    char name[16];
};
/* The oldest request is that at asked_read. */
static struct upstream asked[64];
union netaddr world_upstream, world_upstream_local;

struct upstream *upstream_ask(struct env *env, const union netaddr *client, const char *user, const struct terms *terms,
                              enum socks5_command command, const struct socks5_addr *destination, upstream_done *done,
                              void *arg)
{
    (void)env, (void)client, (void)user, (void)command, (void)destination;
    struct upstream *upstream = &asked[asked_count++];
    if (asked_count > sizeof(asked) / sizeof(asked[0]))
        abort();
    *upstream = (struct upstream){.done = done, .arg = arg};
    strncpy(upstream->name, terms->upstream->name, sizeof(upstream->name) - 1);
    return upstream;
}

void upstream_cancel(struct upstream *upstream)
{
    if (upstream)
        upstream->done = NULL;
}

static struct upstream *upstream_oldest(void)
{
    while (asked_read < asked_count && !asked[asked_read].done)
        asked_read++;
    return asked_read < asked_count ? &asked[asked_read] : NULL;
}

const char *world_upstream_asked(void)
{
    const struct upstream *upstream = upstream_oldest();
    return upstream ? upstream->name : NULL;
}

bool world_upstream_answers(enum socks5_reply code, int control, const union netaddr *bound)
{
    struct upstream *upstream = upstream_oldest();
    const struct upstream_answer answer = {.code = code, .fd = control, .server = world_upstream, .bound = *bound};
    if (!upstream)
        return false;
    upstream_done *done = upstream->done;
    upstream->done = NULL;
    done(upstream->arg, &answer);
    return true;
}

union netaddr sock_local(int fd)
{
    (void)fd;
    return world_upstream_local;
}

void sock_udp_join_nothing(int fd)
{
    (void)fd;
}

void sock_keepalive(int fd)
{
    (void)fd;
}
