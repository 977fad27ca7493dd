"""BIND: a connection that comes in for a client, and active FTP, which it is for."""
import contextlib
import os
import re
import socket

import daemon
import pytest
import socks5
from conftest import ALICE, USERS
from daemon import wait_until
from netns import (CLIENT_V4, CLIENT_V6, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, PROXY_V4, PROXY_V6,
                   PROXY_WAN_V4, PROXY_WAN_V6)

OUTSIDE = "198.51.100.7"


def ask(net, lan, peer, port=0, source=CLIENT_V4, user=None, password=None, atyp=None):
    """The control connection after a BIND, and the first reply."""
    sock = net.client.connect(source, lan)
    socks5.negotiate(sock, user, password)
    return sock, socks5.request(sock, socks5.BIND, (peer, port), atyp)


def served(control, peer_host, source, told):
    """Lets a peer come from `source`: it must be told to the client, and bytes flow both ways."""
    peer = peer_host.connect(source, told)
    second = socks5.recv_reply(control)
    assert (second.code, second.address) == (0, peer.getsockname()[:2])
    control.sendall(b"to the peer")
    assert socks5.recv_exact(peer, 11) == b"to the peer"
    peer.sendall(b"to the client")
    peer.shutdown(socket.SHUT_WR)
    assert socks5.recv_all(control) == b"to the client"
    return True


def sent_away(peer_host, source, told):
    """Its connection is taken and reset."""
    with pytest.raises(ConnectionResetError):  # maybe before connect() has returned
        peer_host.connect(source, told).recv(1)
    return True


def is_closed(peer_host, source, told):
    with pytest.raises(ConnectionRefusedError):
        peer_host.connect(source, told)
    return True


def test_both_replies(net, proxy, lan):
    control, first = ask(net, lan, INET1_V4)
    assert first.code == 0 and first.address[0] == PROXY_WAN_V4
    assert served(control, net.inet1, INET1_V4, first.address)
    control.close()
    row = proxy.session(command="bind")
    assert row["destination"] == f"{INET1_V4}:0" and row["via"].startswith(INET1_V4) and row["reply"] == "0"
    assert (row["up_bytes"], row["down_bytes"]) == ("11", "13")
    assert proxy.counters()["binds_total"] == 1


def test_over_ipv6(net, proxy):
    control, first = ask(net, (PROXY_V6, 1080), INET1_V6, source=CLIENT_V6)
    assert first.code == 0 and first.address[0] == PROXY_WAN_V6
    assert served(control, net.inet1, INET1_V6, first.address)


def test_an_ipv6_peer_for_a_client_over_ipv4(net, proxy, lan):
    """Who asks for an IPv6 peer reads IPv6 replies."""
    control, first = ask(net, lan, INET1_V6)
    assert first.address[0] == PROXY_WAN_V6
    assert served(control, net.inet1, INET1_V6, first.address)


def test_it_takes_one_connection_only(net, proxy, lan):
    control, first = ask(net, lan, INET1_V4)
    assert served(control, net.inet1, INET1_V4, first.address)
    assert is_closed(net.inet1, INET1_V4, first.address)


def test_a_wrong_peer_is_sent_away_and_the_right_one_still_served(net, proxy, lan):
    control, first = ask(net, lan, INET1_V4)
    for _ in range(20):
        assert sent_away(net.inet2, INET2_V4, first.address)
    assert sent_away(net.inet1, INET1_OTHER_V4, first.address)
    assert served(control, net.inet1, INET1_V4, first.address)
    assert proxy.counters()["bind_strangers_total"] == 21
    lines = re.findall(rf"bind: client={CLIENT_V4}: {INET2_V4}:\d+ connected", proxy.log)
    assert 1 <= len(lines) < 20, "said, but not each time"


def test_any_peer(net, proxy, lan):
    net.proxy.ip(f"route add default via {INET1_V4}")
    try:
        control, first = ask(net, lan, "0.0.0.0")
        assert first.address[0] == PROXY_WAN_V4
        assert served(control, net.inet2, INET2_V4, first.address)
    finally:
        net.proxy.ip("route del default")


def test_any_peer_without_a_default_route(net, proxy, lan):
    assert ask(net, lan, "0.0.0.0")[1].code == 3


def test_our_own_address_from_a_connect(net, proxy, lan):
    """Some clients ask for the address that their CONNECT came from, which is our own."""
    server = net.inet1.listen(INET1_V4)
    _, connected = socks5.connect(net.client, lan, server.getsockname())
    control, first = ask(net, lan, connected.address[0], connected.address[1])
    assert first.code == 0 and first.address[0] == PROXY_WAN_V4
    assert served(control, net.inet1, INET1_V4, first.address)


