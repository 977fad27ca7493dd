"""The negotiation, as clients and strangers really send it."""
import re
import socket
import time

import pytest
import socks5
from conftest import ALICE, LISTEN, USERS
from netns import CLIENT_V4, INET1_V4

GREETING = b"\5\1\0"
LOGIN = socks5.login_message(*ALICE)


@pytest.fixture
def with_users(start):
    listen = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
    return start({"listen": listen, "users": USERS})


@pytest.fixture
def target(net):
    return net.inet1.listen(INET1_V4)


def say(net, lan, data, bytewise=False):
    """A control connection that has said `data`."""
    sock = net.client.connect(CLIENT_V4, lan)
    for piece in (bytes([byte]) for byte in data) if bytewise else (data,):
        sock.sendall(piece)
        time.sleep(0.002 if bytewise else 0)  # so that the bytes leave as segments of their own
    return sock


@pytest.mark.parametrize("bytewise", [True, False], ids=["bytewise", "coalesced"])
@pytest.mark.parametrize("login", [False, True], ids=["open", "password"])
def test_row17_any_segmentation_with_early_data(net, start, lan, target, bytewise, login, request):
    """The same bytes, one at a time or as one segment with the first payload behind: the same answers."""
    request.getfixturevalue("with_users" if login else "proxy")
    greeting, answers = (b"\5\2\0\2" + LOGIN, b"\5\2\1\0") if login else (GREETING, b"\5\0")
    early = b"early data, " * 500
    sock = say(net, lan, greeting + socks5.request_message(socks5.CONNECT, target.getsockname()) + early[:12], bytewise)
    sock.sendall(early[12:])
    assert socks5.recv_exact(sock, len(answers)) == answers
    assert socks5.recv_reply(sock).code == 0
    remote, _ = target.accept()
    assert socks5.recv_exact(remote, len(early)) == early


@pytest.mark.parametrize("login", [False, True], ids=["open", "password"])
def test_row17_all_and_the_end_in_one_segment(net, start, lan, target, login, request):
    request.getfixturevalue("with_users" if login else "proxy")
    greeting, answers = (b"\5\2\0\2" + LOGIN, b"\5\2\1\0") if login else (GREETING, b"\5\0")
    sock = say(net, lan, greeting + socks5.request_message(socks5.CONNECT, target.getsockname()) + b"a question")
    sock.shutdown(socket.SHUT_WR)
    assert socks5.recv_exact(sock, len(answers)) == answers
    assert socks5.recv_reply(sock).code == 0
    remote, _ = target.accept()
    assert socks5.recv_all(remote) == b"a question"
    remote.sendall(b"an answer")
    remote.close()
    assert socks5.recv_all(sock) == b"an answer"


def test_row17_associate_in_one_segment(net, proxy, lan):
    sock = say(net, lan, GREETING + socks5.request_message(socks5.ASSOCIATE, socks5.ANY_V4))
    assert socks5.recv_exact(sock, 2) == b"\5\0"
    assert socks5.recv_reply(sock).code == 0


@pytest.mark.parametrize("greeting", [b"\5\0", b"\5\1\2", b"\5\3\1\2\x80", b"\5\xff" + b"\2" * 255],
                         ids=["none", "password", "others", "255"])
def test_row18_no_acceptable_method(net, proxy, lan, greeting):
    assert socks5.recv_all(say(net, lan, greeting)) == b"\5\xff"


def test_row18_255_methods(net, proxy, lan):
    sock = say(net, lan, b"\5\xff" + bytes(range(254, -1, -1)))
    assert socks5.recv_exact(sock, 2) == b"\5\0"


def test_password_needed_but_not_offered(net, with_users, lan):
    assert socks5.recv_all(say(net, lan, GREETING)) == b"\5\xff"


def test_password_right(net, with_users, lan, target):
    sock, reply = socks5.connect(net.client, lan, target.getsockname(), user=ALICE[0], password=ALICE[1])
    assert reply.code == 0
    target.accept()[0].close()
    sock.close()
    assert with_users.session(command="connect")["user"] == ALICE[0]


@pytest.mark.parametrize("login", [
    socks5.login_message("alice", "Wonderland"), socks5.login_message("mallory", "wonderland"),
    socks5.login_message("alice", ""), socks5.login_message("", "wonderland"), socks5.login_message("", ""),
    socks5.login_message("alice", "wonderland\0x"), socks5.login_message("alice\0x", "wonderland"),
    socks5.login_message("a" * 255, "b" * 255), b"\5" + LOGIN[1:], b"\0" + LOGIN[1:],
], ids=["password", "user", "no-password", "no-user", "empty", "nul-password", "nul-user", "255", "version5", "version0"])
def test_row18_password_wrong(net, with_users, lan, login):
    """Refused and closed, and a request that follows at once gets no answer."""
    request = socks5.request_message(socks5.ASSOCIATE, socks5.ANY_V4)
    answer = socks5.recv_all(say(net, lan, b"\5\1\2" + login + request))
    assert answer[:3] == b"\5\2\1" and len(answer) == 4 and answer[3] != 0
    assert ALICE[1] not in with_users.log  # Row 50: no secret in the log, not even a nearly right one
    assert ALICE[1].capitalize() not in with_users.log


