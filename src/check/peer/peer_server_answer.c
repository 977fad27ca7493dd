#include "check/peer/peer_server_impl.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define TELL_REFUSAL_MS 10000

/* The place and port that the answer has to leave from. false: there is no other address. */
static bool choose_way(const struct peer_server *server, struct peer_errand *request)
{
    if (request->request.change_port)
        request->port = 1 - request->port;
    if (!request->request.change_address)
        return true;
    unsigned other = server->places[request->place].other;
    bool there_is = other != request->place;
    request->place = other;
    return there_is;
}

static void send_paid(struct peer_server *server, const struct peer_errand *way, const uint8_t *bytes, size_t len,
                      uint64_t now_ms)
{
    struct peer_guest *guest = peer_guests_find(&server->guests, &way->from, now_ms);
    if (guest && peer_guests_spend(&server->guests, guest, len, now_ms))
        sendto(server->places[way->place].udp[way->port], bytes, len, MSG_DONTWAIT, &way->from.sa,
               netaddr_len(&way->from));
}

/* What the request asks for, by the way it came; the length, 0: nothing. */
static size_t compose(struct peer_server *server, const struct peer_errand *asked, const struct peer_errand *way,
                      const struct peer_guest *guest, uint8_t *out, size_t size)
{
    const struct peer_request *request = &asked->request;
    if (request->plain) {
        peer_pattern(out, request->plain_len, 0);
        return request->plain_len;
    }
    struct peer_answer answer = {.mapped = asked->from,
                                 .origin = server->places[way->place].address[way->port],
                                 .other = server->places[server->places[asked->place].other].address[1 - asked->port]};
    memcpy(answer.transaction, request->transaction, STUN_TRANSACTION);
    if (guest) {
        answer.plain_count = guest->plain_count;
        answer.plain_last = guest->plain_last;
        answer.fragment = guest->fragment;
    }
    return peer_answer_encode(out, size, &answer, server->key);
}

static void answer(struct peer_server *server, const struct peer_errand *asked, uint64_t now_ms)
{
    struct peer_errand way = *asked;
    if (asked->request.quiet || !choose_way(server, &way))
        return;
    const struct peer_guest *guest = peer_guests_find(&server->guests, &asked->from, now_ms);
    size_t len = compose(server, asked, &way, guest, server->buffer, sizeof(server->buffer));
    if (len > 0 || asked->request.plain)
        send_paid(server, &way, server->buffer, len, now_ms);
}

/* One too many is not answered: a mapping is then taken for dead that may live, so there are more than any check has.
 */
static void postpone(struct peer_server *server, const struct peer_errand *asked, uint64_t now_ms)
{
    for (size_t i = 0; i < PEER_SERVER_PENDING_MAX; i++)
        if (server->pending[i].at_ms == 0) {
            server->pending[i] = (struct peer_pending){now_ms + asked->request.delay_s * UINT64_C(1000), *asked};
            return;
        }
}

uint64_t peer_server_answer_pending(struct peer_server *server, uint64_t now_ms)
{
    uint64_t next_ms = UINT64_MAX;
    for (size_t i = 0; i < PEER_SERVER_PENDING_MAX; i++) {
        struct peer_pending *pending = &server->pending[i];
        if (pending->at_ms != 0 && pending->at_ms <= now_ms) {
            answer(server, &pending->request, now_ms);
            pending->at_ms = 0;
        }
        if (pending->at_ms != 0 && pending->at_ms < next_ms)
            next_ms = pending->at_ms;
    }
    return next_ms;
}

static void tell_refusal(struct peer_server *server, const union netaddr *sender, uint64_t now_ms)
{
    if (!server->watch.refused || (server->refusal_told_ms != 0 && now_ms - server->refusal_told_ms < TELL_REFUSAL_MS))
        return;
    server->refusal_told_ms = now_ms;
    server->watch.refused(server->watch.context, sender);
}

