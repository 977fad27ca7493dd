"""conesocks check with a test server of our own: another conesocks check --listen, or sockets on the proxy's machine.
The tests set up what it measures: which side filters, where fragments get lost, how long a mapping lives."""
import contextlib
import re
import socket
import struct
import subprocess
import threading

import pytest
import servers
from checks import BY_V4, OK, UNKNOWN, USAGE, WRONG, check, dante, packet_filter  # noqa: F401 (fixtures)
from daemon import PATIENCE, PROGRAM, wait_until
from netns import INET1_OTHER_V4, INET1_V4, INET1_V6, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4

KEY = "a key for the tests"


class FarEnd:
    def __init__(self, host, *arguments):
        self.process = host.start(PROGRAM, "check", "--listen", *arguments, "--key", KEY, stdout=subprocess.PIPE,
                                  text=True)
        self.lines = []
        threading.Thread(target=self.read, daemon=True).start()
        wait_until(lambda: self.says("Control-C") or self.process.poll() is not None, "the test server")
        assert self.process.poll() is None, self.lines

    def read(self):
        for line in self.process.stdout:
            self.lines.append(line)

    def says(self, text):
        return any(text in line for line in self.lines)

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture
def far_end(net):
    """far_end(argument ...) is one on the internet, at all its addresses."""
    started = []

    def run(*arguments, host=None):
        started.append(FarEnd(host or net.inet1, *arguments))
        return started[-1]
    yield run
    for one in started:
        one.stop()
        print("--- the test server", *one.lines, sep="\n")


@pytest.fixture
def ask_peer(check, far_end):  # noqa: F811
    """ask_peer(argument ...) checks the LAN's proxy with a test server on the internet."""
    def run(*arguments, **options):
        far_end()
        return check("--peer", INET1_V4, "--key", KEY, *arguments, **options)
    return run


# What is found through servers that do well.


def test_all_is_well(net, proxy, ask_peer):
    """Each step, at what the network is: an MTU of 1500, no loss, no way to the internet but the proxy."""
    found = ask_peer()
    assert found.status == OK and set(found.statuses().values()) == {"ok"}
    assert found.step("nat_v4")["data"]["nat_type"] == "open"
    sizes = found.step("sizes_v4")["data"]
    assert sizes == {"largest_up": 65000, "largest_down": 65000, "empty": True, "cut_short": False,
                     "ends_association": False, "largest_unfragmented": 1472, "largest_unfragmented_to_proxy": 1462,
                     "largest_unfragmented_from_proxy": 1462}
    delay = found.step("delay_v4")["data"]
    assert delay["through_ms"] > 0 and "straight_ms" not in delay
    assert found.step("loss_v4")["data"] == {"sent": 200, "lost_up": 0, "lost_down": 0, "duplicated": 0, "reordered": 0}
    assert found.step("apart_v4")["data"] == {"associations": 4}
    assert found.step("hairpin_v4")["data"] == {"reached": True, "unasked": True, "source_is_external": True}
    assert found.step("end_v4")["data"] == {"ended": True}


@pytest.mark.parametrize("filtering, words", [("address-dependent", "Restricted cone"),
                                              ("address-and-port-dependent", "Port-restricted cone")])
def test_row29_stricter_filtering_is_seen(net, start, ask_peer, filtering, words):
    """By the peer as by a STUN server; what else there is to find is found in spite of it."""
    start({"udp": {"filtering": filtering}})
    found = ask_peer()
    step = found.step("nat_v4")
    assert step["data"]["filtering"] == filtering and step["found"].startswith(words) and found.status == WRONG
    assert {name for name, status in found.statuses().items() if status not in ("ok", "info")} == {"nat_v4"}
    assert found.step("hairpin_v4")["data"]["unasked"] is False


def test_dante(net, dante, ask_peer):  # noqa: F811
    dante(PROXY_V4, PROXY_WAN_V4)
    found = ask_peer()
    assert found.step("nat_v4")["data"]["filtering"] == "address-and-port-dependent"
    assert found.step("sizes_v4")["data"]["largest_up"] == found.step("sizes_v4")["data"]["largest_down"] == 65000


def test_ipv6(net, proxy, check, far_end):  # noqa: F811
    """The test server has one IPv6 address, so the NAT type stays unknown; that is no fault."""
    assert far_end().says("fd88::11 (the only address on its network")
    found = check("--peer", INET1_V6, "--key", KEY, proxy=f"socks5://[{PROXY_V6}]:1080")
    step = found.step("nat_v6")
    assert found.status == UNKNOWN and step["status"] == "skipped"
    assert "two ports see the same external port, and both can send to us" in step["found"] and "second address" in step["owner"]
    assert found.step("sizes_v6")["data"]["largest_unfragmented"] == 1452
    assert {name for name, status in found.statuses().items() if status != "ok"} == {"nat_v6"}


