"""What telling clients to send to when the proxy stands behind somebody's NAT."""
import pytest
import servers
from netns import CLIENT_V4, INET1_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4
from socks5 import Association

LISTEN = [{"address": "0.0.0.0", "port": 1080, "auth": "none", "open": True}]
OUTSIDE = "198.51.100.7"


@pytest.fixture
def router(net):
    """The neighbour stands for docker's userland proxy or a home router: it hands TCP 1080 and a range of UDP ports on to
    the proxy, in its own name."""
    net.neighbour.nft(f"""table ip router {{
        chain prerouting {{
            type nat hook prerouting priority dstnat
            ip daddr {NEIGHBOUR_V4} tcp dport 1080 dnat to {PROXY_V4}
            ip daddr {NEIGHBOUR_V4} udp dport 30000-30009 dnat to {PROXY_V4}
        }}
        chain postrouting {{
            type nat hook postrouting priority srcnat
            ip daddr {PROXY_V4} masquerade
        }}
    }}""")
    net.neighbour.sysctl("ipv4/ip_forward", 1)
    yield (NEIGHBOUR_V4, 1080)
    net.neighbour.sysctl("ipv4/ip_forward", 0)
    net.neighbour.nft("delete table ip router")


def test_through_a_router_with_a_range(net, router, start):
    start({"listen": LISTEN, "udp": {"advertise_v4": NEIGHBOUR_V4, "ports": "30000-30009"}, "reach": "private"})
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, router)
    assert association.relay[0] == NEIGHBOUR_V4 and 30000 <= association.relay[1] <= 30009
    assert association.alive(peer)


def test_without_it_the_clients_of_a_router_are_told_its_inside(net, router, start):
    """The complaint that the option is for."""
    start({"listen": LISTEN})
    assert Association(net.client, router).relay[0] == PROXY_V4


def test_each_family_has_its_own(net, start):
    start({"udp": {"advertise_v4": OUTSIDE}})
    assert Association(net.client, (PROXY_V4, 1080)).relay[0] == OUTSIDE
    assert Association(net.client, (PROXY_V6, 1080)).relay[0] == PROXY_V6


def test_on_the_same_host_the_true_address_works(net, start):
    start({"listen": LISTEN, "udp": {"advertise_v4": OUTSIDE}, "reach": "private"})
    association = Association(net.proxy, ("127.0.0.1", 1080), source="127.0.0.1")
    assert association.relay[0] == "127.0.0.1"
    assert association.alive(net.inet1.udp(INET1_V4))


def test_the_relay_under_its_outside_address_is_no_destination(net, start):
    """Row 24: the advertised address is this host's own, too."""
    proxy = start({"udp": {"advertise_v4": OUTSIDE, "ports": "30000-30009"}, "reach": "all"})
    association = Association(net.client, (PROXY_V4, 1080))
    association.relay = (PROXY_V4, association.relay[1])
    association.send((OUTSIDE, association.relay[1]), b"round and round")
    assert association.alive(net.inet1.udp(INET1_V4))
    assert proxy.dropped("refused") == 1


def test_behind_a_nat_a_private_client_is_not_at_home(net, start, lan):
    """Row 21: `reach: auto` means public then, since everybody may seem to come from the router."""
    proxy = start({"udp": {"advertise_v4": OUTSIDE}})
    association = Association(net.client, lan)
    association.relay = (PROXY_V4, association.relay[1])
    association.send((INET1_V4, 7), b"to a private address")
    proxy.wait_log(r"denied by reach \(private address\)")


def test_a_name_is_resolved_at_start(net, start, lan):
    with servers.Dns(net.proxy, "127.0.0.1", {"outside.example": [OUTSIDE]}) as dns:
        proxy = start({"udp": {"advertise_v4": "outside.example"}, "dns": {"servers": [dns.address]}})
        assert Association(net.client, lan).relay[0] == OUTSIDE
        proxy.wait_log(f"advertise_v4: telling clients to send to {OUTSIDE}")


def test_a_name_that_does_not_resolve_is_told(net, start):
    with servers.Dns(net.proxy, "127.0.0.1", {}) as dns, pytest.raises(AssertionError) as refusal:
        start({"udp": {"advertise_v4": "outside.example"}, "dns": {"servers": [dns.address]}})
    assert "udp.advertise_v4: outside.example does not resolve" in str(refusal.value)


def test_auto_is_the_default_routes_address(net, start, lan):
    net.proxy.ip(f"route add default via {INET1_V4}")
    try:
        start({"udp": {"advertise_v4": "auto"}})
        assert Association(net.client, lan).relay[0] == PROXY_WAN_V4
    finally:
        net.proxy.ip("route del default")


def test_auto_without_a_default_route_is_told(net, start):
    with pytest.raises(AssertionError) as refusal:
        start({"udp": {"advertise_v4": "auto"}})
    assert "no default route" in str(refusal.value)


def test_a_client_of_the_internet_that_is_told_a_private_address_is_worth_a_line(net, start):
    public = "198.41.0.4"
    net.client.ip(f"address add {public}/32 dev eth0")
    net.proxy.ip(f"route add {public}/32 via {CLIENT_V4}")
    try:
        proxy = start({"listen": LISTEN})
        Association(net.client, (PROXY_V4, 1080), source=public).close()
        proxy.session(why="client closed")
        proxy.wait_log(rf"client {public} is told to send its datagrams to {PROXY_V4}:\d+, .*udp\.advertise_v4")
    finally:
        net.client.ip(f"address del {public}/32 dev eth0")
        net.proxy.ip(f"route del {public}/32")
