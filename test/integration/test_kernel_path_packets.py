"""Packets of established flows: sizes, checksums, header fields, and everything that a program in the kernel could take
for a datagram of its own and must not."""
import contextlib
import socket

import packets
import pytest
import servers
import socks5
from kernel_path import FAMILIES, V4, V6
from packets import Wire, datagram, set_offload
from socks5 import Association

MTU = 1500
IP_TOS, IPV6_TCLASS, SO_NO_CHECK, SO_ZEROCOPY, MSG_ZEROCOPY = 1, 67, 11, 60, 0x4000000


def largest(family):
    """The payload that fills a packet, and our header."""
    return (MTU - 28, 10) if family is V4 else (MTU - 48, 22)


@pytest.fixture(params=["tx on", "tx off"])
def client_checksums(request, net):
    """Who sums up what the hosts on both sides send: their interfaces (so veth leaves it undone), or they."""
    on = request.param == "tx on"
    for host in (net.client, net.inet1):
        set_offload(host, "eth0", tx=on)
    yield on
    for host in (net.client, net.inet1):
        set_offload(host, "eth0", tx=True)


@pytest.fixture(params=["proxy tx on", "proxy tx off"])
def proxy_checksums(request, net):
    """With the proxy's switched off, its kernel finishes each checksum, where the packet says that it lies; the ends verify it."""
    for interface in ("eth0", "eth1"):
        set_offload(net.proxy, interface, tx=request.param == "proxy tx on")
    yield
    for interface in ("eth0", "eth1"):
        set_offload(net.proxy, interface, tx=True)


def exchange(association, peer, payload):
    """One datagram each way, exactly."""
    to = peer.getsockname()[:2]
    association.send(to, payload)
    received, external = peer.recvfrom(70_000)
    assert received == payload
    peer.sendto(payload, external)
    assert association.recv() == (to, payload)


@FAMILIES
@pytest.mark.usefixtures("proxy_checksums")
def test_every_size_with_right_checksums(net, relay, family, client_checksums):
    """Odd and even, none, and those around the MTU, with and without our header; larger ones as fragments."""
    relay.start()
    association, peer = Association(net.client, family.listener), net.inet1.udp(family.peer)
    relay.establish(association, peer)
    most, header = largest(family)
    sizes = [*range(70), 255, 256, 1000, 1001, *range(most - header - 9, most - header + 1)]
    wires = Wire(net.inet1), Wire(net.client)
    with relay.alone():
        for size in sizes:
            exchange(association, peer, servers.pattern(size, size))
    for size in [*range(most - header + 1, most + 4), 3000, 9000, 60_000]:
        exchange(association, peer, servers.pattern(size, size))
    relay.establish(association, peer)
    for wire in wires:
        seen = [packet for packet in wire.datagrams() if len(packet.payload) < most - header]
        assert len(seen) > len(sizes) - 20
        assert {packet.checksum for packet in seen} <= {"right", "partial"}
    assert client_checksums in (True, False)


@FAMILIES
def test_nonlinear_packets(net, relay, family):
    """MSG_ZEROCOPY leaves the payload in pages of its own: only the headers are where a program may read at once."""
    relay.start()
    association, peer = Association(net.client, family.listener), net.inet1.udp(family.peer)
    relay.establish(association, peer)
    to, external = peer.getsockname()[:2], association.external(peer)
    for sock in (association.udp, peer):
        sock.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    association.udp.connect(association.relay)
    peer.connect(external)
    with relay.alone():
        for size in (0, 1, 100, 1000, 1400):
            payload = servers.pattern(size)
            association.udp.send(socks5.wrap(to, payload), MSG_ZEROCOPY)
            assert peer.recv(2000) == payload
            peer.send(payload, MSG_ZEROCOPY)
            assert association.recv() == (to, payload)


