"""Runs of datagrams: what senders hand to the kernel in one piece (UDP_SEGMENT) passes the proxy joined, and must come
out as if each datagram had travelled alone."""
import socket

import pytest
import servers
import socks5
from netns import INET1_V4, INET1_V6, INET2_V4, PROXY_V6
from socks5 import Association

UDP_SEGMENT = 103


def send_run(sock, datagrams, to):
    """Equal datagrams, the last may be shorter, in one send."""
    sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(datagrams[0]))
    try:
        sock.sendto(b"".join(datagrams), to)
    finally:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)


def payloads(size, count, last):
    """Like `count` datagrams of one stream: all differ, the last is `last` bytes long."""
    data = servers.pattern(size * count, size)
    return [data[size * number:size * (number + 1)] for number in range(count - 1)] + [data[-last:]]


@pytest.fixture(params=[None, (PROXY_V6, 1080)], ids=["client v4", "client v6"])
def association(request, net, proxy, lan):
    return Association(net.client, request.param or lan)


SIZES = [(100, 60, 100), (1200, 50, 1200), (1200, 50, 7), (1400, 40, 1), (1, 64, 1), (1200, 1, 1200)]


@pytest.mark.parametrize("target", [INET1_V4, INET1_V6])
@pytest.mark.parametrize("size, count, last", SIZES)
def test_up(net, association, target, size, count, last):
    peer = net.inet1.udp(target)
    association.external(peer)
    sent = payloads(size, count, last)
    wrapped = [socks5.wrap(peer.getsockname()[:2], each) for each in sent]
    send_run(association.udp, wrapped, association.relay)
    assert [peer.recv(2000) for _ in sent] == sent


# 1430 and 1440 fit the MTU; with our header in front they do so only as fragments, or no longer.
@pytest.mark.parametrize("target", [INET1_V4, INET1_V6])
@pytest.mark.parametrize("size, count, last", SIZES + [(1430, 40, 1430), (1440, 40, 3), (1452, 40, 1452)])
def test_down(net, association, target, size, count, last):
    peer = net.inet1.udp(target)
    external = association.external(peer)
    sent = payloads(size, count, last)
    send_run(peer, sent, external)
    origin = peer.getsockname()[:2]
    assert [association.recv() for _ in sent] == [(origin, each) for each in sent]


def test_up_to_several_destinations(net, association):
    """Cut where the destination changes, and only there: each peer gets its own, in order."""
    peers = [net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)]
    turns = [0, 0, 0, 1, 0, 1, 1, 1, 1, 0] * 4
    sent = payloads(300, len(turns), 300)
    wrapped = [socks5.wrap(peers[turn].getsockname(), each) for turn, each in zip(turns, sent)]
    send_run(association.udp, wrapped, association.relay)
    for number, peer in enumerate(peers):
        expected = [each for turn, each in zip(turns, sent) if turn == number]
        assert [peer.recv(2000) for _ in expected] == expected


def test_up_with_bad_ones_between(net, association, proxy):
    """Every datagram of a run stands alone: a bad one costs nobody else anything."""
    peer = net.inet1.udp(INET1_V4)
    sent = payloads(200, 40, 200)
    wrapped = [socks5.wrap(peer.getsockname(), each) for each in sent]
    for number in range(0, 40, 4):
        wrapped[number] = b"\0\0\1" + wrapped[number][3:]  # a fragment
        wrapped[number + 1] = b"\xff" * len(wrapped[number])
    send_run(association.udp, wrapped, association.relay)
    expected = [each for number, each in enumerate(sent) if number % 4 > 1]
    assert [peer.recv(2000) for _ in expected] == expected
    assert proxy.dropped("fragment") == 10 and proxy.dropped("bad_header") == 10


def test_up_by_name(net, start, lan):
    with servers.Dns(net.inet2, INET2_V4, {"one.test": [INET1_V4]}) as dns:
        start({"dns": {"servers": [dns.address]}})
        association = Association(net.client, lan)
        peer = net.inet1.udp(INET1_V4)
        sent = payloads(200, 10, 9)
        wrapped = [socks5.wrap(("one.test", peer.getsockname()[1]), each) for each in sent]
        for _ in range(2):  # before and after the name is known
            send_run(association.udp, wrapped, association.relay)
            assert [peer.recv(2000) for _ in sent] == sent


def test_row7_stranger_in_the_midst_of_runs(net, proxy, lan):
    association = Association(net.client, lan)
    peer = net.inet1.udp(INET1_V4)
    stranger = net.stranger.udp("10.77.0.66")
    sent = payloads(200, 20, 200)
    wrapped = [socks5.wrap(peer.getsockname(), each) for each in sent]
    with proxy.stopped():
        for _ in range(3):
            send_run(stranger, wrapped, association.relay)
            send_run(association.udp, wrapped, association.relay)
    assert [peer.recv(2000) for _ in sent * 3] == sent * 3
    assert proxy.dropped("stranger") == 60
    assert association.alive(peer, 5)
