"""The recipes of config/README.md, each block as it stands there: only the addresses and the login are this network's."""
import contextlib
import json
import re
import shutil
from pathlib import Path

import pytest
import servers
from conftest import ALICE, USERS
from daemon import wait_until
from netns import CLIENT_V4, INET1_V4, INET1_V6, INET2_V4, INET2_V6, NEIGHBOUR_V4, PROXY_V4, PROXY_WAN_V4, PROXY_WAN_V6

README = Path(__file__).resolve().parents[2] / "config" / "README.md"
HERE = {"203.0.113.7": PROXY_V4, "correct-horse": ALICE[1], "192.168.1.50": NEIGHBOUR_V4}
WITH_LOGIN = {"listen": [{"address": PROXY_V4, "auth": "password"}, {"address": PROXY_WAN_V4, "auth": "password"}],
              "users": USERS}


def blocks(heading, language):
    """The blocks of that language below the heading."""
    section = re.search(rf"^### {re.escape(heading)}$(.*?)(?=^##)", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[1]
    found = re.findall(r"^( *)```(\w*)\n(.*?)^ *```$", section, re.MULTILINE | re.DOTALL)
    texts = [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, kind, text in found if kind == language]
    assert texts, f"no {language} below {heading}"
    for theirs, ours in HERE.items():
        texts = [text.replace(theirs, ours) for text in texts]
    return texts


def needs(program):
    return pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")


@pytest.fixture
def behind(start):
    """The proxy of the recipes: it asks for a login."""
    return start(WITH_LOGIN)


def fetch(host, url, *command):
    """The number of bytes that curl gets."""
    result = host.run(*command, "curl", "--silent", "--noproxy", "", "--max-time", "10", "--output", "/dev/null",
                      "--write-out", "%{size_download}", url)
    return result.stdout.strip().splitlines()[-1]


def is_full_cone(net, host, address, peers):
    """Datagrams of `host` leave by the proxy, and the second peer, to which nothing was sent, reaches it."""
    one, other = (peer_host.udp(peer) for peer_host, peer in zip((net.inet1, net.inet2), peers))
    sock = host.udp(address)
    sock.sendto(b"to one", one.getsockname()[:2])
    payload, external = one.recvfrom(100)
    assert (payload, external[0]) == (b"to one", PROXY_WAN_V6 if ":" in peers[0] else PROXY_WAN_V4)
    other.sendto(b"from another", external)
    payload, sender = sock.recvfrom(100)
    return (payload, sender[:2]) == (b"from another", other.getsockname()[:2])


# ---- tun bridge


@contextlib.contextmanager
def gateway(host, address, interface="eth0"):
    host.ip(f"route add default via {address} dev {interface}")
    try:
        yield
    finally:
        host.ip("route del default")


@pytest.fixture
def bridge(net, behind, tmp_path):
    """hev-socks5-tunnel on the client, without rules; those that a test adds are removed after it. The proxy lies beyond
    the client's gateway, which forwards nothing: without its mark the bridge would not reach it."""
    assert behind
    config = tmp_path / "tun.yml"
    config.write_text(blocks("Linux: the whole machine", "yaml")[0].replace(PROXY_V4, PROXY_WAN_V4), encoding="utf-8")
    with gateway(net.client, PROXY_V4):
        process = net.client.start("hev-socks5-tunnel", str(config))
        wait_until(lambda: "tun0" in net.client.run("ip", "link", "show", "up").stdout, "tun0")
        yield
        process.kill()  # before its rules go: without them, its own connections would enter the tunnel
        process.wait()
        for version in "-4", "-6":
            for preference in "10", "15", "20":
                while net.client.run("ip", version, "rule", "del", "pref", preference).returncode == 0:
                    pass
        wait_until(lambda: net.client.run("ip", "link", "show", "tun0").returncode != 0, "the end of tun0")


@needs("hev-socks5-tunnel")
def test_linux_the_whole_machine(net, bridge, web):
    assert bridge is None
    script = blocks("Linux: the whole machine", "sh")[0]
    assert script.startswith("hev-socks5-tunnel /etc/tun.yml &\n")
    result = net.client.run("sh", "-e", "-c", script.partition("\n")[2])
    assert result.returncode == 0, result.stdout
    assert fetch(net.client, f"http://{web[0]}:{web[1]}/1000") == "1000"
    assert is_full_cone(net, net.client, "0.0.0.0", (INET1_V4, INET2_V4))
    with servers.Web(net.inet1, INET1_V6) as server:
        assert fetch(net.client, f"http://[{INET1_V6}]:{server.socket.getsockname()[1]}/1000") == "1000"
    assert is_full_cone(net, net.client, "::", (INET1_V6, INET2_V6))


@needs("hev-socks5-tunnel")
def test_a_console_through_a_linux_pc(net, bridge, web):
    assert bridge is None
    result = net.client.run("sh", "-e", "-c", blocks("A console, a TV or a phone through a Linux PC", "sh")[0])
    assert result.returncode == 0, result.stdout
    with gateway(net.neighbour, CLIENT_V4):
        assert fetch(net.neighbour, f"http://{web[0]}:{web[1]}/1000") == "1000"
        assert is_full_cone(net, net.neighbour, NEIGHBOUR_V4, (INET1_V4, INET2_V4))
        route = net.client.run("ip", "route", "get", PROXY_V4, "from", NEIGHBOUR_V4, "iif", "eth0").stdout
        assert "dev eth0" in route, route  # the LAN, directly
    # The PC itself does not use the proxy.
    assert f"via {PROXY_V4} dev eth0" in net.client.run("ip", "route", "get", INET1_V4).stdout


@needs("hev-socks5-tunnel")
def test_clients_of_a_wireguard_server(net, bridge, web):
    """The tunnel itself is a cable here."""
    assert bridge is None
    (lines,) = blocks("Clients of a WireGuard server", "ini")
    up = re.findall(r"^PostUp = (.*)$", lines, re.MULTILINE)
    down = re.findall(r"^PostDown = (.*)$", lines, re.MULTILINE)
    net.client.ip(f"link add wg0 type veth peer name wg1 netns {net.neighbour.path}", "address add 10.9.0.1/24 dev wg0",
                  "link set wg0 up")
    net.neighbour.ip("address add 10.9.0.2/24 dev wg1", "link set wg1 up")
    try:
        result = net.client.run("sh", "-e", "-c", "\n".join(up).replace("%i", "wg0"))
        assert result.returncode == 0, result.stdout
        with gateway(net.neighbour, "10.9.0.1", "wg1"):
            assert fetch(net.neighbour, f"http://{web[0]}:{web[1]}/1000") == "1000"
            assert is_full_cone(net, net.neighbour, "10.9.0.2", (INET1_V4, INET2_V4))
        assert net.client.run("sh", "-e", "-c", "\n".join(down).replace("%i", "wg0")).returncode == 0
        assert "wg0" not in net.client.run("ip", "rule").stdout
    finally:
        net.client.ip("link del wg0")


# ---- single programs


def test_socksify(net, behind, web, tmp_path):
    assert behind
    (conf,) = blocks("Linux: one program", "")[:1]
    (tmp_path / "socks.conf").write_text(conf, encoding="ascii")
    command = blocks("Linux: one program", "sh")[0].split()
    environment = [f"SOCKS_CONF={tmp_path}/socks.conf", *command[1:command.index("socksify")]]
    url = f"http://{web[0]}:{web[1]}/1000"
    assert fetch(net.client, url, "env", *environment, "socksify") == "1000"
    with servers.Dns(net.inet2, INET2_V4, {"v4.test": [INET1_V4]}):
        answer = net.client.run("env", *environment, "socksify", "drill", f"@{INET2_V4}", "v4.test").stdout
    assert INET1_V4 in answer, answer


def test_proxychains(net, behind, web, tmp_path):
    assert behind
    conf = blocks("Linux: one program", "")[1]
    (tmp_path / "proxychains.conf").write_text(conf, encoding="ascii")
    command = blocks("Linux: one program", "sh")[1].split()
    assert command[:4] == ["proxychains4", "-q", "-f", "proxychains.conf"]
    command[3] = str(tmp_path / "proxychains.conf")
    assert fetch(net.client, f"http://{web[0]}:{web[1]}/1000", *command[:4]) == "1000"


def test_redsocks(net, behind, web, tmp_path):
    assert behind
    (tmp_path / "redsocks.conf").write_text(blocks("Linux without a tun device", "")[0], encoding="ascii")
    rules = blocks("Linux without a tun device", "nft")[0]
    assert ", 10.0.0.0/8," in rules  # where all hosts of the tests are
    with gateway(net.client, PROXY_V4):
        process = net.client.start("redsocks", "-c", str(tmp_path / "redsocks.conf"))
        try:
            net.client.nft(rules.replace(", 10.0.0.0/8,", ","))
            wait_until(lambda: fetch(net.client, f"http://{web[0]}:{web[1]}/1000") == "1000", "redsocks", 5)
        finally:
            process.kill()
            process.wait()
            net.client.nft("table ip redsocks\ndelete table ip redsocks")


# ---- browsers


def test_a_local_conesocks_logs_in_for_the_browser(net, behind, start, web):
    start(blocks("Firefox and Chromium with a login", "yaml")[0], host=net.client)
    url = f"http://{web[0]}:{web[1]}/1000"
    assert fetch(net.client, url, "env", "ALL_PROXY=socks5h://127.0.0.1:1080") == "1000"
    assert behind.session(user="alice")


def test_a_trusted_client_needs_no_login(net, start, web):
    text = README.read_text(encoding="utf-8")
    (listener,) = re.findall(r"`(listen: \[\{[^`]*trusted: [^`]*\}\])`", text)
    listener = listener.replace("198.51.100.20", CLIENT_V4)
    start(f"{listener}\nusers: {json.dumps(USERS)}\n")
    url = f"http://{web[0]}:{web[1]}/1000"
    proxy = f"ALL_PROXY=socks5h://{PROXY_V4}:1080"
    assert fetch(net.client, url, "env", proxy) == "1000"
    assert fetch(net.neighbour, url, "env", proxy) == "0"
    assert fetch(net.neighbour, url, "env", proxy.replace("//", "//%s:%s@" % ALICE)) == "1000"


# ---- blocks for programs that cannot run here


@pytest.mark.parametrize("block", [0, 1])
def test_json_of_windows_programs_is_json(block):
    text = json.dumps(json.loads(blocks("A Windows PC", "json")[block]))
    assert PROXY_V4 in text and ALICE[1] in text
