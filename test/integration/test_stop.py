"""The end of the server, at once or gently, as its clients see it."""
import signal
import threading
import time

import pytest
import servers
import socks5
from conftest import LISTEN, lan_config
from daemon import wait_until
from netns import INET1_V4
from socks5 import Association

DRAIN = {"timeouts": {"drain": "1h"}}


@pytest.fixture
def far(net):
    """The other end of the streams."""
    return net.inet1.listen(INET1_V4)


def stream(net, lan, far):
    """(the client's end, the other end)"""
    sock, reply = socks5.connect(net.client, lan, far.getsockname())
    assert reply.code == 0
    return sock, far.accept()[0]


def carries(ends):
    """Whether bytes arrive in both directions."""
    for sender, receiver in (ends, ends[::-1]):
        sender.sendall(b"hello")
        if socks5.recv_exact(receiver, 5) != b"hello":
            return False
    return True


def is_refused(net, lan):
    try:
        net.client.connect(None, lan).close()
    except ConnectionRefusedError:
        return True
    return False


def ended(proxy):
    return wait_until(lambda: proxy.process.poll() is not None, "the end") and proxy.process.returncode == 0


def test_drain(net, start, lan, far, peer):
    """Sessions continue, a handshake under way is finished, no new client is accepted; it ends with the last session."""
    proxy = start(DRAIN)
    association, ends = Association(net.client, lan), stream(net, lan, far)
    half = net.client.connect(None, lan)
    socks5.negotiate(half)
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections; 3 sessions continue for at most 3600 s")
    wait_until(lambda: is_refused(net, lan), "the listener to close")
    assert association.alive(peer, 20) and carries(ends)
    assert socks5.request(half, socks5.CONNECT, far.getsockname()).code == 0
    late = (half, far.accept()[0])
    assert carries(late)
    for sock in (*ends, association.control):
        sock.close()
    proxy.session(command="udp")
    proxy.session(command="connect")
    assert carries(late)
    late[0].close()
    late[1].close()
    assert ended(proxy)
    proxy.wait_log("the last session has ended")
    assert not [row for row in proxy.sessions() if row["why"] == "server stops"]


def test_drain_has_an_end(net, start, lan, peer):
    proxy = start({"timeouts": {"drain": "1s"}})
    association = Association(net.client, lan)
    assert association.alive(peer, 5)
    proxy.process.send_signal(signal.SIGTERM)
    assert ended(proxy)
    proxy.wait_log("timeouts.drain is over: 1 session is cut")
    assert proxy.session()["why"] == "server stops"


def test_drain_without_sessions(start):
    proxy = start(DRAIN)
    proxy.process.send_signal(signal.SIGTERM)
    assert ended(proxy)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_drain(net, start, lan, number):
    proxy = start(DRAIN)
    association = Association(net.client, lan)
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections")
    proxy.process.send_signal(number)
    assert association.control.recv(1) == b"" and ended(proxy)


def test_signals_while_it_ends_do_not_kill_it(start):
    """The process exits with status 0, whenever a further signal comes."""
    for _ in range(5):
        process = start().process
        process.send_signal(signal.SIGTERM)
        for _ in range(5000):
            if process.poll() is not None:
                break
            process.send_signal(signal.SIGTERM)
            time.sleep(0.0005)
        assert process.wait(10) == 0


def test_no_reload_while_it_drains(net, start, lan, peer):
    proxy = start(DRAIN)
    association = Association(net.client, lan)
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections")
    proxy.configure(lan_config({"udp": {"enabled": False}}))
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_log("warning: reload: SIGHUP: not reloaded")
    assert association.alive(peer, 5)
    association.close()
    assert ended(proxy)


def test_a_reload_that_waits_for_another_is_refused_as_well(net, serve, lan):
    """Else a server that drains opens listeners and serves. To find that these rules leave nothing takes milliseconds for
    each association, so the first reload is not done before the second is asked for."""
    config = {**DRAIN, "workers": 1}
    proxy = serve(config)
    associations = [Association(net.client, lan) for _ in range(120)]
    half = net.client.connect(None, lan)
    ranges = [f"{first}-{min(first + 163, 65535)}" for first in range(1, 65536, 164)]
    proxy.configure(lan_config({**config, "rules": [{"action": "deny", "ports": [ports]} for ports in ranges]}))
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_log("no longer allowed by the configuration")
    proxy.configure(lan_config({**config, "listen": [*LISTEN, {**LISTEN[0], "port": 1081}]}))
    with proxy.stopped():
        proxy.process.send_signal(signal.SIGHUP)
        proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections")
    proxy.wait_log("reload: configuration reloaded")
    proxy.wait_log("reload: SIGHUP: not reloaded")
    assert len(associations) == 120 and is_refused(net, (lan[0], 1081))
    half.close()
    assert ended(proxy)


def test_the_drain_of_a_reload_counts(net, serve, lan, peer):
    proxy = serve()
    association = Association(net.client, lan)
    assert proxy.reload(lan_config(DRAIN))
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections")
    assert association.alive(peer, 5)
    association.close()
    assert ended(proxy)


def test_connections_that_wait_to_be_accepted_are_served(net, start, lan):
    """The kernel has told these clients that they are connected: they must not be reset."""
    proxy = start({**DRAIN, "workers": 1, "limits": {"handshakes_per_client": "unlimited"}})
    with proxy.stopped():
        waiting = [net.client.connect(None, lan, timeout=10) for _ in range(300)]
        proxy.process.send_signal(signal.SIGTERM)
    for sock in waiting:
        socks5.negotiate(sock)
    for sock in waiting:
        sock.close()
    assert ended(proxy)


def test_row57_sigterm_under_load(net, start, lan, far):
    """By default at once: status 0, and a server that starts within the next second gets the port."""
    over = threading.Event()

    def churn():
        while not over.is_set():
            try:
                with net.client.connect(None, lan) as sock:
                    socks5.negotiate(sock)
                    socks5.request(sock, socks5.ASSOCIATE, socks5.ANY_V4)
            except (OSError, EOFError):
                pass

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            proxy = start()
            ends = [stream(net, lan, far) for _ in range(5)]
            wait_until(lambda p=proxy: p.counters().get("associations_total", 0) > 20, "a load")
            ends[0][0].sendall(servers.pattern(100000))
            proxy.process.send_signal(signal.SIGTERM)
            begun = time.monotonic()
            assert ended(proxy)
            again = start()
            print(f"back after {time.monotonic() - begun:.2f} s")
            assert carries(stream(net, lan, far))
            again.process.send_signal(signal.SIGTERM)
            assert ended(again)
    finally:
        over.set()
        for thread in threads:
            thread.join()
