"""Rates: what passes is what may pass, over sockets, threads and users. The bounds are generous: this is about the limit
being one, not about speed. Which datagram of a run is cut, and who has his turn when: test_rates.c, test_assoc.c."""
import socket
import threading
import time

import pytest

import servers
import socks5
from conftest import ALICE, LISTEN, USERS
from netns import CLIENT_V4, INET1_V4, NEIGHBOUR_V4
from socks5 import Association

KIB, MIB = 1024, 1024 * 1024
BOB = ("bob", ALICE[1])
LOGIN = [{**listener, "auth": "password"} for listener in LISTEN]
BOTH = [*USERS, {**USERS[0], "name": "bob"}]


@pytest.fixture
def limited(start):
    """limited(key=..., ...): a proxy with these limits, and the users alice and bob when `users` is given."""
    def run(users=None, rules=(), **limits):
        config = {"limits": limits, "rules": list(rules)}
        if users:
            config.update(users=users, listen=LOGIN)
        return start(config)
    return run


@pytest.fixture
def origin(net):
    return net.inet1.udp(INET1_V4)


class Flow:
    """Datagrams of one association, one way, faster than they may pass: `size` bytes each."""

    def __init__(self, association, origin, up, size):
        self.association, self.origin, self.up, self.size = association, origin, up, size
        self.external = association.external(origin)
        self.received = 0
        for sock in (association.udp, origin):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)

    def send(self):
        payload = b"x" * self.size
        if self.up:
            self.association.send(self.origin.getsockname()[:2], payload)
        else:
            self.origin.sendto(payload, self.external)

    def drain(self):
        sock = self.origin if self.up else self.association.udp
        sock.setblocking(False)
        try:
            while data := sock.recv(65536):
                self.received += 1
                assert len(data) >= self.size
        except BlockingIOError:
            pass
        sock.settimeout(5)


def flood(*flows, per_second, seconds=2):
    """Sends `per_second` datagrams of each flow. Returns how long that took."""
    begun, sent = time.monotonic(), 0
    while (lasted := time.monotonic() - begun) < seconds:
        while sent < per_second * lasted:
            for flow in flows:
                flow.send()
            sent += 1
        for flow in flows:
            flow.drain()
        time.sleep(0.005)
    time.sleep(0.1)
    for flow in flows:
        flow.drain()
    return time.monotonic() - begun


def within(amount, rate, seconds, burst):
    least, most = rate * (seconds - 0.3) * 0.6, rate * seconds * 1.05 + burst
    print(f"{amount} in {seconds:.2f} s, expected {least:.0f} to {most:.0f}")
    return least <= amount <= most


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
def test_bandwidth_of_datagrams(limited, net, lan, origin, up):
    proxy = limited(bandwidth_per_session="256KiB/s")
    association = Association(net.client, lan)
    flow = Flow(association, origin, up, 1000)
    seconds = flood(flow, per_second=1200)
    assert within(flow.received * 1000, 256 * KIB, seconds, 64 * KIB)
    assert proxy.dropped("rate") > 500
    assert association.alive(origin)
    association.close()
    assert int(proxy.session(command="udp")["dropped_rate"]) == proxy.dropped("rate")


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("size", [1, 1200])
def test_rate_of_datagrams(limited, net, lan, origin, up, size):
    proxy = limited(datagrams_per_association="200/s")
    flow = Flow(Association(net.client, lan), origin, up, size)
    seconds = flood(flow, per_second=1000)
    assert within(flow.received, 200, seconds, 64)
    assert proxy.dropped("rate") > 500


def test_within_the_rate_nothing_is_lost(limited, net, lan, origin):
    proxy = limited(bandwidth_per_session="100KiB/s", datagrams_per_association="200/s")
    association = Association(net.client, lan)
    assert association.alive(origin, 60)
    for _ in range(200):
        assert association.alive(origin, 1)
        time.sleep(0.006)
    assert proxy.dropped("rate") == 0


def test_sessions_of_a_user_share(limited, net, lan, origin):
    """On whichever thread they are; another user is another."""
    proxy = limited(users=BOTH, datagrams_per_user="200/s")
    alice = [Flow(Association(net.client, lan, user=ALICE[0], password=ALICE[1]), net.inet1.udp(INET1_V4), True, 10)
             for _ in range(4)]
    bob = Flow(Association(net.neighbour, lan, source=NEIGHBOUR_V4, user=BOB[0], password=BOB[1]), origin, True, 10)
    seconds = flood(*alice, bob, per_second=400)
    assert within(sum(flow.received for flow in alice), 200, seconds, 64)
    assert within(bob.received, 200, seconds, 64)
    assert proxy.dropped("rate") > 1000