def test_the_proxys_own_host_does_not_come(net, start, lan):
    """An own address in the request does not open it to programs on this host."""
    start({"reach": "private"})
    control, first = ask(net, lan, PROXY_WAN_V4)
    assert sent_away(net.proxy, PROXY_WAN_V4, first.address)
    assert served(control, net.inet1, INET1_V4, first.address)


def test_reach_judges_who_comes(net, start, lan):
    """Row 21: whoever a client could not reach does not reach the client."""
    proxy = start({"reach": "public"})
    assert ask(net, lan, INET1_V4)[1].code == 2
    control, first = ask(net, lan, PROXY_WAN_V4)
    assert first.code == 0
    assert sent_away(net.inet1, INET1_V4, first.address)
    assert proxy.counters()["refused_by_reach_total"] == 2
    control.close()


RULES = [{"action": "deny", "command": ["bind"], "to": [INET2_V4]},
         {"action": "allow", "user": ["alice"], "command": ["bind"]},
         {"action": "deny", "command": ["bind"]}]


@pytest.mark.parametrize("login, peer, code", [
    (ALICE, INET1_V4, 0), (ALICE, INET2_V4, 2), ((), INET1_V4, 2), ((), PROXY_WAN_V4, 2)])
def test_rules(net, start, lan, login, peer, code):
    listen = {"address": PROXY_V4, "port": 1080, "auth": "password" if login else "none", "open": not login}
    proxy = start({"listen": [listen], "users": USERS, "rules": RULES})
    assert ask(net, lan, peer, 0, CLIENT_V4, *login)[1].code == code
    who = ["--from", CLIENT_V4, *(["--user", login[0]] if login else [])]
    told = net.proxy.run(daemon.PROGRAM, "explain", "-c", str(proxy.config_path), *who, "--command", "bind",
                         "--to", f"{peer}:20").stdout
    assert told.startswith("allowed") == (code == 0), told


def test_rules_judge_who_comes_to_an_own_address(net, start, lan):
    start({"rules": RULES[:1]})
    control, first = ask(net, lan, PROXY_WAN_V4)
    assert sent_away(net.inet2, INET2_V4, first.address)
    assert served(control, net.inet1, INET1_V4, first.address)


@pytest.mark.parametrize("terms", [
    {"outbound": {"address_v4": "10.88.0.5"}},
    {"rules": [{"action": "allow", "command": ["bind"], "to": [INET1_V4], "address_v4": "10.88.0.5"}]}])
def test_outbound_address(net, start, lan, terms):
    net.proxy.ip("address add 10.88.0.5/24 dev eth1")
    try:
        start(terms)
        control, first = ask(net, lan, INET1_V4)
        assert first.address[0] == "10.88.0.5"
        assert served(control, net.inet1, INET1_V4, first.address)
    finally:
        net.proxy.ip("address del 10.88.0.5/24 dev eth1")


def test_behind_a_nat_the_advertised_address_is_told(net, start, lan):
    start({"udp": {"advertise_v4": OUTSIDE}, "bind": {"ports": "31000-31009"}, "reach": "private"})
    control, first = ask(net, lan, INET1_V4)
    assert first.address[0] == OUTSIDE and 31000 <= first.address[1] <= 31009
    assert served(control, net.inet1, INET1_V4, (PROXY_WAN_V4, first.address[1]))
    control, first = ask(net, lan, OUTSIDE)
    assert first.code == 3, "an address of our own, with no default route to listen at"


def test_a_range_is_kept_to_its_end(net, start, lan):
    """When no port is left, that is said at once; each comes back."""
    proxy = start({"bind": {"ports": "31000-31003"}})
    waiting = [ask(net, lan, INET1_V4) for _ in range(4)]
    assert sorted(first.address[1] for _, first in waiting) == list(range(31000, 31004))
    control, refused = ask(net, lan, INET1_V4)
    assert refused.code == 1
    proxy.wait_log(r"bind\.ports")
    assert proxy.counters()["binds_without_port_total"] == 1
    assert all(served(one, net.inet1, INET1_V4, first.address) for one, first in waiting)
    for control, _ in waiting:
        control.close()
    again = wait_until(lambda: (got := ask(net, lan, INET1_V4))[1].code == 0 and got, "a port to come back")
    assert served(again[0], net.inet1, INET1_V4, again[1].address)


def test_nobody_comes(net, start, lan):
    proxy = start({"bind": {"timeout": "1s"}})
    control, first = ask(net, lan, INET1_V4)
    assert socks5.recv_reply(control).code == 6
    assert socks5.recv_all(control) == b""
    assert is_closed(net.inet1, INET1_V4, first.address)
    control.close()
    assert proxy.session(command="bind")["why"] == "nobody connected in time (bind.timeout)"


