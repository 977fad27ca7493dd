"""What the system refuses: each call that may fail, each errno, and each n-th of them. A clean failure with the truth for
a reply, nothing left behind, and the next client served as if nothing had been."""
import errno
import os
import time

import pytest
import servers
import socks5
from daemon import PATIENCE, PROGRAM, wait_until
from faults import LIBRARY, Faults
from netns import CLIENT_V4, INET1_V4, INET2_V4, PROXY_V4
from socks5 import Association

pytestmark = pytest.mark.skipif(not LIBRARY.exists(), reason="sanitizers cannot be preloaded over, so faults.so is not built")

SHORTAGES = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"]


@pytest.fixture
def faults(tmp_path):
    return Faults(tmp_path)


@pytest.fixture
def proxy(start, faults):
    """One worker, and nobody's lookups of its own."""
    return start({"workers": 1}, environment=faults.environment)


@pytest.fixture
def origin(net):
    return net.inet1.listen(INET1_V4)


def ask(net, lan, command, destination):
    """The reply's code; the connection ends with it unless it is 0."""
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    code = socks5.request(sock, command, destination).code
    if code != 0:
        assert socks5.recv_all(sock) == b""
    sock.close()
    return code


def well_again(net, lan, proxy, faults):
    """Nothing was left behind, and everything works."""
    faults.clear()
    net.client.close_sockets()
    wait_until(proxy.is_idle, "the descriptors to come back")
    assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4))
    assert exchange(net, lan, net.inet1.listen(INET1_V4)) == 100_000
    net.client.close_sockets()
    wait_until(proxy.is_idle, "the descriptors to come back")


def exchange(net, lan, origin, size=100_000):
    """How much of `size` bytes comes through a stream from the origin, all of it as it was sent; None: refused."""
    sock, reply = socks5.connect(net.client, lan, origin.getsockname())
    if reply.code != 0:
        return None
    remote, _ = origin.accept()
    net.inet1.opened.append(remote)
    data = servers.pattern(size)
    remote.sendall(data)
    remote.shutdown(1)
    received = socks5.recv_all(sock)
    sock.close()
    remote.close()
    assert data.startswith(received)
    return len(received)


@pytest.mark.parametrize("error", SHORTAGES)
def test_row40_accept(net, faults, proxy, lan, peer, error):
    """Who waits is served once there is room again."""
    faults.set("accept4", getattr(errno, error), count=3)
    assert Association(net.client, lan).alive(peer, 5)
    assert faults.hits("accept4") == 3 and proxy.counters()["accept_failed_total"] == 3
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", SHORTAGES)
@pytest.mark.parametrize("call", ["socket", "bind"])
def test_row40_associate(net, faults, proxy, lan, call, error):
    """The relay's socket first, then the external one: each refusal is a general failure."""
    for skip in range(2):
        faults.set(call, getattr(errno, error), skip)
        assert ask(net, lan, socks5.ASSOCIATE, socks5.ANY_V4) == 1
        assert faults.hits(call) == 1
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", [*SHORTAGES, "EAGAIN"])
@pytest.mark.parametrize("call", ["socket", "connect"])
def test_row40_connect(net, faults, proxy, lan, origin, call, error):
    faults.set(call, getattr(errno, error))
    assert ask(net, lan, socks5.CONNECT, origin.getsockname()) == 1
    assert faults.hits(call) == 1
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", SHORTAGES)
@pytest.mark.parametrize("call, skip", [("socket", 0), ("socket", 1), ("bind", 0)])
def test_row40_bind(net, faults, proxy, lan, call, skip, error):
    """The socket that finds the way first, then the port's."""
    faults.set(call, getattr(errno, error), skip)
    assert ask(net, lan, socks5.BIND, (INET1_V4, 0)) == 1
    assert faults.hits(call) == 1
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", SHORTAGES)
def test_row40_bind_cannot_accept(net, faults, proxy, lan, error):
    """The second reply says so, and the peer is not left waiting."""
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    first = socks5.request(sock, socks5.BIND, (INET1_V4, 0))
    faults.set("accept4", getattr(errno, error))
    with pytest.raises(ConnectionResetError):  # maybe before connect() has returned
        net.inet1.connect(INET1_V4, first.address).recv(1)
    assert socks5.recv_reply(sock).code == 1
    assert socks5.recv_all(sock) == b""
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", SHORTAGES)
def test_row40_the_client_cannot_be_held(net, faults, proxy, lan, peer, error):
    """connect() keeps strangers out in the kernel; where it fails, the program still does."""
    association, stranger = Association(net.client, lan), net.stranger.udp("10.77.0.66")
    faults.set("connect", getattr(errno, error), count=1000)
    assert association.alive(peer)
    stranger.sendto(socks5.wrap(peer.getsockname(), b"mine"), association.relay)
    assert association.alive(peer) and faults.hits("connect") > 0
    assert proxy.dropped("stranger") == 1
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "EAGAIN"])
@pytest.mark.parametrize("call", ["sendmmsg", "sendmsg"])
@pytest.mark.parametrize("skip", [0, 1, 2])
def test_row40_in_mid_batch(net, faults, proxy, lan, peer, call, error, skip):
    """Of one batch what cannot be sent is counted, what can arrives in order, and nothing twice."""
    association = Association(net.client, lan)
    assert association.alive(peer, 3)
    other = net.inet2.udp(INET2_V4)
    targets = [peer, other, peer, peer, other] * 4
    with proxy.stopped():
        for number, target in enumerate(targets):
            association.send(target.getsockname(), b"%d" % number)
        faults.set(call, getattr(errno, error), skip, count=2)
    association.send(peer.getsockname(), b"last")
    received = {peer: until_last(peer), other: drain(other)}
    for sock, numbers in received.items():
        assert numbers == sorted(set(numbers)) and all(targets[number] is sock for number in numbers)
    counted = sum(count for name, count in proxy.counters().items() if name.startswith("udp_dropped_"))
    assert sum(map(len, received.values())) + counted == len(targets)
    assert counted > 0 or faults.hits(call) < 2
    well_again(net, lan, proxy, faults)


