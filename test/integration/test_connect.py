"""CONNECT: addresses, names, streams and the truth of the reply code."""
import hashlib
import socket
import struct
import threading

import pytest
import servers
import socks5
from daemon import wait_until
from netns import CLIENT_V4, CLIENT_V6, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6

NOBODY_V4 = "10.88.0.99"  # on the wan, but no host has it
RESET = struct.pack("ii", 1, 0)


@pytest.fixture
def dns(net):
    records = {"v4.test": [INET1_V4], "v6.test": [INET1_V6], "both.test": [INET1_V4, INET1_V6], "silent.test": None,
               "half.test": [INET1_V4, "fd88::99"], "nobody.test": [NOBODY_V4], "a.b-c_d.test": [INET1_V4]}
    with servers.Dns(net.inet2, INET2_V4, records) as server:
        yield server


@pytest.fixture
def named(start, dns):
    """A proxy that asks our DNS server."""
    return start({"dns": {"servers": [dns.address], "timeout": "2s"}, "timeouts": {"connect": "5s"}}, leaves_lookups=True)


def open_stream(net, lan, server, **options):
    """A CONNECT to a listening socket: (our end, the server's end, reply)."""
    sock, reply = socks5.connect(net.client, lan, server.getsockname()[:2], **options)
    assert reply.code == 0
    remote, peer = server.accept()
    remote.settimeout(10)
    net.inet1.opened.append(remote)
    return sock, remote, reply, peer[:2]


@pytest.mark.parametrize("target, outside", [(INET1_V4, PROXY_WAN_V4), (INET1_V6, PROXY_WAN_V6)])
@pytest.mark.parametrize("listener", [None, (PROXY_V6, 1080)], ids=["from v4", "from v6"])
def test_both_families_and_bnd(net, proxy, lan, target, outside, listener):
    """BND is the true outgoing address: libdsocks builds active FTP on it. Only where a client over IPv4 could not read
    an IPv6 address is the host left open."""
    server = net.inet1.listen(target)
    sock, remote, reply, peer = open_stream(net, listener or lan, server, source=CLIENT_V6 if listener else None)
    assert peer[0] == outside
    assert reply.address == (peer if listener or ":" not in target else ("0.0.0.0", peer[1]))
    sock.sendall(b"ping")
    assert socks5.recv_exact(remote, 4) == b"ping"
    remote.sendall(b"pong")
    assert socks5.recv_exact(sock, 4) == b"pong"


def test_session_line(net, proxy, lan):
    server = net.inet1.listen(INET1_V4, 8080)
    sock, remote, _, _ = open_stream(net, lan, server)
    client = sock.getsockname()
    sock.sendall(b"12345")
    socks5.recv_exact(remote, 5)
    remote.sendall(b"123")
    remote.close()
    assert socks5.recv_all(sock) == b"123"
    sock.close()
    row = proxy.session(command="connect")
    assert row["client"] == f"{client[0]}:{client[1]}"
    assert (row["user"], row["destination"], row["via"]) == ("-", f"{INET1_V4}:8080", f"{INET1_V4}:8080")
    assert (row["reply"], row["up_bytes"], row["down_bytes"]) == ("0", "5", "3")
    assert row["why"]


@pytest.mark.parametrize("name, reached", [("v4.test", INET1_V4), ("v6.test", INET1_V6), ("both.test", INET1_V6),
                                           ("BOTH.Test", INET1_V6), ("v4.test.", INET1_V4), ("a.b-c_d.test", INET1_V4)])
def test_names(net, named, lan, name, reached):
    server = net.inet1.listen(reached, 80)
    sock, reply = socks5.connect(net.client, lan, (name, 80))
    assert reply.code == 0
    server.accept()
    sock.close()
    row = named.session(command="connect")
    assert row["destination"] == f"{name.lower().rstrip('.')}:80" and reached in row["via"]


