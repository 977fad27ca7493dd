"""Established flows while the network around them changes: addresses, routes, MTUs, neighbours, interfaces, packet filters."""
import contextlib
import time

import netns
import packets
import pytest
import servers
from daemon import wait_until
from kernel_path import FAMILIES, V4, V6, hears_nothing
from netns import INET1_V4, INET2_V4, INET2_V6, NEIGHBOUR_V4, PROXY_V4, PROXY_WAN_V4
from socks5 import Association
from test_nat import COUNTED

ELSEWHERE = "10.99.0.2"  # an address that routes lead to
FAR_V4, FAR_V6, NARROW = "10.99.1.2", "fd99::2", 1400


@pytest.fixture(scope="session")
def far_host(network):
    """Behind a router on the internet and a link with a smaller MTU."""
    router = network.host("router", network.wan, "10.88.0.31", "fd88::31")
    far = netns.Host("far")
    far.ip(f"link add eth0 mtu {NARROW} type veth peer name eth1 mtu {NARROW} netns {router.path}")
    for host, interface, last in ((far, "eth0", 2), (router, "eth1", 1)):
        host.ip(f"address add 10.99.1.{last}/24 dev {interface}", f"address add fd99::{last}/64 dev {interface} nodad",
                f"link set {interface} up")
    far.ip("route add default via 10.99.1.1", "route add default via fd99::1")
    router.ip("route add 10.77.0.0/24 via 10.88.0.1", "route add fd77::/64 via fd88::1")
    for version, name in (("ipv4", "ip_forward"), ("ipv6", "conf/all/forwarding")):
        router.sysctl(f"{version}/{name}", 1)
    router.sysctl("ipv4/icmp_ratelimit", 0)
    router.sysctl("ipv6/icmp/ratelimit", 0)
    wait_until(lambda: not router.run("ip", "-6", "address", "show", "tentative").stdout, "the router's addresses")
    return far


@pytest.fixture
def far(net, far_host):
    """The far host. The proxy has not heard of the narrow link yet."""
    routes = "10.99.1.0/24 via 10.88.0.31", "fd99::/64 via fd88::31"
    net.proxy.ip(*(f"route add {route}" for route in routes))
    yield far_host
    far_host.close_sockets()
    net.proxy.ip(*(f"route del {route}" for route in routes))


def arrives(sock, send, payload, tries=20):
    """After at most so many tries; what is lost until then has told a router's message to who should hear it."""
    sock.settimeout(0.1)
    for _ in range(tries):
        send()
        with contextlib.suppress(TimeoutError):
            received, sender = sock.recvfrom(70_000)
            assert received == payload
            sock.settimeout(5)
            return sender
    raise AssertionError(f"{len(payload)} bytes do not arrive")


@pytest.mark.parametrize("family, address", [(V4, FAR_V4), (V6, FAR_V6)], ids=["v4", "v6"])
def test_a_narrow_link_on_the_way_to_a_peer(net, relay, far, family, address):
    """IPv4: its router fragments. IPv6: it says that packets are too big, and from then on they are fragmented before."""
    relay.start()
    association, peer = Association(net.client, family.listener), far.udp(address)
    relay.establish(association, peer)
    external, to = association.external(peer), peer.getsockname()[:2]
    for size in (NARROW - 48, NARROW - 28, NARROW, 1440, 1452, 1472, 3000):
        payload = servers.pattern(size)
        assert arrives(peer, lambda p=payload: association.send(to, p), payload)[:2] == external
        for _ in range(3):
            association.send(to, payload)
            assert peer.recv(5000) == payload
            peer.sendto(payload, external)
            assert association.recv() == (to, payload)
    relay.establish(association, peer)


