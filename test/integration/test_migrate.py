"""The configurations of config/migrate.md: each must load, and those whose point is behaviour are run. Only the addresses
and the passwords are this network's."""
import contextlib
import re
from pathlib import Path

import pytest
import socks5
from conftest import ALICE, USERS
from daemon import PROGRAM, Conesocks
from netns import (CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_OTHER_V4, INET2_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_WAN_V4, PROXY_WAN_V6,
                   SECOND_V4, SECOND_WAN_V4, STRANGER_V4)

MIGRATE = Path(__file__).resolve().parents[2] / "config" / "migrate.md"
BLOCKS = dict(re.findall(r"^### ([^\n]*)\n\n(?:(?!^#).)*?^```yaml\n(.*?)^```$", MIGRATE.read_text(encoding="utf-8"),
                         re.MULTILINE | re.DOTALL))
BIND, UDP_ASSOCIATE = 2, 3
DENIED = 2


def config(beginning, **here):
    """The block whose heading begins so, with `here` in place of its addresses."""
    (block,) = [text for heading, text in BLOCKS.items() if heading.startswith(beginning)]
    block = block.replace("$y$j9T$...", USERS[0]["password"])
    for ours, theirs in here.items():
        assert theirs in block
        block = block.replace(theirs, {"proxy": PROXY_V4, "wan": PROXY_WAN_V4, "client": CLIENT_V4,
                                       "neighbour": NEIGHBOUR_V4, "second": SECOND_V4}[ours])
    return block


def test_there_are_eleven():
    assert len(BLOCKS) == 11, list(BLOCKS)


@pytest.mark.parametrize("heading", BLOCKS)
def test_it_loads(net, tmp_path, heading):
    path = tmp_path / "conesocks.yaml"
    path.write_text(config(heading), encoding="utf-8")
    path.chmod(0o640)
    result = net.proxy.run(PROGRAM, "-t", "-c", str(path))
    assert result.returncode == 0, result.stdout


def source_seen(host, proxy, server, source=None, **login):
    """The address that a server on the internet sees."""
    sock, _ = socks5.connect(host, proxy, server.getsockname()[:2], source=source, **login)
    seen, (address, *_) = server.accept()
    seen.close()
    sock.close()
    return address


def test_each_client_leaves_by_the_address_it_connected_to(net, start):
    other = "10.88.0.5"
    net.proxy.ip(f"address add {other}/24 dev eth1")
    try:
        text = config("dante: several addresses").replace("203.0.113.7", PROXY_WAN_V4).replace("203.0.113.8", other)
        start(text)
        server = net.inet1.listen(INET1_V4)
        for address in PROXY_WAN_V4, other:
            assert source_seen(net.inet2, (address, 1080), server, INET2_V4, user=ALICE[0], password=ALICE[1]) == address
        for address in PROXY_WAN_V4, other:
            association = socks5.Association(net.inet2, (address, 1080), source=INET2_V4, user=ALICE[0], password=ALICE[1])
            assert association.external(net.inet1.udp(INET1_V4))[0] == address
    finally:
        net.close_sockets()
        net.proxy.ip(f"address del {other}/24 dev eth1")


def test_a_lan_with_blocks(net, start):
    text = config("dante: a LAN", proxy="192.168.1.10").replace("192.168.1.0/24", f"{CLIENT_V4}/32") + "reach: all\n"
    start(text)
    proxy = (PROXY_V4, 1080)
    association = socks5.Association(net.client, proxy, source=CLIENT_V4)
    assert 40000 <= association.relay[1] <= 42499
    assert 42500 <= association.external(net.inet1.udp(INET1_V4))[1] <= 45000
    server = net.inet1.listen(INET1_V4)
    assert source_seen(net.client, proxy, server, CLIENT_V4) == PROXY_WAN_V4
    for command, destination in (BIND, (INET1_V4, 80)), (1, (INET1_V4, 25)):
        sock = net.client.connect(CLIENT_V4, proxy)
        socks5.negotiate(sock)
        assert socks5.request(sock, command, destination).code == DENIED
    sock = net.stranger.connect(STRANGER_V4, proxy)
    socks5.negotiate(sock)
    assert socks5.request(sock, UDP_ASSOCIATE, ("0.0.0.0", 0)).code == DENIED