def test_names_by_the_systems_own_files(net, start, dns, lan, tmp_path):
    """Without a word in the configuration: /etc/hosts first, then the servers of /etc/resolv.conf."""
    hosts, resolv_conf = tmp_path / "hosts", tmp_path / "resolv.conf"
    hosts.write_text(f"{INET1_OTHER_V4} printer.lan printer\n", encoding="ascii")
    resolv_conf.write_text(f"nameserver {dns.address}\n", encoding="ascii")
    start(files=[(hosts, "/etc/hosts"), (resolv_conf, "/etc/resolv.conf")])
    for name, address in (("printer", INET1_OTHER_V4), ("Printer.LAN", INET1_OTHER_V4), ("v4.test", INET1_V4)):
        server = net.inet1.listen(address, 80)
        sock, reply = socks5.connect(net.client, lan, (name, 80))
        assert reply.code == 0
        server.accept()
        server.close()
    assert {name for name, _ in dns.asked} == {"v4.test"}


@pytest.mark.parametrize("text, address", [(INET1_V4, INET1_V4), (INET1_V6, INET1_V6), (f"[{INET1_V6}]", INET1_V6)])
def test_literal_sent_as_name(net, named, dns, lan, text, address):
    """libdsocks sends literals as ATYP 3: they are addresses, and no name server hears of them."""
    server = net.inet1.listen(address, 80)
    _, reply = socks5.connect(net.client, lan, (text, 80), atyp=socks5.NAME)
    assert reply.code == 0
    server.accept()
    assert not dns.asked


def test_prefer_ipv4(net, start, dns, lan):
    start({"dns": {"servers": [dns.address]}, "outbound": {"prefer": "ipv4"}}, leaves_lookups=True)
    server = net.inet1.listen(INET1_V4, 80)
    _, reply = socks5.connect(net.client, lan, ("both.test", 80))
    assert reply.code == 0
    server.accept()


@pytest.fixture
def black_hole(net):
    """inet1 swallows what comes by IPv6, and what comes to its second IPv4 address: no answer, no refusal."""
    net.inet1.nft(f"""table inet hole {{
        chain input {{
            type filter hook input priority 0
            meta nfproto ipv6 meta l4proto {{ tcp, udp }} drop
            ip daddr {INET1_OTHER_V4} drop
        }}
    }}""")
    yield
    net.inet1.nft("delete table inet hole")


@pytest.mark.parametrize("name", ["both.test", "half.test"])
def test_happy_eyeballs(net, named, lan, black_hole, name):
    """IPv6 first, but a dead IPv6 path keeps nobody waiting for the connect timeout."""
    server = net.inet1.listen(INET1_V4, 80)
    _, reply = socks5.connect(net.client, lan, (name, 80))
    assert reply.code == 0
    server.accept()


def test_row38_dead_resolver_slows_nothing_that_needs_no_name(net, start, lan):
    start({"dns": {"servers": [NOBODY_V4], "timeout": "30s"}}, leaves_lookups=True)
    waiting = []
    for _ in range(10):
        sock = net.client.connect(CLIENT_V4, lan)
        socks5.negotiate(sock)
        sock.sendall(socks5.request_message(socks5.CONNECT, ("silent.test", 80)))
        waiting.append(sock)
    server = net.inet1.listen(INET1_V4)
    sock, remote, _, _ = open_stream(net, lan, server)
    sock.sendall(b"x")
    assert socks5.recv_exact(remote, 1) == b"x"


# Reply codes. Each must be the truth, and the connection must close after it.


def refused(net, lan, destination, **options):
    sock, reply = socks5.connect(net.client, lan, destination, timeout=10, **options)
    assert reply.address == ("0.0.0.0", 0)
    assert socks5.recv_all(sock) == b""
    return reply.code


def test_code_1_empty_name(net, proxy, lan):
    assert refused(net, lan, ("", 80), atyp=socks5.NAME) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254",
                                  "224.0.0.1", "255.255.255.255", "64:ff9b::127.0.0.1", "2002:7f00:1::"])
def test_code_2_not_allowed(net, proxy, lan, host):
    """Rows 21 to 23: what a LAN's client may not reach by default, in whichever form it is written."""
    assert refused(net, lan, (host, 1080)) == 2


