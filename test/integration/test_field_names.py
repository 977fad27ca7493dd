"""Names and addresses as strangers' reports have them: name servers that are silent about one family, names with
addresses that are refused or dead, addresses that change under a client."""
import socket
import time

import pytest
import servers
import socks5
from conftest import lan_config
from daemon import wait_until
from netns import (CLIENT_V6, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4,
                   SECOND_WAN_V4)
from socks5 import Association, OverTcp
from test_status import WATCHED, status

V4_LISTENER, V6_LISTENER = (PROXY_V4, 1080), (PROXY_V6, 1080)
LISTEN_BOTH = [{"address": PROXY_V4, "port": 1080}, {"address": PROXY_V6, "port": 1080}]
SECOND_WAN_V6 = "fd88::9"
DEAD, NOWHERE = "10.88.0.99", "203.0.113.9"  # nobody's in a network of the proxy; no route
PORT = 7000
PATIENCE = 3  # seconds; without the fix it takes dns.timeout, 20 s here


@pytest.fixture
def dns(net):
    with servers.Dns(net.inet2, INET2_V4, {}) as server:
        yield server


@pytest.fixture
def named(serve, dns):
    """A proxy that asks `dns`, and listens in both families."""
    def run(**config):
        dns_options = {"servers": [dns.address], "timeout": "20s"}
        return serve({"listen": LISTEN_BOTH, "rules": [{"action": "allow", "from": ["0.0.0.0/0", "::/0"]}],
                      "dns": dns_options, **config}, leaves_lookups=True)
    return run


class Echo(servers.Server):
    """Sends back what comes to port 7000 of an address of the first internet host."""

    def __init__(self, net, address):
        self.sock = net.inet1.udp(address, PORT, timeout=None)
        self.sockets = [self.sock]
        self.seen = []

    def echo(self, payload, sender):
        self.seen.append(sender)
        return payload

    def loop(self):
        servers.answer_datagrams(self.sock, self.echo)


def answered(association, name, patience=PATIENCE, pause=0.2):
    """Who answers the first of the client's datagrams that is answered; None: nobody within `patience`."""
    until = time.monotonic() + patience
    while time.monotonic() < until:
        association.send((name, PORT), b"hello")
        try:
            return association.recv(pause)[0][0]
        except socket.timeout:
            pass
    return None


# ---- one family silent ----

SILENT = {"AAAA": INET1_V4, "A": INET1_V6}  # what is never answered, and the address that is


@pytest.mark.parametrize("kind", [Association, OverTcp], ids=["udp", "over tcp"])
@pytest.mark.parametrize("unanswered", SILENT)
def test_row67_one_family_silent_datagrams(net, named, dns, kind, unanswered):
    """Routers and old name servers drop AAAA questions (or A): a datagram then waited for dns.timeout, a CONNECT 50 ms.
    The same for both, in each family of clients."""
    named()
    address = SILENT[unanswered]
    dns.records["half.test"] = [address]
    dns.unanswered.add(("half.test", unanswered))
    with Echo(net, address):
        for listener in (V4_LISTENER, V6_LISTENER):
            assert answered(kind(net.client, listener), "half.test") == address


@pytest.mark.parametrize("unanswered", SILENT)
def test_row67_one_family_silent_connect(net, named, dns, unanswered):
    named()
    dns.records["half.test"] = [SILENT[unanswered]]
    dns.unanswered.add(("half.test", unanswered))
    net.inet1.listen(SILENT[unanswered], PORT)
    begin = time.monotonic()
    assert socks5.connect(net.client, V4_LISTENER, ("half.test", PORT))[1].code == 0
    assert time.monotonic() - begin < PATIENCE


@pytest.mark.parametrize("unanswered", SILENT)
def test_row67_one_family_silent_upstream(net, start, named, dns, unanswered):
    """The same for the name of an upstream."""
    listener = {"AAAA": SECOND_WAN_V4, "A": SECOND_WAN_V6}[unanswered]
    dns.records["up.test"] = [listener]
    dns.unanswered.add(("up.test", unanswered))
    start({"listen": [{"address": listener, "port": 1080, "open": True}], "reach": "all"}, host=net.second)
    named(upstreams=[{"name": "up", "address": "up.test"}], outbound={"upstream": "up"}, rules=[])
    net.inet1.listen(INET1_V4, PORT)
    begin = time.monotonic()
    assert socks5.connect(net.client, V4_LISTENER, (INET1_V4, PORT))[1].code == 0
    assert time.monotonic() - begin < PATIENCE


