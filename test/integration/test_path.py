"""A path that loses, doubles and reorders. What arrives is exactly what was sent, and nothing is added."""
import collections
import contextlib
import hashlib
import random
import socket
import threading

import pytest
import servers
import socks5
from netns import INET1_V4
from socks5 import Association

LOSS = """table inet loss {
    chain input { type filter hook input priority 0; meta l4proto { tcp, udp } numgen inc mod 30 == 29 counter drop; }
}
"""
NETEM = ("netem", "delay", "2ms", "1ms", "loss", "2%", "duplicate", "3%", "reorder", "20%", "50%")


@contextlib.contextmanager
def losing(net):
    """Each thirtieth packet does not reach the proxy, whichever side it comes from."""
    net.proxy.nft(LOSS)
    try:
        yield
        assert "counter packets 0 " not in net.proxy.run("nft", "list", "table", "inet", "loss").stdout
    finally:
        net.proxy.nft("delete table inet loss")


@contextlib.contextmanager
def netem(net):
    """All of it, on both of the proxy's cables, as they leave it."""
    for interface in ("eth0", "eth1"):
        done = net.proxy.run("tc", "qdisc", "add", "dev", interface, "root", *NETEM)
        if done.returncode != 0:
            pytest.skip(f"this kernel has no netem: {done.stdout.strip()}")
    try:
        yield
    finally:
        for interface in ("eth0", "eth1"):
            net.proxy.run("tc", "qdisc", "del", "dev", interface, "root")


@pytest.fixture(params=[losing, netem])
def bad_path(request, net):
    """Sessions are begun on a good one: SYNs that get lost only take time."""
    return lambda: request.param(net)


def drain(sock, timeout):
    """What arrives until nothing has for `timeout`."""
    arrived = []
    sock.settimeout(timeout)
    with contextlib.suppress(TimeoutError):
        while True:
            arrived.append(sock.recv(65536))
    sock.settimeout(5)
    return arrived


def test_row48_datagrams_are_whole(net, proxy, lan, bad_path):
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, lan)
    external = association.external(peer)
    payloads = [servers.pattern(random.Random(seed).randrange(1, 1400), seed) for seed in range(1, 1000)]
    up, down = [], []
    with bad_path():
        for number, payload in enumerate(payloads):
            association.send(peer.getsockname(), payload)
            peer.sendto(payload, external)
            if number % 25 == 0:  # as much as a socket's buffer surely holds
                up += drain(peer, 0.02)
                down += drain(association.udp, 0.02)
        up += drain(peer, 0.5)
        down += drain(association.udp, 0.5)
    down = [socks5.unwrap(datagram) for datagram in down]
    assert {origin for origin, _ in down} == {peer.getsockname()}
    for arrived in (up, [payload for _, payload in down]):
        assert set(arrived) <= set(payloads) and len(arrived) > 900
    assert association.alive(peer)


def test_row48_what_is_sent_twice_or_late_arrives_so(net, proxy, lan):
    """The proxy neither sorts nor weeds: order and doubles are the sender's."""
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, lan)
    external = association.external(peer)
    numbers = [b"%d" % number for number in range(60)] + [b"%d" % number for number in range(0, 60, 3)]
    random.Random(48).shuffle(numbers)
    for number in numbers:
        association.send(peer.getsockname(), number)
    assert [peer.recv(10) for _ in numbers] == numbers
    for number in numbers:
        peer.sendto(number, external)
    assert [association.recv()[1] for _ in numbers] == numbers
    assert association.silent()


def test_row48_streams_are_equal(net, proxy, lan, bad_path):
    """Both ways at once."""
    server = net.inet1.listen(INET1_V4)
    sock, reply = socks5.connect(net.client, lan, server.getsockname())
    assert reply.code == 0
    remote, _ = server.accept()
    net.inet1.opened.append(remote)
    received = collections.defaultdict(hashlib.sha256)

    def send(end, data):
        end.sendall(data)
        end.shutdown(socket.SHUT_WR)

    def receive(end, name):
        while more := end.recv(1 << 16):
            received[name].update(more)

    sent = {"up": servers.pattern(3_000_000, 1), "down": servers.pattern(3_000_000, 2)}
    for end in (sock, remote):
        end.settimeout(60)
    with bad_path():
        threads = [threading.Thread(target=send, args=(sock, sent["up"])), threading.Thread(target=send, args=(remote, sent["down"])),
                   threading.Thread(target=receive, args=(remote, "up")), threading.Thread(target=receive, args=(sock, "down"))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    for name, data in sent.items():
        assert received[name].digest() == hashlib.sha256(data).digest(), name
