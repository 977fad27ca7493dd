"""Programs that nobody here wrote, through the proxy: what clients.md says of them must just work."""
import hashlib
import os
import re
import subprocess
from pathlib import Path

import pytest
import servers
from conftest import ALICE, LISTEN, USERS
from netns import CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, NEIGHBOUR_V4, PROXY_V4

PROXY = f"{PROXY_V4}:1080"
PROXY_IN_V6 = "[fd77::1]:1080"


@pytest.fixture
def web(net):
    with servers.Web(net.inet1, INET1_V4), servers.Web(net.inet1, INET1_V6):
        yield


@pytest.fixture
def dns(net):
    with servers.Dns(net.inet2, INET2_V4, {"www.test": [INET1_V4, INET1_V6], "v4.test": [INET1_V4]}) as server:
        yield server


def curl(net, *arguments):
    result = net.client.run("curl", "--silent", "--show-error", "--max-time", "50", *arguments, text=False,
                            stderr=subprocess.PIPE)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return result.stdout


@pytest.mark.parametrize("proxy_url", [f"socks5://{PROXY}", f"socks5h://{PROXY}", f"socks5h://{PROXY_IN_V6}"])
@pytest.mark.parametrize("url", [f"http://{INET1_V4}/1000", f"http://[{INET1_V6}]/1000"])
def test_curl_addresses(net, proxy, web, proxy_url, url):
    assert curl(net, "--proxy", proxy_url, url) == servers.pattern(1000)


@pytest.mark.parametrize("name", ["www.test", "v4.test"])
def test_curl_names_resolved_by_the_proxy(net, start, web, dns, name):
    start({"dns": {"servers": [dns.address]}})
    assert curl(net, "--socks5-hostname", PROXY, f"http://{name}/1000") == servers.pattern(1000)
    assert (name, "A") in dns.asked


def test_curl_names_resolved_by_curl(net, proxy, web):
    assert curl(net, "--socks5", PROXY, "--resolve", f"www.test:80:{INET1_V4}", "http://www.test/1000")


def test_curl_password(net, start, web):
    listen = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
    start({"listen": listen, "users": USERS})
    url = f"http://{INET1_V4}/1000"
    assert curl(net, "--proxy", f"socks5h://{ALICE[0]}:{ALICE[1]}@{PROXY}", url) == servers.pattern(1000)
    for wrong in (f"{ALICE[0]}:wrong@", "mallory:wonderland@", ""):
        result = net.client.run("curl", "-sS", "--max-time", "20", "--output", "/dev/null",
                                "--proxy", f"socks5h://{wrong}{PROXY}", url)
        assert result.returncode == 97, result.stdout  # CURLE_PROXY


def test_curl_200_parallel(net, proxy, web):
    answers = curl(net, "--parallel", "--parallel-immediate", "--parallel-max", "200", "--proxy", f"socks5h://{PROXY}",
                   "--output", "/dev/null", "--write-out", "%{http_code} %{size_download}\\n",
                   f"http://{INET1_V4}/[1000-1199]").decode().split("\n")
    assert sorted(filter(None, answers)) == [f"200 {size}" for size in range(1000, 1200)]


@pytest.mark.parametrize("host", [INET1_V4, f"[{INET1_V6}]"])
def test_curl_20_mb(net, proxy, web, tmp_path, host):
    """Up and down again: equal hashes."""
    sent = tmp_path / "sent"
    sent.write_bytes(servers.pattern(20_000_000, 7))
    received = curl(net, "--proxy", f"socks5h://{PROXY}", "--data-binary", f"@{sent}", "--header", "Expect:",
                    f"http://{host}/")
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent.read_bytes()).digest()


# libdsocks: socksify makes any program's sockets go through the proxy.


@pytest.fixture
def socksify(net, tmp_path):
    """socksify(program ...) on the client: its output."""
    conf = tmp_path / "socks.conf"
    conf.write_text(f"route {{ from: 0.0.0.0/0 to: 10.88.0.0/24 via: {PROXY_V4} port = 1080\n"
                    "proxyprotocol: socks_v5\nprotocol: tcp udp\nmethod: none }\n", encoding="ascii")

    def run(*command, **options):
        environment = os.environ | {"SOCKS_CONF": str(conf)}
        return net.client.run("socksify", *command, env=environment, **options).stdout

    return run


def test_socksify_dns_over_udp(net, proxy, dns, socksify):
    assert INET1_V4 in socksify("drill", f"@{INET2_V4}", "v4.test")
    assert ("v4.test", "A") in dns.asked
    assert proxy.session(command="udp")["up_datagrams"] == "1"


def test_socksify_tcp(net, proxy, web, socksify):
    output = socksify("curl", "--silent", "--output", "/dev/null", "--write-out", "%{size_download}",
                      f"http://{INET1_V4}/1000")
    assert output == "1000"
    assert proxy.session(command="connect")["via"] == f"{INET1_V4}:80"


@pytest.mark.skipif("deny" in Path("/proc/self/setgroups").read_text(encoding="ascii"),
                    reason="in.tftpd sets its groups, which a user namespace does not let it: run as root")
