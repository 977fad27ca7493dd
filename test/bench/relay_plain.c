#include "relay.h"

#include <string.h>
#include <sys/socket.h>

#define FAULT_EVERY 50

enum relay_fault relay_fault;

static uint8_t area[RELAY_HEADER + RELAY_AREA];

static void nothing(struct relay_association *association)
{
    (void)association;
}

static void up(struct relay_association *association)
{
    for (int i = 0; i < RELAY_BATCH; i++) {
        socklen_t len = sizeof(association->peer);
        ssize_t got = recvfrom(association->client.fd, area, RELAY_AREA, MSG_DONTWAIT,
                               (struct sockaddr *)&association->peer, &len);
        if (got < RELAY_HEADER)
            return;
        struct sockaddr_in to = relay_destination(area);
        sendto(association->external.fd, area + RELAY_HEADER, (size_t)got - RELAY_HEADER, MSG_DONTWAIT,
               (struct sockaddr *)&to, sizeof(to));
    }
}

/* One datagram, kept until the next one has left. */
static struct {
    struct relay_association *association;
    size_t len;
    uint8_t datagram[RELAY_HEADER + 2048];
} overtaken;

static void keep(struct relay_association *association, const uint8_t *datagram, size_t len)
{
    overtaken.association = len <= sizeof(overtaken.datagram) ? association : NULL;
    overtaken.len = len;
    if (overtaken.association)
        memcpy(overtaken.datagram, datagram, len);
}

static void send_overtaken(const struct relay_association *association)
{
    if (overtaken.association != association)
        return;
    sendto(association->client.fd, overtaken.datagram, overtaken.len, MSG_DONTWAIT,
           (const struct sockaddr *)&association->peer, sizeof(association->peer));
    overtaken.association = NULL;
}

/* Spoils one datagram in so many. Returns whom it goes to: NULL for nobody. */
static struct relay_association *spoil(struct relay_association *association, uint8_t *datagram, size_t len)
{
    static unsigned turn;
    if (++turn % FAULT_EVERY != 0)
        return association;
    switch (relay_fault) {
    case FAULT_CONTENT:
        datagram[len - 1] ^= 1;
        return association;
    case FAULT_ORIGIN:
        datagram[RELAY_HEADER - 1] ^= 1;
        return association;
    case FAULT_ASSOCIATION:
        return association->next ? association->next : association;
    case FAULT_ORDER:
        keep(association, datagram, len);
        return NULL;
    default:
        return NULL;
    }
}

static void down(struct relay_association *association)
{
    for (int i = 0; i < RELAY_BATCH; i++) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof(from);
        ssize_t got = recvfrom(association->external.fd, area + RELAY_HEADER, RELAY_AREA, MSG_DONTWAIT,
                               (struct sockaddr *)&from, &from_len);
        if (got < 0)
            return;
        size_t len = RELAY_HEADER + (size_t)got;
        relay_write_header(area, &from);
        struct relay_association *to = relay_fault == FAULT_NONE ? association : spoil(association, area, len);
        if (!to)
            continue;
        sendto(to->client.fd, area, len, MSG_DONTWAIT, (struct sockaddr *)&to->peer, sizeof(to->peer));
        send_overtaken(to);
    }
}

const struct relay_technique relay_plain = {"plain", nothing, up, down};
