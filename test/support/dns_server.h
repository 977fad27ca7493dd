/*
 * A name server in the test's own event loop, on UDP and TCP of one loopback port. What it answers is a table of names;
 * what it was asked is kept. Names are compared without case, and the case that came goes back. A name that begins with
 * "late-500" is answered after 500 ms, unless the server fails all names; one that begins with "brief-" lives for
 * DNS_BRIEF_S.
 */
#ifndef TEST_SUPPORT_DNS_SERVER_H
#define TEST_SUPPORT_DNS_SERVER_H

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <ctype.h>
#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/netaddr.h"

/* Ways to answer that are not plain. */
enum dns_fault {
    DNS_PLAIN,
    DNS_SILENT, /* no answer */
    DNS_SERVFAIL,
    DNS_WRONG_ID,     /* the only answer carries another query's number */
    DNS_WRONG_PORT,   /* the only answer comes from another port */
    DNS_WRONG_HOST,   /* the only answer comes from another address (127.0.0.2) with the right port */
    DNS_FORGED_FIRST, /* DNS_WRONG_ID with a false address, then the true answer */
    DNS_WRONG_CASE,   /* the name comes back in lower case */
    DNS_HEEDS_CASE,   /* the name exists in lower case alone, as with docker before 20.10 */
    DNS_DROPS_EDNS,   /* no answer to a question with EDNS */
    DNS_TRUNCATED,    /* over UDP the first address, and that there is more */
    DNS_LATE_AAAA,    /* the answer to AAAA comes 200 ms after the question */
};

struct dns_name {
    const char *name;
    const char *a, *aaaa; /* the address, or the first of `count`; neither and no alias: NXDOMAIN */
    int count;            /* 0 is 1 */
    const char *alias;
    enum dns_fault fault;
};

#define DNS_FORGED  "203.0.113.66"
#define DNS_BRIEF_S 7

struct dns_server {
    const struct dns_name *names; /* ends with a NULL name */
    int udp, tcp;
    struct event *on_udp, *on_tcp;
    union netaddr address;
    bool silent;          /* as if it were down */
    enum dns_fault fault; /* of all names, when it is not DNS_PLAIN */
    bool hangs_tcp;       /* takes connections, and does nothing with them */
    LIST_HEAD(, dns_late) late;
    int asked_udp, asked_tcp, asked_in_mixed_case;
    char last[8][256]; /* the latest questions, first at [asked % 8], in lower case */
};

static inline void dns_fail(const char *what)
{
    fprintf(stderr, "dns_server: %s: %s\n", what, strerror(errno));
    abort();
}

static inline size_t dns_put_name(uint8_t *out, const char *name)
{
    size_t len = 0;
    while (*name) {
        size_t label = strcspn(name, ".");
        out[len++] = (uint8_t)label;
        memcpy(out + len, name, label);
        len += label;
        name += label + (name[label] == '.');
    }
    out[len++] = 0;
    return len;
}

static inline int dns_server_asked(const struct dns_server *server)
{
    return server->asked_udp + server->asked_tcp;
}

/* The question before the last, and so on back. */
static inline const char *dns_server_question(const struct dns_server *server, int back)
{
    return server->last[(dns_server_asked(server) - 1 - back) % 8];
}

/* The answer's bytes so far, and where the next go. */
struct dns_answer {
    uint8_t bytes[65535];
    size_t len;
    unsigned ttl_s; /* of its records */
};

static inline void dns_put16(struct dns_answer *answer, unsigned value)
{
    answer->bytes[answer->len++] = (uint8_t)(value >> 8);
    answer->bytes[answer->len++] = (uint8_t)value;
}

/* A record whose owner is the question's name (a pointer to it). */
static inline void dns_put_record(struct dns_answer *answer, ns_type type, const void *data, size_t len)
{
    dns_put16(answer, 0xc00c);
    dns_put16(answer, type);
    dns_put16(answer, ns_c_in);
    dns_put16(answer, 0);
    dns_put16(answer, answer->ttl_s);
    dns_put16(answer, (unsigned)len);
    memcpy(answer->bytes + answer->len, data, len);
    answer->len += len;
}