@pytest.mark.parametrize("family, address, listener", [(V4, FAR_V4, "10.88.0.1"), (V6, FAR_V6, "fd88::1")], ids=["v4", "v6"])
def test_a_narrow_link_on_the_way_to_the_client(net, relay, far, family, address, listener):
    """The client is behind it, and reaches the proxy by the interface that its peers are behind."""
    relay.start({"listen": [{"address": listener, "port": 1080, "auth": "none", "open": True}]})
    association, peer = Association(far, (listener, 1080), source=address), net.inet1.udp(family.peer)
    relay.establish(association, peer)
    external, to = association.external(peer), peer.getsockname()[:2]
    for size in (1300, NARROW - 70, NARROW - 38, NARROW - 28, NARROW, 1440, 1462, 1472, 3000):
        payload = servers.pattern(size)
        received = []
        for _ in range(20):
            peer.sendto(payload, external)
            with contextlib.suppress(TimeoutError):
                received.append(association.recv(0.1))
                break
        assert received == [(to, payload)], size
        for _ in range(3):
            peer.sendto(payload, external)
            assert association.recv() == (to, payload)
    relay.establish(association, peer)


def test_icmp_errors_of_established_flows(net, relay, peer):
    """They reach the socket that has sent, or seems to have, and are counted; a peer that returns is served."""
    proxy = relay.start(COUNTED)
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external, address = association.external(peer), peer.getsockname()
    peer.close()

    def is_counted():
        association.send(address, b"anybody?")
        return proxy.counters().get("udp_icmp_port_unreachable_total")

    wait_until(is_counted, "the error")
    again = net.inet1.udp(*address)
    assert association.external(again) == external
    relay.establish(association, again)


def test_icmp_errors_from_the_client(net, relay, peer):
    """Its port is closed for a while: what is sent then is lost, nothing else."""
    proxy = relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external, address = association.external(peer), association.udp.getsockname()
    association.udp.close()
    for _ in range(50):
        peer.sendto(b"nobody there", external)
    association.udp = net.client.udp(*address)
    while not association.silent(0.2):
        pass
    relay.establish(association, peer)
    assert proxy.process.poll() is None


# ---- neighbours and routes ----

@FAMILIES
def test_neighbours_that_are_forgotten(net, relay, family):
    """The kernel asks for their link layer addresses again, while the process is stopped."""
    relay.start()
    association, peer = Association(net.client, family.listener), net.inet1.udp(family.peer)
    relay.establish(association, peer)
    with relay.alone():
        for interface in ("eth0", "eth1"):
            net.proxy.ip(f"neigh flush dev {interface}")
            assert association.alive(peer, 5)


def test_a_neighbour_with_another_address(net, relay, peer):
    """A host gets another link layer address: nothing is sent to where it was."""
    relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    before = packets.mac(net.inet1)
    net.inet1.sysctl("ipv4/conf/eth0/arp_notify", 1)
    try:
        net.inet1.ip("link set eth0 address 02:00:00:00:77:77")
        with relay.alone():
            assert association.alive(peer, 5)
    finally:
        net.inet1.ip("link set eth0 address " + ":".join(f"{byte:02x}" for byte in before))
        net.inet1.sysctl("ipv4/conf/eth0/arp_notify", 0)
    assert association.alive(peer, 5)


@pytest.fixture
def anycast(net):
    """Two hosts, one on each side of the proxy, with the same address; the route leads to the first."""
    for host in (net.inet1, net.neighbour):
        host.ip(f"address add {ELSEWHERE}/32 dev lo")
    net.inet1.ip(f"route add 10.77.0.0/24 via {PROXY_WAN_V4}")
    net.proxy.ip(f"route add {ELSEWHERE} via {INET1_V4}")
    first = net.inet1.udp(ELSEWHERE)
    yield first, net.neighbour.udp(*first.getsockname())
    net.proxy.ip(f"route del {ELSEWHERE}")
    net.inet1.ip(f"route del 10.77.0.0/24 via {PROXY_WAN_V4}")
    for host in (net.inet1, net.neighbour):
        host.ip(f"address del {ELSEWHERE}/32 dev lo")


