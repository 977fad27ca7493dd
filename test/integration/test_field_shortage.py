"""Shortage is paid by whoever causes it: one client uses up descriptors or memory, under real limits; others do not
notice, and the process can still be watched, reloaded and replaced."""
import contextlib
import os
import re
import time

import pytest
import servers
import socks5
from daemon import PATIENCE, wait_until
from netns import CLIENT_V4, INET1_V4, INET2_V4, NEIGHBOUR_V4, STRANGER_V4
from socks5 import ASSOCIATE, CONNECT, Association, OverTcp
from test_admin import ADMIN, ask
from test_memory import SANITIZED, killed_in, limited_group  # pylint: disable=unused-import
from test_upgrade import config, upgrade  # pylint: disable=unused-import

LIMITED_GROUP, CONFIG, UPGRADE = limited_group, config, upgrade  # fixtures, used by their names
NOFILE = 256
REFUSED = (OSError, EOFError)
GREETING = b"\5\1\0"
NOT_SANITIZED = pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is more than the limit")


@pytest.fixture
def silent(net):
    """Addresses to which a route leads, and where nobody is: 10.99.0.0/16 and fd99::/64."""
    net.proxy.ip("link add silent0 type veth peer name silent1", "addr add 10.99.0.1/16 dev silent0",
                 "addr add fd99::1/64 dev silent0 nodad", "link set silent0 arp off up", "link set silent1 up")
    yield "10.99.0.5"
    net.proxy.ip("link del silent0")


def ask_for(net, lan, destination, count):
    """Requests of the client, as fast as they go: not one waits for its answer."""
    socks = []
    for _ in range(count):
        with contextlib.suppress(*REFUSED):
            socks.append(net.client.connect(CLIENT_V4, lan))
            socks[-1].sendall(GREETING + socks5.request_message(CONNECT, destination))
    return socks


def newcomer(host, source, lan):
    """Seconds that a new client waits for an association, and its code; None: the connection was closed at once."""
    begin, code = time.monotonic(), None
    with contextlib.suppress(*REFUSED):
        with host.connect(source, lan) as sock:
            socks5.negotiate(sock)
            code = socks5.request(sock, ASSOCIATE, socks5.ANY_V4).code
    return time.monotonic() - begin, code


def works_while_full(net, proxy):
    """Whoever watches or changes the server is served, and hears of it."""
    status, _, text = ask(net, "/readyz")
    assert status == 503 and "descriptors are short" in text
    status, _, text = ask(net, "/metrics")
    assert status == 200 and int(re.search(r"^process_open_fds (\d+)", text, re.MULTILINE)[1]) < NOFILE - 8
    assert proxy.reload()
    return True


def test_row61_a_client_that_dials_a_silent_host(net, serve, lan, peer, silent):
    """Found by an attacker: 1,000 CONNECTs to a host that does not answer ended the quiet associations of others, and
    nobody new came in. Its own requests make room, and the log names it."""
    proxy = serve({"admin": {"port": ADMIN[1]}, "timeouts": {"connect": "4s"}}, nofile=NOFILE)
    quiet = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
    flood = ask_for(net, lan, (silent, 80), 2 * NOFILE)
    proxy.wait_log(rf"descriptors are short: .* client {re.escape(CLIENT_V4)} holds most")
    assert works_while_full(net, proxy)
    for _ in range(5):
        seconds, code = newcomer(net.stranger, STRANGER_V4, lan)
        assert code == 0 and seconds < 2
        flood += ask_for(net, lan, (silent, 80), 10)
    assert quiet.alive(peer)
    counters = proxy.counters()
    assert counters["shed_dials_total"] > NOFILE / 2 and "shed_associations_total" not in counters
    for sock in flood:
        sock.close()
    wait_until(lambda: ask(net, "/readyz")[0] == 200, "readiness", 2 * PATIENCE)


def test_row61_a_client_with_idle_streams(net, serve, lan, peer):
    """The same with connections that are there: the latest of them ends for somebody who holds much less; who holds most
    gets no more himself, and hears that at once."""
    proxy = serve({"admin": {"port": ADMIN[1]}}, nofile=NOFILE)
    quiet = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
    with servers.Web(net.inet1, INET1_V4) as web:
        held = ask_for(net, lan, web.socket.getsockname(), NOFILE)
        proxy.wait_log("descriptors are short")
        assert works_while_full(net, proxy)
        for _ in range(5):
            seconds, code = newcomer(net.stranger, STRANGER_V4, lan)
            assert code == 0 and seconds < 2

        def is_refused():
            held.extend(ask_for(net, lan, web.socket.getsockname(), 10))
            seconds, code = newcomer(net.client, CLIENT_V4, lan)
            return code != 0 and seconds < 2

        wait_until(is_refused, "the holder to be refused")
        assert quiet.alive(peer)
        assert 1 <= proxy.counters()["shed_latest_total"] < 40
        for sock in held:
            sock.close()


