#include "check/stun_servers.h"

#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "check/proxy_url.h"

#define SEPARATORS   ", \t\n"
#define PER_FAMILY   2 /* addresses of a server that are used, of each family */
#define FAMILY_COUNT 2

const char stun_servers_built_in[] = CHECK_STUN;

/* ---- names ---- */

static const char *stun_server_parse(struct stun_server *server, const char *text, size_t len)
{
    *server = (struct stun_server){.port = STUN_PORT};
    if (len >= sizeof(server->text))
        return "the name is too long";
    memcpy(server->text, text, len);
    const char *wrong = host_port_parse(server->text, server->host, &server->port);
    return wrong ? wrong : server->port == 0 ? "the port is 0" : NULL;
}

const char *stun_servers_add(struct stun_servers *servers, const char *text)
{
    size_t before = servers->count;
    for (const char *at = text + strspn(text, SEPARATORS); *at; at += strspn(at, SEPARATORS)) {
        size_t len = strcspn(at, SEPARATORS);
        if (servers->count == STUN_SERVERS_MAX)
            return "there are more than 8 STUN servers";
        const char *wrong = stun_server_parse(&servers->list[servers->count], at, len);
        if (wrong)
            return wrong;
        servers->count++;
        at += len;
    }
    return servers->count == before ? "a STUN server is missing" : NULL;
}

const char *stun_servers_list(const struct stun_servers *servers, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < servers->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", servers->list[i].text);
    return text;
}

/* ---- addresses ---- */

struct stun_lookup {
    struct stun_server *server;
    struct io_addresses found;
    pthread_t thread;
    bool is_running;
};

static void *lookup_run(void *arg)
{
    struct stun_lookup *lookup = arg;
    lookup->server->error = io_resolve(lookup->server->host, lookup->server->port, &lookup->found);
    return NULL;
}

/* The n-th address of that family. NULL: there are fewer. */
static const union netaddr *nth_address(const struct io_addresses *found, int family, size_t n)
{
    for (size_t i = 0; i < found->count; i++)
        if (found->list[i].sa.sa_family == family && n-- == 0)
            return &found->list[i];
    return NULL;
}

static bool has_place(const struct stun_places *places, const union netaddr *address)
{
    for (size_t i = 0; i < places->count; i++)
        if (netaddr_equal(&places->list[i].address, address))
            return true;
    return false;
}

static void add_place(struct stun_places *places, const union netaddr *address, size_t server)
{
    if (address && places->count < STUN_PLACES_MAX && !has_place(places, address))
        places->list[places->count++] = (struct stun_place){.address = *address, .server = (unsigned)server};
}

void stun_servers_resolve(struct stun_servers *servers, struct stun_places *places)
{
    static const int families[FAMILY_COUNT] = {AF_INET, AF_INET6};
    struct stun_lookup lookups[STUN_SERVERS_MAX] = {0};
    places->count = 0;
    for (size_t i = 0; i < servers->count; i++) {
        lookups[i].server = &servers->list[i];
        lookups[i].is_running = pthread_create(&lookups[i].thread, NULL, lookup_run, &lookups[i]) == 0;
        if (!lookups[i].is_running)
            lookup_run(&lookups[i]);
    }
    for (size_t i = 0; i < servers->count; i++)
        if (lookups[i].is_running)
            pthread_join(lookups[i].thread, NULL);
    for (size_t nth = 0; nth < PER_FAMILY; nth++)
        for (size_t i = 0; i < servers->count; i++)
            for (size_t family = 0; family < FAMILY_COUNT; family++)
                add_place(places, nth_address(&lookups[i].found, families[family], nth), i);
}
