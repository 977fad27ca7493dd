"""Streams, as reports about other SOCKS5 servers and an attacker found them (rows 64 to 66)."""
import contextlib
import signal
import socket
import threading
import time

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import PROGRAM, Conesocks, wait_until
from faults import LIBRARY, Faults
from netns import CLIENT_V4, INET1_V4, INET2_V4
from socks5 import OverTcp

VIA_FAR = {"upstreams": [{"name": "far", "address": INET2_V4, "port": 1080}], "outbound": {"upstream": "far"}}


@pytest.fixture(params=["direct", "through an upstream"])
def way(request, net, start, tmp_path):
    """A proxy whose streams leave by itself, or by a second one."""
    if request.param == "direct":
        yield start()
        return
    folder = tmp_path / "far"
    folder.mkdir()
    far = Conesocks(net.inet2, folder, {"listen": [{"address": INET2_V4, "auth": "none", "open": True}], "workers": 1})
    yield start(VIA_FAR)
    net.close_sockets()
    far.kill()


def open_stream(net, lan, server, **options):
    """A CONNECT to a listening socket: (the client's end, the server's end)."""
    sock, reply = socks5.connect(net.client, lan, server.getsockname()[:2], **options)
    assert reply.code == 0
    remote, _ = server.accept()
    remote.settimeout(10)
    net.inet1.opened.append(remote)
    return sock, remote