@pytest.mark.parametrize("carry", ["none", "ecn", "ecn-and-dscp"])
@FAMILIES
def test_header_fields_are_the_same(net, relay, family, carry):
    """TTL, DF, ECN and DSCP of a flow's first packets, which user space has sent, and of those after them."""
    relay.start({"udp": {"carry": carry}})
    association, peer = Association(net.client, family.listener), net.inet1.udp(family.peer)
    marks = [0, 1, 2, 3, 0x28, 0xb8, 0xba, 0xff]
    to = peer.getsockname()[:2]
    level, option = (socket.IPPROTO_IP, IP_TOS) if family is V4 else (socket.IPPROTO_IPV6, IPV6_TCLASS)
    wires = Wire(net.inet1), Wire(net.client)

    def fields():
        found = []
        external = association.external(peer)
        for mark in marks:
            for sock in (association.udp, peer):
                sock.setsockopt(level, option, mark)
            association.send(to, b"up")
            assert peer.recv(10) == b"up"
            peer.sendto(b"down", external)
            assert association.recv() == (to, b"down")
        for wire in wires:
            relayed = [packet for packet in wire.datagrams() if packet.payload.endswith((b"up", b"down"))]
            assert len(relayed) == len(marks)
            found.append([(packet.tos, packet.ttl, packet.df) for packet in relayed])
        return found

    first = fields()
    kept = {"none": 0, "ecn": 3, "ecn-and-dscp": 0xff}[carry]
    assert [[tos for tos, *_ in way] for way in first] == [[mark & kept for mark in marks]] * 2
    for sock in (association.udp, peer):
        sock.setsockopt(level, option, 0)
    relay.establish(association, peer)
    for wire in wires:
        wire.datagrams(0)
    with relay.alone():
        assert fields() == first


# ---- frames that no socket sends ----

class Crafted:
    """An established flow whose ends also send frames of the test's own making."""

    def __init__(self, net, relay, family, **options):
        self.proxy = relay.start(**options)
        self.association = Association(net.client, family.listener)
        self.peer = net.inet1.udp(family.peer)
        relay.establish(self.association, self.peer)
        self.client, self.relay = self.association.udp.getsockname()[:2], self.association.relay
        self.to, self.external = self.peer.getsockname()[:2], self.association.external(self.peer)
        self.lan, self.wan = Wire(net.client), Wire(net.inet1)
        self.mac = {self.lan: packets.mac(net.proxy, "eth0"), self.wan: packets.mac(net.proxy, "eth1")}

    def up(self, payload, header=None, mac=None, wire=None, source=None, vlan=None, padding=b"", **options):
        wire = wire or self.lan
        header = socks5.wrap(self.to, b"") if header is None else header
        frame = datagram(source or self.client, self.relay, header + payload, **options)
        wire.send(mac or self.mac[wire], frame, vlan=vlan, padding=padding)

    def down(self, payload, mac=None, wire=None, source=None, vlan=None, padding=b"", **options):
        wire = wire or self.wan
        frame = datagram(source or self.to, self.external, payload, **options)
        wire.send(mac or self.mac[wire], frame, vlan=vlan, padding=padding)

    def up_arrives(self, payload):
        """Next, and as it should."""
        assert self.peer.recvfrom(70_000) == (payload, self.peer_sees)

    @property
    def peer_sees(self):
        return self.external if "." in self.external[0] else (*self.external, 0, 0)

    def down_arrives(self, payload):
        assert self.association.recv() == (self.to, payload)

    def arrived(self):
        """The payloads that have come, those at the peer first."""
        payloads = []
        for receive in (lambda: self.peer.recv(2000), lambda: self.association.recv(0.2)[1]):
            with contextlib.suppress(TimeoutError):
                self.peer.settimeout(0.2)
                while True:
                    payloads.append(receive())
        self.peer.settimeout(5)
        return payloads

    def nothing_came(self):
        """Neither way: what is sent now comes next."""
        assert self.association.alive(self.peer, 3)


@pytest.fixture(params=[V4, V6], ids=["v4", "v6"])
def crafted(request, net, relay):
    return Crafted(net, relay, request.param)


def test_plain_frames(crafted, relay):
    """What the following tests change is relayed by the kernel as long as nothing is changed."""
    with relay.alone():
        for payload in (b"", b"x", bytes(1400)):
            crafted.up(payload)
            crafted.up_arrives(payload)
            crafted.down(payload)
            crafted.down_arrives(payload)


