#include "admin/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "admin"
#include "base/log.h"
#include "conf/config.h"
#include "net/sock.h"

struct admin {
    struct event_base *base;
    struct admin_source source;
    int tcp; /* -1: none */
};

struct admin *admin_new(struct event_base *base, const struct config *config, const struct admin_source *source,
                        bool must)
{
    char text[NETADDR_TEXT_MAX];
    if (!netaddr_port(&config->admin.address))
        return NULL;
    struct admin *admin = calloc(1, sizeof(*admin));
    if (!admin)
        return NULL;
    *admin = (struct admin){.base = base, .source = *source, .tcp = sock_listen(&config->admin.address, false)};
    if (admin->tcp < 0) {
        LOG_AT(must ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING, "cannot listen on %s: %s",
               netaddr_format(&config->admin.address, text), strerror(-admin->tcp));
        free(admin);
        return NULL;
    }
    log_info("status page: http://%s/", netaddr_format(&config->admin.address, text));
    return admin;
}

void admin_free(struct admin *admin)
{
    if (!admin)
        return;
    close(admin->tcp);
    free(admin);
}
