"""Who may go where: rows 21 to 28 of the attacks, on the wire. What each kind of address is, and the rules by themselves,
are unit tests: test_reach, test_own, test_rules, test_verdict."""
import json
import socket
import subprocess
import time

import pytest

import daemon
import servers
import socks5
from netns import (CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4,
                   PROXY_WAN_V6, STRANGER_V4)
from socks5 import Association

LOG_BURST = 5  # src/base/log.h
OWN = [PROXY_V4, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6]
LOCAL = [{"address": "127.0.0.1", "port": 1080}]


@pytest.fixture
def dns(net):
    with servers.Dns(net.inet2, INET2_V4, {}) as server:
        yield server


def code(net, lan, destination, atyp=None, host=None, source=CLIENT_V4):
    sock, reply = socks5.connect(host or net.client, lan, destination, source, atyp=atyp)
    sock.close()
    return reply.code


def silent(sock, timeout=0.3):
    sock.settimeout(timeout)
    try:
        print("got", sock.recvfrom(65536))
        return False
    except socket.timeout:
        return True


def written(address):
    """An IPv4 address in every form that leads to it."""
    high, low = [bytes(map(int, address.split(".")))[at:at + 2].hex() for at in (0, 2)]
    return [address, f"::ffff:{address}", f"::{address}", f"2002:{high}:{low}::", f"64:ff9b::{address}"]


# Places.

@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "169.254.1.1", "169.254.169.254", "100.100.100.200",
                                     "168.63.129.16", "192.0.2.1", "198.18.0.1", "240.0.0.1", "0.0.0.0",
                                     "224.0.0.1", "255.255.255.255", PROXY_V4, PROXY_WAN_V4])
def test_row21_to_23_in_every_form(net, proxy, lan, peer, address):
    association = Association(net.client, lan)
    forms = written(address)
    for form in forms:
        assert code(net, lan, (form, 80)) == 2, form
        association.send((form, 80), b"x")
    association.send((address, 80), b"x", atyp=socks5.NAME)
    assert code(net, lan, (address, 80), socks5.NAME) == 2
    assert association.alive(peer)
    assert proxy.dropped("refused") == len(forms) + 1


@pytest.mark.parametrize("address", ["::1", "fe80::1", "ff02::1", "fd00:ec2::254", "2001:db8::1", "::", PROXY_V6, PROXY_WAN_V6])
def test_row21_to_23_ipv6(net, proxy, lan, peer, address):
    association = Association(net.client, lan)
    assert code(net, lan, (address, 80)) == 2
    association.send((address, 80), b"x")
    association.send((f"[{address}]", 80), b"x", atyp=socks5.NAME)
    assert association.alive(peer)
    assert proxy.dropped("refused") == 2


def test_row21_by_name(net, start, lan, dns, peer):
    dns.records |= {"loop.test": ["127.0.0.1", "::1"], "meta.test": ["169.254.169.254"], "own.test": [PROXY_V4, PROXY_V6]}
    proxy = start({"dns": {"servers": [dns.address]}})
    association = Association(net.client, lan)
    for name in list(dns.records):
        assert code(net, lan, (name, 80)) == 2
        association.send((name, 80), b"x")
    daemon.wait_until(lambda: proxy.dropped("refused") == 3, "three refused datagrams")
    assert association.alive(peer)


@pytest.mark.parametrize("address", OWN)
def test_row22_own_addresses(net, proxy, lan, peer, address):
    """Services of the proxy host do not hear of the LAN's clients; the log says what would change that."""
    tcp, udp = net.proxy.listen(address, 8080), net.proxy.udp(address, 8080)
    association = Association(net.client, lan)
    association.send((address, 8080), b"x")
    assert code(net, lan, (address, 8080)) == 2
    assert association.alive(peer)
    assert silent(udp)
    tcp.settimeout(0.1)
    with pytest.raises(socket.timeout):
        tcp.accept()
    assert proxy.counters()["refused_own_total"] == 2
    proxy.wait_log(rf"policy: client={CLIENT_V4} command=connect to=\S+:8080 denied: an address of the proxy's own host; to "
                   rf'allow it: a rule \{{action: allow, to: \["{address}"\]\}}')