def test_padding_is_no_payload(crafted):
    """Short Ethernet frames are filled up; what fills them up is nobody's."""
    for padding in (b"p", b"padding!" * 3):
        for payload in (b"", b"odd", b"even"):
            crafted.up(payload, padding=padding)
            crafted.up_arrives(payload)
            crafted.down(payload, padding=padding)
            crafted.down_arrives(payload)
    crafted.nothing_came()


def test_a_udp_length_that_is_shorter(crafted):
    """Than IP's: the rest is no payload."""
    header = len(socks5.wrap(crafted.to, b""))
    for length in (0, 1, 100):
        crafted.up(b"x" * length + b"behind", length=8 + header + length)
        crafted.down(b"x" * length + b"behind", length=8 + length)
    assert b"behind" not in b"".join(crafted.arrived())
    crafted.nothing_came()


@pytest.mark.parametrize("length", [0, 7, 200])
def test_udp_lengths_that_cannot_be(crafted, length):
    """Less than a header, or more than the packet has: dropped."""
    for _ in range(3):
        crafted.up(b"payload", length=length)
        crafted.down(b"payload", length=length)
    crafted.nothing_came()


def test_udp_without_payload_or_header(crafted):
    """Eight bytes of UDP from the client are no SOCKS5 datagram; nor is one whose header is cut, or behind which a byte
    of the address is missing."""
    whole = socks5.wrap(crafted.to, b"")
    for length in range(len(whole)):
        crafted.up(b"", header=whole[:length])
    crafted.nothing_came()
    assert crafted.proxy.dropped("bad_header") == len(whole)


def test_checksum_zero(crafted):
    """None was computed: right in IPv4, also of a socket that wants none; wrong in IPv6."""
    crafted.up(b"none up", checksum=0)
    crafted.down(b"none down", checksum=0)
    if ":" in crafted.to[0]:
        crafted.nothing_came()
        return
    crafted.up_arrives(b"none up")
    crafted.down_arrives(b"none down")
    crafted.nothing_came()
    for sock in (crafted.association.udp, crafted.peer):
        sock.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    crafted.nothing_came()


def test_a_wrong_checksum_stays_wrong(crafted):
    """Damage on the way must not become a valid datagram."""
    for checksum in (1, 0x1234, 0xfffe):
        crafted.up(b"damaged", checksum=checksum)
        crafted.down(b"damaged", checksum=checksum)
    crafted.nothing_came()


def payload_that_sums_to_zero(source, to, header=b""):
    """Two bytes that make the checksum of a datagram 0, which is sent as 0xffff."""
    bare = packets.udp(source, to, header + bytes(2), checksum=0)
    return (0xffff - packets.sum16(packets.pseudo_header(source[0], to[0], len(bare)) + bare)).to_bytes(2, "big")


def test_checksums_that_come_to_zero(crafted, relay):
    """As they arrive, and as they leave."""
    header = socks5.wrap(crafted.to, b"")
    ups = [payload_that_sums_to_zero(crafted.client, crafted.relay, header), payload_that_sums_to_zero(crafted.external, crafted.to)]
    downs = [payload_that_sums_to_zero(crafted.to, crafted.external), payload_that_sums_to_zero(crafted.relay, crafted.client, header)]
    for wire in (crafted.lan, crafted.wan):
        wire.datagrams(0)
    with relay.alone():
        for up, down in zip(ups, downs):
            crafted.up(up)
            crafted.up_arrives(up)
            crafted.down(down)
            crafted.down_arrives(down)
    for wire, sent in ((crafted.lan, downs), (crafted.wan, ups)):
        arrived = [packet for packet in wire.datagrams() if packet.payload[-2:] in sent]
        assert len(arrived) == 2 and {packet.checksum for packet in arrived} <= {"right", "partial"}


OPTIONS = {"nop": b"\x01\x01\x01\x00", "router alert": b"\x94\x04\x00\x00", "timestamp": b"\x44\x08\x05\x00\0\0\0\0"}


