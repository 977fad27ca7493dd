"""Sessions are spread over the workers, however few there are, and none is lost on its way from one to another."""
import contextlib
import errno
import signal

import pytest
import socks5
from daemon import wait_until
from faults import LIBRARY, Faults
from netns import CLIENT_V4, INET1_V4
from socks5 import Association
from test_admin import ADMIN
from test_status import status

WATCHED = {"admin": {"port": ADMIN[1]}}


def spread(net):
    """The number of sessions of each worker."""
    return [worker["sessions"] for worker in status(net)["workers"]]


@pytest.mark.parametrize("workers, clients", [(2, 2), (2, 4), (2, 5), (3, 9), (4, 4), (4, 16)])
def test_few_sessions_are_spread(net, serve, lan, workers, clients):
    serve({**WATCHED, "workers": workers})
    associations = [Association(net.client, lan) for _ in range(clients)]
    found = spread(net)
    assert sum(found) == clients and max(found) - min(found) <= 1, found
    # Those that leave make room for the next ones.
    for association in associations[:clients // 2]:
        association.close()
    wait_until(lambda: sum(spread(net)) == clients - clients // 2, "them to leave")
    associations[:clients // 2] = [Association(net.client, lan) for _ in range(clients // 2)]
    found = spread(net)
    assert sum(found) == clients and max(found) - min(found) <= 1, found


def test_many_at_once_are_spread(net, serve, lan):
    """Workers accept at the same time, and cannot know of each other's last ones."""
    proxy = serve({**WATCHED, "workers": 4})
    clients = [net.client.connect(CLIENT_V4, lan) for _ in range(100)]
    wait_until(lambda: sum(spread(net)) == len(clients), "all to be accepted")
    found = spread(net)
    assert max(found) - min(found) <= 6, found
    assert 0 < proxy.counters()["connections_handed_over_total"] < len(clients)
    for sock in clients:
        sock.sendall(b"\5\1\0")
        assert socks5.recv_exact(sock, 2) == b"\5\0"


def test_one_worker_keeps_them_all(net, start, lan):
    proxy = start({"workers": 1})
    associations = [Association(net.client, lan) for _ in range(8)]
    assert "connections_handed_over_total" not in proxy.counters()
    for association in associations:
        association.close()


def test_limits_count_each_connection_once(net, start, lan):
    proxy = start({"workers": 4, "limits": {"sessions": 10}})
    clients = [net.client.connect(CLIENT_V4, lan) for _ in range(9)]
    for sock in clients:
        sock.sendall(b"\5\1\0")
        assert socks5.recv_exact(sock, 2) == b"\5\0"
    association = Association(net.client, lan)
    assert association.alive(net.inet1.udp(INET1_V4), 5)
    assert "limited_sessions_total" not in proxy.counters()


@pytest.mark.skipif(not LIBRARY.exists(), reason="sanitizers cannot be preloaded over, so faults.so is not built")
def test_without_memory_a_worker_keeps_it(net, serve, lan, folder):
    """Where the first allocation for a connection that would be handed over fails, the worker serves it itself."""
    faults = Faults(folder)
    serve({**WATCHED, "workers": 2}, environment=faults.environment)
    with contextlib.closing(Association(net.client, lan)):
        for _ in range(100):
            faults.set("allocation", errno.ENOMEM)
            try:
                with contextlib.closing(Association(net.client, lan)):
                    assert faults.clear()["allocation"] == 1
                    if sorted(spread(net)) == [0, 2]:
                        return
            except (OSError, EOFError):  # the other worker accepted it, and had no memory for the session
                faults.clear()
            wait_until(lambda: sum(spread(net)) == 1, "it to leave")
    pytest.fail("no connection was kept")


@pytest.mark.parametrize("count", [4, 16, 64])
def test_a_drain_serves_those_on_their_way(net, start, lan, count):
    """What one worker has accepted and another is to serve counts as a session, too."""
    proxy = start({"workers": 4, "timeouts": {"drain": "30s"}})
    server = net.inet1.listen(INET1_V4)
    clients = [net.client.connect(CLIENT_V4, lan) for _ in range(count)]
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections")
    for sock in clients:
        sock.sendall(b"\5\1\0" + socks5.request_message(socks5.CONNECT, server.getsockname()))
        assert socks5.recv_exact(sock, 2) == b"\5\0"
        assert socks5.recv_reply(sock).code == 0
        sock.close()
    server.close()
    assert proxy.process.wait(10) == 0
    assert not [row for row in proxy.sessions() if row["why"] == "server stops"]
