#include "proxy/assoc/udp_socket.h"

#include <assert.h>
#include <errno.h>
#include <unistd.h>

#include "net/sock.h"
#include "proxy/env.h"

int udp_socket_open(struct env *env, const struct port_range *range, union netaddr *local,
                    const struct sock_egress *egress, enum own_port kind, struct port_lease *port)
{
    int fd = sock_udp(env->host->reserve, local, range, env_now(env), port);
    int error = fd < 0 ? fd : egress ? sock_set_egress(fd, local->sa.sa_family, egress) : 0;
    if (fd >= 0 && !error && !own_ports_add(env->host->own_ports, kind, local))
        error = -ENOMEM;
    if (fd >= 0 && error) {
        close(fd);
        ports_release(range, port, 0, env_now(env));
    }
    metrics_add(&env->metrics.ports_reused_early_total, !error && port->early);
    if (error == -EADDRINUSE)
        env->full_ports = (struct port_place){.range = *range, .local = *local};
    return error ? error : fd;
}

void udp_socket_close(struct env *env, int fd, const struct port_range *range, const union netaddr *local,
                      enum own_port kind, struct port_lease *port, uint64_t used_until_ms)
{
    assert(fd >= 0);
    own_ports_remove(env->host->own_ports, kind, local);
    close(fd);
    ports_release(range, port, used_until_ms, env_now(env));
}

struct dgram_socket udp_socket_adopt(const struct env *env, int fd, int family)
{
    assert(fd >= 0);
    if (env->config->udp.df == CONFIG_DF_PROBE)
        sock_udp_probe(fd, family);
    if (env->memory != MEMORY_AMPLE)
        sock_udp_set_room(fd, memory_level_room(env->memory));
    return dgram_io_adopt(env->dgrams, fd, family);
}
