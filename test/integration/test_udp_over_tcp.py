"""UDP over TCP (command 5): an association like any other, whose datagrams are frames on the control connection."""
import socket
import struct
import time

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import wait_until
from netns import (BALANCER_V4, CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_V6,
                   PROXY_WAN_V4)
from socks5 import Association, OverTcp, frame
from test_proxy_protocol import BALANCED, v1

V6_LISTENER = (PROXY_V6, 1080)


@pytest.fixture
def peer(net):
    sock = net.inet1.udp(INET1_V4)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    return sock


@pytest.fixture
def association(net, proxy, lan):
    return OverTcp(net.client, lan)


@pytest.fixture
def named(net, start):
    records = {"one.test": [INET1_V4], "private.test": ["127.0.0.1"], "silent.test": None}
    with servers.Dns(net.inet2, INET2_V4, records) as dns:
        yield start({"dns": {"servers": [dns.address], "timeout": "2s"}}, leaves_lookups=True)


# ---- what is asked for, and what is answered ----

@pytest.mark.parametrize("listener, atyp", [((PROXY_V4, 1080), socks5.V4), (V6_LISTENER, socks5.V6)], ids=["v4", "v6"])
def test_reply_is_this_end_of_the_connection(net, proxy, peer, listener, atyp):
    """There is no relay port to tell: BND is where the client has connected to."""
    association = OverTcp(net.client, listener)
    assert association.reply.atyp == atyp and association.reply.address == listener
    assert association.alive(peer)
    assert not any("UDP" in line for line in net.proxy.run("ss", "-Hlun", "sport = :1080").stdout.splitlines())


HINTS = {"zero v6": ("::", 0), "destination": (INET1_V4, 53), "name": ("example.com", 53), "empty name": ("", 0)}


@pytest.mark.parametrize("kind", HINTS)
def test_every_hint_is_accepted(net, proxy, lan, peer, kind):
    hint = HINTS[kind]
    assert OverTcp(net.client, lan, hint=hint, atyp=socks5.NAME if hint[0] == "" else None).alive(peer, 5)


@pytest.mark.parametrize("udp", [{"enabled": False}, {"over_tcp": False}], ids=["udp", "over_tcp"])
def test_switched_off(net, start, lan, udp):
    proxy = start({"udp": udp})
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    assert socks5.request(sock, socks5.UDP_IN_TCP, socks5.ANY_V4).code == 7
    proxy.wait_log(f"udp.{next(iter(udp))}")


def test_login(net, start, lan, peer):
    start({"users": USERS, "listen": [{**listener, "auth": "password"} for listener in LISTEN]})
    assert OverTcp(net.client, lan, user=ALICE[0], password=ALICE[1]).alive(peer, 5)


def test_limit_of_associations_counts_it(net, start, lan, peer):
    start({"limits": {"associations_per_client": 2}})
    first, second = OverTcp(net.client, lan), Association(net.client, lan)
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    assert socks5.request(sock, socks5.UDP_IN_TCP, socks5.ANY_V4).code == 2
    assert first.alive(peer, 5) and second.alive(peer, 5)


def test_frames_right_behind_the_request(net, proxy, lan, peer):
    """Row 17: all in one segment, and each byte in one of its own."""
    hello = b"\5\1\0" + socks5.request_message(socks5.UDP_IN_TCP, socks5.ANY_V4)
    said = hello + frame(peer.getsockname(), b"first") + frame(peer.getsockname(), b"second")
    for step in (len(said), 1):
        sock = net.client.connect(CLIENT_V4, lan)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(0, len(said), step):
            sock.sendall(said[at:at + step])
        assert socks5.recv_exact(sock, 2) == b"\5\0"
        assert socks5.recv_reply(sock).code == 0
        assert [peer.recv(100), peer.recv(100)] == [b"first", b"second"]


# ---- datagrams ----

@pytest.mark.parametrize("listener", [(PROXY_V4, 1080), V6_LISTENER], ids=["v4", "v6"])
@pytest.mark.parametrize("target", [INET1_V4, INET1_V6])
@pytest.mark.parametrize("size", [0, 1, 1400, 1473, 8192, 32_758, 65_507])
def test_row16_payloads_exact(net, start, listener, target, size):
    """MSGLEN holds more than UDP does: the largest datagrams come back, too, to whom wants them."""
    start({"udp": {"over_tcp_max": 65_507}})
    association = OverTcp(net.client, listener)
    peer = net.inet1.udp(target)
    payload = servers.pattern(size, size)
    association.send(peer.getsockname()[:2], payload)
    received, external = peer.recvfrom(70_000)
    assert received == payload
    peer.sendto(payload, external)
    assert association.recv() == (peer.getsockname()[:2], payload)
    assert association.alive(peer, 3)