def test_row61_another_process_takes_over_meanwhile(net, serve, config, upgrade, lan, peer, silent):
    old = serve(config({"timeouts": {"connect": "4s"}}), nofile=NOFILE)
    quiet = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
    flood = ask_for(net, lan, (silent, 80), 2 * NOFILE)
    old.wait_log("descriptors are short")
    upgrade()
    assert Association(net.stranger, lan, source=STRANGER_V4).alive(peer, 5)
    assert quiet.alive(peer)
    for sock in flood:
        sock.close()
    quiet.close()
    wait_until(lambda: old.process.poll() is not None, "the old process to end", 2 * PATIENCE)


# Memory: what grows after a session was let in.


def stays_well(net, lan, peer, proxy, group, quiet):
    """Alive, the quiet association of somebody else too, and who is new is served."""
    assert proxy.process.poll() is None and killed_in(group) == 0
    assert quiet.alive(peer, 20)
    assert [newcomer(net.stranger, STRANGER_V4, lan)[1] for _ in range(5)] == [0] * 5
    assert quiet.alive(peer, 20) and killed_in(group) == 0
    assert "shed_associations_total" not in proxy.counters()
    return True


@NOT_SANITIZED
def test_row60_frames_that_have_begun(net, limited_group, start, lan, peer):
    """Found by an attacker: 1,000 connections with half a frame each were an end by lack of memory. Beginnings beyond
    what is lent to a client are dropped, and the association goes on with the next frame."""
    group = limited_group(1, 64 << 20)
    proxy = start(group=group)
    quiet = OverTcp(net.neighbour, lan, source=NEIGHBOUR_V4)
    frame = socks5.frame(peer.getsockname(), bytes(65_000))
    begun = [OverTcp(net.client, lan) for _ in range(1000)]
    for association in begun:
        association.control.sendall(frame[:60_000])
    wait_until(lambda: proxy.dropped("unfinished") > 800, "most beginnings to be dropped")
    assert stays_well(net, lan, peer, proxy, group, quiet)
    begun[-1].control.sendall(frame[60_000:])
    assert begun[-1].alive(peer, 5)
    for association in begun:
        association.close()


@NOT_SANITIZED
def test_row60_requests_to_32_silent_addresses(net, limited_group, start, lan, peer, silent):
    """Found by an attacker: 600 CONNECTs to names with 16 silent addresses of each family opened 19,200 sockets."""
    group = limited_group(1, 64 << 20)
    addresses = [f"10.99.1.{i}" for i in range(16)] + [f"fd99::1:{i:x}" for i in range(16)]
    with servers.Dns(net.inet2, INET2_V4, {f"{i}.test": addresses for i in range(50)}) as dns:
        proxy = start({"dns": {"servers": [dns.address]}, "reach": "all"}, group=group, leaves_lookups=True)
        quiet = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
        flood = sum((ask_for(net, lan, (f"{i}.test", 80), 12) for i in range(50)), [])
        for _ in range(8):
            time.sleep(0.25)  # a new attempt of each
            assert proxy.process.poll() is None
        assert len(os.listdir(f"/proc/{proxy.pid}/fd")) < 6 * len(flood)
        assert stays_well(net, lan, peer, proxy, group, quiet)
        for sock in flood:
            sock.close()


@NOT_SANITIZED
def test_row60_tables_of_destinations(net, limited_group, start, lan, peer, silent):
    """Found by an attacker: stricter filtering remembers 4,096 destinations for each association, and was bounded by
    nothing else. Who does not fit any more forgets his own first."""
    group = limited_group(1, 24 << 20)
    proxy = start({"udp": {"filtering": "address-and-port-dependent"}, "reach": "all"}, group=group)
    quiet = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
    assert quiet.alive(peer, 1)
    flood = [Association(net.client, lan) for _ in range(60)]
    for number in range(4000):
        datagram = socks5.wrap(("10.99.2.2", 1000 + number), b"x")
        for association in flood:
            association.send_raw(datagram)
    wait_until(lambda: proxy.counters().get("udp_up_datagrams_total", 0) > 150_000, "the datagrams")
    assert stays_well(net, lan, peer, proxy, group, quiet)
    assert flood[0].alive(peer, 5)