def test_one_address_still_shows_the_strictest_filtering(net, start, check, far_end):  # noqa: F811
    start({"udp": {"filtering": "address-and-port-dependent"}})
    far_end(INET1_V4)
    step = check("--peer", INET1_V4, "--key", KEY).step("nat_v4")
    assert step["status"] == "warning" and "address-and-port-dependent" in step["found"]


def test_delay_without_the_proxy(net, start, check, far_end):  # noqa: F811
    """The test server is on the client's side, so that there are two ways to it."""
    start({"reach": "all"})
    far_end(host=net.neighbour)
    data = check("--peer", NEIGHBOUR_V4, "--key", KEY).step("delay_v4")["data"]
    assert data["added_ms"] == pytest.approx(data["through_ms"] - data["straight_ms"], abs=0.002)


# On one machine, without anything named.


def test_built_in_default(net, start, check):  # noqa: F811
    """Nothing but `conesocks` and `conesocks check`: full cone, exit 0."""
    start(None)
    found = check(host=net.proxy, proxy=None)
    assert found.status == OK and found.step("nat_v4")["data"]["nat_type"] == "open"
    assert {name: status for name, status in found.statuses().items() if status != "ok"} == {"nat_v6": "info"}
    assert found.step("sizes_v4")["data"]["largest_up"] == 65000 and found.step("own")["data"]["kind"] == "own"
    assert "show the proxy alone; --stun or --peer" in found.step("own")["found"]


def test_own_sockets_only_towards_loopback(net, proxy, check):  # noqa: F811
    """At its LAN address the same proxy lets no client reach its own host. Where no public server is to be asked either,
    UDP is not tested, and the fix tells how."""
    found = check("--stun", "none", host=net.proxy)
    assert found.status == UNKNOWN and "only when they use a loopback address" in found.step("own")["found"]
    assert found.step("public")["status"] == "skipped" and "--peer" in found.step("public")["owner"]


def test_a_proxy_that_is_elsewhere_after_all(net, proxy, check):  # noqa: F811
    """A forwarded port, like a container's: it is not blamed for this machine's sockets, which are out of its reach."""
    listener = net.client.listen("127.0.0.1", 1080)

    def forward():
        with contextlib.suppress(OSError):
            while True:
                near = listener.accept()[0]
                far = net.client.connect(None, (PROXY_V4, 1080))
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=pour, args=(source, sink), daemon=True).start()

    listener.settimeout(None)
    threading.Thread(target=forward, daemon=True).start()
    found = check("--stun", "none", proxy="socks5://127.0.0.1:1080")
    listener.shutdown(socket.SHUT_RDWR)
    step = found.step("own")
    assert step["status"] == "info" and "in a container" in step["found"] and "--stun" in found.step("public")["owner"]
    assert found.statuses()["datagram_v4"] == "skipped" and found.step("login")["status"] == "ok"


def pour(source, sink):
    """Forwards until `source` ends, by a reset as well: what it was forwarded to ends then, too."""
    source.settimeout(None)
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


# Paths that lose what is large.


@contextlib.contextmanager
def drops_fragments(host, interface):
    """Before anything reassembles them, which connection tracking does."""
    host.nft(f'table ip fragments {{\nchain c {{ type filter hook prerouting priority -450; iifname "{interface}" '
             "ip frag-off & 0x3fff != 0 drop; }\n}")
    try:
        yield
    finally:
        host.nft("delete table ip fragments")


def test_fragments_are_dropped_beyond_the_proxy(net, proxy, ask_peer):
    with drops_fragments(net.inet1, "eth0"):
        found = ask_peer()
    assert found.blames("sizes_v4", "dropped between the proxy and the test server", "IP fragments")
    data = found.step("sizes_v4")["data"]
    assert (data["largest_up"], data["largest_down"], data["largest_unfragmented"]) == (1472, 65000, 1472)


def test_fragments_are_dropped_before_the_proxy(net, proxy, ask_peer):
    with drops_fragments(net.proxy, "eth0"):
        found = ask_peer()
    assert found.blames("sizes_v4", "firewall or NAT between here and the proxy drops IP fragments", "IP fragments")
    assert found.step("sizes_v4")["data"]["largest_up"] == 1462