def test_rule_over_user_over_limits(limited, net, lan):
    rules = [{"action": "allow", "user": ["bob"], "datagrams": "100/s"}]
    users = [{**USERS[0], "datagrams": "unlimited"}, {**USERS[0], "name": "bob"}]
    limited(users=users, rules=rules, datagrams_per_user="300/s", datagrams_per_association="200/s")
    flows = [Flow(Association(net.client, lan, user=name, password=ALICE[1]), net.inet1.udp(INET1_V4), True, 10)
             for name in ("alice", "bob")]
    seconds = flood(*flows, per_second=600)
    assert within(flows[0].received, 200, seconds, 64)
    assert within(flows[1].received, 100, seconds, 64)


# ---- streams ----

class Sink(threading.Thread):
    """Takes one connection, hears it to its end, and then says a word."""

    def __init__(self, host, address):
        super().__init__(daemon=True)
        self.listener = host.listen(address, timeout=20)
        self.heard = b""
        self.start()

    def run(self):
        sock, _ = self.listener.accept()
        sock.settimeout(20)
        self.heard = socks5.recv_all(sock)
        sock.sendall(b"thank you")
        sock.close()


def download(net, lan, web, size, **login):
    sock, reply = socks5.connect(net.client, lan, web, CLIENT_V4, timeout=20, **login)
    assert reply.code == 0
    sock.sendall(b"GET /%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % size)
    return sock


def body(sock):
    return socks5.recv_all(sock).partition(b"\r\n\r\n")[2]


def test_download_at_a_rate(limited, net, lan):
    proxy = limited(bandwidth_per_session="1MiB/s")
    with servers.Web(net.inet1, INET1_V4):
        begun, cpu = time.monotonic(), proxy.cpu_seconds()
        got = body(download(net, lan, (INET1_V4, 80), 3 * MIB))
        seconds, cpu = time.monotonic() - begun, proxy.cpu_seconds() - cpu
    assert got == servers.pattern(3 * MIB)
    assert within(len(got), MIB, seconds, MIB // 4)
    assert cpu < 0.2 * seconds  # it rests


def test_upload_at_a_rate(limited, net, lan):
    proxy = limited(bandwidth_per_session="8Mbit/s")
    sink = Sink(net.inet1, INET1_V4)
    sent = servers.pattern(3 * MIB)
    begun, cpu = time.monotonic(), proxy.cpu_seconds()
    sock, reply = socks5.connect(net.client, lan, sink.listener.getsockname(), CLIENT_V4, timeout=20)
    assert reply.code == 0
    sock.sendall(sent)
    sock.shutdown(socket.SHUT_WR)
    assert socks5.recv_all(sock) == b"thank you"  # the half-close went through, and the other way does not wait
    seconds, cpu = time.monotonic() - begun, proxy.cpu_seconds() - cpu
    sink.join(5)
    assert sink.heard == sent
    assert within(len(sent), 1000 * 1000, seconds, MIB // 4)
    assert cpu < 0.2 * seconds


def test_streams_of_a_user_share(limited, net, lan):
    """All come to their end, none much later than it must; a call beside them loses nothing."""
    proxy = limited(users=BOTH, bandwidth_per_user="1MiB/s")
    origin = net.inet1.udp(INET1_V4)
    login = {"user": ALICE[0], "password": ALICE[1]}
    with servers.Web(net.inet1, INET1_V4):
        begun = time.monotonic()
        socks = [download(net, lan, (INET1_V4, 80), MIB // 2, **login) for _ in range(6)]
        bodies = [b""] * len(socks)

        def hear(i):
            bodies[i] = body(socks[i])
        threads = [threading.Thread(target=hear, args=(i,), daemon=True) for i in range(len(socks))]
        for thread in threads:
            thread.start()
        call = Association(net.client, lan, **login)
        calls = 0
        while any(thread.is_alive() for thread in threads):
            assert call.alive(origin, 1)
            calls += 1
            time.sleep(0.02)
        seconds = time.monotonic() - begun
        for thread in threads:
            thread.join()
    assert all(got == servers.pattern(MIB // 2) for got in bodies)
    assert within(sum(map(len, bodies)), MIB, seconds, MIB // 2)
    assert calls > 20 and proxy.dropped("rate") == 0


def test_a_client_that_leaves_a_resting_stream(limited, net, lan):
    """Its end is found and everything given back (which the fixture checks)."""
    proxy = limited(bandwidth_per_session="16KiB/s")
    with servers.Web(net.inet1, INET1_V4):
        sock = download(net, lan, (INET1_V4, 80), 50 * MIB)
        socks5.recv_exact(sock, 60000)
        sock.close()
        assert proxy.session(command="connect")
