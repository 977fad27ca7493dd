"""A small internet with public addresses: STUN servers, a proxy on a VPS, one at home, and a player behind a router.

    player 192.168.1.2 -- router .10 --+                          +-- stun    .101, .102, 2a02:f00f::101
           2a02:f001::2               +-- 45.80.10.0/24 -------+-- second  .111, 2a02:f00f::111
    home 192.168.7.2 ---- gateway .30 -+   2a02:f00f::/64        +-- third   .121
    sofa 192.168.7.3 -----+                                       +-- vps     .20, 2a02:f00f::20

Routers translate IPv4 (see router()), forward IPv6, and let in nothing that was not asked for. `sofa` is a player in the
home of the proxy.
"""
from netns import Host, Network

PLAYER, ROUTER, VPS, HOME, GATEWAY, SOFA = ("192.168.1.2", "45.80.10.10", "45.80.10.20", "192.168.7.2",
                                            "45.80.10.30", "192.168.7.3")
STUN, STUN_OTHER, SECOND, THIRD = "45.80.10.101", "45.80.10.102", "45.80.10.111", "45.80.10.121"
VPS_V6, STUN_V6, SECOND_V6, PLAYER_V6 = "2a02:f00f::20", "2a02:f00f::101", "2a02:f00f::111", "2a02:f001::2"


class Internet:
    def __init__(self):
        self.switch, self.lan, self.home_lan = Host("switch"), Host("lan"), Host("homelan")
        for switch in (self.switch, self.lan, self.home_lan):
            switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up")
        self.stun = self.public("stun", STUN, STUN_OTHER, STUN_V6)
        self.second = self.public("second", SECOND, SECOND_V6)
        self.third = self.public("third", THIRD)
        self.vps = self.public("vps", VPS, VPS_V6)
        self.router = self.gate("router", self.lan, ROUTER, "192.168.1.1", "2a02:f001::1")
        self.gateway = self.gate("gateway", self.home_lan, GATEWAY, "192.168.7.1")
        self.player = self.inside("player", self.lan, "192.168.1.1", PLAYER, PLAYER_V6)
        self.home = self.inside("home", self.home_lan, "192.168.7.1", HOME)
        self.sofa = self.inside("sofa", self.home_lan, "192.168.7.1", SOFA)
        self.player.ip("route add ::/0 via 2a02:f001::1")
        self.hosts = (self.stun, self.second, self.third, self.vps, self.router, self.gateway, self.player, self.home,
                      self.sofa)

    def plugged(self, name, switch, *addresses):
        host = Host(name)
        Network.plug(host, "eth0", switch, *addresses)
        return host

    def public(self, name, *addresses):
        host = self.plugged(name, self.switch, *addresses)
        if any(":" in address for address in addresses):
            host.ip("route add 2a02:f001::/64 via 2a02:f00f::10")
        return host

    def gate(self, name, lan, outside, *inside):
        host = self.plugged(name, self.switch, outside, *(["2a02:f00f::10"] if len(inside) > 1 else []))
        Network.plug(host, "eth1", lan, *inside)
        host.sysctl("ipv4/ip_forward", 1)
        host.sysctl("ipv6/conf/all/forwarding", 1)
        return host

    def inside(self, name, lan, gateway, *addresses):
        host = self.plugged(name, lan, *addresses)
        host.ip(f"route add default via {gateway}")
        return host

    @staticmethod
    def translate(gate, masquerade="masquerade", forwards="", more=""):
        """A home's router. `forwards` are rules for what comes to its public address; `more` for what it forwards."""
        gate.nft(f"""
            table inet home
            delete table inet home
            table inet home {{
                chain pre {{ type nat hook prerouting priority dstnat; {forwards} }}
                chain post {{ type nat hook postrouting priority srcnat; oifname "eth0" meta nfproto ipv4 {masquerade}; }}
                chain in {{ type filter hook input priority 0; iifname "eth0" ct state established,related accept;
                            iifname "eth0" meta l4proto udp drop; }}
                chain forward {{ type filter hook forward priority 0; {more}
                                 iifname "eth0" ct state established,related accept;
                                 iifname "eth0" ct status dnat accept; iifname "eth0" drop; }}
            }}""")

    def close_sockets(self):
        for host in self.hosts:
            host.close_sockets()
