"""UDP ASSOCIATE: what is relayed, exactly as it was sent, and what is dropped without harm."""
import socket
import struct

import pytest
import servers
import socks5
from daemon import wait_until
from netns import (CLIENT_V4, CLIENT_V6, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_OTHER_V4, INET2_V4, INET2_V6, PROXY_V4, PROXY_V6,
                   PROXY_WAN_V4, PROXY_WAN_V6)
from socks5 import Association


@pytest.fixture
def dns(net):
    records = {"one.test": [INET1_V4], "six.test": [INET1_V6], "both.test": [INET1_V4, INET1_V6], "silent.test": None,
               "many.test": [INET1_V4, INET1_OTHER_V4, INET2_V4, INET2_OTHER_V4], "loop.test": ["127.0.0.1"]}
    with servers.Dns(net.inet2, INET2_V4, records) as server:
        yield server


@pytest.fixture
def named(start, dns):
    return start({"dns": {"servers": [dns.address], "timeout": "2s"}}, leaves_lookups=True)


@pytest.fixture
def association(net, proxy, lan):
    return Association(net.client, lan)


def test_reply_is_armed_and_literal(net, proxy, lan, peer):
    """BND is an address of the control connection's family that works as it stands, from the first datagram on."""
    for listener, atyp in ((lan, socks5.V4), ((PROXY_V6, 1080), socks5.V6)):
        association = Association(net.client, listener)
        assert association.reply.atyp == atyp
        assert association.relay[0] == listener[0] and association.relay[1] != 0
        assert association.alive(peer, 3)


def test_both_families_on_one_association(net, association, peer):
    """Either family of destination, through a control connection of either."""
    peer6 = net.inet1.udp(INET1_V6)
    assert association.alive(peer, 5) and association.alive(peer6, 5) and association.alive(peer, 5)
    assert association.external(peer)[0] == PROXY_WAN_V4
    assert association.external(peer6)[0] == PROXY_WAN_V6


def most(host):
    """What one datagram to or from it holds."""
    return 65_527 if ":" in host else 65_507


@pytest.mark.parametrize("client, listener", [(CLIENT_V4, None), (CLIENT_V6, (PROXY_V6, 1080))], ids=["v4", "v6"])
@pytest.mark.parametrize("target", [INET1_V4, INET1_V6])
@pytest.mark.parametrize("size", [0, 1, 1400, 1472, 1473, 3000, 8192, 60_000, "largest"])
def test_row16_payloads_exact(net, proxy, lan, client, listener, target, size):
    """Up and down at every size, there and back exactly."""
    if size == "largest":
        size = min(most(client) - len(socks5.wrap((target, 1), b"")), most(target))
    association = Association(net.client, listener or lan, source=client)
    peer = net.inet1.udp(target)
    payload = servers.pattern(size, size)
    association.send(peer.getsockname()[:2], payload)
    received, external = peer.recvfrom(70_000)
    assert received == payload
    peer.sendto(payload, external)
    assert association.recv() == (peer.getsockname()[:2], payload)
    assert association.alive(peer, 3)


@pytest.mark.parametrize("ports", [{}, {"udp": {"ports": 1080}}], ids=["", "one port"])
@pytest.mark.parametrize("listener, target, size, fits", [
    ((PROXY_V4, 1080), INET1_V4, 65_497, True), ((PROXY_V4, 1080), INET1_V4, 65_498, False),
    ((PROXY_V4, 1080), INET1_V4, 65_507, False), ((PROXY_V4, 1080), INET1_V6, 65_527, False),
    ((PROXY_V6, 1080), INET1_V4, 65_507, True),
    ((PROXY_V6, 1080), INET1_V6, 65_505, True), ((PROXY_V6, 1080), INET1_V6, 65_506, False),
])
def test_row16_replies_up_to_the_largest(net, start, listener, target, size, fits, ports):
    """A remote may send 65,507 bytes; with a header of 10 the client's leg holds 65,497. Over IPv6 both hold 20 more."""
    proxy = start(ports)
    association, peer = Association(net.client, listener), net.inet1.udp(target)
    external = association.external(peer)
    payload = servers.pattern(size)
    peer.sendto(payload, external)
    if fits:
        assert association.recv() == (peer.getsockname()[:2], payload)
    else:
        assert association.silent()
        assert proxy.dropped("oversize") == 1
    assert association.alive(peer)