def test_row22_address_added_later(net, proxy, lan):
    """At once or within a second or two: nothing listens there, so until then the kernel refuses (code 5)."""
    later = "10.77.0.101"
    net.proxy.ip(f"address add {later}/24 dev eth0")
    try:
        daemon.wait_until(lambda: code(net, lan, (later, 8080)) == 2, "the new address to be refused")
    finally:
        net.proxy.ip(f"address del {later}/24 dev eth0")
    daemon.wait_until(lambda: code(net, lan, (later, 8080)) != 2, "the address to be gone")


@pytest.fixture
def local_routes(net):
    """Whole networks that are the proxy host's own, and as a router it has each IPv6 network's first address, too."""
    routes = ["local 1.2.3.0/24 dev lo", "local 2a00:1:2::/64 dev lo"]
    net.proxy.ip(*[f"route add {route}" for route in routes], "address add 2a00:3:4::1/64 dev eth1 nodad")
    net.proxy.sysctl("ipv6/conf/all/forwarding", 1)
    yield ["1.2.3.4", "2a00:1:2::5", "2a00:3:4::"]
    net.proxy.sysctl("ipv6/conf/all/forwarding", 0)
    net.proxy.ip(*[f"route del {route}" for route in routes], "address del 2a00:3:4::1/64 dev eth1")


def test_row22_own_by_a_local_route(net, local_routes, proxy, lan, peer):
    """No interface has these addresses, and still they lead to this host's services and to the proxy itself."""
    udp = net.proxy.udp("::", 8080)
    net.proxy.listen("::", 8080)
    association = Association(net.client, lan)
    for address in local_routes:
        association.send((address, 8080), b"x")
        for port in 8080, lan[1]:
            assert code(net, lan, (address, port)) == 2
    assert association.alive(peer)
    assert silent(udp)
    assert proxy.counters()["refused_own_total"] == 3 * len(local_routes)
    assert code(net, lan, ("1.2.4.1", 8080)) != 2  # the next network is not its own


def test_row22_an_own_address_that_a_rule_names(net, start, lan):
    start({"rules": [{"action": "allow", "to": [PROXY_V4], "ports": [8080]}]})
    listener = net.proxy.listen(PROXY_V4, 8080)
    assert code(net, lan, (PROXY_V4, 8080)) == 0
    listener.accept()
    assert code(net, lan, (PROXY_V4, 8081)) == 2


# Loops.

def relayed(proxy):
    counters = proxy.counters()
    return counters.get("udp_up_datagrams_total", 0), counters.get("udp_down_datagrams_total", 0)


@pytest.mark.parametrize("rules", [[], [{"action": "allow", "to": [*OWN, "127.0.0.1"]}]], ids=["default", "allowed"])
@pytest.mark.parametrize("reach", ["auto", "all"])
def test_row24_no_loop_from_the_lan(net, start, lan, peer, reach, rules):
    proxy = start({"reach": reach, "rules": rules})
    association = Association(net.client, lan)
    assert code(net, lan, lan) == 2  # the proxy through itself
    for target in (lan, association.relay, (PROXY_WAN_V4, association.relay[1])):
        association.send(target, socks5.wrap(association.relay, socks5.wrap(association.relay, b"again")))
    time.sleep(0.3)
    # The listener's UDP port is nobody's, nor is the relay's number at another address: they may be written to.
    assert relayed(proxy)[1] == 0 and relayed(proxy)[0] <= 2
    assert association.silent()
    assert association.alive(peer)


@pytest.mark.parametrize("rebound", [False, True])
def test_row24_no_loop_for_a_client_on_this_host(net, start, rebound):
    """It may go anywhere but into our relays: the external port would be taken for the client's own."""
    proxy = start({"listen": LOCAL, "udp": {"rebind_after": "1s"}})
    local = ("127.0.0.1", 1080)
    peer = net.inet1.udp(INET1_V4)
    one = Association(net.proxy, local, source="127.0.0.1")
    two = Association(net.proxy, local, source="127.0.0.1")
    assert code(net, local, local, host=net.proxy, source="127.0.0.1") == 2
    external = one.external(peer)
    if rebound:
        time.sleep(2.2)  # anybody on 127.0.0.1 might now take over
    daemon.wait_until(lambda: relayed(proxy) == (1, 0), "the probe to be counted")
    for association in (one, two):
        for target in (one.relay, two.relay, (PROXY_WAN_V4, one.relay[1])):
            association.send(target, socks5.wrap(("127.0.0.1", external[1]), b"again"))
    time.sleep(0.3)
    assert relayed(proxy) == (1 + 2, 0)  # the relay's number at another address is nobody's port
    assert one.alive(peer) and two.alive(peer)