@pytest.mark.parametrize("options", OPTIONS)
def test_ip_options(net, relay, options):
    """Relayed, without the options; the next ones are relayed by the kernel again."""
    crafted = Crafted(net, relay, V4)
    for number in range(4):
        crafted.up(b"up %d" % number, options=OPTIONS[options])
        crafted.up_arrives(b"up %d" % number)
        crafted.down(b"down %d" % number, options=OPTIONS[options])
        crafted.down_arrives(b"down %d" % number)
    relay.establish(crafted.association, crafted.peer)
    assert all(packet.ttl == 64 for packet in crafted.wan.datagrams())


@pytest.mark.parametrize("kind", [0, 60], ids=["hop by hop", "destination options"])
def test_ipv6_extension_headers(net, relay, kind):
    crafted = Crafted(net, relay, V6)
    extension = bytes([packets.UDP, 0, 1, 4, 0, 0, 0, 0])  # one option: padding
    header = socks5.wrap(crafted.to, b"")
    for number in range(4):
        up = packets.udp(crafted.client, crafted.relay, header + b"up %d" % number)
        crafted.lan.send(crafted.mac[crafted.lan], packets.ipv6(crafted.client[0], crafted.relay[0], extension + up, next_header=kind))
        crafted.up_arrives(b"up %d" % number)
        down = packets.udp(crafted.to, crafted.external, b"down %d" % number)
        crafted.wan.send(crafted.mac[crafted.wan], packets.ipv6(crafted.to[0], crafted.external[0], extension + down, next_header=kind))
        crafted.down_arrives(b"down %d" % number)
    relay.establish(crafted.association, crafted.peer)


