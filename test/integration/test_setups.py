"""The set-ups of config/, each in namespaces that imitate it: the very file from there, behind the very NAT that its
comments, or compose.yaml, ask for.

                     | client    198.41.0.2                         192.168.1.1     192.168.1.10   a home router
    internet ------- + inet1     198.41.0.11  198.41.0.12    edge --172.17.0.1      172.17.0.2     docker's host
     198.41.0.0/24   | inet2     198.41.0.21              198.41.0.7 10.0.0.1       10.0.0.10      a cloud, 1:1
"""
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
import servers
import socks5
from checks import run_check
from conftest import ALICE, USERS
from daemon import PROGRAM, SANITIZED, wait_until
from netns import Host, Network

CONFIG = Path(__file__).resolve().parents[2] / "config"
OUTSIDE, CLIENT = "198.41.0.7", "198.41.0.2"
INET1, INET1_OTHER, INET2 = "198.41.0.11", "198.41.0.12", "198.41.0.21"
ETH_P_IP = 0x0800


def asked_for(comments):
    """The ports that an example's comments ask its reader to open: ["tcp dport 1080", "udp dport 30000-30999", ...]."""
    return [f"{protocol.lower()} dport {ports}" for protocol, ports in
            re.findall(r"^#   (TCP|UDP) (\d+(?:-\d+)?) ", comments, re.MULTILINE)]


def published(compose):
    """The same of a compose.yaml, which must publish each port under its own number."""
    ports = re.findall(r'^ +- "(\S+):(\S+)/(tcp|udp)"', compose, re.MULTILINE)
    assert all(outside == inside for outside, inside, _ in ports)
    return [f"{protocol} dport {port}" for port, _, protocol in ports]


class Setup:
    """An example with the NAT in front of it. The ports it wants come in the order TCP, udp.ports, udp.external_ports.
    `firewall`: the edge drops what is meant for itself. `keeps_clients`: it lets them have their own addresses."""

    def __init__(self, file, outside, gateway, proxy, firewall=False, keeps_clients=True):
        self.path = CONFIG / file
        self.outside = outside  # what the file advertises, in place of OUTSIDE
        self.gateway, self.proxy = gateway, proxy
        self.firewall, self.keeps_clients = firewall, keeps_clients
        compose = self.path.parent / "compose.yaml"
        wanted = published(compose.read_text()) if compose.exists() else asked_for(self.path.read_text())
        assert len(wanted) == 3
        self.tcp, self.relays, self.externals = wanted

    def config(self):
        """The file, with this network's address and a password that is known."""
        text = self.path.read_text(encoding="utf-8")
        for old, new in (self.outside, OUTSIDE), (re.search(r"password: (\S+)", text)[1], USERS[0]["password"]):
            assert text.count(old) == 1
            text = text.replace(old, new)
        return text

    def range(self, option):
        first, last = re.search(rf"^  {option}: (\d+)-(\d+)$", self.config(), re.MULTILINE).groups()
        return range(int(first), int(last) + 1)

    def nat(self, opened):
        """Port forwarding, as by home routers and docker."""
        forwards = "\n".join(f"ip daddr {OUTSIDE} {ports} dnat to {self.proxy}" for ports in opened)
        hide_clients = "" if self.keeps_clients else 'oifname "eth1" masquerade'
        return f"""table ip edge {{
            chain prerouting {{ type nat hook prerouting priority dstnat
                {forwards}
            }}
            chain postrouting {{ type nat hook postrouting priority srcnat
                oifname "eth0" masquerade
                {hide_clients}
            }}
            chain forward {{ type filter hook forward priority filter; policy drop
                ct state established,related accept
                iifname "eth1" accept
                ct status dnat accept
            }}
            chain input {{ type filter hook input priority filter
                {'iifname "eth0" drop' if self.firewall else ""}
            }}
        }}"""