def drain(sock):
    sock.settimeout(0.1)
    with contextlib.suppress(TimeoutError):
        while True:
            sock.recv(2000)
    sock.settimeout(5)


def test_a_route_that_changes(net, relay, anycast):
    """The traffic moves to the new way and none stays on the old one; the way back likewise."""
    relay.start()
    first, second = anycast
    association = Association(net.client, V4.listener)
    relay.establish(association, first)

    def moves_to(peer, to):
        net.proxy.ip(f"route replace {ELSEWHERE} via {to}")
        return arrives(peer, lambda: association.send(peer.getsockname(), b"moved?"), b"moved?")

    assert moves_to(second, NEIGHBOUR_V4)[0] == PROXY_V4
    drain(first)
    drain(second)
    assert association.alive(second, 20)
    assert hears_nothing(first)
    assert moves_to(first, INET1_V4)[0] == PROXY_WAN_V4
    drain(first)
    relay.establish(association, first)


def test_a_route_that_goes(net, relay, anycast):
    relay.start()
    first, _ = anycast
    association = Association(net.client, V4.listener)
    relay.establish(association, first)
    net.proxy.ip(f"route replace unreachable {ELSEWHERE}")

    def is_gone():
        association.send(first.getsockname(), b"still there?")
        first.settimeout(0.1)
        with contextlib.suppress(TimeoutError):
            return not first.recv(100)
        return True

    wait_until(is_gone, "the end of the traffic")
    net.proxy.ip(f"route del unreachable {ELSEWHERE}", f"route add {ELSEWHERE} via {INET1_V4}")
    drain(first)
    relay.establish(association, first)


@pytest.fixture
def second_address(net):
    """Another address of the proxy, which the route to the internet prefers after prefer()."""
    net.proxy.ip("address add 10.88.0.2/24 dev eth1")
    yield lambda: net.proxy.ip("route replace 10.88.0.0/24 dev eth1 proto kernel src 10.88.0.2")
    net.proxy.ip("address del 10.88.0.2/24 dev eth1", f"route replace 10.88.0.0/24 dev eth1 proto kernel src {PROXY_WAN_V4}")


def test_a_source_address_that_changes(net, relay, peer, second_address):
    """The peer sees the new one; answers to both reach the client."""
    relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    old = association.external(peer)
    second_address()
    new = ("10.88.0.2", old[1])

    def is_seen():
        association.send(peer.getsockname(), b"who am I?")
        return peer.recvfrom(100)[1] == new

    wait_until(is_seen, "the new address")
    for external in (old, new) * 5:
        peer.sendto(b"answer", external)
        assert association.recv() == (peer.getsockname(), b"answer")
    relay.establish(association, peer)
    assert association.external(peer) == new


def test_an_address_that_becomes_our_own(net, relay):
    """A peer's address moves to the proxy itself: its own ports are out of reach from then on."""
    proxy = relay.start()
    net.inet1.ip("address add 10.88.0.77/24 dev eth0")
    association, peer = Association(net.client, V4.listener), net.inet1.udp("10.88.0.77")
    relay.establish(association, peer)
    to = peer.getsockname()
    inside = net.proxy.udp("0.0.0.0", to[1])
    net.inet1.ip("address del 10.88.0.77/24 dev eth0")
    net.proxy.ip("address add 10.88.0.77/24 dev eth1")
    try:
        def is_refused():
            association.send(to, b"inside?")
            return proxy.dropped("refused") > 5

        wait_until(is_refused, "the refusal")
        drain(inside)
        association.send(to, b"inside?")
        assert hears_nothing(inside, 0.2)
    finally:
        net.proxy.ip("address del 10.88.0.77/24 dev eth1")


# ---- interfaces ----

def test_an_interface_that_is_down_for_a_while(net, relay, peer):
    relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    net.proxy.ip("link set eth1 down")
    for _ in range(5):
        association.send(peer.getsockname(), b"lost")
    net.proxy.ip("link set eth1 up", "address add fd88::1/64 dev eth1 nodad")
    wait_until(lambda: net.proxy.run("ip", "-br", "link", "show", "eth1").stdout.split()[1] == "UP", "the link")
    drain(peer)
    relay.establish(association, peer)
    with relay.alone():
        assert association.alive(peer)


