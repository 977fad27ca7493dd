"""How many at once: of each user, of each client address, in all; and what slow or greedy clients cost the others."""
import contextlib
import resource
import selectors
import socket
import struct
import time

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS
from daemon import wait_until
from netns import CLIENT_V4, CLIENT_V6, INET1_V4, INET2_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_V6
from socks5 import ANY_V4, ASSOCIATE, CONNECT, Association

BOB = ("bob", ALICE[1])
TWO_USERS = [*USERS, {**USERS[0], "name": "bob"}]
LOGIN = [{"address": PROXY_V4, "port": 1080}]
NOT_ALLOWED = 2


def closed(sock):
    """Was it closed without a word?"""
    with contextlib.suppress(ConnectionError):
        return sock.recv(100) == b""
    return True


def say(sock, data):
    """What is said to a connection that is closed already."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)


def greeted(sock):
    """Is it served?"""
    say(sock, b"\5\1\0")
    with contextlib.suppress(ConnectionError):
        return sock.recv(2) == b"\5\0"
    return False


def login(net, user, source=CLIENT_V4, proxy=(PROXY_V4, 1080)):
    sock = net.client.connect(source, proxy)
    socks5.negotiate(sock, *user)
    return sock


def answer(net, user, command, destination, source=CLIENT_V4):
    """(connection, reply code) of a request."""
    sock = login(net, user, source)
    return sock, socks5.request(sock, command, destination).code


# ---- row 42: past a cap ----

def test_row42_connections_of_one_client(net, start, lan):
    """The third is closed at once, with nothing said; others feel nothing; a place that is free again is given again."""
    proxy = start({"limits": {"sessions_per_client": 2}})
    first, second = (net.client.connect(CLIENT_V4, lan) for _ in range(2))
    assert greeted(first) and greeted(second)
    third = net.client.connect(CLIENT_V4, lan)
    assert closed(third)
    assert greeted(net.neighbour.connect(NEIGHBOUR_V4, lan))
    first.close()
    wait_until(lambda: greeted(net.client.connect(CLIENT_V4, lan)), "a place")
    assert proxy.counters()["limited_sessions_per_client_total"] >= 1
    proxy.wait_log(r"info: limits: too many .*: limits\.sessions_per_client \(\d+\): client=10\.77\.0\.2 ")


def test_row42_an_ipv6_subscriber_is_one(net, start):
    """Any address of a /64 is the same client; one of another /64 is another."""
    start({"limits": {"sessions_per_client": 1}})
    net.client.ip("address replace fd77::2:2/64 dev eth0 nodad", "address replace fd78::2/64 dev eth0 nodad")
    net.proxy.ip("address replace fd78::1/64 dev eth0 nodad")
    to = (PROXY_V6, 1080)
    assert greeted(net.client.connect(CLIENT_V6, to))
    assert closed(net.client.connect("fd77::2:2", to))
    assert greeted(net.client.connect("fd78::2", to))


def test_row42_connections_in_all(net, start, lan):
    """Workers count together. The log tells the operator which key to raise."""
    proxy = start({"limits": {"sessions": 10}, "workers": 4})
    some = [net.client.connect(CLIENT_V4, lan) for _ in range(10)]
    assert all(greeted(sock) for sock in some)
    assert closed(net.neighbour.connect(NEIGHBOUR_V4, lan))
    assert proxy.counters()["limited_sessions_total"] == 1
    proxy.wait_log(r"warning: limits: too many .*: limits\.sessions \(\d+\)")
    some[0].close()
    wait_until(lambda: greeted(net.neighbour.connect(NEIGHBOUR_V4, lan)), "a place")


def test_row42_handshakes_of_one_client(net, start, lan, peer):
    """Those who have come to a request do not count; a neighbour does not feel who fills his share."""
    proxy = start({"limits": {"handshakes_per_client": 20}})
    associations = [Association(net.client, lan) for _ in range(30)]
    slow = [net.client.connect(CLIENT_V4, lan) for _ in range(60)]
    wait_until(lambda: proxy.counters().get("limited_handshakes_per_client_total", 0) == 40, "40 to be closed")
    assert sum(greeted(sock) for sock in slow) == 20
    assert all(association.alive(peer, 3) for association in associations)
    assert greeted(net.neighbour.connect(NEIGHBOUR_V4, lan))


def test_row42_connections_of_one_user(net, start, web):
    """Alice's third request gets reply 2, wherever she comes from; bob, who may have more, has his places."""
    users = [USERS[0], {**TWO_USERS[1], "sessions": 3}]
    proxy = start({"listen": LOGIN, "users": users, "limits": {"sessions_per_user": 2}})
    alice = [answer(net, ALICE, CONNECT, web) for _ in range(2)]
    assert [code for _, code in alice] == [0, 0]
    assert answer(net, ALICE, CONNECT, web)[1] == NOT_ALLOWED
    assert answer(net, ALICE, ASSOCIATE, ANY_V4)[1] == NOT_ALLOWED
    bob = [answer(net, BOB, CONNECT, web) for _ in range(4)]
    assert [code for _, code in bob] == [0, 0, 0, NOT_ALLOWED]
    alice[0][0].close()
    wait_until(lambda: answer(net, ALICE, CONNECT, web)[1] == 0, "a place")
    assert proxy.counters()["limited_sessions_per_user_total"] >= 3
    proxy.wait_log(r": limits\.sessions_per_user.*user=alice")


