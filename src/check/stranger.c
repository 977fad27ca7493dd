#include "check/stranger.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h> /* getentropy(): musl has it there */

#include "base/util.h"
#include "check/io.h"
#include "check/peer/peer_wire.h"
#include "check/scope.h"

#define TRIES            6 /* where a fifth is lost each way, one in five hundred fails */
#define TRY_MS           200
#define OPENING_US       30000 /* head start of the datagram that opens a filter */
#define LEN              64
#define OWN_WAY_PATIENCE 2500 /* ms, for servers that answer through the proxy */

/*
 * Each socket has a part, and sends to the target only in that: a NAT that has seen an unexpected datagram may use
 * another port for what the client sends there later.
 */
enum {
    FIRST, /* sends before anything else */
    KNOWN, /* the client sends to it, then it sends */
    OTHER, /* sends after the client has sent to KNOWN */
    SOCKETS
};

struct stranger {
    const struct stranger_target *target;
    struct channel sockets[SOCKETS];
    union netaddr external[SOCKETS]; /* as a STUN server sees it; AF_UNSPEC: unknown */
    uint32_t seed;                   /* of the next datagrams */
};

/* ---- one trial ---- */

static uint32_t stranger_random_seed(void)
{
    uint32_t seed;
    if (getentropy(&seed, sizeof(seed)) < 0)
        abort(); /* without random bytes, anybody could forge what arrives */
    return seed;
}

static void stranger_send(const struct channel *from, const union netaddr *to, uint32_t seed)
{
    uint8_t bytes[LEN];
    peer_pattern(bytes, sizeof(bytes), seed);
    channel_send(from, to, bytes, sizeof(bytes));
}

/* Waits for such a datagram; `room` then has its origin. */
static bool stranger_receive(struct channel *at, struct datagram *room, uint32_t seed, unsigned patience_ms)
{
    uint64_t deadline = clock_ms() + patience_ms;
    while (clock_ms() < deadline) {
        int error = channel_receive(at, room, deadline);
        if (!error && room->len == LEN && peer_pattern_is(room->payload, LEN, seed))
            return true;
        if (error == -EPIPE || error == -EPROTO || error == -EBADF)
            return false;
    }
    return false;
}

/* Sends from there to the association. Before, the association sends to `opener`, unless that is NULL. */
static enum nat_seen stranger_try(const struct stranger_target *target, const struct channel *from,
                                  const union netaddr *opener, uint32_t seed)
{
    const struct server_line *line = &target->line;
    for (int i = 0; i < TRIES; i++) {
        if (opener) {
            stranger_send(line->channel, opener, ~seed);
            usleep(OPENING_US + line->rtt_ms * 1000);
        }
        stranger_send(from, &target->external, seed);
        if (stranger_receive(line->channel, line->room, seed, TRY_MS + line->rtt_ms))
            return NAT_ARRIVED;
    }
    return NAT_SILENT;
}

/* ---- this machine ---- */

static enum nat_seen stranger_try_from_here(struct stranger *s, int from, int opened, union netaddr *origin)
{
    const union netaddr *opener = opened < 0 ? NULL : &s->external[opened];
    if (opener && opener->sa.sa_family == AF_UNSPEC)
        return NAT_NOT_ASKED;
    enum nat_seen seen = stranger_try(s->target, &s->sockets[from], opener, s->seed++);
    if (seen == NAT_ARRIVED)
        *origin = s->target->line.room->origin;
    return seen;
}

/* Asks up to `count` servers directly. true: they see different addresses. */
static bool stranger_learn_external(struct stranger *s, int which, size_t count)
{
    const struct stranger_target *target = s->target;
    const struct server_line line = {.channel = &s->sockets[which],
                                     .to = target->servers[0],
                                     .key = target->line.key,
                                     .rtt_ms = target->line.rtt_ms,
                                     .room = target->line.room};
    struct stun_question questions[ARRAY_LEN(target->servers)] = {0};
    bool differ = false;
    count = count < target->server_count ? count : target->server_count;
    for (size_t i = 0; i < count; i++)
        questions[i].to = target->servers[i];
    stun_ask_some(&line, questions, count, 1, OWN_WAY_PATIENCE + line.rtt_ms);
    for (size_t i = 0; i < count; i++) {
        union netaddr *external = &s->external[which];
        if (!questions[i].answered || questions[i].answer.mapped.sa.sa_family == AF_UNSPEC)
            continue;
        differ =
            differ || (external->sa.sa_family != AF_UNSPEC && !netaddr_equal(external, &questions[i].answer.mapped));
        if (external->sa.sa_family == AF_UNSPEC)
            *external = questions[i].answer.mapped;
    }
    return differ;
}

/* Whether the datagrams of the association reach the socket, and which address they come from. */
static bool stranger_hear(struct stranger *s, int which, union netaddr *from)
{
    const struct server_line *line = &s->target->line;
    for (int i = 0; s->external[which].sa.sa_family != AF_UNSPEC && i < TRIES; i++) {
        uint32_t seed = s->seed++;
        stranger_send(&s->sockets[which], &s->target->external, ~seed); /* opens our own NAT */
        usleep(OPENING_US);
        stranger_send(line->channel, &s->external[which], seed);
        if (stranger_receive(&s->sockets[which], line->room, seed, TRY_MS + line->rtt_ms)) {
            *from = line->room->sender;
            return true;
        }
    }
    return false;
}