class Cloud(Setup):
    def nat(self, opened):
        """One address for another, ports as they are, behind a stateful security group."""
        group = "\n".join(f"{ports} accept" for ports in opened)
        return f"""table ip edge {{
            chain prerouting {{ type nat hook prerouting priority dstnat
                ip daddr {OUTSIDE} dnat to {self.proxy}
            }}
            chain postrouting {{ type nat hook postrouting priority srcnat
                ip saddr {self.proxy} oifname "eth0" snat to {OUTSIDE}
            }}
            chain forward {{ type filter hook forward priority filter; policy drop
                ct state established,related accept
                iifname "eth1" accept
                {group}
            }}
        }}"""


ROUTER = Setup("behind-router.yaml", "home.example.org", "192.168.1.1", "192.168.1.10", firewall=True)
DOCKER = Setup("docker/conesocks.yaml", "203.0.113.7", "172.17.0.1", "172.17.0.2")
# Docker's userland proxy, as rootless docker and Docker Desktop have it: everybody seems to be the bridge's gateway.
DOCKER_PROXY = Setup("docker/conesocks.yaml", "203.0.113.7", "172.17.0.1", "172.17.0.2", keeps_clients=False)
CLOUD = Cloud("cloud.yaml", "203.0.113.7", "10.0.0.1", "10.0.0.10")
FULL_CONE = {"router": ROUTER, "docker": DOCKER, "cloud": CLOUD}
ALL = FULL_CONE | {"docker-proxy": DOCKER_PROXY}


class Site:
    """A set-up's hosts, wired as in the picture above."""

    def __init__(self, setup):
        self.setup = setup
        self.internet, inside = Host("internet"), Host("inside")
        for switch in (self.internet, inside):
            switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up")
        self.client = self.host("client", self.internet, CLIENT)
        self.inet1 = self.host("inet1", self.internet, INET1, INET1_OTHER)
        self.inet2 = self.host("inet2", self.internet, INET2)
        self.edge = self.host("edge", self.internet, OUTSIDE)
        Network.plug(self.edge, "eth1", inside, setup.gateway)
        self.edge.sysctl("ipv4/ip_forward", 1)
        self.proxy = self.host("proxy", inside, setup.proxy)
        self.proxy.ip(f"route add default via {setup.gateway}")

    @staticmethod
    def host(name, switch, *addresses):
        host = Host(name)
        Network.plug(host, "eth0", switch, *addresses)
        return host

    def open(self, *ports):
        """The edge lets these in and forgets all that it has seen."""
        self.edge.nft("table ip edge\ndelete table ip edge\n" + self.setup.nat(ports))

    def close_sockets(self):
        for host in (self.client, self.inet1, self.inet2, self.edge, self.proxy):
            host.close_sockets()


@pytest.fixture(scope="module", params=ALL)
def site(request, network):
    return Site(ALL[request.param])


@pytest.fixture
def net(site):
    """In place of the other tests' network: where `start` runs the proxy."""
    site.open(site.setup.tcp, site.setup.relays, site.setup.externals)
    yield site
    site.close_sockets()


def only(*setups):
    return pytest.mark.parametrize("site", setups, indirect=True)


def associate(net):
    return socks5.Association(net.client, (OUTSIDE, 1080), source=CLIENT, user=ALICE[0], password=ALICE[1])


def probes(net):
    """RFC 5780's alternatives: primary, other port, other address, and one that was never heard of."""
    primary, other_port = net.inet1.udp(INET1), net.inet1.udp(INET1)
    return primary, other_port, net.inet1.udp(INET1_OTHER, primary.getsockname()[1]), net.inet2.udp(INET2)


# What everybody gets who opens the ports that the example names.


def test_datagrams_get_through(net, start):
    """BND is the address that clients know, and 100 of 100 datagrams go there and back."""
    start(net.setup.config())
    association = associate(net)
    assert association.relay[0] == OUTSIDE and association.relay[1] in net.setup.range("ports")
    assert association.alive(net.inet1.udp(INET1), 100)


def test_row29_mapping_is_endpoint_independent(net, start):
    """RFC 5780 section 4.3, as the internet sees it: one address and port for all destinations."""
    start(net.setup.config())
    association = associate(net)
    seen = {association.external(sock) for sock in probes(net)}
    assert len(seen) == 1
    address, port = seen.pop()
    assert address == OUTSIDE and port in net.setup.range("external_ports")