def test_row13_empty_datagrams(net, association, proxy, peer):
    """From a stranger and, without a header, from the client: dropped. From the remote: a datagram like any other."""
    net.stranger.udp("10.77.0.66").sendto(b"", association.relay)
    wait_until(lambda: proxy.dropped("stranger") == 1, "the drop to be counted")
    external = association.external(peer)
    association.send_raw(b"")
    peer.sendto(b"", external)
    assert association.recv() == (peer.getsockname(), b"")
    assert association.alive(peer)
    assert proxy.dropped("bad_header") == 1


def test_row14_truncated_headers(net, association, proxy, peer):
    external = association.external(peer)
    peer_address = peer.getsockname()
    headers = [socks5.wrap(peer_address, b""), socks5.wrap((INET1_V6, 7), b""),
               socks5.wrap((INET1_V4, 7), b"", atyp=socks5.NAME)]
    sent = 0
    for header in headers:
        for size in range(len(header)):
            association.send_raw(header[:size])
            sent += 1
    assert association.alive(peer)
    assert proxy.dropped("bad_header") == sent
    assert association.external(peer) == external


def test_row14_reserved_fragment_and_types(net, association, proxy, peer):
    peer_address = peer.getsockname()
    for frag in range(1, 256):
        association.send(peer_address, b"fragment", frag=frag)
    assert association.alive(peer)
    assert proxy.dropped("fragment") == 255
    valid = {socks5.V4, socks5.NAME, socks5.V6}
    for atyp in set(range(256)) - valid:
        association.send_raw(bytes([0, 0, 0, atyp]) + bytes(30))
    for rsv in (1, 0x0100, 0xffff):
        association.send(peer_address, b"reserved", rsv=rsv)
    assert association.alive(peer)
    assert proxy.dropped("bad_header") == 253 + 3


@pytest.mark.parametrize("name", [b"", b"a\0b", b"one.test\0", b"x" * 255, b"a" * 64 + b".test", b"0x7f.1", b"127.1", b"1",
                                  b"[::1]", b"127.0.0.1", b"::1", b"::ffff:127.0.0.1", b"a..b", b" ", b"%s%n", b"loop.test"])
def test_row15_names(net, named, lan, dns, peer, name):
    """None of these may reach the proxy itself, whatever a parser somewhere takes them for."""
    inside = net.proxy.udp("::", 9999, timeout=0.2)
    association = Association(net.client, lan)
    association.send((name, 9999), b"inside", atyp=socks5.NAME)
    assert association.alive(peer)
    with pytest.raises(socket.timeout):
        inside.recv(100)


@pytest.mark.parametrize("name, target", [("one.test", INET1_V4), ("six.test", INET1_V6), (INET1_V4, INET1_V4),
                                          (INET1_V6, INET1_V6)])
def test_names(net, named, lan, name, target):
    """The reply's header carries the address, never the name."""
    association = Association(net.client, lan)
    peer = net.inet1.udp(target)
    association.send((name, peer.getsockname()[1]), b"hello", atyp=socks5.NAME)
    payload, external = peer.recvfrom(100)
    assert payload == b"hello"
    peer.sendto(b"hello yourself", external)
    assert association.recv() == (peer.getsockname()[:2], b"hello yourself")


def test_datagrams_to_a_name_being_resolved_arrive_in_order(net, named, lan, peer):
    association = Association(net.client, lan)
    for number in range(5):
        association.send(("one.test", peer.getsockname()[1]), b"%d" % number)
    assert [peer.recv(10) for _ in range(5)] == [b"0", b"1", b"2", b"3", b"4"]