static inline void dns_put_soa(struct dns_answer *answer)
{
    uint8_t data[22] = {0, 0, [20] = 1, [21] = 44}; /* no names, all zero but the negative TTL: 300 */
    answer->bytes[answer->len++] = 0;               /* the root's */
    dns_put16(answer, ns_t_soa);
    dns_put16(answer, ns_c_in);
    dns_put16(answer, 0);
    dns_put16(answer, 300);
    dns_put16(answer, sizeof(data));
    memcpy(answer->bytes + answer->len, data, sizeof(data));
    answer->len += sizeof(data);
}

static inline int dns_put_addresses(struct dns_answer *answer, const struct dns_name *name, ns_type type,
                                    const char *text)
{
    if (!text)
        return 0;
    uint8_t host[16];
    size_t len = type == ns_t_a ? 4 : 16;
    inet_pton(type == ns_t_a ? AF_INET : AF_INET6, text, host);
    int count = name->count ? name->count : 1;
    for (int i = 0; i < count; i++, host[len - 1]++)
        dns_put_record(answer, type, host, len);
    return count;
}

static inline const struct dns_name *dns_find(const struct dns_server *server, const char *text)
{
    const struct dns_name *name = server->names;
    while (name->name && strcasecmp(name->name, text) != 0)
        name++;
    return name;
}

/* Reads the question's name into `text` (256 bytes) and tells where it ends. */
static inline size_t dns_question(const uint8_t *query, size_t len, char *text)
{
    size_t at = 12, used = 0;
    while (at < len && query[at] != 0 && at + 1 + query[at] < len && used + query[at] + 1 < 256) {
        memcpy(text + used, query + at + 1, query[at]);
        used += query[at];
        text[used++] = '.';
        at += 1u + query[at];
    }
    text[used ? used - 1 : 0] = '\0';
    return at + 5;
}

/* Builds the answer to a query; `room` is what fits, else it is marked as cut short. */
static inline const struct dns_name *dns_answer(struct dns_server *server, const uint8_t *query, size_t len,
                                                size_t room, struct dns_answer *answer)
{
    char text[256];
    size_t end = dns_question(query, len, text);
    const struct dns_name *name = dns_find(server, text);
    char *last = server->last[(dns_server_asked(server) - 1) % 8];
    for (size_t i = 0; i <= strlen(text); i++)
        last[i] = (char)tolower(text[i]);
    bool mixed_case = strcmp(last, text) != 0;
    server->asked_in_mixed_case += mixed_case;
    enum dns_fault fault = server->fault ? server->fault : name->fault;

    memcpy(answer->bytes, query, end);
    answer->len = end;
    answer->ttl_s = strncmp(last, "brief-", 6) == 0 ? DNS_BRIEF_S : 300;
    if (fault == DNS_WRONG_CASE)
        dns_put_name(answer->bytes + 12, last);
    ns_type type = (ns_type)query[end - 3];
    int count = 0;
    if (name->alias) {
        uint8_t alias[256];
        dns_put_record(answer, ns_t_cname, alias, dns_put_name(alias, name->alias));
        count = 1;
    } else if (name->name) {
        count = dns_put_addresses(answer, name, type, type == ns_t_a ? name->a : name->aaaa);
    }
    bool exists = name->name && !(fault == DNS_HEEDS_CASE && mixed_case);
    int rcode = fault == DNS_SERVFAIL ? ns_r_servfail : exists ? ns_r_noerror : ns_r_nxdomain;
    bool partial = fault == DNS_TRUNCATED && room < sizeof(answer->bytes), cut = partial || answer->len > room;
    if (partial) {
        answer->len = end;
        dns_put_record(answer, ns_t_a, (const uint8_t[4]){192, 0, 2, 200}, 4);
        count = 1;
    } else if (cut) {
        answer->len = end;
        count = 0;
    } else if (count == 0) {
        dns_put_soa(answer);
    }
    const uint8_t header[] = {
        (uint8_t)(cut ? 0x83 : 0x81), (uint8_t)(0x80 | rcode), 0, 1, 0, (uint8_t)count, 0, count == 0 && !cut, 0, 0};
    memcpy(answer->bytes + 2, header, sizeof(header));
    return name;
}