@pytest.mark.parametrize("name", ["loop.test", "mixed.test"])
def test_code_2_by_name(net, start, lan, dns, name):
    """Rows 21 and 25: the rule looks at the address that would be used."""
    dns.records.update({"loop.test": ["127.0.0.1", "::1"], "mixed.test": ["::1"]})
    start({"dns": {"servers": [dns.address]}})
    assert refused(net, lan, (name, 1080)) == 2


@pytest.mark.parametrize("host", ["192.168.77.1", "fd99::1"])
def test_code_3_no_route(net, proxy, lan, host):
    assert refused(net, lan, (host, 80)) == 3


@pytest.mark.parametrize("host", [NOBODY_V4, "fd88::99"])
def test_code_4_host_unreachable(net, proxy, lan, host):
    assert refused(net, lan, (host, 80)) == 4


@pytest.mark.parametrize("name", ["missing.test", "nobody.test"])
def test_code_4_name_not_found(net, named, lan, name):
    assert refused(net, lan, (name, 80)) == 4


def test_code_4_or_6_name_without_answer(net, named, lan):
    assert refused(net, lan, ("silent.test", 80)) in (4, 6)


@pytest.mark.parametrize("host", [INET1_V4, INET1_V6])
def test_code_5_refused(net, proxy, lan, host):
    assert refused(net, lan, (host, 9)) == 5


def test_code_5_by_name_of_both_families(net, named, lan):
    assert refused(net, lan, ("both.test", 9)) == 5


def test_code_6_timed_out(net, start, lan, black_hole):
    start({"timeouts": {"connect": "1s"}})
    assert refused(net, lan, (INET1_OTHER_V4, 80)) == 6


@pytest.mark.parametrize("timeouts", [{"dns": "1s", "connect": "15s"}, {"dns": "30s", "connect": "1s"}])
def test_code_6_name_not_resolved_in_time(net, start, lan, timeouts):
    """The record blames the name servers, not a destination that was never tried."""
    proxy = start({"dns": {"servers": [NOBODY_V4], "timeout": timeouts["dns"]}, "timeouts": {"connect": timeouts["connect"]}},
                  leaves_lookups=True)
    assert refused(net, lan, ("silent.test", 80)) == 6
    assert "name not resolved in time" in proxy.session(reply="6")["why"]


def test_code_7_bind_is_off(net, start, lan):
    start({"bind": {"enabled": False}})
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    assert socks5.request(sock, socks5.BIND, (INET1_V4, 80)).code == 7


@pytest.mark.parametrize("atyp", [0, 2, 5, 255])
def test_code_8_address_type(net, proxy, lan, atyp):
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    sock.sendall(bytes([5, 1, 0, atyp]) + bytes(18))
    assert socks5.recv_reply(sock).code == 8
    assert socks5.recv_all(sock) == b""


@pytest.mark.parametrize("host, atyp", [(INET1_V4, None), (INET1_V6, None), ("v4.test", None)])
def test_port_0(net, named, lan, host, atyp):
    """Row 28: nothing listens on port 0, so it is refused one way or another."""
    assert refused(net, lan, (host, 0), atyp=atyp) != 0


@pytest.mark.parametrize("name", [b"1", b"127.1", b"0x7f.1", b"0177.0.0.1", b"127.0.0.1\0.test", b"a\0b", b"a" * 64 + b".test",
                                  b"x" * 255, b"a..b", b".", b"[::1]", b"::1%lo", b"2130706433"])
def test_row15_odd_names(net, named, dns, lan, name):
    """Refused, never resolved by somebody's libc into an address that the rules did not see."""
    assert refused(net, lan, (name, 1080), atyp=socks5.NAME) in (1, 2, 4)
    assert all(label not in (".", "") for label, _ in dns.asked)


# Streams.


def transfer(sender, receiver, size, seed):
    """Sends `size` bytes and ends that direction; the hash of both ends."""
    data = servers.pattern(size, seed)
    result = {}

    def receive():
        digest = hashlib.sha256()
        while more := receiver.recv(1 << 16):
            digest.update(more)
        result["received"] = digest.hexdigest()

    def send():
        sender.sendall(data)
        sender.shutdown(socket.SHUT_WR)
        result["sent"] = hashlib.sha256(data).hexdigest()

    threads = [threading.Thread(target=receive), threading.Thread(target=send)]
    for thread in threads:
        thread.start()
    return threads, result


