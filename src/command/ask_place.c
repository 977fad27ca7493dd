#include "command/ask_place.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/config.h"

bool ask_at_socket(struct ask_place *place, const char *path)
{
    *place = (struct ask_place){.socket = strdup(path)};
    return place->socket != NULL;
}

static bool ask_at_host(struct ask_place *place, const char *host, size_t host_len, const char *port, size_t port_len)
{
    *place = (struct ask_place){.host = strndup(host, host_len), .port = strndup(port, port_len)};
    return place->host && place->port;
}

bool ask_at_url(struct ask_place *place, const char *url)
{
    static const char scheme[] = "http://";
    *place = (struct ask_place){0};
    if (strncmp(url, scheme, sizeof(scheme) - 1) != 0)
        return false;
    const char *host = url + sizeof(scheme) - 1;
    bool bracketed = *host == '[';
    host += bracketed;
    size_t len = strcspn(host, bracketed ? "]" : ":/");
    if (len == 0 || (bracketed && host[len] != ']'))
        return false;
    const char *colon = host + len + bracketed;
    size_t digits = *colon == ':' ? strspn(colon + 1, "0123456789") : 0;
    if (digits < 1 || digits > 5 || (strcmp(colon + 1 + digits, "") != 0 && strcmp(colon + 1 + digits, "/") != 0))
        return false;
    return ask_at_host(place, host, len, colon + 1, digits);
}

/* A socket that denies access counts: the error then tells who may use it. */
static bool ask_unit_listens(void)
{
    const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = ASK_DEFAULT_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool listens = fd >= 0 && (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0 ||
                               errno == EACCES || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return listens;
}

bool ask_at_default(struct ask_place *place)
{
    return ask_unit_listens() ? ask_at_socket(place, ASK_DEFAULT_SOCKET) : ask_at_url(place, ASK_DEFAULT_URL);
}

bool ask_as_configured(struct ask_place *place, const struct config *config)
{
    *place = (struct ask_place){0};
    if (config->admin.socket)
        return ask_at_socket(place, config->admin.socket);
    const union netaddr *address = &config->admin.address;
    if (netaddr_port(address) == 0)
        return ask_unit_listens() && ask_at_socket(place, ASK_DEFAULT_SOCKET);
    char host[NETADDR_TEXT_MAX], port[8];
    netaddr_format_host(address, host);
    if (netaddr_is_any(address))
        strcpy(host, address->sa.sa_family == AF_INET6 ? "::1" : "127.0.0.1");
    int port_len = snprintf(port, sizeof(port), "%u", netaddr_port(address));
    return ask_at_host(place, host, strlen(host), port, (size_t)port_len);
}

void ask_place_free(struct ask_place *place)
{
    free(place->socket);
    free(place->host);
    free(place->port);
    *place = (struct ask_place){0};
}

/* ---- what went wrong ---- */

char *ask_place_say(const struct ask_place *place, const char *format, ...)
{
    char *why = NULL, *said = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&why, format, args) < 0)
        why = NULL;
    va_end(args);
    int len = -1;
    if (why && place->socket)
        len = asprintf(&said, "%s: %s", place->socket, why);
    else if (why)
        len = asprintf(&said, strchr(place->host, ':') ? "http://[%s]:%s: %s" : "http://%s:%s: %s", place->host,
                       place->port, why);
    free(why);
    return len < 0 ? NULL : said;
}

/* The mode of the socket, or of a folder above it, denies access: finds the nearest one that is visible. */
static char *ask_place_explain_denied(const struct ask_place *place)
{
    char path[PATH_MAX], user_id[16], group_id[16];
    struct stat status;
    snprintf(path, sizeof(path), "%s", place->socket);
    char *what = path;
    while (stat(what, &status) < 0)
        if (strlen(what) == 1) /* "/" or "." */
            return ask_place_say(place, "permission denied");
        else
            what = dirname(what);
    const struct passwd *user = getpwuid(status.st_uid);
    const struct group *group = getgrgid(status.st_gid);
    snprintf(user_id, sizeof(user_id), "#%u", status.st_uid);
    snprintf(group_id, sizeof(group_id), "#%u", status.st_gid);
    return ask_place_say(place,
                         "permission denied: %s belongs to user %s and group %s, mode %03o; run this as that user, as "
                         "a member of that group, or as root (sudo)",
                         what, user ? user->pw_name : user_id, group ? group->gr_name : group_id,
                         status.st_mode & 0777U);
}

char *ask_place_explain(const struct ask_place *place, int error)
{
    switch (error) {
    case ECONNREFUSED:
    case ENOENT:
        return ask_place_say(place, "nothing listens there: is conesocks running, with admin.%s set to this?",
                             place->socket ? "socket" : "port");
    case EACCES:
    case EPERM:
        return place->socket ? ask_place_explain_denied(place) : ask_place_say(place, "%s", strerror(error));
    case ETIMEDOUT:
        return ask_place_say(place, "no answer in time");
    case EADDRNOTAVAIL:
        return ask_place_say(place, "this host name does not resolve");
    case ENOTSOCK:
    case EPROTO:
        return ask_place_say(place, "the program that answers there is not conesocks: it does not speak HTTP");
    case ENODATA:
    case ECONNRESET:
        return ask_place_say(place, "the answer is incomplete");
    case EMSGSIZE:
        return ask_place_say(place, "the program that answers there is not conesocks: its answer is too large");
    default:
        return ask_place_say(place, "%s", strerror(error));
    }
}