def test_row67_half_answered_names_block_no_others(net, named, dns):
    """With 16 such names under way (limits.lookups_per_association) all others of the association were dropped."""
    named()
    dns.records["good.test"] = [INET1_V4]
    association = Association(net.client, V4_LISTENER)
    for number in range(16):
        dns.records[f"half-{number}.test"] = [INET1_OTHER_V4]
        dns.unanswered.add((f"half-{number}.test", "AAAA"))
        association.send((f"half-{number}.test", PORT), b"half")
    with Echo(net, INET1_V4):
        assert answered(association, "good.test") == INET1_V4


# ---- refused, unreachable and dead addresses ----

@pytest.mark.parametrize("kind", [Association, OverTcp], ids=["udp", "over tcp"])
def test_row68_a_refused_family(net, named, dns, kind):
    """`deny ::/0`, because the host's IPv6 leads nowhere: clients that reach the proxy over IPv6 then had all their
    datagrams to names dropped, though each name had an IPv4 address as well."""
    proxy = named(rules=[{"action": "deny", "to": ["::/0", INET1_OTHER_V4]}])
    dns.records.update({"both.test": [INET1_V6, INET1_V4], "two.test": [INET1_OTHER_V4, INET1_V4]})
    with Echo(net, INET1_V4):
        for name in dns.records:
            assert answered(kind(net.client, V6_LISTENER), name) == INET1_V4
    assert proxy.counters().get("refused_by_rule_total", 0) == 0


def test_row68_all_refused_is_counted(net, named, dns):
    proxy = named(rules=[{"action": "deny", "to": [INET1_V4, INET1_OTHER_V4]}])
    dns.records["two.test"] = [INET1_OTHER_V4, INET1_V4]
    association = Association(net.client, V4_LISTENER)
    association.send(("two.test", PORT), b"hello")
    wait_until(lambda: proxy.dropped("refused") == 1, "the drop")


@pytest.mark.parametrize("kind, udp", [(Association, {}), (Association, {"ports": 1080}), (OverTcp, {})],
                         ids=["udp", "one port", "over tcp"])
def test_row68_a_dead_address_gives_way(net, named, dns, kind, udp):
    """A name with several addresses of which the first is down: the client's datagrams went there for ever."""
    named(udp=udp)
    dns.records["two.test"] = [INET1_OTHER_V4, INET1_V4]
    with Echo(net, INET1_V4):
        assert answered(kind(net.client, V4_LISTENER), "two.test", patience=20) == INET1_V4


def test_row68_a_dead_family_gives_way(net, named, dns):
    """The same where the other family has the address that works: a route, but nobody answers."""
    named()
    dns.records["both.test"] = [INET1_V6, INET1_V4]
    with Echo(net, INET1_V4):
        assert answered(Association(net.client, V6_LISTENER), "both.test", patience=20) == INET1_V4


def test_row68_refused_unreachable_dead_and_good(net, named, dns):
    """All at once, for datagrams and for a CONNECT."""
    named(rules=[{"action": "deny", "to": [INET2_V4]}])
    dns.records["mixed.test"] = [INET2_V4, NOWHERE, "2001:db8:99::1", DEAD, INET1_V4]
    net.inet1.listen(INET1_V4, PORT)
    assert socks5.connect(net.client, V4_LISTENER, ("mixed.test", PORT))[1].code == 0
    with Echo(net, INET1_V4):
        assert answered(Association(net.client, V4_LISTENER), "mixed.test", patience=20) == INET1_V4
        assert answered(Association(net.client, V6_LISTENER), "mixed.test", patience=20) == INET1_V4