@pytest.mark.parametrize("key, others", [
    ("associations", ()), ("associations_per_client", ((NEIGHBOUR_V4, ALICE),)),
    ("associations_per_user", ((CLIENT_V4, BOB), (NEIGHBOUR_V4, BOB)))])
def test_row42_associations(net, start, peer, web, key, others):
    """One too many gets reply 2; those that there are relay on; who is not concerned gets his."""
    proxy = start({"listen": LOGIN, "users": TWO_USERS, "limits": {key: 2}})
    lan = (PROXY_V4, 1080)
    hosts = {CLIENT_V4: net.client, NEIGHBOUR_V4: net.neighbour}
    mine = [Association(net.client, lan, user=ALICE[0], password=ALICE[1]) for _ in range(2)]
    assert answer(net, ALICE, ASSOCIATE, ANY_V4)[1] == NOT_ALLOWED
    assert proxy.counters()[f"limited_{key}_total"] == 1
    proxy.wait_log(rf": limits\.{key}\b")
    for source, user in others:
        other = Association(hosts[source], lan, source=source, user=user[0], password=user[1])
        assert other.alive(peer, 5)
        other.close()
    assert answer(net, ALICE, CONNECT, web)[1] == 0  # which is no association
    assert all(association.alive(peer) for association in mine)
    mine[0].close()
    wait_until(lambda: answer(net, ALICE, ASSOCIATE, ANY_V4)[1] == 0, "a place")


def test_row42_charges_come_back(net, start, lan, peer, web):
    """A thousand sessions one after the other, of every fate, under caps of two: none of them stays charged."""
    caps = ("sessions", "sessions_per_client", "sessions_per_user", "associations", "associations_per_client",
            "associations_per_user", "handshakes_per_client")
    proxy = start({"listen": LOGIN, "users": USERS, "workers": 1,  # which sees the end of one before the next comes
                   "limits": {**dict.fromkeys(caps, 2), "failed_logins": "off"}})

    def fails_to_log_in():
        sock = net.client.connect(CLIENT_V4, lan)
        sock.sendall(b"\5\1\2" + socks5.login_message(ALICE[0], "wrong"))
        assert socks5.recv_all(sock) == b"\5\2\1\1"
        return sock

    def says_nonsense():
        sock = net.client.connect(CLIENT_V4, lan)
        sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert closed(sock)
        return sock

    def request(command, destination, code):
        sock, got = answer(net, ALICE, command, destination)
        assert got == code, proxy.log
        return sock

    fates = [
        lambda: request(CONNECT, web, 0),
        lambda: request(ASSOCIATE, ANY_V4, 0),
        lambda: request(CONNECT, (PROXY_V4, 1080), NOT_ALLOWED),  # forbidden
        lambda: request(CONNECT, (INET1_V4, 9), 5),  # refused by the destination
        lambda: request(9, ANY_V4, 7),  # no such command
        lambda: login(net, ALICE),  # gone before a request
        lambda: net.client.connect(CLIENT_V4, lan),  # gone before a word
        fails_to_log_in,
        says_nonsense,
    ]
    for number in range(1000):
        sock = fates[number % len(fates)]()
        if number % 3 == 0:  # reset
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert not [name for name in proxy.counters() if name.startswith("limited_")]
    # All places are there, and not one more.
    wait_until(proxy.is_idle, "the last to end")
    both = [Association(net.client, lan, user=ALICE[0], password=ALICE[1]) for _ in range(2)]
    assert closed(net.client.connect(CLIENT_V4, lan))
    assert all(association.alive(peer, 5) for association in both)


# ---- row 36: names ----

class SlowDns(servers.Dns):
    """Says nothing about names that it has no records of."""

    def answer(self, query):
        reply = super().answer(query)
        return reply if self.asked[-1][0] in self.records else None


def test_row36_one_user_floods_random_names(net, start, lan):
    """From one address, over associations and CONNECTs, and giving up at once: his share is all that is ever asked for,
    and another user's names, from the same address, are answered in under a second."""
    server = net.inet1.listen(INET1_V4)
    with SlowDns(net.inet2, INET2_V4, {f"good{number}.test": [INET1_V4] for number in range(10)}) as dns:
        proxy = start({"listen": LOGIN, "users": TWO_USERS, "workers": 1, "dns": {"servers": [INET2_V4]},
                       "limits": {"lookups_per_user": 8}}, leaves_lookups=True)
        associations = [Association(net.client, lan, user=ALICE[0], password=ALICE[1]) for _ in range(10)]
        for number in range(200):
            associations[number % 10].send((f"udp{number}.test", 9), b"flood")
        wait_until(lambda: proxy.counters().get("limited_lookups_per_user_total", 0) > 300, "the flood to be limited")
        for association in associations:
            association.close()  # what was asked for them is still on its way
        for number in range(40):
            sock = login(net, ALICE)
            sock.sendall(socks5.request_message(CONNECT, (f"tcp{number}.test", 9)))
            sock.close()
        wait_until(lambda: proxy.counters().get("limited_lookups_per_user_total", 0) > 450, "more to be limited")
        for number in range(10):
            before = time.monotonic()
            sock, reply = socks5.connect(net.client, lan, (f"good{number}.test", server.getsockname()[1]), user=BOB[0],
                                         password=BOB[1])
            assert reply.code == 0
            assert time.monotonic() - before < 1
            sock.close()
        flooded = {question for question in dns.asked if not question[0].startswith("good")}
        assert 2 <= len(flooded) <= 16  # 8 names, in both families
        proxy.wait_log(r": limits\.lookups_per_user \(\d+\): client=10\.77\.0\.2 user=alice")