@pytest.mark.parametrize("size", [65_508, 65_535])
def test_more_than_a_datagram_holds(net, association, proxy, peer, size):
    association.send(peer.getsockname(), servers.pattern(size))
    assert association.alive(peer)
    assert proxy.dropped("oversize") == 1


@pytest.mark.parametrize("offload", ["auto", "off"])
def test_what_real_clients_have_no_room_for(net, start, lan, peer, offload):
    """By default they are sent no more than a packet carries: a longer one would silence them for good."""
    proxy = start({"udp": {"offload": offload}})
    association = OverTcp(net.client, lan)
    external = association.external(peer)
    for size in (1473, 1472, 60_000, 65_507, 0):
        peer.sendto(bytes(size), external)
    assert [len(association.recv()[1]) for _ in range(2)] == [1472, 0]
    assert proxy.dropped("oversize") == 3
    assert association.alive(peer)


@pytest.mark.parametrize("step", [1, 2, 7])
def test_frames_in_pieces(net, association, peer, step):
    association.control.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    said = b"".join(frame(to, payload) for to, payload in
                    ((peer.getsockname(), b"one"), (peer.getsockname(), b""), (peer.getsockname(), b"x" * 300)))
    for at in range(0, len(said), step):
        association.send_raw(said[at:at + step])
        time.sleep(0.0005)  # a segment of its own
    assert [peer.recv(1000) for _ in range(3)] == [b"one", b"", b"x" * 300]
    assert association.alive(peer)


def test_many_frames_at_once(net, association, peer):
    """More than one read takes, cut anywhere; in order, to two destinations."""
    other = net.inet1.udp(INET1_OTHER_V4)
    other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    payloads = [servers.pattern(7 * number % 900, number) for number in range(400)]
    association.send_raw(b"".join(frame((peer, other)[number % 2].getsockname(), payload)
                                  for number, payload in enumerate(payloads)))
    assert [peer.recv(1000) for _ in range(200)] == payloads[::2]
    assert [other.recv(1000) for _ in range(200)] == payloads[1::2]
    assert association.alive(peer)


def test_many_datagrams_down(net, association, peer):
    """A burst that the connection has room for comes whole and in order."""
    external = association.external(peer)
    payloads = [servers.pattern(500, number) for number in range(100)]
    for payload in payloads:
        peer.sendto(payload, external)
    assert [association.recv() for _ in payloads] == [(peer.getsockname(), payload) for payload in payloads]


def test_names(net, named, lan, peer):
    """Resolved here; the origin is an address. What the name leads to is judged."""
    association = OverTcp(net.client, lan)
    port = peer.getsockname()[1]
    inside = net.proxy.udp("127.0.0.1", port, timeout=0.3)
    for number in range(3):
        association.send(("one.test", port), b"%d" % number)
    received = [peer.recvfrom(10) for _ in range(3)]
    assert [payload for payload, _ in received] == [b"0", b"1", b"2"]
    peer.sendto(b"re", received[0][1])
    assert association.recv() == (peer.getsockname(), b"re")
    association.send(("private.test", port), b"inside")
    association.send(("silent.test", port), b"waits for ever")
    association.send((b"x" * 248, port), b"no name", atyp=socks5.NAME)
    assert association.alive(peer)
    with pytest.raises(socket.timeout):
        inside.recv(100)


# ---- the same semantics ----