/* A socket that is not the one that was asked. */
static inline int dns_impostor(const struct dns_server *server, enum dns_fault fault)
{
    union netaddr address;
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    netaddr_parse(&address, fault == DNS_WRONG_HOST ? "127.0.0.2" : "127.0.0.1",
                  fault == DNS_WRONG_HOST ? netaddr_port(&server->address) : 0);
    if (fd < 0 || bind(fd, &address.sa, netaddr_len(&address)) < 0)
        dns_fail("an impostor's socket");
    return fd;
}

static inline bool dns_is_forged_only(enum dns_fault fault)
{
    return fault == DNS_WRONG_ID || fault == DNS_WRONG_PORT || fault == DNS_WRONG_HOST;
}

static inline void dns_send_forged(const struct dns_server *server, const struct dns_name *name,
                                   const struct dns_answer *answer, const union netaddr *to)
{
    struct dns_answer forged = *answer;
    uint32_t address = inet_addr(DNS_FORGED);
    memcpy(forged.bytes + forged.len - 4, &address, 4);
    int fd = server->udp;
    if (name->fault == DNS_WRONG_PORT || name->fault == DNS_WRONG_HOST)
        fd = dns_impostor(server, name->fault);
    else
        forged.bytes[1] ^= 1;
    sendto(fd, forged.bytes, forged.len, 0, &to->sa, netaddr_len(to));
    if (fd != server->udp)
        close(fd);
}

/* An answer that is not due yet. */
struct dns_late {
    LIST_ENTRY(dns_late) entry;
    struct dns_server *server;
    struct event *event;
    union netaddr to;
    size_t len;
    uint8_t bytes[512];
};

static inline void dns_late_free(struct dns_late *late)
{
    LIST_REMOVE(late, entry);
    event_free(late->event);
    free(late);
}

static inline void dns_on_late(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what;
    struct dns_late *late = arg;
    sendto(late->server->udp, late->bytes, late->len, 0, &late->to.sa, netaddr_len(&late->to));
    dns_late_free(late);
}

static inline void dns_send_late(struct dns_server *server, int ms, const struct dns_answer *answer,
                                 const union netaddr *to)
{
    struct dns_late *late = malloc(sizeof(*late));
    if (!late || answer->len > sizeof(late->bytes))
        dns_fail("a late answer");
    *late = (struct dns_late){.server = server, .to = *to, .len = answer->len};
    memcpy(late->bytes, answer->bytes, answer->len);
    LIST_INSERT_HEAD(&server->late, late, entry);
    late->event = evtimer_new(event_get_base(server->on_udp), dns_on_late, late);
    const struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    event_add(late->event, &wait);
}

static inline void dns_on_udp(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct dns_server *server = arg;
    uint8_t query[1500];
    union netaddr from;
    socklen_t from_len = sizeof(from);
    ssize_t len = recvfrom(fd, query, sizeof(query), 0, &from.sa, &from_len);
    if (len < 17)
        return;
    server->asked_udp++;
    static struct dns_answer answer;
    const struct dns_name *name = dns_answer(server, query, (size_t)len, 1232, &answer);
    if (server->silent || name->fault == DNS_SILENT)
        return;
    bool has_edns = query[11] != 0;
    if (has_edns && (server->fault == DNS_DROPS_EDNS || name->fault == DNS_DROPS_EDNS))
        return;
    if (strncmp(dns_server_question(server, 0), "late-", 5) == 0 && server->fault != DNS_SERVFAIL) {
        dns_send_late(server, atoi(dns_server_question(server, 0) + 5), &answer, &from);
        return;
    }
    char text[256];
    if (name->fault == DNS_LATE_AAAA && query[dns_question(query, (size_t)len, text) - 3] == ns_t_aaaa) {
        dns_send_late(server, 200, &answer, &from);
        return;
    }
    if (dns_is_forged_only(name->fault) || name->fault == DNS_FORGED_FIRST)
        dns_send_forged(server, name, &answer, &from);
    if (!dns_is_forged_only(name->fault))
        sendto(fd, answer.bytes, answer.len, 0, &from.sa, from_len);
}