def test_the_client_leaves(net, proxy, lan):
    before = len(proxy.descriptors())
    control, first = ask(net, lan, INET1_V4)
    control.close()
    proxy.session(command="bind")
    assert is_closed(net.inet1, INET1_V4, first.address)
    wait_until(lambda: len(proxy.descriptors()) <= before, "the descriptors to come back")


def test_what_the_client_says_early_is_not_lost(net, proxy, lan):
    control, first = ask(net, lan, INET1_V4)
    control.sendall(b"early")
    peer = net.inet1.connect(INET1_V4, first.address)
    assert socks5.recv_exact(peer, 5) == b"early"
    assert socks5.recv_reply(control).code == 0


def test_request_in_one_segment_with_what_follows(net, proxy, lan):
    control = net.client.connect(CLIENT_V4, lan)
    control.sendall(b"\5\1\0" + socks5.request_message(socks5.BIND, (INET1_V4, 0)) + b"early")
    control.shutdown(socket.SHUT_WR)
    assert socks5.recv_exact(control, 2) == b"\5\0"
    first = socks5.recv_reply(control)
    peer = net.inet1.connect(INET1_V4, first.address)
    assert socks5.recv_exact(peer, 5) == b"early"


def test_a_name_is_an_address_type_that_is_not_supported(net, proxy, lan):
    assert ask(net, lan, "ftp.example")[1].code == 8


def test_an_address_as_a_name(net, proxy, lan):
    control, first = ask(net, lan, INET1_V4, atyp=socks5.NAME)
    assert served(control, net.inet1, INET1_V4, first.address)


def test_row_39_no_descriptors_left(net, start, lan):
    """Whoever comes then is told the end of it; nothing spins, and what is given back serves the next."""
    proxy = start({"workers": 1}, nofile=40)
    waiting = []
    with contextlib.suppress(OSError, EOFError):
        while len(waiting) < 40:
            control, first = ask(net, lan, INET1_V4)
            assert first.code in (0, 1, 3)
            waiting.append(control)
    assert waiting, "not one was served"
    for control in waiting:
        control.close()
    wait_until(proxy.is_idle, "the descriptors to come back")
    control, first = ask(net, lan, INET1_V4)
    assert served(control, net.inet1, INET1_V4, first.address)


# Active FTP, with a server and a client that nobody here wrote.

FTP_SERVER = """
import sys
from pyftpdlib import authorizers, handlers, servers
authorizer = authorizers.DummyAuthorizer()
authorizer.add_user("alice", "wonderland", sys.argv[2], perm="elradfmw")
handlers.FTPHandler.authorizer = authorizer
servers.FTPServer((sys.argv[1], 21), handlers.FTPHandler).serve_forever()
"""


@pytest.fixture
def ftp(net, tmp_path):
    """What the FTP server has."""
    files, log_path = tmp_path / "files", tmp_path / "ftp.log"
    files.mkdir()
    with open(log_path, "wb") as log:
        server = net.inet1.start("/usr/bin/python3", "-c", FTP_SERVER, INET1_V4, str(files), stdout=log, stderr=log)
    wait_until(lambda: "starting FTP server" in log_path.read_text(), "the FTP server")
    yield files
    server.kill()
    server.wait()


@pytest.mark.parametrize("bind", [{}, {"ports": "31000-31001"}])
def test_active_ftp_through_socksify(net, start, ftp, tmp_path, bind):
    """Down, up and a listing: each a connection from the server, which libdsocks asks for by the server's address."""
    proxy = start({"bind": bind})
    there, up = os.urandom(3_000_000), os.urandom(2_000_000)
    (ftp / "there").write_bytes(there)
    (tmp_path / "up").write_bytes(up)
    (tmp_path / "socks.conf").write_text(f"route {{ from: 0.0.0.0/0 to: 10.88.0.0/24 via: {PROXY_V4} port = 1080\n"
                                         "proxyprotocol: socks_v5\nprotocol: tcp\nmethod: none }\n", encoding="ascii")
    orders = [f"open {INET1_V4}", "user alice wonderland", "binary", f"get there {tmp_path}/down",
              f"put {tmp_path}/up here", "ls", "bye"]
    # tnftp -A: active only, which it would otherwise fall back from; of -n: no login of its own.
    output = net.client.run("socksify", "tnftp", "-A", "-n", "-v", input="\n".join(orders) + "\n",
                            env=os.environ | {"SOCKS_CONF": str(tmp_path / "socks.conf")}).stdout
    assert (tmp_path / "down").read_bytes() == there, output
    assert (ftp / "here").read_bytes() == up, output
    assert re.search(r"2000000 .* here$", output, re.MULTILINE), output
    rows = wait_until(lambda: len(found := proxy.sessions(command="bind")) == 3 and found, "three transfers")
    assert {row["destination"] for row in rows} == {f"{INET1_V4}:0"}
    assert [int(row["down_bytes"]) for row in rows][:1] == [3_000_000]
