"""Behind a load balancer that says whose each connection is (PROXY protocol, versions 1 and 2); HAProxy itself."""
import contextlib
import re
import socket
import struct
from pathlib import Path

import pytest
import servers
import socks5
import yaml
from conftest import ALICE, USERS
from daemon import PROGRAM, wait_until
from netns import (BALANCER_V4, CLIENT_V4, CLIENT_V6, INET1_V6, NEIGHBOUR_V4, PROXY_V4, PROXY_V6,
                   PROXY_WAN_V4, SECOND_V4, STRANGER_V4)
from socks5 import ANY_V4, ASSOCIATE, CONNECT, Association

CONFIG = Path(__file__).resolve().parents[2] / "config"
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
HERE = (PROXY_V4, 1080)
LISTEN = {"address": "::", "port": 1080, "auth": "none", "open": True, "proxy_protocol": "required",
          "proxy_from": [BALANCER_V4, "fd77::8", "127.0.0.1"]}
# The tests' internet has private addresses, which behind a balancer nobody gets to by himself.
BALANCED = {"listen": [LISTEN], "reach": "private"}


def v1(client, port=40000):
    family, balancer = ("TCP6", "fd77::8") if ":" in client else ("TCP4", BALANCER_V4)
    return f"PROXY {family} {client} {balancer} {port} 1080\r\n".encode()


def v2(client, port=40000, extensions=b""):
    family = socket.AF_INET6 if ":" in client else socket.AF_INET
    hosts = socket.inet_pton(family, client) + socket.inet_pton(family, "fd77::8" if ":" in client else BALANCER_V4)
    rest = hosts + struct.pack("!HH", port, 1080) + extensions
    return SIGNATURE + struct.pack("!BBH", 0x21, 0x21 if ":" in client else 0x11, len(rest)) + rest


LOCAL_V1, LOCAL_V2 = b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0"


@pytest.fixture
def announce(net):
    """announce(header) is a connection from the balancer that begins so."""
    def connect(header, proxy=HERE, source=BALANCER_V4):
        sock = net.balancer.connect(source, proxy)
        sock.sendall(header)
        return sock
    return connect


def ended(sock):
    """Closed without a word?"""
    with contextlib.suppress(ConnectionError):
        return sock.recv(100) == b""
    return True


def refusals(proxy):
    return proxy.counters().get("proxy_protocol_refused_total", 0)


# ---- row 53 ----

@pytest.mark.parametrize("said, why", [
    (b"\5\1\0", "no PROXY protocol header"),
    (b"GET / HTTP/1.1\r\n\r\n", "no PROXY protocol header"),
    (b"PROXY TCP4 10.77.0.2\r\n", "malformed"),
    (v1(CLIENT_V4).replace(b"40000", b"70000"), "malformed"),
    (v2(CLIENT_V4).replace(b"\x21\x11", b"\x23\x11"), "malformed"),
    (v2(CLIENT_V4, extensions=bytes(1000)), "too long"),
    (b"PROXY UNKNOWN " + b"x" * 100, "too long"),
])
def test_no_header_or_a_bad_one_is_refused(start, announce, said, why):
    """Row 53: absent, malformed, oversized."""
    proxy = start(BALANCED)
    sock = announce(said)
    assert ended(sock)
    assert why in wait_until(lambda: proxy.sessions(), "the session's line")[-1]["why"]
    assert refusals(proxy) == 1


@pytest.mark.parametrize("said", [b"", v1(CLIENT_V4)[:-1], v2(CLIENT_V4)[:-1]])
def test_a_slow_header_is_refused(start, announce, said):
    """Row 53: slow. Also one that comes bytewise, and never quite."""
    proxy = start({**BALANCED, "timeouts": {"handshake": "1s"}})
    assert ended(announce(said))
    assert "took too long" in wait_until(lambda: proxy.sessions(), "the session's line")[-1]["why"]
    assert refusals(proxy) == 1


@pytest.mark.parametrize("source", [CLIENT_V4, CLIENT_V6])
def test_a_source_that_is_no_balancer_is_refused(net, start, source):
    """Row 53: from an untrusted source, whatever it says."""
    proxy = start(BALANCED)
    sock = net.client.connect(source, (PROXY_V6 if ":" in source else PROXY_V4, 1080))
    with contextlib.suppress(ConnectionError):
        sock.sendall(v1(STRANGER_V4) + b"\5\1\0")
    assert ended(sock)
    proxy.wait_log(rf"connection from {source} closed: only the balancers in listen\[\]\.proxy_from may connect here")
    assert refusals(proxy) == 1