def read_to_the_end(sock):
    """(all bytes, whether a reset came behind them)."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        return data, True
    return data, False


# ---- an answer, and a reset right behind it ----

@pytest.mark.parametrize("size", [300, 10000])
def test_row64_answer_before_a_reset(net, way, lan, size):
    """HTTP 413 or 401 while the client still uploads: the server closes with bytes unread, so a reset follows its answer.
    Of such answers 9 to 37 % were lost, none without a proxy."""
    server = net.inet1.listen(INET1_V4)
    answer = servers.pattern(size)
    for _ in range(20):
        sock, remote = open_stream(net, lan, server)
        sock.sendall(b"POST / HTTP/1.1\r\n\r\n")
        assert remote.recv(100)
        uploading = threading.Thread(target=upload, args=(sock,))
        uploading.start()
        time.sleep(0.005)
        remote.sendall(answer)
        remote.close()
        uploading.join(20)
        assert socks5.recv_all(sock) == answer
        sock.close()
    assert way.session(command="connect")["why"] == "the destination reset its connection"


def upload(sock):
    with contextlib.suppress(OSError):
        for _ in range(200):
            sock.sendall(bytes(16384))


def test_row64_request_before_a_reset(net, way, lan):
    """The same the other way: a client that sends, and leaves with bytes unread."""
    server = net.inet1.listen(INET1_V4)
    for number in range(20):
        sock, remote = open_stream(net, lan, server)
        remote.sendall(bytes(5000))
        wait_until(lambda: sock.recv(1, socket.MSG_PEEK), "the banner")
        sock.sendall(b"QUIT %d" % number)
        sock.close()
        assert read_to_the_end(remote) == (b"QUIT %d" % number, True)


# ---- urgent data ----

def test_row64_urgent_byte_of_abor(net, way, lan):
    """FTP's ABOR as telnet's clients send it: IAC IP IAC, DM as urgent data. The byte vanished."""
    sock, remote = open_stream(net, lan, net.inet1.listen(INET1_V4))
    for sender, reader in ((sock, remote), (remote, sock)):
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sender.sendall(b"\xff\xf4\xff")
        time.sleep(0.05)
        sender.send(b"\xf2", socket.MSG_OOB)
        time.sleep(0.05)
        sender.sendall(b"ABOR\r\n")
        assert socks5.recv_exact(reader, 10) == b"\xff\xf4\xff\xf2ABOR\r\n"


@pytest.mark.parametrize("sender", ["client", "server"])
def test_row64_urgent_byte_in_a_transfer(net, way, lan, sender):
    """splice() stops at the mark, and says 0 when the end has come behind it: all the rest was lost, with a clean end."""
    sock, remote = open_stream(net, lan, net.inet1.listen(INET1_V4))
    source, sink = (sock, remote) if sender == "client" else (remote, sock)
    sink.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    before, after = servers.pattern(1 << 20), servers.pattern(100000, 7)

    def send():
        source.sendall(before)
        source.send(b"!", socket.MSG_OOB)
        source.sendall(after)
        source.shutdown(socket.SHUT_WR)

    sending = threading.Thread(target=send)
    sending.start()
    time.sleep(0.1)  # a late reader: part of it waits in the proxy
    assert read_to_the_end(sink) == (before + b"!" + after, False)
    sending.join(10)


# ---- what we cut ----

def cut_by_stop(proxy):
    proxy.process.send_signal(signal.SIGTERM)


def cut_by_reload(proxy):
    assert proxy.reload(lan_config({"listen": [row | {"auth": "password"} for row in LISTEN],
                                    "users": [{"name": "bob", "password": USERS[0]["password"]}]}))


def cut_by_drain(proxy):
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("timeouts.drain is over")


@pytest.mark.parametrize("cut", [cut_by_stop, cut_by_reload, cut_by_drain])
def test_row64_what_we_cut_is_reset(net, serve, lan, peer, cut):
    """Half a download that ends with a FIN looks whole. Both ends are reset: of a CONNECT, of a BIND, of UDP over TCP."""
    proxy = serve({"listen": [row | {"auth": "password"} for row in LISTEN], "users": USERS,
                   "timeouts": {"drain": "1s" if cut is cut_by_drain else "0s"}})
    proxy.killed = cut is not cut_by_reload
    user = {"user": ALICE[0], "password": ALICE[1]}
    sock, remote = open_stream(net, lan, net.inet1.listen(INET1_V4), **user)
    remote.sendall(b"half")
    assert socks5.recv_exact(sock, 4) == b"half"
    control = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(control, *ALICE)
    bound = socks5.request(control, socks5.BIND, (INET1_V4, 0))
    caller = net.inet1.connect(INET1_V4, bound.address)
    assert socks5.recv_reply(control).code == 0
    framed = OverTcp(net.client, lan, **user)
    assert framed.alive(peer, 3)
    cut(proxy)
    for end in (sock, remote, control, caller, framed.control):
        assert read_to_the_end(end) == (b"", True)


# ---- a connection to itself ----

@pytest.fixture
def few_ports(net):
    """The proxy's host has eight ports to pick from for a connection, and nobody listens at these."""
    net.proxy.sysctl("ipv4/ip_local_port_range", "50000 50007")
    yield range(50000, 50008)
    net.proxy.sysctl("ipv4/ip_local_port_range", "32768 60999")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_row65_connect_to_itself(net, start, few_ports, address):
    """Nobody listens at a local port, and the system picks that very port for the connection to it (4 of 40,000; with few
    ports to pick from many more): it was granted, and the client talked to itself."""
    start({"listen": [{"address": address, "port": 1080}], "workers": 1})
    codes = []
    for number in range(200):
        sock, reply = socks5.connect(net.proxy, (address, 1080), (address, few_ports[number % 8]),
                                     source=(address, 20000 + number))
        codes.append(reply.code)
        sock.close()
    assert set(codes) == {5}


def test_row65_commands_do_not_ask_themselves(net, few_ports):
    """What asks the admin listener, and check, when nothing runs there."""
    for port in 8 * list(few_ports):
        asked = net.proxy.run(PROGRAM, "status", "--url", f"http://127.0.0.1:{port}")
        assert asked.returncode == 1 and "nothing listens there" in asked.stdout
        checked = net.proxy.run(PROGRAM, "check", "--proxy", f"socks5://127.0.0.1:{port}")
        assert checked.returncode != 0 and "Connection refused" in checked.stdout


# ---- who vanishes ----

@pytest.fixture
def faults(tmp_path):
    if not LIBRARY.exists():
        pytest.skip("sanitizers cannot be preloaded over, so faults.so is not built")
    return Faults(tmp_path)


@contextlib.contextmanager
def vanished(host):
    """The host takes and says nothing any more."""
    host.nft("""table inet gone {
        chain input { type filter hook input priority 0; meta l4proto tcp drop; }
        chain output { type filter hook output priority 0; meta l4proto tcp drop; }
    }""")
    try:
        yield
    finally:
        host.nft("delete table inet gone")


def has_resent(host):
    """Whether some connection there has sent something again that nobody acknowledges."""
    return "backoff:" in host.run("ss", "--tcp", "--info", "--numeric", "state", "established").stdout