def test_row68_a_changed_record_is_followed(net, named, dns):
    """A dynamic name (WireGuard, a tracker, a game) whose address has changed: one long association kept the old one as
    long as the client sent. Once it has answered it stays, whatever the record is."""
    named()
    dns.records["dynamic.test"] = [DEAD]
    association = Association(net.client, V4_LISTENER)
    assert answered(association, "dynamic.test", patience=0.5) is None
    dns.records["dynamic.test"] = [INET1_V4]
    with Echo(net, INET1_V4), Echo(net, INET1_OTHER_V4) as other:
        assert answered(association, "dynamic.test", patience=20) == INET1_V4
        asked = len(dns.asked)
        dns.records["dynamic.test"] = [INET1_OTHER_V4]
        until = time.monotonic() + 4
        while time.monotonic() < until:
            assert answered(association, "dynamic.test", pause=2) == INET1_V4
            time.sleep(0.1)
        assert not other.seen and len(dns.asked) == asked


def test_row68_new_rules_deny_the_address(net, named, dns):
    """A reload denies the address in use, and another is allowed: the flow goes there, and nothing else does."""
    proxy = named()
    dns.records["two.test"] = [INET1_V4]
    association = Association(net.client, V4_LISTENER)
    with Echo(net, INET1_V4), Echo(net, INET1_OTHER_V4):
        assert answered(association, "two.test") == INET1_V4
        dns.records["two.test"] = [INET1_V4, INET1_OTHER_V4]
        assert proxy.reload({"listen": LISTEN_BOTH, "dns": {"servers": [dns.address], "timeout": "20s"},
                             "rules": [{"action": "deny", "to": [INET1_V4]}]})
        assert answered(association, "two.test", patience=10) == INET1_OTHER_V4


# ---- addresses that change under a client ----

TEMPORARY = CLIENT_V6 + "222"  # of the same /64


@pytest.fixture
def temporary(net):
    net.client.ip(f"address add {TEMPORARY}/64 dev eth0 nodad")
    yield TEMPORARY
    net.client.ip(f"address del {TEMPORARY}/64 dev eth0")


@pytest.mark.parametrize("ports", [0, 1080], ids=["own port", "one port"])
def test_datagrams_from_a_temporary_address(net, start, temporary, ports):
    """IPv6 clients whose connection comes from one temporary address and whose datagrams come from the next: they are
    not the client's for sure, so they are dropped, but the reason can be seen."""
    proxy = start({"listen": LISTEN_BOTH, **({"udp": {"ports": ports}} if ports else {})})
    association = Association(net.client, V6_LISTENER)
    peer = net.inet1.udp(INET1_V6)
    sender = net.client.udp(temporary)
    datagram = socks5.wrap(peer.getsockname()[:2], b"hello")
    sender.sendto(datagram, association.relay)
    wait_until(lambda: proxy.dropped("other_address") == 1, "the drop")
    assert association.alive(peer, 3)
    assert proxy.dropped("stranger") == 0


def test_datagrams_from_a_temporary_address_are_told(net, start, temporary):
    """In the status, for all and for the session, and in the log when nothing else came."""
    proxy = start({"listen": LISTEN_BOTH, **WATCHED})
    association = Association(net.client, V6_LISTENER)
    net.client.udp(temporary).sendto(socks5.wrap((INET1_V6, PORT), b"hello"), association.relay)
    wait_until(lambda: proxy.dropped("other_address") == 1, "the drop")
    answer = status(net)
    (drop,) = answer["drops"]
    assert (drop["reason"], drop["count"]) == ("other_address", 1) and "temporary IPv6 addresses" in drop["advice"]
    assert answer["sessions"][0]["dropped"] == {"other_address": 1}
    association.close()
    proxy.wait_log(f"client {CLIENT_V6}: its datagrams came from another address of its IPv6 network")


TEMPORARY_NETWORK = "fd89::"  # where the proxy has a public and a temporary address


@pytest.fixture
def rotating(net):
    """Gives the proxy's host a network whose addresses it makes itself, a temporary one among them."""
    net.proxy.sysctl("ipv6/conf/eth1/use_tempaddr", 2)
    net.proxy.sysctl("ipv6/conf/eth1/dad_transmits", 0)
    net.proxy.ip(f"address add {TEMPORARY_NETWORK}1/64 dev eth1 mngtmpaddr nodad valid_lft 1000 preferred_lft 900")
    net.inet1.ip(f"address add {TEMPORARY_NETWORK}11/64 dev eth0 nodad")
    wait_until(lambda: " temporary " in net.proxy.run("ip", "-6", "address", "show", "dev", "eth1", "-tentative").stdout,
               "the temporary address")
    yield f"{TEMPORARY_NETWORK}11"
    net.proxy.sysctl("ipv6/conf/eth1/use_tempaddr", 0)
    net.proxy.ip(f"address del {TEMPORARY_NETWORK}1/64 dev eth1")
    net.inet1.ip(f"address del {TEMPORARY_NETWORK}11/64 dev eth0")