def test_20_mb_both_ways_at_once(net, proxy, lan):
    server = net.inet1.listen(INET1_V4)
    sock, remote, _, _ = open_stream(net, lan, server)
    for end in (sock, remote):
        end.settimeout(60)
    jobs = [transfer(sock, remote, 20_000_000, 1), transfer(remote, sock, 20_000_000, 2)]
    for threads, result in jobs:
        for thread in threads:
            thread.join(60)
        assert result["sent"] == result["received"]
    row = proxy.session(command="connect")
    assert (row["up_bytes"], row["down_bytes"]) == ("20000000", "20000000")


@pytest.mark.parametrize("first", ["client", "remote"])
def test_row44_half_close(net, proxy, lan, first):
    """One side says it is done; the other's data, sent after that, still arrives whole."""
    server = net.inet1.listen(INET1_V4)
    sock, remote, _, _ = open_stream(net, lan, server)
    one, other = (sock, remote) if first == "client" else (remote, sock)
    request, answer = servers.pattern(100_000, 3), servers.pattern(1_000_000, 4)
    sender = threading.Thread(target=lambda: (one.sendall(request), one.shutdown(socket.SHUT_WR)))
    sender.start()
    assert socks5.recv_all(other) == request
    sender.join()
    threads, result = transfer(other, one, len(answer), 4)
    for thread in threads:
        thread.join(30)
    assert result["received"] == hashlib.sha256(answer).hexdigest()
    proxy.session(command="connect")  # both directions ended: the session is over


@pytest.mark.parametrize("side", ["client", "remote"])
def test_row44_reset(net, proxy, lan, side):
    """A reset on one side is a reset on the other: a broken stream must not look complete."""
    server = net.inet1.listen(INET1_V4)
    sock, remote, _, _ = open_stream(net, lan, server)
    one, other = (sock, remote) if side == "client" else (remote, sock)
    one.sendall(b"x")
    assert socks5.recv_exact(other, 1) == b"x"
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    one.close()
    with pytest.raises(ConnectionResetError):
        other.recv(1)
    proxy.session(command="connect")


def test_row44_reader_that_never_reads(net, proxy, lan):
    """The sender is held back, so the proxy's memory is bounded, and another stream is not slowed."""
    server = net.inet1.listen(INET1_V4)
    _, flooding, _, _ = open_stream(net, lan, server)
    flooding.settimeout(0.5)
    sent = 0
    with pytest.raises(socket.timeout):
        while sent < 200_000_000:
            sent += flooding.send(bytes(1 << 16))
    sock, remote, _, _ = open_stream(net, lan, server)
    remote.sendall(b"alive")
    assert socks5.recv_exact(sock, 5) == b"alive"


def test_client_leaves_while_connecting(net, start, lan, black_hole):
    proxy = start({"timeouts": {"connect": "2s"}})
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    sock.sendall(socks5.request_message(socks5.CONNECT, (INET1_OTHER_V4, 80)))
    wait_until(lambda: len(proxy.descriptors()) == proxy.baseline + 2, "the attempt to connect")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()
    proxy.session()


def test_200_streams_in_parallel(net, proxy, lan):
    """Over both workers; each stream carries its own number and gets it back."""
    server = net.inet1.listen(INET1_V4)
    streams = [net.client.connect(CLIENT_V4, lan) for _ in range(200)]
    for sock in streams:
        sock.sendall(b"\5\1\0" + socks5.request_message(socks5.CONNECT, server.getsockname()))
    for number, sock in enumerate(streams):
        assert socks5.recv_exact(sock, 2) == b"\5\0"
        assert socks5.recv_reply(sock).code == 0
        sock.sendall(b"%03d" % number)
    remotes = [server.accept()[0] for _ in streams]
    for remote in remotes:
        remote.settimeout(5)
        remote.sendall(socks5.recv_exact(remote, 3))
        remote.close()
    assert [socks5.recv_all(sock) for sock in streams] == [b"%03d" % number for number in range(200)]