def test_refusals_do_not_flood_the_log(net, start, announce):
    """Row 53: the counter knows them all."""
    proxy = start({**BALANCED, "workers": 1})
    for _ in range(200):
        assert ended(net.client.connect(CLIENT_V4, HERE))
        assert ended(announce(b"\5"))
    assert refusals(proxy) == 400
    assert proxy.log.count("proxy_from") < 100 and proxy.log.count("no PROXY protocol header") < 100


# ---- who is announced ----

@pytest.mark.parametrize("client, header", [
    (CLIENT_V4, v1(CLIENT_V4)), (CLIENT_V6, v1(CLIENT_V6)),
    (CLIENT_V4, v2(CLIENT_V4)), (CLIENT_V6, v2(CLIENT_V6)),
    (CLIENT_V4, v2(CLIENT_V4, extensions=b"\3\0\4abcd")), (CLIENT_V4, v2("::ffff:" + CLIENT_V4)),
])
def test_the_announced_client_may_send(net, start, announce, client, header, peer, web):
    """The log names it, its family is BND's, its datagrams are relayed, and nobody else's: not the balancer's."""
    proxy = start(BALANCED)
    association = Association(net.client, HERE, source=client, control=announce(header))
    assert association.relay[0] == (PROXY_V6 if ":" in client else PROXY_V4)
    assert association.alive(peer, 10)
    balancer = net.balancer.udp("fd77::8" if ":" in client else BALANCER_V4)
    balancer.sendto(socks5.wrap(peer.getsockname()[:2], b"not mine"), association.relay)
    assert association.alive(peer, 1)
    association.close()
    row = proxy.session(client=f"[{client}]:40000" if ":" in client else f"{client}:40000")
    assert row["why"] == "client closed" and refusals(proxy) == 0

    sock = announce(header)
    socks5.negotiate(sock)
    assert socks5.request(sock, CONNECT, web[:2]).code == 0


def test_an_ipv6_hop_and_an_ipv4_client(net, start, announce, peer):
    start(BALANCED)
    control = announce(v2(CLIENT_V4), (PROXY_V6, 1080), "fd77::8")
    association = Association(net.client, (PROXY_V6, 1080), source=CLIENT_V4, control=control)
    assert association.relay[0] == PROXY_V4
    assert association.alive(peer, 10)
    assert association.alive(net.inet1.udp(INET1_V6), 10)


def test_a_balancer_on_the_same_host(net, start, peer):
    """Its hop is loopback, where no datagram of the client's would arrive."""
    start(BALANCED)
    control = net.proxy.connect("127.0.0.1", ("127.0.0.1", 1080))
    control.sendall(v2(CLIENT_V4))
    association = Association(net.client, HERE, source=CLIENT_V4, control=control)
    assert association.relay[0] == PROXY_V4
    assert association.alive(peer, 10)


def test_the_advertised_address_may_be_on_another_network(net, start, announce, peer):
    """Datagrams arrive where neither the balancer's hop nor the way to the client is, and are answered from there."""
    start({**BALANCED, "udp": {"advertise_v4": PROXY_WAN_V4}})
    net.client.ip(f"route add {PROXY_WAN_V4} via {PROXY_V4}")
    try:
        association = Association(net.client, HERE, source=CLIENT_V4, control=announce(v1(CLIENT_V4)))
        assert association.relay[0] == PROXY_WAN_V4
        assert association.alive(peer, 10)
    finally:
        net.client.ip(f"route del {PROXY_WAN_V4}")


def test_an_ipv6_client_is_told_the_ipv6_address(start, announce):
    start({**BALANCED, "udp": {"advertise_v4": "198.51.100.7", "advertise_v6": "2001:db8::7"}})
    for client, told in (CLIENT_V4, "198.51.100.7"), (CLIENT_V6, "2001:db8::7"):
        sock = announce(v2(client))
        socks5.negotiate(sock)
        assert socks5.request(sock, ASSOCIATE, ANY_V4).address[0] == told


@pytest.mark.parametrize("header", [LOCAL_V1, LOCAL_V2])
def test_a_balancer_that_speaks_for_itself(net, start, announce, header, peer):
    proxy = start(BALANCED)
    announce(header).close()  # a health check
    association = Association(net.balancer, HERE, source=BALANCER_V4, control=announce(header))
    assert association.relay[0] == PROXY_V4
    assert association.alive(peer, 10)
    port = association.control.getsockname()[1]
    association.close()
    proxy.session(client=f"{BALANCER_V4}:{port}")
    assert len(proxy.sessions()) == 1 and proxy.counters()["sessions_total"] == 2