@pytest.mark.parametrize("filtering", ["endpoint-independent", "address-dependent", "address-and-port-dependent"])
def test_row29_mapping_and_filtering(net, start, lan, peer, filtering):
    """One external address for all; who may answer goes by the mode, and each datagram names its origin."""
    proxy = start({"udp": {"filtering": filtering}})
    other_port, elsewhere = net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)
    association = OverTcp(net.client, lan)
    external = association.external(peer)
    assert external[0] == PROXY_WAN_V4
    let_in = []
    for sock in (peer, other_port, elsewhere):
        sock.sendto(b"may I?", external)
        let_in.append(not association.silent(0.2))
    assert let_in == {"endpoint-independent": [True] * 3, "address-dependent": [True, True, False],
                      "address-and-port-dependent": [True, False, False]}[filtering]
    assert proxy.dropped("filtered") == let_in.count(False)
    for sock in (other_port, elsewhere):
        assert association.external(sock) == external
        sock.sendto(b"re", external)
        assert association.recv() == (sock.getsockname(), b"re")


def test_row30_hairpin(net, proxy, lan, peer):
    """To an association of the usual kind and back: both see external addresses."""
    one, two = OverTcp(net.client, lan), Association(net.neighbour, lan, source=NEIGHBOUR_V4)
    at_one, at_two = one.external(peer), two.external(peer)
    one.send(at_two, b"hello")
    assert two.recv() == (at_one, b"hello")
    two.send(at_one, b"and back")
    assert one.recv() == (at_two, b"and back")
    one.send(at_one, b"to myself")
    assert one.recv() == (at_one, b"to myself")


def test_row28_forbidden_destinations(net, association, proxy, peer):
    targets = ["224.0.0.1", "255.255.255.255", "ff02::1", "0.0.0.0", "127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254"]
    for host in targets:
        association.send((host, 9999), b"forbidden")
    association.send((INET1_V4, 0), b"port 0")
    assert association.alive(peer)
    assert proxy.dropped("refused") == len(targets) and proxy.dropped("bad_destination") == 1


def test_row26_rules_for_udp_are_its_rules(net, start, lan, peer):
    proxy = start({"rules": [{"action": "deny", "command": ["udp"], "to": [f"{INET1_OTHER_V4}/32"]}]})
    association = OverTcp(net.client, lan)
    denied = net.inet1.udp(INET1_OTHER_V4, timeout=0.3)
    for _ in range(3):
        association.send(denied.getsockname(), b"denied")
        assert association.alive(peer, 2)
    with pytest.raises(socket.timeout):
        denied.recv(100)
    assert proxy.dropped("refused") == 3


def test_rates(net, start, lan, peer):
    """Ten a second: what a burst may have passes, the rest is dropped and counted, and the connection goes on."""
    proxy = start({"limits": {"datagrams_per_association": "10/s"}})
    association = OverTcp(net.client, lan)
    for number in range(200):
        association.send(peer.getsockname(), b"%d" % number)
    wait_until(lambda: proxy.counters().get("udp_up_datagrams_total", 0) + proxy.dropped("rate") >= 200, "all to be counted")
    assert proxy.counters()["udp_up_datagrams_total"] < 100
    assert peer.recv(10) == b"0"


def test_row27_switched_off_by_a_reload(net, serve, lan, peer):
    """It ends, the usual kind goes on. What else a reload may change: test_reload.py."""
    proxy = serve()
    association, usual = OverTcp(net.client, lan), Association(net.client, lan)
    assert association.alive(peer, 5)
    assert proxy.reload(lan_config({"udp": {"over_tcp": False}}))
    assert socks5.recv_all(association.control) == b""
    assert "udp.over_tcp" in proxy.session(command="udp-over-tcp")["why"]
    assert usual.alive(peer)


def can_bind(host, address):
    try:
        host.udp(*address).close()
    except OSError:
        return False
    return True


def test_session_line(net, proxy, lan, peer):
    association = OverTcp(net.client, lan)
    external = association.external(peer)  # 9 bytes up
    association.send((INET1_V4, 0), b"port 0")
    assert association.alive(peer, 1)  # 7 up, 11 down
    source = "%s:%d" % association.control.getsockname()
    association.close()
    row = proxy.session(command="udp-over-tcp")
    assert row["relay"] == "%s:%d" % lan and row["client_udp"] == row["client"] == source
    assert row["external_v4"].endswith(f":{external[1]}")
    assert (row["up_datagrams"], row["up_bytes"]) == ("2", "16")
    assert (row["down_datagrams"], row["down_bytes"]) == ("1", "11")
    assert row["dropped_bad_destination"] == "1"
    assert row["why"] == "client closed"
    wait_until(lambda: can_bind(net.proxy, external), "the external port to be closed, just after the line")