def test_fragments_are_dropped_on_the_way_back(net, proxy, ask_peer):
    """Both legs: the answers' own and, with its header, the client's."""
    with drops_fragments(net.client, "eth0"):
        data = ask_peer().step("sizes_v4")["data"]
    assert (data["largest_up"], data["largest_down"]) == (65000, 1462)


def test_fragments_are_dropped_on_the_way_back_alone(net, proxy, ask_peer):
    """That smaller ones come to the proxy says nothing about those that it sends."""
    net.client.ip(f"route add {PROXY_V4}/32 dev eth0 mtu 1280")
    with drops_fragments(net.client, "eth0"):
        found = ask_peer()
    net.client.ip(f"route del {PROXY_V4}/32")
    assert found.blames("sizes_v4", "firewall or NAT between here and the proxy drops IP fragments", "IP fragments")
    data = found.step("sizes_v4")["data"]
    assert (data["largest_down"], data["largest_unfragmented_to_proxy"]) == (1462, 1242)


@pytest.fixture
def tunnel(net):
    """The proxy's way to the internet takes packets of 1280 bytes, and says nothing about larger ones."""
    net.proxy.ip("link set eth1 mtu 1280")
    yield
    net.proxy.ip("link set eth1 mtu 1500")


def test_an_mtu_of_1280(net, tunnel, proxy, ask_peer):
    found = ask_peer()
    assert found.blames("sizes_v4", "takes only smaller packets", "type 3 code 4")
    data = found.step("sizes_v4")["data"]
    assert (data["largest_up"], data["largest_unfragmented"]) == (65000, 1252)
    assert 1252 <= data["largest_down"] <= 1256  # a virtual cable lets four bytes more through


def test_loss(net, start, ask_peer, packet_filter):  # noqa: F811
    """One in ten on the way there, as the test server counts; only of the datagrams that are counted. They are not
    joined on their way, as the filter would count those as one."""
    start({"udp": {"offload": "off"}})
    packet_filter(net.inet1, "chain i { type filter hook input priority 0; udp length 208 numgen inc mod 10 0 drop; }")
    found = ask_peer()
    assert found.blames("loss_v4", "weak or busy network")
    data = found.step("loss_v4")["data"]
    assert (data["lost_up"], data["lost_down"], data["duplicated"]) == (20, 0, 0)


@pytest.mark.parametrize("host", ["client", "proxy", "inet1"])
def test_sizes_where_some_get_lost(net, proxy, ask_peer, host):
    """One packet in twenty, so that one of the pieces of a large datagram always is: no firewall and no buffer is blamed."""
    host = getattr(net, host)
    host.nft('table ip lossy {\nchain c { type filter hook prerouting priority -450; iifname "eth*" ip protocol udp '
             "numgen inc mod 20 0 drop; }\n}")
    try:
        found = ask_peer()
    finally:
        host.nft("delete table ip lossy")
    assert found.blames("loss_v4", "weak or busy network")
    sizes = found.step("sizes_v4")
    assert sizes["status"] == "info" and "packet loss (see above)" in sizes["cause"] and not sizes.get("owner")
    assert 1472 < min(sizes["data"]["largest_up"], sizes["data"]["largest_down"]) < 65000


# How long a silent mapping lives.


def test_lifetime(net, proxy, ask_peer):
    found = ask_peer("--lifetime", "10")
    assert found.status == OK
    assert found.step("lifetime_v4")["data"] == {"at_least_seconds": 10, "less_than_seconds": None}


def test_lifetime_takes_a_peer(net, proxy, running, check, tmp_path):  # noqa: F811
    running(net.inet1, *servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4), udp=(INET1_OTHER_V4, 3479))
    found = check("--stun", INET1_V4, "--lifetime", "10")
    assert found.status == UNKNOWN and "--peer" in found.step("lifetime_v4")["owner"]


def test_a_short_lived_mapping(net, proxy, ask_peer, packet_filter):  # noqa: F811
    """A stateful firewall on the way forgets UDP after six seconds."""
    for kind in ("udp_timeout", "udp_timeout_stream"):
        net.proxy.sysctl(f"netfilter/nf_conntrack_{kind}", 6)
    packet_filter(net.proxy, 'chain i { type filter hook input priority 0; iifname "eth1" ct state established accept; '
                             'iifname "eth1" meta l4proto udp drop; }')
    try:
        found = ask_peer("--lifetime=10")
    finally:
        net.proxy.sysctl("netfilter/nf_conntrack_udp_timeout", 30)
        net.proxy.sysctl("netfilter/nf_conntrack_udp_timeout_stream", 120)
    assert found.blames("lifetime_v4", "NAT or firewall", "nf_conntrack_udp_timeout")
    step = found.step("lifetime_v4")
    assert step["data"] == {"at_least_seconds": 5, "less_than_seconds": 7} and "RFC 4787 asks for 120 s" in step["found"]


