"""What kind of NAT the proxy is (RFC 4787, RFC 5780), and what ICMP and packet sizes do to it."""
import contextlib
import ipaddress
import socket
import struct
import threading

import pytest
import servers
import socks5
from daemon import wait_until
from netns import (CLIENT_V4, CLIENT_V6, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, INET2_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4)
from socks5 import Association

ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT = "endpoint-independent", "address-dependent"
ADDRESS_AND_PORT_DEPENDENT = "address-and-port-dependent"


@pytest.mark.parametrize("filtering", [None, ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT, ADDRESS_AND_PORT_DEPENDENT])
def test_row29_mapping_and_filtering(net, start, lan, filtering):
    """RFC 5780 section 4: mapping is endpoint-independent always, filtering is what its name says."""
    proxy = start({"udp": {"filtering": filtering}} if filtering else {})
    primary, other_port = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_V4)
    other_address, elsewhere = net.inet1.udp(INET1_OTHER_V4, primary.getsockname()[1]), net.inet2.udp(INET2_V4)
    association = Association(net.client, lan)

    external = association.external(primary)
    let_in = []
    for sock in (primary, other_port, other_address, elsewhere):
        sock.sendto(b"may I?", external)
        let_in.append(not association.silent(0.2))
    expected = {ADDRESS_DEPENDENT: [True, True, False, False], ADDRESS_AND_PORT_DEPENDENT: [True, False, False, False]}
    assert let_in == expected.get(filtering, [True] * 4)
    assert proxy.dropped("filtered") == let_in.count(False)

    # Whom the client has spoken to may answer, in every mode, and all see one address.
    for sock in (other_port, other_address, elsewhere):
        assert association.external(sock) == external
        sock.sendto(b"re", external)
        assert association.recv() == (sock.getsockname(), b"re")


def test_row29_full_cone_for_ipv6(net, proxy, lan):
    primary, elsewhere = net.inet1.udp(INET1_V6), net.inet2.udp(INET2_V6)
    association = Association(net.client, (PROXY_V6, 1080))
    external = association.external(primary)
    elsewhere.sendto(b"full cone", external)
    assert association.recv() == (elsewhere.getsockname()[:2], b"full cone")
    assert association.external(elsewhere) == external


@pytest.mark.parametrize("filtering", [ENDPOINT_INDEPENDENT, ADDRESS_DEPENDENT])
def test_row30_hairpin(net, start, lan, peer, filtering):
    """Two clients behind the proxy reach each other at their external addresses, and see those as sources."""
    start({"udp": {"filtering": filtering}})
    one = Association(net.client, lan)
    two = Association(net.neighbour, lan, source="10.77.0.3")
    at_one, at_two = one.external(peer), two.external(peer)
    two.send(at_one, b"open my filter")
    one.send(at_two, b"over the hairpin")
    assert two.recv() == (at_one, b"over the hairpin")
    two.send(at_one, b"and back")
    received = [one.recv()]
    if received[0][1] == b"open my filter":
        received.append(one.recv())
    assert received[-1] == (at_two, b"and back")


def test_row24_to_itself(net, proxy, lan, peer):
    """Aimed at its own external port: one delivery, no loop; at its own relay port: nothing."""
    association = Association(net.client, lan)
    external = association.external(peer)
    association.send(external, b"to myself")
    assert association.recv() == (external, b"to myself")
    inner = socks5.wrap(association.relay, b"again")
    association.send(association.relay, inner)
    association.send((PROXY_V4, 1080), b"listener")
    assert association.silent()
    assert association.alive(peer)


def test_row31_unreachable_from_a_remote(net, proxy, lan, peer):
    """Refusals of one destination cost a living one nothing."""
    association = Association(net.client, lan)
    for number in range(100):
        association.send((INET1_V4, 9), b"nobody listens")
        association.send(peer.getsockname(), b"%d" % number)
        assert peer.recv(10) == b"%d" % number
    assert association.alive(peer)


COUNTED = {"udp": {"icmp": "count"}}
KINDS = {"udp_icmp_port_unreachable_total": ([(3, 3)], [(1, 4)]),
         "udp_icmp_unreachable_total": ([(3, 0), (3, 1), (3, 13)], [(1, 0), (1, 1), (1, 3)]),
         "udp_icmp_too_big_total": ([(3, 4)], [(2, 0)]),
         "udp_icmp_ttl_total": ([(11, 0)], [(3, 0)])}


@pytest.fixture
def talkative(net):
    """The host on the internet reports each datagram that it refuses, not just one a second."""
    net.inet1.sysctl("ipv4/icmp_ratelimit", 0)
    yield
    net.inet1.sysctl("ipv4/icmp_ratelimit", 1000)