def until_last(sock):
    numbers = []
    while (data := sock.recv(100)) != b"last":
        numbers.append(int(data))
    return numbers


def drain(sock):
    numbers = []
    sock.settimeout(0.3)
    try:
        while True:
            numbers.append(int(sock.recv(100)))
    except TimeoutError:
        return numbers


@pytest.mark.parametrize("error", ["ENOBUFS", "ENOMEM", "EAGAIN"])
@pytest.mark.parametrize("call", ["recvmmsg", "recvmsg"])
def test_row40_receiving(net, faults, proxy, lan, peer, call, error):
    """What waits is read a moment later."""
    association = Association(net.client, lan)
    with proxy.stopped():
        for number in range(20):
            association.send(peer.getsockname(), b"%d" % number)
        faults.set(call, getattr(errno, error), count=2)
    association.send(peer.getsockname(), b"last")
    assert until_last(peer) == list(range(20))
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("skip", [0, 1, 5])
@pytest.mark.parametrize("call, error", [("pipe2", "EMFILE"), ("pipe2", "ENFILE"), ("pipe2", "ENOMEM"), ("splice", "EAGAIN")])
def test_row40_a_stream_goes_on(net, faults, proxy, lan, origin, call, error, skip):
    """Without a pipe bytes are copied; whoever must wait waits."""
    faults.set(call, getattr(errno, error), skip, count=3)
    assert exchange(net, lan, origin, 3_000_000) == 3_000_000
    assert faults.hits(call) > 0 or skip > 0
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("error", ["ENOMEM", "ENOBUFS"])
def test_row40_a_stream_that_cannot_go_on_is_reset(net, faults, proxy, lan, origin, error):
    """It must not look complete."""
    faults.set("splice", getattr(errno, error), skip=3, count=1)
    sock, _ = socks5.connect(net.client, lan, origin.getsockname())
    remote, _ = origin.accept()
    net.inet1.opened.append(remote)
    with pytest.raises(ConnectionError):
        remote.sendall(servers.pattern(20_000_000))
    with pytest.raises(ConnectionResetError):
        while sock.recv(1 << 16):
            pass
    well_again(net, lan, proxy, faults)