def test_socksify_tftp(net, proxy, socksify, running, tmp_path):
    """tftp's server answers each transfer from a port of its own: who filters replies loses it."""
    files, content = tmp_path / "files", os.urandom(100_000)
    files.mkdir()
    (files / "there").write_bytes(content)
    tmp_path.chmod(0o755)
    running(net.inet1, "in.tftpd", "--foreground", "--ipv4", "--address", f"{INET1_V4}:69", "--user", "root",
            "--permissive", str(files), udp=(INET1_V4, 69))
    output = socksify("tftp", "-m", "binary", INET1_V4, "-c", "get", str(files / "there"), str(tmp_path / "here"))
    assert (tmp_path / "here").read_bytes() == content, output


# PySocks, with names resolved by the proxy: its ASSOCIATE names the host "0".

PYSOCKS = """
import socket, socks, sys
sock = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
sock.set_proxy(socks.SOCKS5, sys.argv[1], 1080, rdns=True)
sock.settimeout(5)
sock.sendto(b"ping", (sys.argv[2], int(sys.argv[3])))
print(sock.recvfrom(100))
"""


@pytest.mark.parametrize("name", [INET1_V4, "v4.test"])
def test_pysocks_udp(net, start, dns, name):
    start({"dns": {"servers": [dns.address]}})
    peer = net.inet1.udp(INET1_V4)
    port = str(peer.getsockname()[1])
    client = net.client.start("/usr/bin/python3", "-c", PYSOCKS, PROXY_V4, name, port, stdout=subprocess.PIPE, text=True)
    payload, external = peer.recvfrom(100)
    peer.sendto(b"pong", external)
    output, _ = client.communicate(timeout=10)
    assert payload == b"ping"
    assert output.strip() == str((b"pong", peer.getsockname()))


# A gateway that redirects its clients' UDP: the programs behind it know nothing of a proxy.

GATEWAY_PORT = 10053


@pytest.fixture
def redirect(net):
    """The neighbour is the client's router, and what the client sends by UDP ends up at its port 10053."""
    net.neighbour.nft(f"""table ip gateway {{
        chain prerouting {{
            type filter hook prerouting priority mangle
            ip daddr 10.88.0.0/24 meta l4proto udp tproxy to {NEIGHBOUR_V4}:{GATEWAY_PORT} meta mark set 1 accept
        }}
    }}""")
    net.neighbour.ip("rule add fwmark 1 lookup 100", "route add local default dev lo table 100")
    net.client.ip(f"route add 10.88.0.0/24 via {NEIGHBOUR_V4}")
    yield
    net.client.ip(f"route del 10.88.0.0/24 via {NEIGHBOUR_V4}")
    net.neighbour.ip("rule del fwmark 1 lookup 100", "route del local default dev lo table 100")
    net.neighbour.nft("delete table ip gateway")


@pytest.fixture
def redsocks(net, redirect, running, tmp_path):
    """It takes BND as it stands and reads exactly ten bytes of the reply."""
    conf = tmp_path / "redsocks.conf"
    conf.write_text(f"""
base {{ log_debug = on; log_info = on; log = stderr; daemon = off; redirector = iptables; }}
redudp {{ local_ip = {NEIGHBOUR_V4}; local_port = {GATEWAY_PORT}; ip = {PROXY_V4}; port = 1080;
          udp_timeout = 30; udp_timeout_stream = 180; }}
""", encoding="ascii")
    running(net.neighbour, "redsocks", "-c", str(conf), udp=(NEIGHBOUR_V4, GATEWAY_PORT))


def test_redsocks_redirects_udp(net, proxy, redsocks):
    peer, client = net.inet1.udp(INET1_V4), net.client.udp(CLIENT_V4)
    for number in range(20):
        client.sendto(b"%d" % number, peer.getsockname())
        payload, external = peer.recvfrom(100)
        peer.sendto(b"re: " + payload, external)
        assert client.recvfrom(100) == (b"re: %d" % number, peer.getsockname())


# NAT discovery against coturn, which has two addresses with two ports each.


@pytest.fixture
def coturn(net, running, tmp_path):
    running(net.inet1, *servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4), udp=(INET1_OTHER_V4, 3479))


def test_row29_nat_discovery_behind_a_gateway(net, proxy, lan, coturn, redirect):
    """RFC 5780, as a console behind a router measures it. (redsocks would not do: it sends all that comes from one port
    to the first destination.)"""
    with servers.Gateway(net.neighbour, NEIGHBOUR_V4, GATEWAY_PORT, lan):
        output = net.client.run("turnutils_natdiscovery", "-m", "-f", "-P", INET1_V4).stdout
    assert re.findall(r"NAT with (.*)!", output) == ["Endpoint Independent Mapping", "Endpoint Independent Filtering"], output


def test_row29_nat_discovery_through_socksify(net, proxy, coturn, socksify):
    """Filtering only: for the mapping it opens its port again, which is another association."""
    output = socksify("turnutils_natdiscovery", "-f", "-P", INET1_V4)
    assert "Endpoint Independent Filtering!" in output, output


def test_row29_stun_client_through_socksify(net, proxy, coturn, socksify):
    """RFC 3489: answers from another port and from another address arrive, both servers see one address, and the
    hairpin works."""
    output = socksify("stun", INET1_V4, "-v")
    measured = dict(re.findall(r"^(test \S+|mapped IP same|hairpin) *= (\d)", output, re.MULTILINE))
    assert measured == dict.fromkeys(("test I", "test II", "test III", "test I(2)", "mapped IP same", "hairpin"), "1"), output