def test_an_interface_that_goes_and_comes_back(net, relay, peer):
    """It is another one, which the process has no right to attach to: user space serves it."""
    relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external = association.external(peer)
    address = ":".join(f"{byte:02x}" for byte in packets.mac(net.proxy, "eth1"))
    net.proxy.ip("link del eth1")
    for _ in range(5):
        association.send(peer.getsockname(), b"lost")
    net.plug(net.proxy, "eth1", net.wan, PROXY_WAN_V4, netns.PROXY_WAN_V6)
    net.proxy.ip(f"link set eth1 address {address}")
    wait_until(lambda: net.proxy.run("ip", "-br", "link", "show", "eth1").stdout.split()[1] == "UP", "the link")
    drain(peer)
    assert association.alive(peer)
    assert association.external(peer) == external


@pytest.fixture(scope="session")
def gateway(network):
    """A host whose address on the LAN is a bridge's."""
    host = netns.Host("gateway")
    network.plug(host, "port", network.lan)
    network.plug(host, "trunk", network.wan, "10.88.0.40", "fd88::40")
    host.ip("link add br0 type bridge stp_state 0", "link set port master br0", "link set br0 up",
            "address add 10.77.0.40/24 dev br0", "address add fd77::40/64 dev br0 nodad")
    return host


@pytest.fixture
def vlan(net, gateway):
    """A VLAN between it and inet2."""
    hosts = (gateway, "trunk", 40), (net.inet2, "eth0", 2)
    if gateway.run("ip", "link", "add", "link", "trunk", "name", "trunk.5", "type", "vlan", "id", "5").returncode != 0:
        pytest.skip("this kernel has no VLANs")
    net.inet2.ip("link add link eth0 name eth0.5 type vlan id 5")
    for host, interface, last in hosts:
        host.ip(f"address add 10.55.0.{last}/24 dev {interface}.5", f"address add fd55::{last}/64 dev {interface}.5 nodad",
                f"link set {interface}.5 up")
    yield
    for host, interface, _ in hosts:
        host.ip(f"link del {interface}.5")


def check_gateway(net, relay, gateway, listener, address):
    relay.start({"listen": [{"address": listener, "port": 1080, "auth": "none", "open": True}]}, host=gateway)
    association, peer = Association(net.client, (listener, 1080)), net.inet2.udp(address)
    relay.establish(association, peer)
    with relay.alone():
        assert association.alive(peer)
        for size in (0, 1, 1400, 1430):
            association.send(peer.getsockname()[:2], bytes(size))
            assert peer.recv(2000) == bytes(size)
    gateway.close_sockets()


GATEWAYS = pytest.mark.parametrize("listener", ["10.77.0.40", "fd77::40"], ids=["v4", "v6"])


@GATEWAYS
def test_a_bridge(net, relay, gateway, listener):
    check_gateway(net, relay, gateway, listener, INET2_V6 if ":" in listener else INET2_V4)


@GATEWAYS
@pytest.mark.usefixtures("vlan")
def test_a_vlan(net, relay, gateway, listener):
    """Its packets have a tag on the interface below, where the program is, too."""
    check_gateway(net, relay, gateway, listener, "fd55::2" if ":" in listener else "10.55.0.2")


# ---- packet filters ----

FILTER = """table inet filter {
    chain in { type filter hook input priority 0; RULES }
    chain out { type filter hook output priority 0; }
}
"""


@contextlib.contextmanager
def filtering(net, rules):
    net.proxy.nft(FILTER.replace("RULES", rules))
    try:
        yield
    finally:
        net.proxy.nft("delete table inet filter")


STATEFUL = 'iif { "eth0", "lo" } accept; ct state established,related accept; drop;'