@pytest.mark.parametrize("seconds", [86_400, -86_400])
def test_row34_the_wall_clock_jumps(net, start, faults, lan, peer, origin, seconds):
    """By a day: what there is lives on, idle limit or not, and what is new comes to be."""
    with servers.Dns(net.inet2, INET2_V4, {"one.test": [INET1_V4]}) as dns:
        proxy = start({"workers": 1, "udp": {"idle": "2m"}, "dns": {"servers": [dns.address]}}, environment=faults.environment)
        association = Association(net.client, lan)
        sock, _ = socks5.connect(net.client, lan, ("one.test", origin.getsockname()[1]))
        remote, _ = origin.accept()
        remote.settimeout(5)
        association.send(("one.test", peer.getsockname()[1]), b"before")
        assert peer.recv(100) == b"before"
        faults.set_clock_ahead(seconds)
        time.sleep(2.5)  # longer than it takes the daemon to look for what is idle
        assert association.alive(peer)
        association.send(("one.test", peer.getsockname()[1]), b"after")
        assert peer.recv(100) == b"after"
        sock.sendall(b"after")
        assert socks5.recv_exact(remote, 5) == b"after"
        remote.close()
        assert proxy.sessions(command="udp") == []
        well_again(net, lan, proxy, faults)


# Each n-th call fails, once, whichever it is.


def serve_once(net, lan, peer, origin):
    """A session of each kind, as far as it gets: whatever it is refused, it is told so, or its connection ends."""
    by_name = [("one.test", sock.getsockname()[1]) for sock in (peer, origin)]
    for command, destination in ((socks5.ASSOCIATE, socks5.ANY_V4), (socks5.CONNECT, origin.getsockname()),
                                 (socks5.CONNECT, by_name[1])):
        sock = net.client.connect(CLIENT_V4, lan)
        try:
            socks5.negotiate(sock)
            reply = socks5.request(sock, command, destination)
        except (EOFError, ConnectionError):
            continue
        if reply.code == 0 and command == socks5.ASSOCIATE:
            udp = net.client.udp(CLIENT_V4)
            for target in (peer.getsockname(), by_name[0]):
                udp.sendto(socks5.wrap(target, b"x"), reply.address)
        elif reply.code == 0:
            remote, _ = origin.accept()
            remote.sendall(b"x")
            remote.close()
            assert socks5.recv_all(sock) in (b"x", b"")
        sock.close()


@pytest.mark.parametrize("call, error, most", [("any", "ENOMEM", 100), ("any", "EMFILE", 100), ("allocation", "ENOMEM", 300)])
def test_row46_each_nth_of_the_sessions(net, start, faults, lan, peer, origin, call, error, most):
    """No crash, no leak, and nobody waits for ever."""
    with servers.Dns(net.inet2, INET2_V4, {"one.test": [INET1_V4]}) as dns:
        proxy = start({"workers": 1, "dns": {"servers": [dns.address], "timeout": "500ms"}},
                      environment=faults.environment, leaves_lookups=True)
        for skip in range(most):
            faults.set(call, getattr(errno, error), skip)
            serve_once(net, lan, peer, origin)
            assert proxy.process.poll() is None, f"the {skip + 1}th {call} ended it"
            hits = faults.clear()[call]
            net.client.close_sockets()
            if not hits:
                break
        assert skip > 10
        well_again(net, lan, proxy, faults)


def test_row46_each_nth_allocation_of_the_start(net, faults, tmp_path):
    """It serves, or says that it cannot. Each of the first, which are its own; then one here and there, of its libraries."""
    config = tmp_path / "start.yaml"
    config.write_text(f"listen: [{{address: {PROXY_V4}, port: 1080, auth: none, open: true}}]\nworkers: 1\n")
    refused = 0
    for skip in [*range(300), *range(300, 10_000, 97)]:
        faults.set("allocation", errno.ENOMEM, skip)
        with open(tmp_path / "log", "w+b") as log:
            process = net.proxy.start(PROGRAM, "-c", str(config), stdout=log, stderr=log, env=os.environ | faults.environment)
            wait_until(lambda: process.poll() is not None or b"listening on" in os.pread(log.fileno(), 10_000, 0),
                       f"the start without allocation {skip}")
            hits = faults.clear()["allocation"]
            process.terminate()
            status = process.wait(PATIENCE)
            said = os.pread(log.fileno(), 10_000, 0)
        assert status in (0, 1) and said, f"allocation {skip}: {status}, {said}"
        refused += status == 1
        if not hits:
            break
    assert refused > 10