@only(*FULL_CONE)
def test_row29_filtering_is_endpoint_independent(net, start):
    """RFC 5780 section 4.4: whoever knows the port reaches the client, and is heard under his own address."""
    start(net.setup.config())
    association = associate(net)
    primary, *others = probes(net)
    external = association.external(primary)
    for sock in others:
        sock.sendto(b"may I?", external)
        assert association.recv() == (sock.getsockname(), b"may I?")
        association.send(sock.getsockname(), b"you may")
        assert sock.recvfrom(100) == (b"you may", external)


@only(*FULL_CONE)
def test_row30_hairpin(net, start):
    """Two clients reach each other by what the world calls them, though no NAT here turns anything round."""
    start(net.setup.config())
    one, two = associate(net), associate(net)
    peer = net.inet1.udp(INET1)
    at_one, at_two = one.external(peer), two.external(peer)
    assert at_one[0] == at_two[0] == OUTSIDE
    one.send(at_two, b"over the hairpin")
    assert two.recv() == (at_one, b"over the hairpin")
    two.send(at_one, b"and back")
    assert one.recv() == (at_two, b"and back")
    one.send(at_one, b"to myself")
    assert one.recv() == (at_one, b"to myself")


@only("cloud")
@pytest.mark.parametrize("outbound, named", [("{}", "10.0.0.10"), ("{address_v4: 10.0.0.10}", OUTSIDE)])
def test_row30_hairpin_by_the_name_that_was_used(net, start, outbound, named):
    """Whoever is called by the proxy's own address answers from that; by the advertised one also where sockets are bound."""
    start(net.setup.config() + f"outbound: {outbound}\n")
    one, two = associate(net), associate(net)
    peer = net.inet1.udp(INET1)
    at_one, at_two = (named, one.external(peer)[1]), (named, two.external(peer)[1])
    one.send(at_two, b"over the hairpin")
    assert two.recv() == (at_one, b"over the hairpin")
    two.send(at_one, b"and back")
    assert one.recv() == (at_two, b"and back")


@only("cloud")
def test_row30_nothing_for_the_loopback_leaves_by_an_interface(net, start):
    start(net.setup.config() + "outbound: {interface: eth0}\n")
    one, two = associate(net), associate(net)
    peer = net.inet1.udp(INET1)
    at_two = two.external(peer)
    with net.edge.enter():
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_IP))
    with wire:
        wire.bind(("eth1", ETH_P_IP))
        wire.settimeout(5)
        one.send(at_two, b"to whom?")
        while not (packet := wire.recv(2000)).endswith(b"to whom?") or packet[26:30] != socket.inet_aton("10.0.0.10"):
            pass
    assert socket.inet_ntoa(packet[30:34]) == OUTSIDE


@only(*FULL_CONE)
def test_row29_coturn_and_stun_say_so(net, start, running, tmp_path):
    """The tools that a user would ask, with a login, through a SOCKS client that nobody here wrote."""
    start(net.setup.config())
    running(net.inet1, *servers.coturn(tmp_path, INET1, INET1_OTHER), udp=(INET1_OTHER, 3479))
    conf = tmp_path / "socks.conf"
    conf.write_text(f"route {{ from: 0.0.0.0/0 to: 198.41.0.0/24 via: {OUTSIDE} port = 1080\n"
                    "proxyprotocol: socks_v5\nprotocol: tcp udp\nmethod: username }\n", encoding="ascii")

    def socksify(*command):
        # It would go straight to what is in the client's own network.
        settings = {"SOCKS_CONF": str(conf), "SOCKS_USERNAME": ALICE[0], "SOCKS_PASSWORD": ALICE[1],
                    "SOCKS_AUTOADD_LANROUTES": "no"}
        return net.client.run("socksify", *command, env=os.environ | settings).stdout

    output = socksify("turnutils_natdiscovery", "-f", "-P", INET1)
    assert f"UDP reflexive addr: {OUTSIDE}:31" in output and "Endpoint Independent Filtering!" in output, output
    output = socksify("stun", INET1, "-v")
    measured = dict(re.findall(r"^(test \S+|mapped IP same) *= (\d)", output, re.MULTILINE))
    assert measured == dict.fromkeys(("test I", "test II", "test III", "test I(2)", "mapped IP same"), "1"), output