def test_each_port_leaves_by_an_ipv6_address_of_its_own(net, start):
    network = "fd88:1::"
    text = config("3proxy: a range of ports", proxy="203.0.113.7").replace("2001:db8:1::", network)
    with contextlib.ExitStack() as undo:
        for host, route in (net.proxy, f"local {network}/64 dev lo"), (net.inet1, f"{network}/64 via {PROXY_WAN_V6}"):
            host.ip(f"route add {route}")
            undo.callback(host.ip, f"route del {route}")
        start(text + "reach: all\n")
        server, peer = net.inet1.listen(INET1_V6), net.inet1.udp(INET1_V6)
        for port, address in (30000, "fd88:1::1"), (30001, "fd88:1::2"), (31999, "fd88:1::7d0"):
            proxy = (PROXY_V4, port)
            assert source_seen(net.client, proxy, server, CLIENT_V4, user=ALICE[0], password=ALICE[1]) == address
            association = socks5.Association(net.client, proxy, source=CLIENT_V4, user=ALICE[0], password=ALICE[1])
            assert association.external(peer)[0] == address


@pytest.fixture
def second(net, tmp_path):
    """second(address) runs another proxy, as the parent of the first."""
    running = []

    def run(users=()):
        folder = tmp_path / "second"
        folder.mkdir()
        running.append(Conesocks(net.second, folder, {
            "listen": [{"address": SECOND_V4, "port": 1080, **({} if users else {"auth": "none", "open": True})}],
            "users": list(users), "workers": 1}))
        return running[-1]

    yield run
    net.close_sockets()
    for proxy in running:
        proxy.kill()


def test_each_user_leaves_by_another_proxy(net, start, second):
    second([USERS[0] | {"name": "shop"}])
    text = config("3proxy: each user", second="198.51.100.1").replace("password: one", f"password: {ALICE[1]}")
    start(text)
    server = net.inet1.listen(INET1_V4)
    assert source_seen(net.client, (PROXY_V4, 1080), server, CLIENT_V4, user="alice", password=ALICE[1]) == SECOND_WAN_V4


def test_clients_known_by_their_address(net, start):
    start(config("3proxy: clients known", client="198.51.100.20", neighbour="198.51.100.21"))
    server = net.inet1.listen(INET1_V4)
    for host, address in (net.client, CLIENT_V4), (net.neighbour, NEIGHBOUR_V4):
        assert source_seen(host, (PROXY_V4, 1080), server, address) == PROXY_WAN_V4
    sock = net.stranger.connect(STRANGER_V4, (PROXY_V4, 1080))
    socks5.negotiate(sock)
    assert socks5.request(sock, 1, server.getsockname()).code == DENIED


def test_some_destinations_by_another_proxy(net, start, second):
    second()
    text = config("gost: some destinations").replace("198.51.100.128/25", f"{INET2_OTHER_V4}/32")
    start(text.replace("198.51.100.1", SECOND_V4))
    proxy = ("127.0.0.1", 1080)
    assert source_seen(net.proxy, proxy, net.inet1.listen(INET1_OTHER_V4)) == PROXY_WAN_V4
    assert source_seen(net.proxy, proxy, net.inet2.listen(INET2_OTHER_V4)) == SECOND_WAN_V4
    sock = net.proxy.connect(None, proxy)
    socks5.negotiate(sock)
    assert socks5.request(sock, 1, ("x.ads.example", 80)).code == DENIED
    association = socks5.Association(net.proxy, proxy, source="127.0.0.1")
    assert association.external(net.inet1.udp(INET1_OTHER_V4))[0] == PROXY_WAN_V4
    assert association.external(net.inet2.udp(INET2_OTHER_V4))[0] == SECOND_WAN_V4


def test_one_udp_port_behind_a_nat(net, start):
    start(config("hev-socks5-server: behind a NAT", proxy="203.0.113.7").replace(", mark: 0x1a", "") + "reach: all\n")
    association = socks5.Association(net.client, (PROXY_V4, 1080), source=CLIENT_V4, user="tom", password=ALICE[1])
    assert association.relay == (PROXY_V4, 1080)
    assert 31000 <= association.external(net.inet1.udp(INET1_V4))[1] <= 31999
