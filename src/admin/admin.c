#include "admin/admin.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOG_MODULE "admin"
#include "admin/exposition.h"
#include "admin/http.h"
#include "admin/http_request.h"
#include "admin/pac.h"
#include "admin/page.h"
#include "admin/process.h"
#include "admin/unix_socket.h"
#include "base/log.h"
#include "base/metrics.h"
#include "base/util.h"
#include "conf/config.h"
#include "net/sock.h"

struct admin {
    struct http *http;
    struct admin_source source;
    struct process_files process;
    struct admin_sockets sockets; /* the HTTP server closes them */
    char *path;                   /* of the Unix socket; NULL: none */
    bool open;                    /* any host name is accepted */
};

/* ---- what is asked for ---- */

static void admin_answer_metrics(struct admin *admin, struct http_connection *connection,
                                 const struct http_request *request)
{
    (void)request;
    struct metrics sum = {0};
    struct admin_facts facts;
    size_t size;
    admin->source.metrics(admin->source.arg, &sum);
    admin->source.facts(admin->source.arg, &facts);
    const struct process_use use = process_read(&admin->process);
    char *text = exposition_format(&sum, &facts, &use, &size);
    if (text)
        http_respond(connection, &(struct http_response){200, EXPOSITION_TYPE, NULL, text, size, true});
    else
        http_respond_text(connection, 503, "no memory\n");
}

/* The text is valid until the next event only, so the answer gets a copy. */
static void admin_answer_complaint(struct http_connection *connection, const char *complaint)
{
    char *text = NULL;
    int len = complaint ? asprintf(&text, "%s\n", complaint) : 0;
    if (complaint && len >= 0)
        http_respond(connection, &(struct http_response){503, NULL, NULL, text, (size_t)len, true});
    else
        http_respond_text(connection, complaint ? 503 : 200, complaint ? "no memory\n" : "ok\n");
}

static void admin_answer_healthz(struct admin *admin, struct http_connection *connection,
                                 const struct http_request *request)
{
    (void)request;
    admin_answer_complaint(connection, admin->source.sick(admin->source.arg));
}

static void admin_answer_readyz(struct admin *admin, struct http_connection *connection,
                                const struct http_request *request)
{
    (void)request;
    admin_answer_complaint(connection, admin->source.unready(admin->source.arg));
}

static void admin_on_json(void *arg, char *json)
{
    if (json)
        http_redeem(arg, &(struct http_response){200, "application/json", NULL, json, strlen(json), true});
    else
        http_redeem(arg, &(struct http_response){503, NULL, NULL, "no memory\n", strlen("no memory\n"), false});
}

static void admin_answer_status(struct admin *admin, struct http_connection *connection,
                                const struct http_request *request)
{
    uint64_t after = 0, limit = ADMIN_LIMIT_DEFAULT;
    if (!http_request_number(request, "after", 0, UINT64_MAX, &after) ||
        !http_request_number(request, "limit", 1, ADMIN_LIMIT_MAX, &limit)) {
        http_respond_text(connection, 400, "expected /status?after=ID&limit=N, with N from 1 to 1000\n");
        return;
    }
    struct http_ticket *ticket = http_defer(connection);
    if (ticket)
        admin->source.status(admin->source.arg, &(struct admin_query){after, (uint32_t)limit}, admin_on_json, ticket);
}

static void admin_answer_history(struct admin *admin, struct http_connection *connection,
                                 const struct http_request *request)
{
    (void)request;
    struct http_ticket *ticket = http_defer(connection);
    if (ticket)
        admin->source.history(admin->source.arg, admin_on_json, ticket);
}

static void admin_answer_pac(struct admin *admin, struct http_connection *connection,
                             const struct http_request *request)
{
    (void)request;
    const union netaddr local = http_local(connection);
    char *text = pac_format(admin->source.config(admin->source.arg), &local);
    if (text)
        http_respond(connection, &(struct http_response){200, PAC_TYPE, NULL, text, strlen(text), true});
    else
        http_respond_text(connection, 503, "no memory\n");
}

static void admin_answer_page(struct admin *admin, struct http_connection *connection,
                              const struct http_request *request)
{
    (void)admin, (void)request;
    http_respond(connection, &(struct http_response){200, "text/html; charset=utf-8", admin_page.policy,
                                                     admin_page.html, admin_page.size, false});
}

static const struct admin_route {
    const char *path;
    void (*answer)(struct admin *admin, struct http_connection *connection, const struct http_request *request);
} routes[] = {
    {"/", admin_answer_page},           {"/status", admin_answer_status},   {"/history", admin_answer_history},
    {"/metrics", admin_answer_metrics}, {"/healthz", admin_answer_healthz}, {"/readyz", admin_answer_readyz},
    {"/proxy.pac", admin_answer_pac},
};