def test_row24_one_delivery_per_send(net, proxy, lan, peer):
    """To one's own external port, and two aimed at each other (row 30, test_nat.py, is the same for two clients)."""
    one, two = Association(net.client, lan), Association(net.client, lan)
    first, second = one.external(peer), two.external(peer)
    for sender, target, receiver in ((one, first, one), (one, second, two), (two, first, one)):
        sender.send(target, b"hello")
        source = first if sender is one else second
        assert receiver.recv() == (source, b"hello")
        assert one.silent(0.1) and two.silent(0.1)
    daemon.wait_until(lambda: relayed(proxy) == (2 + 3, 3), "no more than the two probes and three deliveries")


def test_row24_hairpin_ends_with_the_association(net, proxy, lan, peer):
    one, two = Association(net.client, lan), Association(net.client, lan)
    external = two.external(peer)
    two.close()
    daemon.wait_until(lambda: proxy.sessions(command="udp"), "the end of the association")
    inside = net.proxy.udp(external[0], external[1])
    one.send(external, b"hello")
    assert one.alive(peer)
    assert silent(inside)


# Names, and each datagram.

def test_row25_rebinding(net, start, lan, dns):
    """The second answer leads inside: neither a new connection nor a datagram follows it."""
    dns.records["rebind.test"] = [INET1_V4]
    start({"dns": {"servers": [dns.address]}})
    listener = net.inet1.listen(INET1_V4, 80)
    inside = net.proxy.udp("0.0.0.0", 8080)
    assert code(net, lan, ("rebind.test", 80)) == 0
    listener.accept()
    for address in ("127.0.0.1", PROXY_V4, PROXY_WAN_V4):
        dns.records["rebind.test"] = [address]
        assert code(net, lan, ("rebind.test", 80)) == 2
        association = Association(net.client, lan)
        association.send(("rebind.test", 8080), b"x")
        assert silent(inside)


def test_row25_mixed_answers(net, start, lan, dns):
    """Of a name's addresses the ones that are allowed are used."""
    dns.records["mixed.test"] = ["127.0.0.1", INET1_V4, PROXY_V4]
    start({"dns": {"servers": [dns.address]}})
    listener = net.inet1.listen(INET1_V4, 80)
    net.proxy.listen("127.0.0.1", 80)
    for _ in range(5):
        assert code(net, lan, ("mixed.test", 80)) == 0
        listener.accept()


def test_row26_each_datagram_is_judged(net, start, lan, peer):
    proxy = start({"rules": [{"action": "deny", "to": [INET1_OTHER_V4]}, {"action": "deny", "command": ["udp"], "ports": [9]}]})
    other, discard = net.inet1.udp(INET1_OTHER_V4), net.inet1.udp(INET1_V4, 9)
    association = Association(net.client, lan)
    for number in range(20):
        association.send(peer.getsockname(), b"%d" % number)
        association.send(other.getsockname(), b"denied")
        association.send(discard.getsockname(), b"denied")
        assert peer.recv(10) == b"%d" % number
    assert silent(other) and silent(discard)
    assert proxy.dropped("refused") == 40
    assert proxy.counters()["refused_by_rule_total"] == 40
    proxy.wait_log(r"policy: client=\S+ command=udp to=\S+ denied by rules\[0\]; to allow it, put an allow rule above")


# Rules.

def test_rules_by_client_user_and_command(net, start, lan, peer):
    start({"rules": [{"action": "deny", "from": [CLIENT_V4], "command": ["connect"], "to": [INET1_V4], "ports": ["80-81"]}]})
    for port in (80, 82):
        net.inet1.listen(INET1_V4, port)
    assert code(net, lan, (INET1_V4, 80)) == 2
    assert code(net, lan, (INET1_V4, 82)) == 0
    assert code(net, lan, (INET1_V4, 80), host=net.neighbour, source="10.77.0.3") == 0
    assert Association(net.client, lan).alive(peer)