def test_name_stays_on_one_address(net, named, dns, lan):
    """A flow must not hop between a name's addresses, not even when the answer changes meanwhile."""
    port = 7000
    peers = [host.udp(address, port) for host, address in
             ((net.inet1, INET1_V4), (net.inet1, INET1_OTHER_V4), (net.inet2, INET2_V4), (net.inet2, INET2_OTHER_V4))]
    association = Association(net.client, lan)
    association.send(("many.test", port), b"0")
    first = next(peer for peer in peers if received(peer, 0.5))
    dns.records["many.test"] = [peer.getsockname()[0] for peer in peers if peer is not first]
    for _ in range(50):
        association.send(("many.test", port), b"again")
        assert first.recv(10) == b"again"


def received(sock, timeout):
    sock.settimeout(timeout)
    try:
        return sock.recv(65536)
    except socket.timeout:
        return None
    finally:
        sock.settimeout(5)


def test_row38_unresolvable_names(net, named, lan, peer):
    """Dropped and counted, the queue bounded, and no other destination waits."""
    association = Association(net.client, lan)
    for _ in range(3):
        association.send(("missing.test", 9), b"x")
    for _ in range(500):
        association.send(("silent.test", 9), b"x" * 1000)
    assert association.alive(peer)
    wait_until(lambda: named.dropped("unresolved") >= 3, "the answer that there is no such name")
    association.close()
    row = named.session(command="udp")
    assert int(row.get("dropped_unresolved", 0)) >= 3
    assert int(row.get("dropped_queue_full", 0)) > 400


def test_row28_forbidden_destinations(net, association, proxy, peer):
    """Multicast, broadcast, port 0 and whatever means this host: dropped; alive."""
    inside = net.proxy.udp("::", 9999, timeout=0.2)
    outside = net.inet1.udp("0.0.0.0", 9999, timeout=0.2)
    targets = ["224.0.0.1", "239.1.2.3", "255.255.255.255", "10.88.0.255", "ff02::1", "0.0.0.0", "::", "127.0.0.1", "::1",
               "::ffff:127.0.0.1", "169.254.169.254", "fe80::1", "64:ff9b::127.0.0.1"]
    for host in targets:
        association.send((host, 9999), b"forbidden")
    association.send((INET1_V4, 0), b"port 0")
    assert association.alive(peer)
    for sock in (inside, outside):
        with pytest.raises(socket.timeout):
            print(sock.recvfrom(100))
    counters = proxy.counters()
    drops = sum(count for name, count in counters.items() if name.startswith("udp_dropped_"))
    assert drops == len(targets) + 1, counters


def test_unreachable_destinations(net, association, proxy, peer):
    """No route, nobody there: counted at most; alive."""
    for host in ("192.168.99.1", "fd99::1", "10.88.0.99", "fd88::99"):
        for _ in range(3):
            association.send((host, 9), b"x")
    assert association.alive(peer)
    assert proxy.dropped("unreachable") >= 6


def test_session_line(net, proxy, lan, peer):
    association = Association(net.client, lan)
    external = association.external(peer)  # 9 bytes up
    peer.sendto(b"12345", external)
    association.recv()
    association.send(peer.getsockname(), b"f", frag=1)
    assert association.alive(peer, 1)  # 7 up, 11 down
    source = association.udp.getsockname()
    association.close()
    row = proxy.session(command="udp")
    assert row["relay"] == "%s:%d" % association.relay
    assert row["external_v4"].endswith(f":{external[1]}")
    assert row["external_v6"] == "none"
    assert (row["up_datagrams"], row["up_bytes"]) == ("2", "16")
    assert (row["down_datagrams"], row["down_bytes"]) == ("2", "16")
    assert row["dropped_fragment"] == "1" and "dropped_stranger" not in row
    assert row["client"].startswith(source[0])


def test_control_connection_ends_it(net, proxy, lan, peer):
    """Its end frees both ports at once; stray bytes on it are ignored before."""
    association = Association(net.client, lan)
    external = association.external(peer)
    association.control.sendall(b"stray bytes")
    assert association.alive(peer, 3)
    association.close()
    proxy.session(command="udp")
    for address in (association.relay, external):
        net.proxy.udp(*address).close()  # could not be bound if it were still in use
    association.udp.close()


