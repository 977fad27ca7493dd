"""Where nobody may go, address by address: nothing leads there, in whichever form and by whichever way it is asked for. And
a name server that changes its mind at every question."""
import ipaddress
import itertools
import random
import time

import pytest
import servers
import socks5
from daemon import wait_until
from netns import CLIENT_V4, INET1_V4, INET2_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4
from socks5 import Association

# What `reach: public` leaves out: everything in IANA's registries of special addresses, multicast, and the addresses at
# which clouds tell their hosts' secrets.
DENIED_V4 = ["0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "100.100.100.200", "127.0.0.0/8", "168.63.129.16", "169.254.0.0/16",
             "169.254.169.254", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
             "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "255.255.255.255"]
DENIED_V6 = ["::", "::1", "64:ff9b:1::/48", "100::/64", "2001::/32", "2001:db8::/32", "3fff::/20", "fc00::/7",
             "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254", "fe80::/10", "fec0::/10", "ff00::/8"]


def ends(network):
    """The first and the last address."""
    network = ipaddress.ip_network(network)
    return sorted({str(network[0]), str(network[-1])})


def written(address):
    """As it is, and as the IPv6 addresses that lead to an IPv4 one: mapped, compatible, 6to4, NAT64."""
    if ":" in address:
        return [address]
    plain = int(ipaddress.ip_address(address))
    prefixes = [(0xffff, 32), (0, 32), (0x2002, 112), (0x64ff9b << 64, 32)]
    raw = [(prefix << low) | (plain << 80 if prefix == 0x2002 else plain) for prefix, low in prefixes]
    return [address, *(str(ipaddress.IPv6Address(number)) for number in raw)]


def code(net, lan, destination, atyp=None):
    sock, reply = socks5.connect(net.client, lan, destination, CLIENT_V4, atyp=atyp)
    sock.close()
    return reply.code


@pytest.fixture
def dns(net):
    with servers.Dns(net.inet2, INET2_V4, {}) as server:
        yield server


def test_row21_written():
    assert written("127.0.0.1") == ["127.0.0.1", "::ffff:7f00:1", "::7f00:1", "2002:7f00:1::", "64:ff9b::7f00:1"]


@pytest.mark.parametrize("denied", DENIED_V4 + DENIED_V6)
def test_row21_by_address_and_by_name(net, start, lan, dns, denied):
    """CONNECT and UDP, as an address, as the text of one, and as a name that leads there."""
    proxy = start({"reach": "public", "dns": {"servers": [dns.address]}, "workers": 1})
    association = Association(net.client, lan)
    sent = 0
    for form in itertools.chain.from_iterable(map(written, ends(denied))):
        name = f"n{sent}.test"
        dns.records[name] = [form]
        for host, atyp in ((form, None), (form, socks5.NAME), (name, socks5.NAME)):
            assert code(net, lan, (host, 80), atyp) == 2, (host, form)
            association.send((host, 80), b"x", atyp=atyp)
            sent += 1
        wait_until(lambda: proxy.dropped("refused") == sent, f"a datagram to {form} to be refused")


def test_row21_reach_does_let_through(net, start, lan, dns, peer):
    """The other side of it: the same ways lead to an address that is allowed."""
    rules = [{"action": "allow", "to": [f"{INET1_V4}/32"]}]
    start({"reach": "public", "rules": rules, "dns": {"servers": [dns.address]}})
    listener = net.inet1.listen(INET1_V4)
    association = Association(net.client, lan)
    dns.records["good.test"] = [INET1_V4]
    for host in (INET1_V4, f"::ffff:{INET1_V4}", "good.test"):
        assert code(net, lan, (host, listener.getsockname()[1])) == 0
        association.send((host, peer.getsockname()[1]), b"x")
        assert peer.recv(10) == b"x"


def test_row22_address_added_later_in_udp(net, proxy, lan, peer):
    """From the second on in which the host has it, its services hear nothing."""
    later = "10.77.0.102"
    association = Association(net.client, lan)
    net.proxy.ip(f"address add {later}/24 dev eth0")
    try:
        inside = net.proxy.udp(later, 8080, timeout=0.2)

        def is_refused():
            before = proxy.dropped("refused")
            association.send((later, 8080), b"x")
            return wait_until(lambda: relayed_or_dropped(proxy, before), "the datagram's fate") == "dropped"

        def relayed_or_dropped(proxy, before):
            if proxy.dropped("refused") > before:
                return "dropped"
            return "relayed" if received(inside) else None

        wait_until(is_refused, "the new address to be refused")
        for _ in range(20):
            association.send((later, 8080), b"x")
        assert association.alive(peer)
        assert not received(inside)
    finally:
        net.proxy.close_sockets()
        net.proxy.ip(f"address del {later}/24 dev eth0")


def received(sock):
    try:
        return sock.recv(100)
    except TimeoutError:
        return None


class Turncoat(servers.Dns):
    """A name server that says something else each time: a public address, or ones that lead inside."""

    def __init__(self, host, address, answers):
        super().__init__(host, address, {})
        self.answers, self.random = answers, random.Random(25)

    def answer(self, query):
        self.records["turn.test"] = self.random.choice(self.answers)
        return super().answer(query)


def test_row25_an_answer_that_changes_each_time(net, start, lan, peer):
    """Whatever was checked is what is used: inside nothing is heard, whichever answer was the last."""
    port = peer.getsockname()[1]
    inside = [net.proxy.udp(address, port, timeout=0.1) for address in ("127.0.0.1", PROXY_V4, PROXY_WAN_V4, PROXY_V6)]
    doors = [net.proxy.listen(sock.getsockname()[0], port, timeout=0.1) for sock in inside]
    listener = net.inet1.listen(INET1_V4, port)
    answers = [[INET1_V4], ["127.0.0.1"], [PROXY_V4], [INET1_V4, PROXY_WAN_V4], [PROXY_V6], ["127.0.0.1", INET1_V4]]
    with Turncoat(net.inet2, INET2_V4, answers) as dns:
        start({"dns": {"servers": [dns.address]}}, leaves_lookups=True)
        codes = []
        end = time.monotonic() + 20  # within a second the resolver may say the same again, whatever the TTL
        while len(codes) < 40 or not {0, 2} <= set(codes) and time.monotonic() < end:
            codes.append(code(net, lan, ("turn.test", port)))
            association = Association(net.client, lan)
            for _ in range(3):
                association.send(("turn.test", port), b"x")
            association.close()
    assert {0, 2} <= set(codes) <= {0, 2, 4}  # 4: no address at all for either family
    for _ in range(codes.count(0)):
        listener.accept()[0].close()
    for sock, door in zip(inside, doors):
        assert not received(sock)
        with pytest.raises(TimeoutError):
            door.accept()


def test_row25_mixed_answers_in_udp(net, start, lan, dns, peer):
    """Of a name's addresses one that is allowed is used, and none of the others."""
    port = peer.getsockname()[1]
    inside = [net.proxy.udp(address, port, timeout=0.2) for address in ("127.0.0.1", PROXY_V4)]
    dns.records["mixed.test"] = ["127.0.0.1", INET1_V4, PROXY_V4]
    start({"dns": {"servers": [dns.address]}})
    for _ in range(10):
        Association(net.client, lan).send(("mixed.test", port), b"x")
    assert not any(received(sock) for sock in inside)