def unreachables(host):
    """How many the host was told of: a kernel reports no more than some hundreds at once."""
    return int(host.run("nstat", "-az", "IcmpInDestUnreachs").stdout.split("IcmpInDestUnreachs")[1].split()[0])


@pytest.mark.usefixtures("talkative")
def test_row31_refusals_are_counted_and_cost_a_living_peer_nothing(net, start, lan, peer):
    """The error is pending when the next datagram is sent, alone or many in one message, and when one arrives."""
    proxy = start(COUNTED)
    association = Association(net.client, lan)
    external = association.external(peer)
    before = unreachables(net.proxy)
    for number in range(100):
        association.send((INET1_V4, 9), b"nobody listens")
        association.send(peer.getsockname(), b"%d" % number)
        assert peer.recv(10) == b"%d" % number
        peer.sendto(b"back", external)
        assert association.recv()[1] == b"back"
    assert association.alive(peer)
    assert proxy.counters()["udp_icmp_port_unreachable_total"] == unreachables(net.proxy) - before > 10
    with proxy.stopped():  # so that they are received, and sent, at once
        for number in range(60):
            association.send((INET1_V4, 9 + number % 3), b"nobody listens")
            association.send(peer.getsockname(), b"%d" % number)
    assert {peer.recv(10) for _ in range(60)} == {b"%d" % number for number in range(60)}
    assert association.alive(peer)
    assert not proxy.dropped("send_failed")


@pytest.fixture
def forgotten(net):
    """An address of inet1 that only these tests use: the proxy's host believes a forged path MTU for ten minutes, also
    in the tests that follow."""
    address = "fd88::ff"
    net.inet1.ip(f"address add {address}/64 dev eth0 nodad")
    yield address
    net.inet1.ip(f"address delete {address}/64 dev eth0")


@pytest.mark.parametrize("v6", [False, True])
def test_row31_icmp_is_counted_by_its_kind(net, start, forgotten, v6):
    """And nothing spins while nobody sends anything."""
    proxy = start(COUNTED)
    listener, source, remote, router = ((PROXY_V6, CLIENT_V6, forgotten, INET2_V6) if v6 else
                                        (PROXY_V4, CLIENT_V4, INET1_V4, INET2_V4))
    peer = net.inet1.udp(remote)
    association = Association(net.client, (listener, 1080), source=source)
    external = association.external(peer)
    before = proxy.cpu_seconds()
    for counter, kinds in KINDS.items():
        for kind in kinds[v6]:
            for _ in range(5):
                forge_icmp(net.inet2, router, external, peer.getsockname(), kind, 1280)
        wanted = 5 * len(kinds[v6])
        wait_until(lambda: proxy.counters().get(counter) == wanted, counter)
    for _ in range(1000):
        forge_icmp(net.inet2, router, external, peer.getsockname(), KINDS["udp_icmp_ttl_total"][v6][0])
    assert association.alive(peer)
    assert association.silent(0.5)
    assert proxy.cpu_seconds() - before < 0.4
    assert proxy.counters()["udp_icmp_ttl_total"] > 5


def test_icmp_is_ignored_by_default(net, proxy, lan, peer):
    association = Association(net.client, lan)
    association.send((INET1_V4, 9), b"nobody listens")
    assert association.alive(peer, 10)
    assert not [name for name in proxy.counters() if "icmp" in name]


def test_row31_unreachable_from_the_client(net, proxy, lan, peer):
    """The client's port is closed for a while: what is sent then is lost, nothing else, and nothing spins."""
    association = Association(net.client, lan)
    external = association.external(peer)
    port = association.udp.getsockname()[1]
    association.udp.close()
    before = proxy.cpu_seconds()
    for _ in range(200):
        peer.sendto(b"nobody there", external)
    association.udp = net.client.udp(CLIENT_V4, port)
    while not association.silent(0.5):
        pass
    assert proxy.cpu_seconds() - before < 0.4
    peer.sendto(b"back again", external)
    assert association.recv()[1] == b"back again"
    assert association.alive(peer)


# Sizes. The path's MTU is 1500.


@contextlib.contextmanager
def watching(host, source):
    """Collects the sizes of the IP packets that `host` gets from `source`."""
    family = {4: 0x0800, 6: 0x86dd}[ipaddress.ip_address(source).version]
    with host.enter():
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(family))
    sniffer.settimeout(0.2)
    raw = ipaddress.ip_address(source).packed
    sizes = []
    yield sizes
    with contextlib.suppress(socket.timeout):
        while True:
            packet = sniffer.recv(65536)
            protocol = packet[9] if family == 0x0800 else packet[6]
            if raw in (packet[12:16], packet[8:24]) and protocol in (17, 44):  # UDP, or an IPv6 fragment of it
                sizes.append(len(packet))
    sniffer.close()