/* One query, which has come, and whose answer fits into the socket. */
static inline void dns_on_connection(evutil_socket_t connection, short what, void *arg)
{
    (void)what;
    struct dns_server *server = arg;
    uint8_t query[1500];
    if (recv(connection, query, 2, MSG_WAITALL) != 2) {
        close(connection);
        return;
    }
    size_t len = (size_t)query[0] << 8 | query[1];
    if (len > sizeof(query) || recv(connection, query, len, MSG_WAITALL) != (ssize_t)len)
        dns_fail("recv");
    server->asked_tcp++;
    static struct dns_answer answer;
    dns_answer(server, query, len, sizeof(answer.bytes), &answer);
    const uint8_t prefix[2] = {(uint8_t)(answer.len >> 8), (uint8_t)answer.len};
    if (send(connection, prefix, 2, MSG_MORE) != 2 ||
        send(connection, answer.bytes, answer.len, 0) != (ssize_t)answer.len)
        dns_fail("send");
    close(connection);
}

static inline void dns_on_tcp(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct dns_server *server = arg;
    int connection = accept(fd, NULL, NULL);
    if (connection >= 0 && server->hangs_tcp)
        return;
    if (connection < 0 ||
        event_base_once(event_get_base(server->on_tcp), connection, EV_READ, dns_on_connection, server, NULL) != 0)
        dns_fail("accept");
}

/* Both sockets, on one port. */
static inline bool dns_bind(struct dns_server *server, const char *address, uint16_t port)
{
    netaddr_parse(&server->address, address, port);
    socklen_t len = sizeof(server->address);
    struct sockaddr *bound = &server->address.sa;
    int family = bound->sa_family;
    const int on = 1;
    server->tcp = socket(family, SOCK_STREAM, 0);
    server->udp = socket(family, SOCK_DGRAM, 0);
    setsockopt(server->tcp, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(server->tcp, bound, netaddr_len(&server->address)) == 0 && getsockname(server->tcp, bound, &len) == 0 &&
        bind(server->udp, bound, len) == 0 && listen(server->tcp, 8) == 0)
        return true;
    int saved = errno;
    close(server->tcp);
    close(server->udp);
    errno = saved;
    return false;
}

/* Port 0: any. false with errno when the port may not be had. */
static inline bool dns_server_open(struct dns_server *server, struct event_base *base, const struct dns_name *names,
                                   const char *address, uint16_t port)
{
    *server = (struct dns_server){.names = names};
    bool bound = false;
    /* What is free for TCP may be taken for UDP, by a test that runs at the same time. */
    for (int tries = 0; !bound && tries < (port ? 1 : 100); tries++)
        bound = dns_bind(server, address, port);
    if (!bound)
        return false;
    server->on_udp = event_new(base, server->udp, EV_READ | EV_PERSIST, dns_on_udp, server);
    server->on_tcp = event_new(base, server->tcp, EV_READ | EV_PERSIST, dns_on_tcp, server);
    event_add(server->on_udp, NULL);
    event_add(server->on_tcp, NULL);
    return true;
}

static inline void dns_server_close(struct dns_server *server)
{
    while (!LIST_EMPTY(&server->late))
        dns_late_free(LIST_FIRST(&server->late));
    event_free(server->on_udp);
    event_free(server->on_tcp);
    close(server->udp);
    close(server->tcp);
}

#endif
