#include "base/tcp.h"

#include "base/netaddr.h"

bool tcp_is_connected_to_itself(int fd)
{
    union netaddr local = {0}, peer = {0};
    socklen_t local_len = sizeof(local), peer_len = sizeof(peer);
    if (getsockname(fd, &local.sa, &local_len) < 0 || getpeername(fd, &peer.sa, &peer_len) < 0)
        return false;
    return (local.sa.sa_family == AF_INET || local.sa.sa_family == AF_INET6) && netaddr_equal(&local, &peer);
}