static void take_request(struct peer_server *server, const struct peer_errand *asked, size_t len, uint64_t now_ms)
{
    if (server->watch.arrived && !peer_guests_find(&server->guests, &asked->from, now_ms))
        server->watch.arrived(server->watch.context, &asked->from);
    uint64_t stay_ms = PEER_STAY_MS + asked->request.delay_s * UINT64_C(1000);
    peer_guest_pays(peer_guests_admit(&server->guests, &asked->from, now_ms, stay_ms), len);
    if (asked->request.delay_s > 0)
        postpone(server, asked, now_ms);
    else
        answer(server, asked, now_ms);
}

static void take_plain(struct peer_server *server, const struct peer_errand *to, const uint8_t *bytes, size_t len,
                       size_t fragment, uint64_t now_ms)
{
    struct peer_guest *guest = peer_guests_find(&server->guests, &to->from, now_ms);
    if (!guest) {
        tell_refusal(server, &to->from, now_ms);
        return;
    }
    guest->plain_count++;
    guest->plain_last = (uint16_t)len;
    guest->fragment = (uint16_t)fragment;
    peer_guest_pays(guest, len);
    send_paid(server, to, bytes, len, now_ms);
}

void peer_server_take(struct peer_server *server, const struct peer_errand *to, const uint8_t *bytes, size_t len,
                      size_t fragment, uint64_t now_ms)
{
    struct peer_errand asked = *to;
    if (!peer_is_stun(bytes, len))
        take_plain(server, to, bytes, len, fragment, now_ms);
    else if (peer_request_decode(bytes, len, server->key, &asked.request))
        take_request(server, &asked, len, now_ms);
    else
        tell_refusal(server, &to->from, now_ms);
}

/* ---- TCP ---- */

void peer_server_hang_up(struct peer_conversation *conversation)
{
    if (conversation->fd >= 0)
        close(conversation->fd);
    conversation->fd = -1;
}

void peer_server_accept(struct peer_server *server, unsigned place, uint64_t now_ms)
{
    int fd = accept4(server->places[place].tcp, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return;
    /* The one that would end first makes room, so that strangers who only sit there keep nobody out for long. */
    struct peer_conversation *into = &server->conversations[0];
    for (size_t i = 0; i < PEER_SERVER_CONVERSATIONS_MAX && into->fd >= 0; i++)
        if (server->conversations[i].fd < 0 || server->conversations[i].until_ms < into->until_ms)
            into = &server->conversations[i];
    peer_server_hang_up(into);
    into->fd = fd;
    into->place = place;
    into->until_ms = now_ms + PEER_STAY_MS;
    into->have = 0;
}

/* Says what a request over TCP gets: where it came from. false: it is none. */
static bool reply(struct peer_server *server, const struct peer_conversation *conversation)
{
    struct peer_errand asked = {.place = conversation->place};
    socklen_t len = sizeof(asked.from);
    if (!peer_request_decode(conversation->in, conversation->have, server->key, &asked.request) ||
        getpeername(conversation->fd, &asked.from.sa, &len) != 0)
        return false;
    size_t out_len = compose(server, &asked, &asked, NULL, server->buffer, conversation->have);
    return out_len > 0 && out_len <= conversation->have &&
           send(conversation->fd, server->buffer, out_len, MSG_NOSIGNAL) == (ssize_t)out_len;
}

void peer_server_converse(struct peer_server *server, struct peer_conversation *conversation)
{
    size_t want = STUN_HEADER; /* which says how long the message is */
    if (conversation->have >= want)
        want = stun_length(conversation->in);
    if (want < conversation->have || want > sizeof(conversation->in)) {
        peer_server_hang_up(conversation);
        return;
    }
    ssize_t n = recv(conversation->fd, conversation->in + conversation->have, want - conversation->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        peer_server_hang_up(conversation);
        return;
    }
    conversation->have += (size_t)n;
    if (conversation->have > STUN_HEADER && conversation->have == want) {
        if (!reply(server, conversation))
            peer_server_hang_up(conversation);
        conversation->have = 0;
    }
}