@pytest.mark.parametrize("end", ["client", "destination"])
def test_row66_an_end_vanishes(net, start, lan, faults, end):
    """With data that it has not acknowledged it was held for 15 minutes and more; keepalive does not ask meanwhile. What
    it was sending must not look complete, also not to a sender that has half-closed."""
    proxy = start({"workers": 1}, environment=faults.environment)
    listener = net.inet1.listen(INET1_V4)
    streams = [open_stream(net, lan, listener) for _ in range(2)]
    host = net.client if end == "client" else net.inet1
    senders = [remote if end == "client" else sock for sock, remote in streams]
    with vanished(host):
        for sender in senders:
            sender.sendall(b"are you there?")
        senders[1].shutdown(socket.SHUT_WR)
        wait_until(lambda: has_resent(net.proxy), "what is sent again")
        time.sleep(1)
        assert not proxy.sessions()  # not so soon
        faults.set_silence_ahead(130)
        wait_until(lambda: len(proxy.sessions()) == 2, "the end", 20)
        assert {session["why"] for session in proxy.sessions()} == {
            f"the {end} vanished: it has acknowledged nothing for two minutes"}
        for sender in senders:
            assert read_to_the_end(sender) == (b"", True)


def test_row66_a_client_of_frames_vanishes(net, start, lan, peer, faults):
    """The same for UDP over TCP, whose datagrams nobody takes any more."""
    proxy = start({"workers": 1}, environment=faults.environment)
    framed = OverTcp(net.client, lan)
    external = framed.external(peer)
    with vanished(net.client):
        peer.sendto(b"are you there?", external)
        wait_until(lambda: has_resent(net.proxy), "what is sent again")
        faults.set_silence_ahead(130)
        why = wait_until(lambda: proxy.sessions(), "the end", 20)[0]["why"]
        assert why == "the client vanished: it has acknowledged nothing for two minutes"


def test_row66_a_reader_that_pauses_has_not_vanished(net, start, lan, faults):
    """A window of zero is not silence: a video that is paused for minutes goes on. (TCP_USER_TIMEOUT would end it.)"""
    proxy = start({"workers": 1}, environment=faults.environment)
    sock, remote = open_stream(net, lan, net.inet1.listen(INET1_V4))
    remote.settimeout(0.3)
    sent = 0
    with pytest.raises(socket.timeout):
        while sent < 100_000_000:
            sent += remote.send(bytes(1 << 16))
    faults.set_silence_ahead(120)  # as between two probes of the window
    time.sleep(9)
    assert not proxy.sessions()
    received = 0
    remote.close()
    while more := sock.recv(1 << 20):
        received += len(more)
    assert received == sent


# ---- many addresses ----

def test_row60_a_dial_holds_few_descriptors(net, start, lan):
    """A name with 32 addresses that stay silent opened 32 sockets, after the session was admitted."""
    silent = [f"10.88.0.{100 + i}" for i in range(16)] + [f"fd88::{100 + i}" for i in range(16)]
    net.inet1.ip(*(f"address add {address}/{128 if ':' in address else 32} dev eth0" for address in silent))
    net.inet1.nft("""table inet hole {
        chain input { type filter hook input priority 0; tcp dport 80 drop; }
    }""")
    try:
        with servers.Dns(net.inet2, INET2_V4, {"many.test": silent}) as dns:
            proxy = start({"workers": 1, "dns": {"servers": [dns.address]}, "timeouts": {"connect": "3s"}}, leaves_lookups=True)
            sock = net.client.connect(CLIENT_V4, lan)
            socks5.negotiate(sock)
            sock.sendall(socks5.request_message(socks5.CONNECT, ("many.test", 80)))
            wait_until(lambda: len(dns.asked) >= 2, "the questions")
            most = 0
            for _ in range(200):
                most = max(most, attempts(net.proxy))
                time.sleep(0.01)
            assert 4 <= most <= 5  # ss does not read all at one moment: an attempt that has just ended may stand beside its successor
            assert socks5.recv_reply(sock).code == 6
    finally:
        net.inet1.nft("delete table inet hole")
        net.inet1.ip(*(f"address delete {address}/{128 if ':' in address else 32} dev eth0" for address in silent))


def attempts(host):
    return len(host.run("ss", "--tcp", "--no-header", "--numeric", "state", "syn-sent").stdout.splitlines())