def test_with_connection_tracking(net, relay, peer):
    """A firewall that lets in what is established, and clients."""
    with filtering(net, STATEFUL):
        relay.start()
        association, stranger = Association(net.client, V4.listener), net.inet2.udp(INET2_V4)
        relay.establish(association, peer)
        with relay.alone():
            assert association.alive(peer)
        stranger.sendto(b"not asked", association.external(peer))
        assert association.silent(0.2)
        relay.establish(association, peer)


def test_connection_tracking_forgets_what_the_kernel_relays(net, relay, peer):
    """It does not see these flows, so their time runs out; a stranger's datagram, which it drops, then must not have the
    answers to the client dropped for longer than a moment."""
    for name in ("udp_timeout", "udp_timeout_stream"):
        net.proxy.sysctl(f"netfilter/nf_conntrack_{name}", 1)
    try:
        with filtering(net, STATEFUL):
            relay.start()
            association, stranger = Association(net.client, V4.listener), net.inet2.udp(INET2_V4)
            relay.establish(association, peer)
            external = association.external(peer)
            for _ in range(15):
                assert association.alive(peer, 1)
                time.sleep(0.1)
            stranger.sendto(b"not asked", external)

            def is_alive():
                association.send(peer.getsockname(), b"still there?")
                peer.recv(100)
                peer.sendto(b"yes", external)
                return not association.silent(0.05)

            wait_until(is_alive, "the answers")
            while not association.silent(0.05):
                pass
            relay.establish(association, peer)
    finally:
        for name, seconds in (("udp_timeout", 30), ("udp_timeout_stream", 120)):
            net.proxy.sysctl(f"netfilter/nf_conntrack_{name}", seconds)


def test_a_filter_that_comes_later(net, relay, peer):
    """What goes through user space obeys it; what the kernel relays may pass by. When it goes, all is as before."""
    relay.start()
    association, other = Association(net.client, V4.listener), net.inet2.udp(INET2_V4)
    relay.establish(association, peer)
    with filtering(net, "meta l4proto udp drop;"):
        if relay.by_kernel:
            assert association.alive(peer, 5)
        association.send(other.getsockname(), b"new")
        assert hears_nothing(other, 0.2)
    drain(peer)
    relay.establish(association, peer)


def translate(net, request, hook, rule):
    net.proxy.nft(f"table ip nat {{ chain c {{ type nat hook {hook} priority 0; {rule}; }}; }}")
    request.addfinalizer(lambda: net.proxy.nft("delete table ip nat"))


def test_an_address_translation_of_what_leaves(net, relay, peer, second_address, request):
    """Peers see the address that nftables puts in, from the first datagram to the last."""
    relay.start()
    translate(net, request, "postrouting", 'oif "eth1" meta l4proto udp snat to 10.88.0.2')
    association = Association(net.client, V4.listener)
    for _ in range(40):
        assert association.external(peer)[0] == "10.88.0.2"
        assert association.alive(peer, 1)


def test_an_address_translation_for_one_peer(net, relay, peer, second_address, request):
    """The program recognizes what other peers of the association send. This one never answers."""
    relay.start()
    translate(net, request, "postrouting", f'oif "eth1" ip daddr {INET1_V4} meta l4proto udp snat to 10.88.0.2')
    association, other = Association(net.client, V4.listener), net.inet2.udp(INET2_V4)
    relay.establish(association, other)
    for _ in range(40):
        assert association.external(peer)[0] == "10.88.0.2"
    relay.establish(association, other)


def test_an_address_translation_of_what_comes(net, relay, peer, request):
    """The client hears from the port that it sends to. Another way than an address of the proxy leads to the relay."""
    relay.start()
    association = Association(net.client, V4.listener)
    translate(net, request, "prerouting", f"udp dport 40000 dnat to {PROXY_V4}:{association.relay[1]}")
    association.relay = (PROXY_V4, 40000)
    assert association.alive(peer, 60)