@pytest.mark.parametrize("header", [v1(CLIENT_V4), v2(CLIENT_V6), LOCAL_V2])
def test_bytewise_and_at_once(start, announce, header, web):
    """Row 17: the header cut anywhere, or all in one piece down to early data."""
    start(BALANCED)
    conversation = header + b"\5\1\0" + socks5.request_message(CONNECT, web[:2]) + b"GET /5 HTTP/1.0\r\n\r\n"
    whole = announce(conversation)
    bytewise = announce(b"")
    for byte in conversation:
        bytewise.sendall(bytes([byte]))
    for sock in whole, bytewise:
        assert socks5.recv_all(sock).endswith(servers.pattern(5))


# ---- what goes by the client ----

def test_rules_are_about_the_announced_client(start, announce, web):
    start({**BALANCED, "rules": [{"action": "deny", "from": [NEIGHBOUR_V4]}]})
    for client, code in (CLIENT_V4, 0), (NEIGHBOUR_V4, 2):
        sock = announce(v1(client))
        socks5.negotiate(sock)
        assert socks5.request(sock, CONNECT, web[:2]).code == code


@pytest.mark.parametrize("client", [CLIENT_V4, "127.0.0.1"])
def test_reach_is_public(start, announce, web, client):
    """Row 21: who comes by a balancer is not at home, wherever he says he is."""
    proxy = start({"listen": [LISTEN]})
    sock = announce(v1(client))
    socks5.negotiate(sock)
    assert socks5.request(sock, CONNECT, web[:2]).code == 2
    proxy.wait_log(r"denied by reach \(private address\)")


def test_limits_are_the_announced_clients(start, announce):
    """Row 42: one client's are used up, the other's behind the same balancer are not; nor is the balancer's many
    connections' beginning any client's."""
    start({**BALANCED, "limits": {"associations_per_client": 1, "handshakes_per_client": 2}})
    waiting = [announce(b"PROXY ") for _ in range(20)]

    def associate(client):
        sock = announce(v1(client))
        socks5.negotiate(sock)
        return sock, socks5.request(sock, ASSOCIATE, ANY_V4).code

    first, code = associate(CLIENT_V4)
    assert code == 0
    assert associate(CLIENT_V4)[1] == 2
    assert associate(NEIGHBOUR_V4)[1] == 0
    first.close()
    wait_until(lambda: associate(CLIENT_V4)[1] == 0, "room for the client again")
    for sock in waiting:
        sock.close()


def test_wrong_logins_are_the_announced_clients(start, announce):
    """Row 49"""
    listen = {**LISTEN, "auth": "password", "open": False}
    proxy = start({"listen": [listen], "users": USERS, "limits": {"failed_logins": 3}, "workers": 1})

    def status(client, password):
        sock = announce(v1(client) + b"\5\1\2" + socks5.login_message(ALICE[0], password))
        return socks5.recv_all(sock) if password != ALICE[1] else socks5.recv_exact(sock, 4)

    for _ in range(3):
        assert status(CLIENT_V4, "wrong") == b"\5\2\1\1"
    assert status(CLIENT_V4, "wrong") == b"\5\2"
    assert status(NEIGHBOUR_V4, ALICE[1]) == b"\5\2\1\0"
    assert proxy.counters()["auth_throttled_total"] == 1


# ---- HAProxy ----

NODES = [(PROXY_V4, "30000-30099"), (SECOND_V4, "31000-31099")]


def node_config(address, ports):
    """config/behind-haproxy.yaml with a node's own addresses, and a password that somebody knows."""
    text = (CONFIG / "behind-haproxy.yaml").read_text(encoding="utf-8")
    for ours, theirs in [("10.0.0.2", BALANCER_V4), ("203.0.113.11", address), ("30000-30999", ports)]:
        assert text.count(ours) == 1
        text = text.replace(ours, theirs)
    text, count = re.subn(r"password: \$y.*", "password: " + USERS[0]["password"], text)
    assert count == 1
    return text + "reach: private\nworkers: 2\n"


class Haproxy:
    def __init__(self, host, folder, header):
        text = (CONFIG / "haproxy.cfg").read_text(encoding="utf-8")
        for ours, theirs in [("10.0.0.11:1080", f"{PROXY_V4}:1080"), ("10.0.0.12:1080", f"{SECOND_V4}:1080"),
                             (" send-proxy-v2 ", f" {header} "), (" inter 2s ", " inter 100ms "),
                             ("maxconn 20000", "maxconn 200")]:
            assert text.count(ours) == 1
            text = text.replace(ours, theirs)
        path, self.log_path = folder / "haproxy.cfg", folder / "haproxy.log"
        path.write_text(text, encoding="utf-8")
        with open(self.log_path, "wb") as log:
            self.process = host.start("/usr/sbin/haproxy", "-db", "-f", str(path), stdout=log, stderr=log)

    @property
    def log(self):
        return self.log_path.read_text(encoding="utf-8", errors="backslashreplace")

    def wait_log(self, pattern):
        return wait_until(lambda: re.search(pattern, self.log), f"{pattern!r} in HAProxy's log")

    def stop(self):
        self.process.kill()
        self.process.wait()