def test_rules_by_name(net, start, lan, dns, peer):
    """A name that is denied is not even looked up."""
    dns.records |= {"x.ads.test": [INET1_V4], "good.test": [INET1_V4]}
    proxy = start({"dns": {"servers": [dns.address]}, "rules": [{"action": "deny", "to": [".ads.test"]}]})
    listener = net.inet1.listen(INET1_V4, 80)
    association = Association(net.client, lan)
    assert code(net, lan, ("X.Ads.Test", 80)) == 2
    association.send(("x.ads.test", peer.getsockname()[1]), b"x", atyp=socks5.NAME)
    assert code(net, lan, ("good.test", 80)) == 0
    listener.accept()
    association.send(("good.test", peer.getsockname()[1]), b"good", atyp=socks5.NAME)
    assert peer.recv(10) == b"good"
    assert not any(name == "x.ads.test" for name, _ in dns.asked)
    assert proxy.counters()["refused_by_rule_total"] == 2


def test_rules_that_allow_names_only(net, start, lan, dns, peer):
    """The first datagram waits for the address, the later ones find it: the name goes with all of them."""
    dns.records |= {"good.test": [INET1_V4], "bad.test": [INET1_V4]}
    proxy = start({"dns": {"servers": [dns.address]},
                   "rules": [{"action": "allow", "to": ["good.test", INET2_V4]}, {"action": "deny"}]})
    net.inet1.listen(INET1_V4, 80)
    association = Association(net.client, lan)
    for number in range(3):
        association.send(("good.test", peer.getsockname()[1]), b"%d" % number, atyp=socks5.NAME)
        assert peer.recv(10) == b"%d" % number
    for destination in (("bad.test", peer.getsockname()[1]), peer.getsockname()):
        association.send(destination, b"bad")
    assert silent(peer)
    assert [code(net, lan, (name, 80)) for name in ("good.test", "bad.test", INET1_V4)] == [0, 2, 2]
    assert proxy.dropped("refused") == 2


def test_rules_open_what_reach_refuses(net, start, lan):
    start({"reach": "public", "rules": [{"action": "allow", "to": ["10.88.0.0/24"]}]})
    net.inet1.listen(INET1_V4, 80)
    net.inet1.listen(INET1_V6, 80)
    assert code(net, lan, (INET1_V4, 80)) == 0
    assert code(net, lan, (INET1_V6, 80)) == 2
    assert code(net, lan, (PROXY_WAN_V4, 80)) == 2


FOR_THE_CLIENT_ALONE = {"listen": [{"address": "0.0.0.0"}],
                        "rules": [{"action": "allow", "from": [CLIENT_V4]}, {"action": "deny"}]}


def test_rules_close_an_open_listener(net, start, lan, peer):
    """Without a login on every address: who is not named gets nothing, not even a port that the internet may send to."""
    proxy = start(FOR_THE_CLIENT_ALONE)
    net.inet1.listen(INET1_V4, 80)
    assert code(net, lan, (INET1_V4, 80)) == 0
    assert Association(net.client, lan).alive(peer)
    assert code(net, lan, (INET1_V4, 80), host=net.stranger, source=STRANGER_V4) == 2
    stranger = net.stranger.connect(STRANGER_V4, lan)
    socks5.negotiate(stranger)
    assert socks5.request(stranger, socks5.ASSOCIATE, socks5.ANY_V4).code == 2
    proxy.wait_log(rf'client={STRANGER_V4}\S+ user=- command=none .* why="the rules leave this client no destination"')
    assert proxy.counters()["associations_total"] == 1


@pytest.fixture
def visitor(net):
    """An address of the client's host that is not private, and to which the proxy answers."""
    address = "203.0.113.7"
    net.client.ip(f"address add {address}/32 dev eth0")
    net.proxy.ip(f"route add {address} via {CLIENT_V4}")
    yield address
    net.proxy.ip(f"route delete {address}")
    net.client.ip(f"address delete {address}/32 dev eth0")


def refuses(net, source):
    with net.client.connect(source, (PROXY_V4, 1080)) as sock:
        try:
            sock.sendall(b"\5\1\0")
            return sock.recv(2) == b""
        except ConnectionResetError:
            return True