/* Whether this machine and the proxy are behind one NAT, in one IPv6 network, or one host: then datagrams between them
 * do not pass what protects that network. */
static bool stranger_is_near(const struct stranger *s, const union netaddr *origin)
{
    const union netaddr *target = &s->target->external, *external = &s->external[FIRST];
    union netaddr source = io_source_for(target);
    bool arrives_private = scope_of(target) == SCOPE_PUBLIC && origin->sa.sa_family != AF_UNSPEC &&
                           scope_of(origin) < SCOPE_PUBLIC && netaddr_equal_host(origin, &source);
    return io_is_own_address(target) || arrives_private || netaddr_equal_host(external, target) ||
           (external->sa.sa_family == AF_UNSPEC && netaddr_equal_host(origin, target)) ||
           netaddr_equal_network(external, target) || netaddr_equal_network(&source, target);
}

/* Our own NAT may use another port, or one of several addresses. An origin that differs by more is certainly wrong. */
static bool stranger_is_disguise(const struct stranger *s, const union netaddr *origin)
{
    const struct stranger_target *target = s->target;
    const union netaddr *external = &s->external[FIRST];
    union netaddr source = io_source_for(&target->external);
    if (origin->sa.sa_family == AF_UNSPEC || external->sa.sa_family == AF_UNSPEC ||
        netaddr_equal_host(origin, external) || netaddr_equal_host(origin, &source))
        return false;
    for (size_t i = 0; i < target->server_count; i++)
        if (netaddr_equal_host(origin, &target->servers[i]))
            return true;
    return netaddr_equal_host(origin, &target->external) || netaddr_equal_host(origin, &target->relay) ||
           scope_of(origin) < scope_of(external);
}

static void stranger_try_all_from_here(struct stranger *s, struct stranger_found *found)
{
    struct nat_stranger *seen = &found->seen;
    struct nat_own_way *way = &found->way;
    union netaddr origin = {0}, from;
    way->changes = stranger_learn_external(s, FIRST, ARRAY_LEN(s->target->servers));
    way->answered = s->external[FIRST].sa.sa_family != AF_UNSPEC;
    seen->at_first = stranger_try_from_here(s, FIRST, -1, &origin);
    if (seen->at_first == NAT_SILENT && way->answered) {
        stranger_learn_external(s, KNOWN, 1);
        seen->after_address = stranger_try_from_here(s, OTHER, KNOWN, &origin);
        if (seen->after_address != NAT_ARRIVED)
            seen->after_port = stranger_try_from_here(s, KNOWN, KNOWN, &origin);
        if (seen->after_address != NAT_ARRIVED && seen->after_port != NAT_ARRIVED)
            seen->after_port = stranger_try_from_here(s, FIRST, FIRST, &origin);
    } else if (way->answered && s->target->server_count < 2) {
        stranger_learn_external(s, KNOWN, 1);
    }
    way->is_near = stranger_is_near(s, &origin);
    way->hears = stranger_hear(s, KNOWN, &from);
    if (way->hears && !way->is_near)
        found->view = (struct nat_view){.from = s->external[KNOWN], .mapped = from};
    if (!way->is_near && stranger_is_disguise(s, &origin))
        found->disguise = origin;
}

void stranger_from_here(struct stranger_found *found, const struct stranger_target *target)
{
    struct stranger s = {.target = target, .seed = stranger_random_seed()};
    union netaddr any = netaddr_any(target->external.sa.sa_family);
    bool opened = true;
    *found = (struct stranger_found){.way.one_socket = netaddr_port(&target->external) == netaddr_port(&target->relay)};
    assert(target->server_count > 0);
    for (int i = 0; i < SOCKETS; i++) {
        s.sockets[i] = (struct channel){.kind = CHANNEL_DIRECT, .fd = io_udp(&any, true)};
        opened = opened && s.sockets[i].fd >= 0;
    }
    found->way.has_family = opened && io_source_for(&target->external).sa.sa_family != AF_UNSPEC;
    if (found->way.has_family)
        stranger_try_all_from_here(&s, found);
    for (int i = 0; i < SOCKETS; i++)
        if (s.sockets[i].fd >= 0)
            close(s.sockets[i].fd);
}

/* ---- another association ---- */

void stranger_from_client(struct nat_stranger *seen, const struct stranger_target *target,
                          const struct server_line *other)
{
    struct stun_question question = {.once = false};
    uint32_t seed = stranger_random_seed();
    *seen = (struct nat_stranger){.at_first = NAT_NOT_ASKED};
    if (stun_ask(other, &question, 1, STUN_PATIENCE) != 1)
        return;
    seen->at_first = stranger_try(target, other->channel, NULL, seed);
    if (seen->at_first == NAT_SILENT)
        seen->after_port = stranger_try(target, other->channel, &question.answer.mapped, seed + 1);
}