@pytest.fixture(params=["send-proxy-v2", "send-proxy"])
def haproxy(net, tmp_path, request):
    balancer = Haproxy(net.balancer, tmp_path, request.param)
    yield balancer
    balancer.stop()
    print("--- log of HAProxy", balancer.log, sep="\n")


@pytest.fixture
def nodes(net, start):
    """By their addresses."""
    hosts = {PROXY_V4: net.proxy, SECOND_V4: net.second}
    return {address: start(node_config(address, ports), host=hosts[address]) for address, ports in NODES}


def balanced(net, client=CLIENT_V4):
    """An association through HAProxy, as soon as that lets one through."""
    host = {CLIENT_V4: net.client, NEIGHBOUR_V4: net.neighbour, STRANGER_V4: net.stranger}[client]

    def attempt():
        with contextlib.suppress(ConnectionError, EOFError):
            return Association(host, (BALANCER_V4, 1080), source=client, user=ALICE[0], password=ALICE[1])
        return None
    return wait_until(attempt, "a session through HAProxy")


def test_haproxy(net, nodes, haproxy, peer, web):
    """TCP through HAProxy, datagrams straight to the node that was advertised; one client's all to one node."""
    associations = [balanced(net, client) for client in (CLIENT_V4, NEIGHBOUR_V4, STRANGER_V4, CLIENT_V4)]
    for association in associations:
        assert association.relay[0] in nodes and association.alive(peer, 20)
        first, last = map(int, dict(NODES)[association.relay[0]].split("-"))
        assert first <= association.relay[1] <= last
    assert associations[0].relay[0] == associations[3].relay[0]
    sock, reply = socks5.connect(net.client, (BALANCER_V4, 1080), web[:2], CLIENT_V4, *ALICE)
    assert reply.code == 0
    sock.sendall(b"GET /100000 HTTP/1.0\r\n\r\n")
    assert socks5.recv_all(sock).endswith(servers.pattern(100000))
    node = nodes[associations[0].relay[0]]
    port = associations[0].control.getsockname()[1]
    associations[0].close()
    assert node.session(client=f"{CLIENT_V4}:{port}")["user"] == ALICE[0]


def test_haproxys_health_checks(nodes, haproxy):
    """They are neither refused nor a line in the log each."""
    for node in nodes.values():
        before = node.counters().get("sessions_ended_total", 0)
        wait_until(lambda: node.counters().get("sessions_ended_total", 0) >= before + 3, "three checks to be over")
        assert refusals(node) == 0 and not node.sessions()
    assert "DOWN" not in haproxy.log


def test_haproxy_goes_on_with_the_node_that_is_left(net, nodes, haproxy, peer):
    association = balanced(net)
    assert association.alive(peer, 5)
    dead = association.relay[0]
    nodes[dead].killed = True
    nodes[dead].kill()
    assert ended(association.control)
    haproxy.wait_log(r"Server nodes/node\d is DOWN")
    other = balanced(net)
    assert other.relay[0] in nodes and other.relay[0] != dead
    assert other.alive(peer, 20)


# ---- Kubernetes ----

def test_the_example_for_kubernetes_agrees_with_itself(net, tmp_path):
    """All that can be said without a cluster."""
    text = (CONFIG / "kubernetes" / "daemonset.yaml").read_text(encoding="utf-8")
    secret, daemonset, service = yaml.safe_load_all(text)
    path = tmp_path / "conesocks.yaml"
    path.write_text(secret["stringData"]["conesocks.yaml"], encoding="utf-8")
    path.chmod(0o440)
    checked = net.proxy.run(PROGRAM, "-t", "-c", str(path))
    assert checked.returncode == 0 and "warning" not in checked.stdout, checked.stdout
    pod = daemonset["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert container["command"][1:] == ["-c", container["volumeMounts"][0]["mountPath"] + "/" + path.name]
    assert pod["spec"]["volumes"][0]["secret"]["secretName"] == secret["metadata"]["name"]
    assert daemonset["spec"]["selector"]["matchLabels"] == pod["metadata"]["labels"] == service["spec"]["selector"]
    (port,) = container["ports"]
    assert port["containerPort"] == config["listen"][0].get("port", 1080) == service["spec"]["ports"][0]["port"]
    for probe in container["readinessProbe"], container["livenessProbe"]:
        assert probe["tcpSocket"]["port"] == port["name"]
    drain = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    assert drain < pod["spec"]["terminationGracePeriodSeconds"]
    assert int(config["udp"]["ports"].split("-")[1]) < 30000