def forge_too_big(host, origin, victim, remote, mtu):
    forge_icmp(host, origin, victim, remote, (2, 0) if ":" in victim[0] else (3, 4), mtu)


def forge_icmp(host, origin, victim, remote, kind, mtu=0):
    """What a router would say to `victim` about its datagrams to `remote`, said by somebody who is none."""
    family, inside = (socket.AF_INET6, 58) if ":" in victim[0] else (socket.AF_INET, 1)
    udp = struct.pack("!HHHH", victim[1], remote[1], 1480, 0)
    addresses = ipaddress.ip_address(victim[0]).packed + ipaddress.ip_address(remote[0]).packed
    if family == socket.AF_INET:
        quoted = struct.pack("!BBHHHBBH", 0x45, 0, 1500, 1, 0, 64, 17, 0) + addresses + udp
        message = struct.pack("!BBHHH", *kind, 0, 0, mtu) + quoted
        total = sum(struct.unpack(f"!{len(message) // 2}H", message))
        total = (total & 0xffff) + (total >> 16)
        checksum = ~((total & 0xffff) + (total >> 16)) & 0xffff
        message = message[:2] + struct.pack("!H", checksum) + message[4:]
    else:
        quoted = struct.pack("!IHBB", 6 << 28, 1488, 17, 64) + addresses + udp
        message = struct.pack("!BBHI", *kind, 0, mtu) + quoted  # the kernel fills the checksum in
    with host.enter(), socket.socket(family, socket.SOCK_RAW, inside) as sock:
        sock.bind((origin, 0))
        sock.sendto(message, (victim[0], 0))


def test_row32_forged_packet_too_big_upwards(net, proxy, lan, peer):
    association = Association(net.client, lan)
    external = association.external(peer)
    forge_too_big(net.inet2, INET2_V4, external, peer.getsockname(), 552)
    with watching(net.inet1, external[0]) as sizes:
        for _ in range(3):
            association.send(peer.getsockname(), bytes(1472))
            assert len(peer.recv(2000)) == 1472
    assert sizes == [1500] * 3


def test_row32_forged_packet_too_big_over_ipv6(net, proxy, lan, forgotten):
    """There nobody but the sender may fragment, so the message has to be believed: down to 1280, and all arrives."""
    association = Association(net.client, lan)
    peer = net.inet1.udp(forgotten)
    external = association.external(peer)
    forge_too_big(net.inet2, INET2_V6, external, peer.getsockname(), 600)
    with watching(net.inet1, external[0]) as sizes:
        for _ in range(3):
            association.send(peer.getsockname()[:2], bytes(1452))
            assert len(peer.recv(2000)) == 1452
    assert max(sizes) >= 1280 - 8  # fragments come in steps of eight bytes


def test_row32_forged_packet_too_big_towards_the_client(net, proxy, lan, peer):
    association = Association(net.client, lan)
    external = association.external(peer)
    forge_too_big(net.stranger, "10.77.0.66", association.relay, association.udp.getsockname(), 552)
    with watching(net.client, PROXY_V4) as sizes:
        for _ in range(3):
            peer.sendto(bytes(1462), external)
            assert len(association.recv()[1]) == 1462
    assert sizes == [1500] * 3


@pytest.mark.parametrize("listener", [None, (PROXY_V6, 1080)], ids=["client v4", "client v6"])
@pytest.mark.parametrize("target", [INET1_V4, INET1_V6])
def test_row32_fragments_on_both_legs(net, proxy, lan, listener, target):
    """Also the sizes that fit the remote's leg but, with our header, no longer the client's."""
    association = Association(net.client, listener or lan)
    peer = net.inet1.udp(target)
    external = association.external(peer)
    for size in (1400, 1430, 1440, 1452, 1453, 1462, 1463, 1472, 1473, 3000, 60_000):
        payload = servers.pattern(size, size)
        association.send(peer.getsockname()[:2], payload)
        assert peer.recv(65536) == payload
        peer.sendto(payload, external)
        assert association.recv() == (peer.getsockname()[:2], payload)


def test_burst_arrives_in_order(net, proxy, lan, peer):
    """As much as the socket's buffers hold, both ways at once: complete and in order."""
    association = Association(net.client, lan)
    external = association.external(peer)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    for turn in range(10):
        numbers = [b"%d.%d" % (turn, number) for number in range(100)]
        sender = threading.Thread(target=lambda: [peer.sendto(each, external) for each in numbers])
        sender.start()
        for each in numbers:
            association.send(peer.getsockname(), each)
        sender.join()
        assert [peer.recv(100) for _ in numbers] == numbers
        assert [association.recv()[1] for _ in numbers] == numbers


def test_external_address_is_the_outgoing_one(net, proxy, lan, peer):
    assert Association(net.client, lan).external(peer)[0] == PROXY_WAN_V4
