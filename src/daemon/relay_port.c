#include "daemon/relay_port.h"

#include <string.h>
#include <unistd.h>

#define LOG_MODULE "server"
#include "base/log.h"
#include "conf/config.h"
#include "net/sock.h"

static bool relay_port_can_open(union netaddr local, uint16_t port, bool ours)
{
    netaddr_set_port(&local, port);
    int fd = sock_udp_open(NULL, local.sa.sa_family, ours);
    int error = fd < 0 ? fd : sock_udp_bind(fd, &local);
    if (fd >= 0)
        close(fd);
    if (!error)
        return true;
    char text[NETADDR_TEXT_MAX];
    log_error("udp.ports: cannot open UDP port %s: %s", netaddr_format(&local, text), strerror(-error));
    return false;
}

bool relay_port_is_free(const struct config *config, bool ours)
{
    uint16_t port = config_shared_port(config);
    if (!port || !config->udp.enabled)
        return true;
    for (size_t i = 0; i < config->listen_count; i++) {
        const union netaddr *address = &config->listen[i].address;
        const bool is_dual = address->sa.sa_family == AF_INET6 && netaddr_is_any(address);
        if (!relay_port_can_open(*address, port, ours) ||
            (is_dual && !relay_port_can_open(netaddr_any(AF_INET), port, ours)))
            return false;
    }
    return true;
}