def test_fragments_that_look_like_datagrams(net, relay):
    """The first one carries a UDP header, a later one may carry bytes like it: neither is a datagram, both together are."""
    crafted = Crafted(net, relay, V4)
    for number in range(3):
        whole = packets.udp(crafted.client, crafted.relay, socks5.wrap(crafted.to, b"%d" % number + bytes(700)))
        parts = ((0, whole[:352], packets.MORE_FRAGMENTS), (352, whole[352:], 0))
        for at, body, more in parts:
            packet = packets.ipv4(crafted.client[0], crafted.relay[0], body, flags=more | at // 8, number=number + 1)
            crafted.lan.send(crafted.mac[crafted.lan], packet)
        crafted.up_arrives(b"%d" % number + bytes(700))
        like = packets.udp(crafted.client, crafted.relay, socks5.wrap(crafted.to, b"like"))
        for flags in (packets.MORE_FRAGMENTS, 1, packets.MORE_FRAGMENTS | 100):
            crafted.lan.send(crafted.mac[crafted.lan],
                             packets.ipv4(crafted.client[0], crafted.relay[0], like, flags=flags, number=100 + number))
    crafted.nothing_came()


def test_vlan_tags(crafted):
    """A packet of a VLAN that the proxy is not in is not its own; a tag with priority only (0) changes nothing."""
    crafted.up(b"of another VLAN", vlan=5)
    crafted.down(b"of another VLAN", vlan=5)
    crafted.nothing_came()
    crafted.up(b"priority", vlan=0xa000)
    crafted.up_arrives(b"priority")
    crafted.down(b"priority", vlan=0xa000)
    crafted.down_arrives(b"priority")
    crafted.nothing_came()


@pytest.fixture
def promiscuous(net):
    for interface in ("eth0", "eth1"):
        net.proxy.ip(f"link set {interface} promisc on")
    yield
    for interface in ("eth0", "eth1"):
        net.proxy.ip(f"link set {interface} promisc off")


@pytest.mark.usefixtures("promiscuous")
def test_frames_to_other_stations(crafted):
    """A switch floods what it does not know, and an interface may be promiscuous: such frames are not the proxy's. What
    comes by multicast frames is the kernel's to judge: it arrives, once."""
    for payload, mac in ((b"to another", bytes([2, 0, 0, 0, 0, 99])), (b"to all", b"\xff" * 6), (b"to some", b"\1\0\x5e\0\0\1")):
        crafted.up(payload, mac=mac)
        crafted.down(payload, mac=mac)
    assert crafted.arrived() == [b"to all", b"to some"] * 2
    crafted.nothing_came()


def test_addresses_that_are_no_ends(crafted):
    """Source port 0, and addresses that nobody has: not the client's, not a peer's."""
    broadcast = "255.255.255.255" if "." in crafted.to[0] else "ff02::1"
    loopback = "127.0.0.1" if "." in crafted.to[0] else "::1"
    for host in (broadcast, loopback):
        crafted.up(b"forged", source=(host, crafted.client[1]))
        crafted.down(b"forged", source=(host, crafted.to[1]))
    crafted.up(b"forged", source=(crafted.client[0], 0))
    crafted.nothing_came()


def test_ipv4_addresses_in_an_ipv6_packet(net, relay):
    """::ffff:a.b.c.d is no address of a packet: none may pass for the IPv4 client's or peer's."""
    crafted = Crafted(net, relay, V4)
    client, to, external, at = (("::ffff:" + host, port) for host, port in
                                (crafted.client, crafted.to, crafted.external, crafted.relay))
    crafted.wan.datagrams(0)
    def totals():
        return [relay.status()["totals"][f"udp_{way}_datagrams_total"] for way in ("up", "down")]

    before = totals()
    for header in [socks5.wrap(to, b""), socks5.wrap(crafted.to, b"")] * 10:
        crafted.lan.send(crafted.mac[crafted.lan], datagram(client, at, header + b"mapped"))
        crafted.wan.send(crafted.mac[crafted.wan], datagram(to, external, b"mapped"))
    crafted.nothing_came()
    assert not [packet for packet in crafted.wan.datagrams() if "mapped" in str(packet)]
    assert all(now - then < 10 for now, then in zip(totals(), before))


# ---- headers ----

@pytest.mark.parametrize("header", [b"\0\1\0", b"\1\0\0", b"\0\0\1", b"\0\0\x80", b"\0\0\xff"])
def test_reserved_and_fragments(crafted, header):
    for _ in range(3):
        crafted.up(b"bad", header=header + socks5.wrap(crafted.to, b"")[3:])
    crafted.nothing_came()
    assert sum(map(crafted.proxy.dropped, ("bad_header", "fragment"))) == 3


def test_other_addresses_in_the_header(net, relay):
    """An established peer's address in the form of the other family, with another port, or as a name's text."""
    crafted = Crafted(net, relay, V4)
    host, port = crafted.to
    for text in (f"::ffff:{host}", f"::{host}", f"64:ff9b::{host}"):
        crafted.up(b"mapped", header=socks5.wrap((text, port), b""))
    crafted.up(b"another port", header=socks5.wrap((host, port ^ 0x100), b""))
    swapped = socks5.wrap((host, (port & 0xff) << 8 | port >> 8), b"")
    crafted.up(b"swapped port", header=swapped)
    crafted.up(b"name", header=socks5.wrap((host, port), b"", atyp=socks5.NAME))
    assert crafted.arrived() in ([b"mapped", b"name"], [b"name"])
    crafted.nothing_came()


# ---- forged sources on the wrong side ----

REVERSE_PATH = """table inet reverse {
    chain in { type filter hook prerouting priority raw; fib saddr . iif oif missing drop; }
}
"""


@pytest.fixture
def reverse_path(net):
    """The proxy drops what comes by an interface that its source is not behind. (Linux's rp_filter does not look at what
    comes to a connected socket.)"""
    net.proxy.nft(REVERSE_PATH)
    yield
    net.proxy.nft("delete table inet reverse")


@pytest.mark.usefixtures("reverse_path")
def test_forged_sources(crafted):
    """The client's address and port from the internet, a peer's from the LAN: never relayed past the filter."""
    for _ in range(3):
        crafted.up(b"forged", wire=crafted.wan)
        crafted.down(b"forged", wire=crafted.lan)
    crafted.nothing_came()


def test_forged_sources_without_a_filter(crafted):
    """Then the kernel believes them, with and without its program: at most once each, and the flow continues."""
    crafted.up(b"forged up", wire=crafted.wan)
    crafted.down(b"forged down", wire=crafted.lan)
    assert crafted.arrived() == [b"forged up", b"forged down"]
    crafted.nothing_came()