# What is missing when something was forgotten, and who says so.


@only(*FULL_CONE)
def test_without_the_external_ports_the_nat_filters(net, start):
    """The point that is missed: clients get all their answers, and yet it is no full cone."""
    start(net.setup.config())
    net.open(net.setup.tcp, net.setup.relays)
    association = associate(net)
    primary, *others = probes(net)
    external = association.external(primary)
    assert {association.external(sock) for sock in others} == {external}
    stranger = net.inet2.udp(INET2)
    stranger.sendto(b"may I?", external)
    for sock in (primary, *others):
        sock.sendto(b"an answer", external)
        assert association.recv() == (sock.getsockname(), b"an answer")
    # Who was too early for a docker host without a firewall is still remembered there as its own guest, so the client
    # appears to him from another port, and the two never meet: to him it is a symmetric NAT.
    assert (association.external(stranger) == external) == (net.setup is not DOCKER)


@only("docker-proxy")
def test_behind_a_userland_proxy_strangers_are_the_gateway(net, start):
    """What compose.yaml warns of: they get in, but nobody can answer them, for they seem to be somebody else."""
    start(net.setup.config())
    association = associate(net)
    primary, _, _, stranger = probes(net)
    stranger.sendto(b"may I?", association.external(primary))
    (host, _), payload = association.recv()
    assert (host, payload) == (net.setup.gateway, b"may I?")


def test_nobody_forwards_the_relay_ports(net, start):
    proxy = start(net.setup.config())
    net.open(net.setup.tcp)
    association = associate(net)
    association.send((INET1, 7), b"into the void")
    association.close()
    proxy.wait_log(rf"client \S+ was told to send its datagrams to {OUTSIDE}:{association.relay[1]}, and none arrived: "
                   r".*udp\.advertise_v4 .*udp\.ports")


@pytest.mark.parametrize("option, line", [
    ("ports", r"udp\.ports is random, .*: a NAT .* set udp\.ports to a range"),
    ("external_ports", r"udp\.external_ports is random, .* full cone")])
@only("router")
def test_a_random_port_is_none_that_a_nat_knows(net, start, option, line):
    start(re.sub(rf"(?m)^  {option}: .*", f"  {option}: random", net.setup.config())).wait_log(line)


@pytest.mark.parametrize("advertised", ["none", "auto"])
def test_nothing_to_advertise(net, start, advertised):
    """Clients are told an address on the other side of the NAT."""
    proxy = start(net.setup.config().replace(OUTSIDE, advertised))
    proxy.wait_log(rf"clients .*told to send their datagrams to {net.setup.proxy}, .*set udp\.advertise_v4 ")
    association = associate(net)
    assert association.relay[0] == net.setup.proxy
    association.close()
    proxy.session(command="udp")
    told = f"client {CLIENT} is told to send its datagrams to {net.setup.proxy}:"
    assert (told in proxy.log) == net.setup.keeps_clients


# The same, found out from where the clients are.


@pytest.fixture
def check(net, running, tmp_path):
    """With a STUN server on the internet."""
    running(net.inet1, *servers.coturn(tmp_path, INET1, INET1_OTHER), udp=(INET1_OTHER, 3479))
    return lambda: run_check(net.client, "--stun", INET1, proxy=f"socks5://{ALICE[0]}@{OUTSIDE}",
                             CONESOCKS_CHECK_PASSWORD=ALICE[1])


@only(*FULL_CONE)
def test_check_finds_a_full_cone(net, start, check):
    start(net.setup.config())
    found = check()
    assert found.status == 0 and found.step("nat_v4")["data"]["nat_type"] == "open"
    assert found.step("hairpin_v4")["data"] == {"reached": True, "unasked": True, "source_is_external": True}
    assert found.step("datagram_v4")["data"]["external"].startswith(OUTSIDE)