/* A website may let its own name resolve to this address: then its visitors' browsers ask for it (DNS rebinding). A
 * Unix socket is out of their reach. */
static bool admin_allows(const struct admin *admin, const struct http_connection *connection,
                         const struct http_request *request)
{
    bool by_tcp = http_local(connection).sa.sa_family != AF_UNSPEC;
    return admin->open || !by_tcp || request->host[0] == '\0' || http_request_names_address(request);
}

static void admin_on_request(void *arg, struct http_connection *connection, const struct http_request *request)
{
    struct admin *admin = arg;
    if (!admin_allows(admin, connection, request)) {
        http_respond_text(connection, 403, "use the address instead of a name, or set admin.open\n");
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
        if (strcmp(routes[i].path, request->path) == 0) {
            routes[i].answer(admin, connection, request);
            return;
        }
    }
    http_respond_text(connection, 404,
                      "not found; the paths are: / /status /history /metrics /healthz /readyz /proxy.pac\n");
}

/* ---- life ---- */

static bool admin_listen_tcp(struct admin *admin, const union netaddr *address, enum log_level failure)
{
    char text[NETADDR_TEXT_MAX];
    netaddr_format(address, text);
    if (admin->sockets.tcp < 0)
        admin->sockets.tcp = sock_listen(address, false);
    if (admin->sockets.tcp < 0) {
        LOG_AT(failure, "no status page: cannot listen on %s: %s", text, strerror(-admin->sockets.tcp));
        return false;
    }
    log_info("status page: http://%s/", text);
    return http_serve(admin->http, admin->sockets.tcp);
}

static bool admin_listen_unix(struct admin *admin, const char *path)
{
    int fd = admin->sockets.local < 0 ? unix_socket_listen(path, SOCK_STREAM, 0660) : admin->sockets.local;
    if (fd < 0) {
        log_error("cannot listen on %s: %s%s", path, strerror(-fd),
                  fd == -EADDRINUSE ? ". Is conesocks running already?"
                  : fd == -ENOENT   ? ". Create its folder first"
                  : fd == -ENOTSOCK ? ". Another kind of file is there: remove it, or use another path"
                                    : "");
        return false;
    }
    admin->sockets.local = fd;
    admin->path = strdup(path);
    log_info("status: curl --unix-socket %s http://localhost/status", path);
    return http_serve(admin->http, fd) && admin->path;
}

static void admin_close_unwanted(struct admin_sockets *sockets, bool by_tcp, bool by_path)
{
    if (!by_tcp && sockets->tcp >= 0)
        close(sockets->tcp);
    if (!by_path && sockets->local >= 0)
        close(sockets->local);
    *sockets = (struct admin_sockets){by_tcp ? sockets->tcp : -1, by_path ? sockets->local : -1};
}

struct admin *admin_new(struct event_base *base, const struct config *config, const struct admin_source *source,
                        struct admin_sockets opened, bool must)
{
    const enum log_level failure = must ? LOG_LEVEL_ERROR : LOG_LEVEL_WARNING;
    const bool by_tcp = netaddr_port(&config->admin.address) != 0, by_path = config->admin.socket != NULL;
    admin_close_unwanted(&opened, by_tcp, by_path);
    struct admin *admin = by_tcp || by_path ? calloc(1, sizeof(*admin)) : NULL;
    if (!admin) {
        admin_close_unwanted(&opened, false, false);
        return NULL;
    }
    *admin = (struct admin){
        .source = *source, .sockets = opened, .open = config->admin.open, .process = process_open("/proc/self")};
    admin->http = http_new(base, &http_times, admin_on_request, admin);
    if (admin->http && (!by_tcp || admin_listen_tcp(admin, &config->admin.address, failure)) &&
        (!by_path || admin_listen_unix(admin, config->admin.socket)))
        return admin;
    admin_free(admin);
    return NULL;
}

struct admin_sockets admin_sockets(const struct admin *admin)
{
    return admin->sockets;
}

void admin_let_go(struct admin *admin)
{
    if (!admin)
        return;
    http_close_listeners(admin->http);
    admin->sockets = ADMIN_SOCKETS_NONE;
    free(admin->path);
    admin->path = NULL;
}

void admin_free(struct admin *admin)
{
    if (!admin)
        return;
    http_free(admin->http);
    process_close(&admin->process);
    /* This may fail without privileges: then the next start, or systemd, removes it. */
    if (admin->path)
        (void)unlink(admin->path);
    free(admin->path);
    free(admin);
}
