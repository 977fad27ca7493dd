"""Three hosts in a row, as network namespaces that end with this process:

    client  10.79.0.2  --  10.79.0.1  proxy  10.79.1.1  --  10.79.1.2  peer
            fd79::2        fd79::1           fd79:1::1      fd79:1::2
       |    10.79.2.2                                       10.79.2.3    |
       +----fd79:2::2----------------a direct cable--------fd79:2::3-----+

The proxy forwards only while it is told to.
"""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent.parent / "integration"))
import netns  # noqa: E402

# By the version of IP: where the proxy listens, and the peer at the far end of each way.
PROXY = {4: "10.79.0.1", 6: "fd79::1"}
PEER = {4: "10.79.1.2", 6: "fd79:1::2"}
DIRECT_PEER = {4: "10.79.2.3", 6: "fd79:2::3"}


class Cables:
    def __init__(self):
        self.client, self.proxy, self.peer = (netns.Host(name) for name in ("client", "proxy", "peer"))
        plug(self.client, "eth0", "0", 2, self.proxy, "eth0", 1)
        plug(self.proxy, "eth1", "1", 1, self.peer, "eth0", 2)
        plug(self.client, "direct", "2", 2, self.peer, "direct", 3)
        self.client.ip("route add default via 10.79.0.1", "route add default via inet6 fd79::1")
        self.peer.ip("route add default via 10.79.1.1", "route add default via inet6 fd79:1::1")
        self.forward(False)

    def forward(self, on):
        self.proxy.sysctl("ipv4/ip_forward", int(on))
        self.proxy.sysctl("ipv6/conf/all/forwarding", int(on))


def plug(one, one_port, network, one_host, other, other_port, other_host):
    one.ip(f"link add {one_port} type veth peer name {other_port} netns {other.path}")
    for host, port, number in (one, one_port, one_host), (other, other_port, other_host):
        prefix = f"fd79:{network}:" if network != "0" else "fd79:"
        host.ip(f"address add 10.79.{network}.{number}/24 dev {port}",
                f"address add {prefix}:{number}/64 dev {port} nodad", f"link set {port} up")