@only("docker-proxy")
def test_check_finds_that_strangers_are_the_gateway(net, start, check):
    start(net.setup.config())
    found = check()
    assert found.blames("nat_v4", "its address is replaced: by a NAT or process", "network_mode: host")
    assert found.step("nat_v4")["data"]["strangers_seem"].startswith(net.setup.gateway)


@only("router", "cloud")
def test_check_finds_that_the_external_ports_are_not_forwarded(net, start, check):
    start(net.setup.config())
    net.open(net.setup.tcp, net.setup.relays)
    found = check()
    assert found.blames("nat_v4", "a NAT does not forward the server.s external ports", r"udp\.external_ports")
    assert found.step("nat_v4")["data"]["filtering"] == "address-and-port-dependent"


def test_check_finds_that_nothing_is_advertised(net, start, check):
    """What follows goes on with the address that works, so that one run tells all."""
    start(net.setup.config().replace(OUTSIDE, "none"))
    found = check()
    assert found.blames("associate", "tells clients its address behind it", r"udp\.advertise_v4")
    assert found.blames("datagram_v4", f"send UDP to {net.setup.proxy}:.* is reached at {OUTSIDE}", r"udp\.advertise_v4")
    assert found.step("nat_v4")["data"]["external"].startswith(OUTSIDE)


def test_check_finds_that_the_relay_ports_are_not_forwarded(net, start, check):
    start(net.setup.config())
    net.open(net.setup.tcp, net.setup.externals)
    assert check().blames("datagram_v4", "firewall between here and the proxy|port is closed", r"udp\.ports")


@only("docker")
def test_nothing_to_advertise_in_a_container(net, start):
    proxy = start(net.setup.config().replace(OUTSIDE, "none"), environment={"KUBERNETES_SERVICE_HOST": "10.96.0.1"})
    proxy.wait_log(rf"warning: .*published container port .*{net.setup.proxy}, .*set udp\.advertise_v4 .*udp\.ports")


@only("docker")
def test_tcp_and_udp_by_different_ways(net, start):
    """A proxy process for TCP, which hides the client, and a firewall rule for UDP, which does not: no datagram can be
    told to be the client's."""
    proxy = start(net.setup.config())
    net.edge.nft('add rule ip edge postrouting oifname "eth1" meta l4proto tcp masquerade')
    association = associate(net)
    association.send((INET1, 7), b"whose am I?")
    wait_until(lambda: proxy.dropped("stranger") == 1, "the datagram")
    association.close()
    proxy.wait_log(rf"client {net.setup.gateway} was told .* another address than its connection.*udp\.ports")


# The files among themselves.


@pytest.mark.parametrize("setup", ALL.values(), ids=ALL)
def test_the_ports_to_open_are_the_ports_in_use(setup):
    for ports, option in (setup.relays, "ports"), (setup.externals, "external_ports"):
        wanted = setup.range(option)
        assert ports == f"udp dport {wanted[0]}-{wanted[-1]}"
    assert setup.tcp == "tcp dport 1080"


@pytest.mark.skipif(SANITIZED or not shutil.which("dpkg-query"), reason="other libraries than in the image")
def test_the_image_has_each_library_that_the_program_loads():
    """Those of libc6 and libcrypt1 are in every Debian; the others come with nobody."""
    linked = subprocess.run(["readelf", "--dynamic", PROGRAM], capture_output=True, text=True, check=True).stdout
    libraries = re.findall(r"NEEDED.*\[(\S+)\]", linked)
    owners = subprocess.run(["dpkg-query", "--search", *libraries], capture_output=True, text=True, check=True).stdout
    packages = {re.search(rf"^([^:]+):.*/{re.escape(library)}$", owners, re.MULTILINE)[1] for library in libraries}
    installed = (CONFIG / "docker/Dockerfile").read_text().rpartition("FROM ")[2].split()
    # A machine that builds for other processors has that library from libc6-i386 as well.
    packages = {package for package in packages if not package.startswith("libc6")}
    assert packages - {"libcrypt1"} - set(installed) == set()
