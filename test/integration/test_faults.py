"""Shortage, signals and threads."""
import signal
import threading
import time

import pytest
import socks5
from daemon import SANITIZED, wait_until
from netns import CLIENT_V4, INET1_V4
from socks5 import Association


def test_row39_descriptors_run_out(net, start, lan, peer):
    """No spin while there are none; who has an association keeps it; the next is refused at once, and served once some
    are free."""
    proxy = start({"workers": 1}, nofile=64)
    association = Association(net.client, lan)
    idle = [net.client.connect(CLIENT_V4, lan) for _ in range(100)]
    wait_until(lambda: proxy.counters().get("limited_descriptors_total", 0) > 30, "the descriptors to run out")
    assert association.alive(peer)
    before = proxy.cpu_seconds()
    time.sleep(2)
    assert proxy.cpu_seconds() - before < (0.2 if SANITIZED else 0.1)  # of 2 s: 5 %
    assert association.alive(peer)
    for sock in idle:
        sock.close()
    assert Association(net.client, lan).alive(peer)


def test_row39_no_descriptor_for_the_external_socket(net, start, lan, peer):
    """Sessions that get in but find no descriptor for their request are told so; none hangs."""
    proxy = start({"workers": 1}, nofile=64)
    answers = []
    control = [net.client.connect(CLIENT_V4, lan) for _ in range(30)]
    for sock in control:
        socks5.negotiate(sock)
    for sock in control:
        answers.append(socks5.request(sock, socks5.ASSOCIATE, socks5.ANY_V4).code)
    assert 0 in answers and set(answers) - {0} == {1}
    for sock in control:
        sock.close()
    wait_until(proxy.is_idle, "the descriptors to come back")
    assert Association(net.client, lan).alive(peer)


def churn(net, lan, peer, server, count):
    """Sessions of each kind that come, do a little and go, each in another way."""
    for number in range(count):
        association = Association(net.client, lan)
        association.send(peer.getsockname(), b"%d" % number)
        sock, reply = socks5.connect(net.client, lan, server.getsockname())
        assert reply.code == 0
        remote, _ = server.accept()
        sock.sendall(b"request")
        (remote if number % 2 else sock).close()
        for end in (sock, remote, association.udp):
            end.close()
        refused, reply = socks5.connect(net.client, lan, ("127.0.0.1", 1))
        assert reply.code == 2
        refused.close()
        association.close()


def test_row47_churn_leaves_nothing_behind(net, start, lan):
    """A short one; test/bench/check_server's is longer."""
    proxy = start({"workers": 1})
    peer, server = net.inet1.udp(INET1_V4), net.inet1.listen(INET1_V4)
    churn(net, lan, peer, server, 300)
    wait_until(proxy.is_idle, "the descriptors to come back")
    before = proxy.memory()
    churn(net, lan, peer, server, 900)
    wait_until(proxy.is_idle, "the descriptors to come back")
    # 2,700 sessions later: less than 100 bytes for each.
    assert SANITIZED or proxy.memory() - before < 256


def test_signal_usr1_sums_over_all_threads(net, start, lan):
    proxy = start({"workers": 4})
    server = net.inet1.listen(INET1_V4)
    for _ in range(40):
        sock, reply = socks5.connect(net.client, lan, server.getsockname())
        assert reply.code == 0
        server.accept()[0].close()
        sock.close()
    wait_until(lambda: proxy.counters().get("sessions_ended_total") == 40, "the sessions to end")
    counters = proxy.counters()
    assert counters["sessions_total"] == counters["connects_total"] == 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_row57_signal_ends_it_under_load(net, start, lan, peer, number):
    """A clean exit with sessions of every kind open, and the port can be bound again at once."""
    proxy = start({"workers": 4})
    server = net.inet1.listen(INET1_V4)
    associations = [Association(net.client, lan) for _ in range(20)]
    streams = [socks5.connect(net.client, lan, server.getsockname())[0] for _ in range(20)]
    half = net.client.connect(CLIENT_V4, lan)
    half.sendall(b"\5")
    stop = threading.Event()

    def load():
        while not stop.is_set():
            for association in associations:
                association.send(peer.getsockname(), b"load")
            time.sleep(0.001)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        peer.recv(100)
        proxy.process.send_signal(number)
        assert proxy.process.wait(10) == 0
    finally:
        stop.set()
        thread.join()
    for sock in (*streams, *(association.control for association in associations)):
        assert socks5.recv_all(sock) == b""
    assert len(proxy.sessions(command="udp")) == 20 and len(proxy.sessions(command="connect")) == 20
    start({"workers": 4})
    assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4), 5)


def test_threads_share_the_clients(net, start, lan, peer):
    """Associations and streams over four workers, from several threads, while counters are read and sessions come and go."""
    proxy = start({"workers": 4})
    server = net.inet1.listen(INET1_V4)
    errors = []

    def churn():
        try:
            for _ in range(20):
                association = Association(net.client, lan)
                sock, reply = socks5.connect(net.client, lan, server.getsockname())
                assert reply.code == 0
                association.send(peer.getsockname(), b"x")
                association.close()
                association.udp.close()
                server.accept()[0].close()
                sock.close()
        except Exception as error:  # said by the main thread
            errors.append(error)

    threads = [threading.Thread(target=churn) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        proxy.counters()
    for thread in threads:
        thread.join()
    assert not errors
    wait_until(lambda: proxy.counters().get("sessions_ended_total") == 160, "the sessions to end")
    assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4))