# ---- row 41: slow handshakes ----

CROWD = 10000


@pytest.fixture
def crowd(net):
    """crowd(count) opens that many connections, each from an address of its own (10.99/16, all on the client host)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    net.client.ip("route replace local 10.99.0.0/16 dev lo")
    net.proxy.ip(f"route replace 10.99.0.0/16 via {CLIENT_V4}")

    def come(count, to):
        socks = []
        with net.client.enter():
            for number in range(count):
                sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                net.client.opened.append(sock)
                sock.setblocking(False)
                sock.bind((f"10.99.{number // 250}.{number % 250 + 1}", 0))
                with contextlib.suppress(BlockingIOError):
                    sock.connect(to)
                socks.append(sock)
        return socks

    yield come
    net.client.close_sockets()
    net.client.ip("route delete local 10.99.0.0/16 dev lo")
    net.proxy.ip("route delete 10.99.0.0/16")
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def count_ended(socks):
    """How many of them the proxy has closed so far; takes those out of `socks`."""
    ended = 0
    with selectors.EpollSelector() as selector:
        for sock in socks:
            selector.register(sock, selectors.EVENT_READ)
        for key, _ in selector.select(0):
            with contextlib.suppress(BlockingIOError):
                with contextlib.suppress(ConnectionError):
                    key.fileobj.recv(100)  # the answer to a greeting, once, or the end
                    if key.fileobj.recv(100):
                        continue
                ended += 1
                socks.remove(key.fileobj)
    return ended


def test_row41_slow_handshakes_end(net, start, lan, peer, crowd):
    """10,000 strangers, half of them silent and half dripping bytes: who is new is served meanwhile, who has an
    association keeps it, and the deadline ends them all, whatever they say. Fewer where descriptors are scarce."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    count = min(CROWD, hard - 2000)
    proxy = start({"timeouts": {"handshake": "8s"}}, nofile=hard)
    association = Association(net.client, lan)
    strangers = crowd(count, lan)
    wait_until(lambda: proxy.counters()["sessions_total"] == count + 1, "all to be accepted", 60)
    for sock in strangers[::2]:
        say(sock, b"\5")
    # The row's 100 ms are for a quiet machine; here it counts that it does not wait for them.
    assert Association(net.client, lan).alive(peer, 5)
    drips = 0

    def over():
        nonlocal drips
        drips += 1
        if drips % 100 == 0:
            for sock in strangers[::2]:
                say(sock, b"\5")
        count_ended(strangers)
        return not strangers

    wait_until(over, "the deadline to end them", 30)
    assert association.alive(peer)
    assert proxy.counters()["handshakes_failed_total"] == count


def test_row41_slow_handshakes_take_all_descriptors(net, start, lan, peer, crowd):
    """Their own deadline is minutes away, but when descriptors are short the one that has waited longest goes."""
    proxy = start({"timeouts": {"handshake": "10m"}, "workers": 1}, nofile=300)
    association = Association(net.client, lan)
    crowd(450, lan)
    wait_until(lambda: proxy.counters().get("limited_descriptors_total", 0) > 100, "the descriptors to run out")

    def served():
        with contextlib.suppress(OSError, EOFError):
            return Association(net.neighbour, lan, source=NEIGHBOUR_V4).alive(peer, 5)

    wait_until(served, "room")
    assert association.alive(peer)
    assert proxy.counters()["shed_handshakes_total"] > 0
    proxy.wait_log(r'why="longest without a request, ended to make room: descriptors ran out')


def test_row41_slow_handshakes_fill_the_limit(net, start, lan, peer, crowd):
    """The same with limits.sessions: whoever came first and says nothing does not keep everybody else out."""
    proxy = start({"timeouts": {"handshake": "10m"}, "limits": {"sessions": 100}, "listen": LISTEN[:1]})
    association = Association(net.client, lan)
    crowd(300, lan)
    wait_until(lambda: proxy.counters().get("limited_sessions_total", 0) >= 200, "the limit to be reached")

    def served():
        sock = net.neighbour.connect(NEIGHBOUR_V4, lan)
        return greeted(sock) and socks5.request(sock, ASSOCIATE, ANY_V4).code == 0

    wait_until(served, "room")
    assert association.alive(peer)