# Test servers that do not answer, or have another key.


def test_it_ends_midway(net, proxy, far_end):
    """Each step after that fails, in bounded time."""
    peer = far_end()
    process = net.client.start(PROGRAM, "check", "--proxy", BY_V4, "--peer", INET1_V4, "--key", KEY,
                               stdout=subprocess.PIPE, text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if " NAT type, IPv4 " in line:
            peer.stop()
    text = "".join(lines)
    assert process.wait(PATIENCE) == WRONG, text
    assert re.search("x? Packet loss +the test server stopped answering", text), text


def test_another_key(net, proxy, check, far_end):  # noqa: F811
    """The connection by TCP shows it; the test server prints the sender."""
    peer = far_end()
    found = check("--peer", INET1_V4, "--key", "another key")
    assert found.blames("connect", "key is wrong", "--key KEY")
    wait_until(lambda: peer.says(f"no answer to {PROXY_WAN_V4}:"), "the test server to print it")
    assert found.statuses()["nat_v4"] == "skipped"


def test_the_key_is_out_of_sight(net, proxy, far_end):
    """Row 50: not in ps(1)."""
    peer = far_end()
    with open(f"/proc/{peer.process.pid}/cmdline", "rb") as line:
        assert KEY.encode() not in line.read()


@pytest.mark.parametrize("arguments, words", [
    (["--peer", INET1_V4], "also needs the key"), (["--peer", INET1_V4, "--key", KEY, "--stun", INET1_V4], "not both"),
    (["--listen", "host.name"], "not a name"), (["--listen", ":65535"], "port after it"),
    (["--listen", "--key", "short"], "8 characters"), (["--lifetime", "5"], "10 to 900"), (["--lifetime", "1000"], "10 to 900")])
def test_usage(net, check, arguments, words):  # noqa: F811
    found = check(*arguments, proxy=None, form=None)
    assert found.status == USAGE and words in found.text


# A test server cannot be used to attack others.


def test_row35_strangers_get_nothing(net, far_end):
    """No datagram and no byte for senders without the key, whatever they send; and it keeps running."""
    far_end()
    binding = struct.pack("!HHI12s", 1, 0, 0x2112a442, b"transaction!")
    padded = struct.pack("!HHI12s", 1, 1204, 0x2112a442, b"transaction!") + struct.pack("!HH", 0x26, 1200) + bytes(1200)
    sealed = struct.pack("!HHI12s", 1, 36, 0x2112a442, b"transaction!") + struct.pack("!HH", 0x1c, 32) + bytes(32)
    udp = net.inet2.udp(None)
    for port in (3478, 3479):
        for payload in (b"", b"echo", bytes(1200), b"\xff" * 1200, binding, padded, sealed):
            udp.sendto(payload, (INET1_V4, port))
    udp.settimeout(0.5)
    with pytest.raises(socket.timeout):
        udp.recv(2000)
    for payload in (binding, sealed, b"GET / HTTP/1.0\r\nHost: example\r\n\r\n", b"\xff" * 100):
        tcp = net.inet2.connect(None, (INET1_V4, 3478))
        tcp.sendall(payload)
        tcp.settimeout(0.5)
        with contextlib.suppress(socket.timeout, ConnectionResetError):
            assert tcp.recv(2000) == b""
    assert net.inet2.run(PROGRAM, "check", "--direct", "--peer", INET1_V4, "--key", KEY).returncode == OK


def test_row35_no_more_bytes_than_came(net, proxy, far_end, check):  # noqa: F811
    """Of a whole check, on the wire at the test server: it sends no more than it receives."""
    far_end()
    with net.inet1.enter():
        sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))  # both ways
    sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
    assert check("--peer", INET1_V4, "--key", KEY).status == OK
    sniffer.settimeout(0)
    came = went = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            packet, address = sniffer.recvfrom(65536)
            if address[1] == 0x0800 and packet[9] == socket.IPPROTO_UDP:
                went += len(packet) * (address[2] == socket.PACKET_OUTGOING)
                came += len(packet) * (address[2] == socket.PACKET_HOST)
    sniffer.close()
    assert 0 < went <= came