@pytest.mark.parametrize("how", ["reset", "half-close"])
def test_other_ends_of_the_control_connection(net, proxy, lan, how):
    association = Association(net.client, lan)
    if how == "reset":
        association.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        association.close()
    else:
        association.control.shutdown(socket.SHUT_WR)
        assert socks5.recv_all(association.control) == b""
    proxy.session(command="udp")


def test_udp_switched_off(net, start, lan):
    """7, or a voice client hangs on "connecting"."""
    start({"udp": {"enabled": False}})
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    assert socks5.request(sock, socks5.ASSOCIATE, socks5.ANY_V4).code == 7


HINTS = {"zero": ("0.0.0.0", 0), "zero v6": ("::", 0), "PySocks": ("0", 4321), "its LAN": ("192.168.1.5", 5555),
         "destination": (INET1_V4, 53), "loopback": ("127.0.0.1", 0), "loopback v6": ("::1", 0), "v6": ("fd77::2", 4000),
         "name": ("example.com", 53), "empty name": ("", 0), "own": "own", "port only": ("0.0.0.0", 4321)}


@pytest.mark.parametrize("kind", HINTS)
def test_every_hint_is_accepted(net, proxy, lan, peer, kind):
    """clients.md: DST of an ASSOCIATE is parsed, and binds nothing but what it truly says."""
    hint = HINTS[kind]
    association = Association(net.client, lan, hint=hint, atyp=socks5.NAME if hint[0] in ("0", "") else None)
    assert association.alive(peer, 5)


def test_outgoing_address(net, start, lan, peer):
    net.proxy.ip("address add 10.88.0.2/24 dev eth1", "address add fd88::2/64 dev eth1 nodad")
    try:
        start({"outbound": {"address_v4": "10.88.0.2", "address_v6": "fd88::2"}})
        association = Association(net.client, lan)
        assert association.external(peer)[0] == "10.88.0.2"
        assert association.external(net.inet2.udp(INET2_V6))[0] == "fd88::2"
        server = net.inet1.listen(INET1_V4)
        _, reply = socks5.connect(net.client, lan, server.getsockname())
        assert reply.address[0] == "10.88.0.2"
    finally:
        net.close_sockets()
        net.proxy.ip("address del 10.88.0.2/24 dev eth1", "address del fd88::2/64 dev eth1")


@pytest.fixture
def link_local(net):
    """The proxy's address that its cable alone knows, and what follows the port in the client's socket addresses."""
    proxy = "fe80::77"
    net.proxy.ip(f"address add {proxy}/64 dev eth0 nodad")
    with net.client.enter():
        scope = socket.if_nametoindex("eth0")
    yield proxy, (0, scope)
    net.proxy.ip(f"address del {proxy}/64 dev eth0")


def test_link_local_listener(net, link_local, start, peer):
    """A scope belongs to the address: of the listener, of the control connection, of the relay and of the client."""
    proxy, scope = link_local
    start({"listen": [{"address": f"{proxy}%eth0", "port": 1080, "auth": "none", "open": True}]})
    control, udp = net.client.socket(socket.SOCK_STREAM, "::"), net.client.socket(socket.SOCK_DGRAM, "::")
    control.connect((proxy, 1080, *scope))
    socks5.negotiate(control)
    reply = socks5.request(control, socks5.ASSOCIATE, socks5.ANY_V4)
    assert reply.code == 0 and reply.address[0] == proxy
    relay = (*reply.address, *scope)
    udp.connect(relay)
    for number in range(100):
        udp.send(socks5.wrap(peer.getsockname(), b"%d" % number))
        payload, external = peer.recvfrom(100)
        peer.sendto(b"re " + payload, external)
        assert socks5.unwrap(udp.recv(200)) == (peer.getsockname(), b"re %d" % number)