def test_a_private_listener_is_for_private_clients(net, start, visitor):
    """Where a router leads the internet to it. Rules that name clients, or open: true, say otherwise."""
    proxy = start({"listen": [{"address": PROXY_V4}]})
    assert not refuses(net, CLIENT_V4)
    for _ in range(100):
        assert refuses(net, visitor)
    assert proxy.counters()["public_clients_refused_total"] == 100
    assert 1 <= proxy.log.count(f"connection from {visitor} closed: its address is public") < 100
    proxy.stop()
    for more in ({"listen": [{"address": PROXY_V4, "auth": "none", "open": True}]},
                 {"listen": [{"address": PROXY_V4}],
                  "rules": [{"action": "allow", "from": [visitor]}, {"action": "deny"}]}):
        proxy = start(more)
        assert not refuses(net, visitor)
        proxy.stop()


def test_who_is_refused_does_not_flood_the_log(net, start, lan):
    """Without a login a refused request costs nothing, so anybody could fill a disk by them."""
    proxy = start({"workers": 1, **FOR_THE_CLIENT_ALONE})  # each worker says as many
    begun = time.monotonic()
    for _ in range(100):
        assert code(net, lan, (INET1_V4, 80), host=net.stranger, source=STRANGER_V4) == 2
    daemon.wait_until(proxy.is_idle, "the sessions' ends, with which their lines come")
    seconds = 2 + int(time.monotonic() - begun)
    assert len(proxy.sessions(user="-")) <= LOG_BURST * seconds


def test_row28_nobodys_addresses_whatever_a_rule_says(net, start, lan, peer):
    targets = ["224.0.0.1", "255.255.255.255", "0.0.0.0", "::", "ff02::1"]
    proxy = start({"reach": "all", "rules": [{"action": "allow", "to": targets}]})
    association = Association(net.client, lan)
    for host in targets:
        assert code(net, lan, (host, 80)) == 2
        association.send((host, 80), b"x")
    association.send((INET1_V4, 0), b"x")
    association.send(("10.88.0.255", 80), b"x")  # the subnet's broadcast
    assert association.alive(peer)
    assert proxy.counters()["refused_never_total"] == 2 * len(targets)
    assert proxy.dropped("refused") == len(targets) + 1 and proxy.dropped("bad_destination") == 1


def test_explain(tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"rules": [{"action": "deny", "user": ["eve"], "command": ["udp"], "ports": [53]},
                                            {"action": "deny", "to": [".ads.example"]}]}))

    def explain(*arguments):
        command = [daemon.PROGRAM, "explain", "-c", str(config), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.returncode, (done.stdout or done.stderr).splitlines()[0]

    asked = ("--from", "198.41.0.9", "--command", "udp", "--to", "9.9.9.9:53")
    assert explain(*asked) == (0, "allowed: no rule matches, and reach allows it (public address)")
    assert explain(*asked, "--user", "eve") == (
        1, "denied by rules[0]; to allow it, put an allow rule above this one")
    done = subprocess.run([daemon.PROGRAM, "explain", "-c", str(config), *asked, "--user", "eve"], capture_output=True, text=True, timeout=30)
    assert "there is no user eve" in done.stderr  # a rule may name her all the same
    assert explain("--from", "198.41.0.9", "--to", "[::1]:80")[0] == 1
    assert explain("--from", "198.41.0.9", "--to", "x.example:80")[0] == 0
    assert explain("--from", "198.41.0.9", "--to", "x.example:80", "--at", "127.0.0.1")[0] == 1
    for name in ("x.ads.example", "X.ADS.example."):  # as the server reads them
        assert explain("--from", "198.41.0.9", "--to", f"{name}:80") == (1, "denied by rules[1], whatever address the name has")
    for wrong in ((), ("--from", "x", "--to", "1.1.1.1:1"), ("--from", "1.1.1.1", "--to", "::1:80"), ("more",),
                  ("--from", "1.1.1.1", "--to", "1.1.1.1:0"), ("--from", "1.1.1.1", "--to", "a..example:80"), (*asked, "--command", "tcp")):
        assert explain(*wrong)[0] == 2