@pytest.mark.parametrize("kind", [Association, OverTcp], ids=["udp", "over tcp"])
def test_datagrams_leave_from_the_public_address(net, start, rotating, kind):
    """A flow must not change its address in the middle: temporary addresses are replaced every day."""
    start({"listen": LISTEN_BOTH})
    peer = net.inet1.udp(rotating)
    assert kind(net.client, V4_LISTENER).external(peer)[0] == f"{TEMPORARY_NETWORK}1"


def test_an_outbound_address_stays_when_routes_change(net, start, peer):
    """Under `auto` datagrams follow the routes; what is to stay is configured."""
    start({"outbound": {"address_v4": PROXY_WAN_V4}})
    association = Association(net.client, V4_LISTENER)
    external = association.external(peer)
    assert external[0] == PROXY_WAN_V4
    net.proxy.ip("address add 10.88.0.77/24 dev eth1", "route change 10.88.0.0/24 dev eth1 src 10.88.0.77")
    try:
        assert association.external(peer) == external and association.alive(peer, 3)
    finally:
        net.proxy.ip(f"route change 10.88.0.0/24 dev eth1 src {PROXY_WAN_V4}", "address del 10.88.0.77/24 dev eth1")


def test_the_advertised_address_is_the_public_one(net, start, rotating):
    """`advertise_v6: auto` takes the address of the default route, which stays."""
    net.proxy.ip(f"route add default via {rotating} dev eth1")
    try:
        start({"listen": LISTEN_BOTH, "udp": {"advertise_v6": "auto"}}).wait_log(
            rf"udp.advertise_v6: telling clients to send to {TEMPORARY_NETWORK}1$")
    finally:
        net.proxy.ip(f"route del default via {rotating} dev eth1")


# ---- what the rules deny as a destination ----

DENY_INET2 = [{"action": "deny", "to": [INET2_V4]}]


@pytest.mark.parametrize("filtering", ["endpoint-independent", "address-dependent", "address-and-port-dependent"])
def test_a_denied_destination_may_send_where_the_filtering_lets_it(net, start, peer, filtering):
    """As conesocks.yaml(5) says under udp.filtering: rules are about where a client may send to."""
    proxy = start({"udp": {"filtering": filtering}, "rules": DENY_INET2})
    association = Association(net.client, V4_LISTENER)
    external = association.external(peer)
    denied = net.inet2.udp(INET2_V4)
    association.send(denied.getsockname(), b"refused")
    wait_until(lambda: proxy.dropped("refused") == 1, "the refusal")
    denied.sendto(b"from a denied address", external)
    if filtering == "endpoint-independent":
        assert association.recv() == (denied.getsockname(), b"from a denied address")
    else:
        wait_until(lambda: proxy.dropped("filtered") == 1, "the drop")
    assert association.alive(peer, 3)


def test_what_a_reload_denies_may_send_to_the_end_of_the_association(net, serve):
    proxy = serve({"udp": {"filtering": "address-dependent"}})
    association = Association(net.client, V4_LISTENER)
    peer = net.inet2.udp(INET2_V4)
    external = association.external(peer)
    assert proxy.reload(lan_config({"udp": {"filtering": "address-dependent"}, "rules": DENY_INET2}))
    peer.sendto(b"still here", external)
    assert association.recv() == (peer.getsockname(), b"still here")
    association.send(peer.getsockname(), b"refused")
    wait_until(lambda: proxy.dropped("refused") == 1, "the refusal")
    peer.sendto(b"and now", external)
    assert association.recv() == (peer.getsockname(), b"and now")
    again = Association(net.client, V4_LISTENER)
    external = again.external(net.inet1.udp(INET1_V4))
    peer.sendto(b"to a new one", external)
    wait_until(lambda: proxy.dropped("filtered") == 1, "the drop")