def test_behind_a_balancer(net, start, lan, peer):
    """Also where no route leads to the client that a balancer has announced: nothing has to go there but by it."""
    proxy = start(BALANCED)
    association = OverTcp(net.balancer, lan, source=BALANCER_V4, header=v1("198.51.100.7", 4000))
    assert association.reply.address == lan
    assert association.alive(peer)
    association.close()
    assert proxy.session(command="udp-over-tcp")["client"] == "198.51.100.7:4000"


# ---- ends ----

def bad_frames(peer):
    good = frame(peer, b"payload")
    yield "length", frame(peer, b"payload", hdrlen=9)
    yield "length", frame(peer, b"payload", hdrlen=22)
    yield "length", frame(peer, b"payload", hdrlen=0)
    yield "length", b"\0\0\3"
    yield "address type", good[:3] + b"\2" + good[4:]
    yield "address type", frame(peer, b"payload", msglen=0xffff)[:3] + b"\0"  # without the payload being awaited
    yield "empty host name", frame(("", 53), b"payload", atyp=socks5.NAME)
    yield "", b"GET / HTTP/1.1\r\n\r\n"


@pytest.mark.parametrize("which", range(8))
def test_row14_a_bad_frame_ends_it(net, association, proxy, lan, peer, which):
    """What follows it cannot be told apart any more. What came before it is sent; nobody else notices."""
    other = OverTcp(net.client, lan)
    expected, bad = list(bad_frames(peer.getsockname()))[which]
    association.send_raw(frame(peer.getsockname(), b"before") + bad + frame(peer.getsockname(), b"after"))
    assert socks5.recv_all(association.control) == b""
    row = proxy.session(command="udp-over-tcp")
    assert expected in row["why"] and "a frame" in row["why"], row["why"]
    assert row["dropped_bad_header"] == "1"
    assert peer.recv(100) == b"before"
    assert other.alive(peer)


@pytest.mark.parametrize("begun", [b"", b"\0", b"\0\7", b"\0\7\12\1\n", b"\xff\xff\12\1\n\n\n\n\0\7" + b"x" * 40_000])
@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_ends_of_the_connection(net, association, proxy, begun, how):
    """Anywhere in a frame."""
    association.send_raw(begun)
    if how == "half-close":
        association.control.shutdown(socket.SHUT_WR)
        assert socks5.recv_all(association.control) == b""
    else:
        association.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", how == "reset", 0))
        association.close()
    proxy.session(command="udp-over-tcp")
    wait_until(proxy.is_idle, "descriptors to be given back")


def test_row44_a_reader_that_never_reads(net, start, lan, peer):
    """Little waits for it, the rest is dropped and counted; its own datagrams go up meanwhile, nobody else notices, and
    when it reads at last each frame is whole."""
    proxy = start({"udp": {"over_tcp_max": 65_507}})
    association, other = OverTcp(net.client, lan), OverTcp(net.client, lan)
    external = association.external(peer)
    before, sent, payload = proxy.memory(), 0, servers.pattern(60_000)
    while proxy.dropped("send_full") < 500:
        assert sent < 20_000, "nothing is ever dropped"
        for _ in range(100):
            peer.sendto(payload, external)
            sent += 1
        time.sleep(0.01)
    waiting = net.proxy.run("ss", "-Htn", "sport = :1080").stdout
    assert max(int(line.split()[2]) for line in waiting.splitlines()) < 2 << 20, waiting
    assert proxy.memory() - before < 8192  # KiB; a sanitizer keeps what was freed for a while
    association.send(peer.getsockname(), b"still here")
    assert peer.recv(100) == b"still here"
    assert other.alive(peer)
    whole = 0
    while not association.silent(0.5):
        whole += 1
    assert whole >= 2
    assert association.alive(peer)
    association.close()
    row = proxy.session(command="udp-over-tcp")
    assert int(row["down_datagrams"]) == whole + 100


def test_a_reader_that_never_reads_and_goes(net, proxy, lan, peer):
    for how in (0, 1):
        association = OverTcp(net.client, lan)
        external = association.external(peer)
        before = proxy.dropped("send_full")
        while proxy.dropped("send_full") <= before:
            for _ in range(100):
                peer.sendto(bytes(1400), external)
        association.control.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", how, 0))
        association.close()
        wait_until(proxy.is_idle, "descriptors to be given back")
