#include "check/peer/peer_server_impl.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/sock.h"

#define TELL_REFUSAL_MS 10000

/* Moves `way` to the place and port that the answer has to leave from. false: there is no other address. */
static bool choose_way(const struct peer_server *server, struct peer_errand *way)
{
    unsigned other = server->places[way->place].other;
    bool has_other = other != way->place;
    if (way->request.change_port)
        way->port = 1 - way->port;
    if (way->request.change_address)
        way->place = other;
    return has_other || !way->request.change_address;
}

/* Sends as many bytes as the guest has paid for, or nothing. */
static void server_send_paid(struct peer_server *server, const struct peer_errand *way, const uint8_t *bytes,
                             size_t len, uint64_t now_ms)
{
    struct peer_guest *guest = peer_guests_find(&server->guests, &way->from, now_ms);
    if (guest && peer_guests_spend(&server->guests, guest, len, now_ms))
        sendto(server->places[way->place].udp[way->port], bytes, len, MSG_DONTWAIT, &way->from.sa,
               netaddr_len(&way->from));
}

/* Writes the answer to a request that leaves by `way` to the server's buffer. Its length, at most `size`; 0: none. */
static size_t compose_answer(struct peer_server *server, const struct peer_errand *asked, const struct peer_errand *way,
                             const struct peer_guest *guest, size_t size)
{
    assert(asked->place < server->place_count && way->place < server->place_count && asked->port < 2 && way->port < 2);
    struct stun_message answer = {
        .class = STUN_SUCCESS,
        .method = STUN_BINDING,
        .mapped = asked->from,
        .response_origin = server->places[way->place].address[way->port],
        .other_address = server->places[server->places[asked->place].other].address[1 - asked->port],
    };
    memcpy(answer.transaction, asked->request.transaction, STUN_TRANSACTION);
    if (guest) {
        answer.plain_count = guest->plain_count;
        answer.plain_last = guest->plain_last;
        answer.fragment = guest->fragment;
    }
    return peer_encode(server->buffer, size, 0, &answer, server->key);
}

static void answer_errand(struct peer_server *server, const struct peer_errand *asked, uint64_t now_ms)
{
    struct peer_errand way = *asked;
    if (asked->request.quiet || !choose_way(server, &way))
        return;
    size_t len = asked->request.plain_len;
    if (asked->request.plain) {
        peer_pattern(server->buffer, len, 0);
    } else {
        const struct peer_guest *guest = peer_guests_find(&server->guests, &asked->from, now_ms);
        len = compose_answer(server, asked, &way, guest, sizeof(server->buffer));
        assert(len > 0);
    }
    server_send_paid(server, &way, server->buffer, len, now_ms);
}

/* One too many is not answered, and its mapping is then taken for expired: there is room for more than a check sends.
 */
static void postpone_errand(struct peer_server *server, const struct peer_errand *asked, uint64_t now_ms)
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
            answer_errand(server, &pending->errand, now_ms);
            pending->at_ms = 0;
        }
        if (pending->at_ms != 0 && pending->at_ms < next_ms)
            next_ms = pending->at_ms;
    }
    return next_ms;
}

static void server_tell_refusal(struct peer_server *server, const union netaddr *sender, uint64_t now_ms)
{
    if (!server->watch || (server->refusal_told_ms != 0 && now_ms - server->refusal_told_ms < TELL_REFUSAL_MS))
        return;
    server->refusal_told_ms = now_ms;
    server->watch(sender, false);
}

static void server_take_request(struct peer_server *server, const struct peer_errand *asked, size_t len,
                                uint64_t now_ms)
{
    if (server->watch && !peer_guests_find(&server->guests, &asked->from, now_ms))
        server->watch(&asked->from, true);
    uint64_t stay_ms = PEER_STAY_MS + asked->request.delay_s * UINT64_C(1000);
    peer_guest_pays(peer_guests_admit(&server->guests, &asked->from, now_ms, stay_ms), len);
    if (asked->request.delay_s > 0)
        postpone_errand(server, asked, now_ms);
    else
        answer_errand(server, asked, now_ms);
}

/* Echoes a plain datagram of a guest. */
static void server_take_plain(struct peer_server *server, const struct peer_errand *came, const uint8_t *bytes,
                              size_t len, size_t fragment, uint64_t now_ms)
{
    struct peer_guest *guest = peer_guests_find(&server->guests, &came->from, now_ms);
    if (!guest) {
        server_tell_refusal(server, &came->from, now_ms);
        return;
    }
    guest->plain_count++;
    guest->plain_last = (uint16_t)len;
    guest->fragment = (uint16_t)fragment;
    peer_guest_pays(guest, len);
    server_send_paid(server, came, bytes, len, now_ms);
}

void peer_server_take(struct peer_server *server, const struct peer_errand *came, const uint8_t *bytes, size_t len,
                      size_t fragment, uint64_t now_ms)
{
    struct peer_errand asked = *came;
    if (!peer_is_stun(bytes, len))
        server_take_plain(server, came, bytes, len, fragment, now_ms);
    else if (peer_decode(bytes, len, server->key, STUN_REQUEST, &asked.request))
        server_take_request(server, &asked, len, now_ms);
    else
        server_tell_refusal(server, &came->from, now_ms);
}

/* ---- TCP ---- */

void peer_connection_close(struct peer_connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
}

void peer_server_accept(struct peer_server *server, unsigned place, uint64_t now_ms)
{
    union netaddr peer;
    int fd = sock_accept(server->places[place].tcp, &peer);
    if (fd < 0)
        return;
    /* The one that would end first makes room, so that idle strangers do not block others for long. */
    struct peer_connection *into = &server->connections[0];
    for (size_t i = 0; i < PEER_SERVER_CONNECTIONS_MAX && into->fd >= 0; i++)
        if (server->connections[i].fd < 0 || server->connections[i].until_ms < into->until_ms)
            into = &server->connections[i];
    peer_connection_close(into);
    into->fd = fd;
    into->place = place;
    into->until_ms = now_ms + PEER_STAY_MS;
    into->have = 0;
}

/* Answers a request over TCP with the address it came from. false: it is no valid request. */
static bool connection_answer(struct peer_server *server, const struct peer_connection *connection)
{
    struct peer_errand asked = {.place = connection->place, .from = sock_peer(connection->fd)};
    if (!peer_decode(connection->in, connection->have, server->key, STUN_REQUEST, &asked.request) ||
        asked.from.sa.sa_family == AF_UNSPEC)
        return false;
    size_t len = compose_answer(server, &asked, &asked, NULL, connection->have);
    return len > 0 && send(connection->fd, server->buffer, len, MSG_NOSIGNAL) == (ssize_t)len;
}

void peer_server_read(struct peer_server *server, struct peer_connection *connection)
{
    size_t want = STUN_HEADER; /* which contains the message's length */
    if (connection->have >= want)
        want = stun_length(connection->in);
    if (want < connection->have || want > sizeof(connection->in)) {
        peer_connection_close(connection);
        return;
    }
    ssize_t n = recv(connection->fd, connection->in + connection->have, want - connection->have, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        peer_connection_close(connection);
        return;
    }
    connection->have += (size_t)n;
    if (connection->have > STUN_HEADER && connection->have == want) {
        if (!connection_answer(server, connection))
            peer_connection_close(connection);
        connection->have = 0;
    }
}