def test_password_parallel(net, start, lan):
    """Many logins at once, right and wrong ones mixed: each gets its own answer."""
    listen = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
    start({"listen": listen, "users": USERS, "limits": {"failed_logins": "off"}})
    socks = []
    for number in range(60):
        password = ALICE[1] if number % 3 else "wrong"
        socks.append(say(net, lan, b"\5\1\2" + socks5.login_message("alice", password)))
    for number, sock in enumerate(socks):
        sock.settimeout(20)
        status = socks5.recv_exact(sock, 4)[2:]
        assert status == (b"\1\0" if number % 3 else b"\1\1")


def test_client_leaves_while_its_password_is_checked(net, with_users, lan, target):
    for _ in range(20):
        say(net, lan, b"\5\1\2" + LOGIN).close()
    sock, reply = socks5.connect(net.client, lan, target.getsockname(), user=ALICE[0], password=ALICE[1])
    assert reply.code == 0


def test_row35_never_more_out_than_in(net, with_users, lan):
    """Cut at every byte, who has not logged in gets no more bytes than it sent; neither do its datagrams get any."""
    wrong = socks5.login_message("alice", "x")
    request = socks5.request_message(socks5.ASSOCIATE, socks5.ANY_V4)
    for said in (b"\5\2\0\2" + wrong + request, GREETING + request, b"\5\0" + request, b"\5\1\2" + LOGIN[:-1]):
        for cut in range(1, len(said) + 1):
            sock = net.client.connect(CLIENT_V4, lan)
            sock.sendall(said[:cut])
            sock.shutdown(socket.SHUT_WR)
            answer = socks5.recv_all(sock)
            assert len(answer) <= cut, f"{len(answer)} bytes for {said[:cut]!r}"
            sock.close()
    stranger = net.client.udp(CLIENT_V4, timeout=0.2)
    for datagram in (b"", b"\5\1\0", socks5.wrap((INET1_V4, 53), b"x" * 100), bytes(1400)):
        stranger.sendto(datagram, lan)
    with pytest.raises((TimeoutError, ConnectionError)):
        stranger.recv(100)


FOREIGN = {"SOCKS4": b"\4\1\0\x50\x0a\x58\0\x0buser\0", "HTTP": b"CONNECT example.com:443 HTTP/1.1\r\n\r\n",
           "TLS": bytes.fromhex("16030100c8010000c40303") + bytes(100), "zero": bytes(300), "0xff": b"\xff" * 300}


@pytest.mark.parametrize("protocol", FOREIGN)
def test_row19_other_protocols(net, proxy, lan, protocol):
    """Closed, and not a byte is reflected."""
    assert socks5.recv_all(say(net, lan, FOREIGN[protocol])) == b""


def test_row19_said_in_the_log_but_not_for_each(net, proxy, lan):
    for _ in range(60):
        socks5.recv_all(say(net, lan, FOREIGN["HTTP"]))
    assert 1 <= len(re.findall("HTTP", proxy.log)) < 60


@pytest.mark.parametrize("said", [b"", b"\5", GREETING, GREETING + b"\5\1\0\1"],
                         ids=["nothing", "a byte", "greeting", "half a request"])
def test_row41_handshake_deadline(net, start, lan, said):
    """The deadline is absolute: what arrives in between does not move it."""
    start({"timeouts": {"handshake": "1s"}})
    sock = say(net, lan, said)
    begin = time.monotonic()
    answer = b"\5\0" if GREETING in said else b""
    assert socks5.recv_all(sock) == answer
    assert time.monotonic() - begin > 0.5  # not at once either


def test_row41_deadline_is_not_moved_by_a_dripping_client(net, start, lan):
    start({"timeouts": {"handshake": "1s"}})
    sock = say(net, lan, b"\5\xff")
    with pytest.raises(OSError):
        for _ in range(100):
            sock.sendall(b"\0")
            time.sleep(0.1)


@pytest.mark.parametrize("command", [0, 4, 0x80, 255])
def test_unknown_command(net, proxy, lan, command):
    sock = say(net, lan, GREETING + socks5.request_message(command, (INET1_V4, 80)))
    assert socks5.recv_exact(sock, 2) == b"\5\0"
    assert socks5.recv_reply(sock).code == 7
    assert socks5.recv_all(sock) == b""  # and closed
