"""On what terms users and rules have their sessions served: outbound address, mark, filtering. Which of them holds when
several say something is a unit test: test_terms."""
import json
import subprocess

import pytest

import daemon
import socks5
from conftest import LISTEN, USERS, lan_config
from netns import (CLIENT_V4, CLIENT_V6, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, NEIGHBOUR_V4, PROXY_WAN_V4,
                   PROXY_WAN_V6)
from socks5 import Association

SECOND_V4, SECOND_V6 = "10.88.0.2", "fd88::2"
ALICE, BOB = ("alice", "wonderland"), ("bob", "wonderland")
HASH = USERS[0]["password"]
WITH_LOGIN = [{"address": listener["address"], "port": 1080} for listener in LISTEN]
MARK = 0x10


@pytest.fixture
def two_ways(net):
    """The proxy host has second addresses, which nothing takes by itself, and what bears the mark leaves from those by the system's own routing."""
    net.proxy.ip(f"address add {SECOND_V4}/24 dev eth1", f"address add {SECOND_V6}/64 dev eth1 nodad preferred_lft 0",
                 f"route add 10.88.0.0/24 dev eth1 src {SECOND_V4} table 100",
                 f"route add fd88::/64 dev eth1 src {SECOND_V6} table 100")
    for family in "-4", "-6":
        net.proxy.run("ip", family, "rule", "add", "fwmark", str(MARK), "table", "100", check=True)
    yield
    for family in "-4", "-6":
        net.proxy.run("ip", family, "rule", "del", "fwmark", str(MARK), "table", "100", check=True)
        net.proxy.run("ip", family, "route", "flush", "table", "100", check=True)
    net.proxy.ip(f"address del {SECOND_V4}/24 dev eth1", f"address del {SECOND_V6}/64 dev eth1")


def users(**terms):
    """alice and bob; terms: bob={"mark": 1}"""
    return [{"name": name, "password": HASH, **terms.get(name, {})} for name in ("alice", "bob")]


def seen_by_tcp(net, lan, target, login=(None, None), client=CLIENT_V4):
    """The address that a destination sees a CONNECT come from."""
    listener = net.inet1.listen(target)
    sock, reply = socks5.connect(net.client, lan, listener.getsockname()[:2], client, *login)
    assert reply.code == 0
    _, source = listener.accept()
    sock.close()
    return source[0]


def seen_by_udp(net, lan, target, login=(None, None), client=CLIENT_V4):
    association = Association(net.client, lan, client, user=login[0], password=login[1])
    source = association.external(net.inet1.udp(target))[0]
    association.close()
    return source


@pytest.mark.parametrize("term", ["address", "mark"])
@pytest.mark.parametrize("seen", [seen_by_tcp, seen_by_udp])
@pytest.mark.parametrize("target, first, second", [(INET1_V4, PROXY_WAN_V4, SECOND_V4), (INET1_V6, PROXY_WAN_V6, SECOND_V6)])
def test_each_user_leaves_by_a_way_of_their_own(net, start, two_ways, lan, term, seen, target, first, second):
    """Both families, of which an association opens the second later."""
    bobs = {"address": {"address_v4": SECOND_V4, "address_v6": SECOND_V6}, "mark": {"mark": hex(MARK)}}[term]
    start({"listen": WITH_LOGIN, "users": users(bob=bobs),
           "outbound": {"address_v4": PROXY_WAN_V4, "address_v6": PROXY_WAN_V6} if term == "address" else {}})
    assert seen(net, lan, target, ALICE) == first
    assert seen(net, lan, target, BOB) == second
    assert seen(net, lan, target, ALICE) == first


@pytest.mark.parametrize("term", [{"address_v4": SECOND_V4}, {"mark": MARK}])
def test_a_rule_has_what_it_lets_through_leave_by_another_way(net, start, two_ways, lan, term):
    """Of CONNECTs the one that matches, of associations all or none."""
    start({"rules": [{"action": "allow", "command": ["connect"], "to": [INET1_OTHER_V4], **term},
                     {"action": "allow", "to": ["10.88.0.0/24"]},
                     {"action": "allow", "command": ["udp"], **term}]})
    assert seen_by_tcp(net, lan, INET1_V4) == PROXY_WAN_V4
    assert seen_by_tcp(net, lan, INET1_OTHER_V4) == SECOND_V4
    assert seen_by_udp(net, lan, INET1_V4) == SECOND_V4


def test_a_mark_is_on_all_that_faces_the_internet_and_on_nothing_else(net, start, two_ways, lan, peer):
    start({"outbound": {"mark": MARK}})
    net.proxy.nft(f"""table inet marks {{
        chain output {{
            type filter hook output priority 0
            oifname eth0 meta mark != 0 drop
            oifname eth1 ip daddr {INET1_OTHER_V4} meta mark != {MARK} drop
        }}
    }}""")
    try:
        association = Association(net.client, lan)
        assert association.alive(peer)
        assert association.alive(net.inet1.udp(INET1_OTHER_V4))
        assert seen_by_tcp(net, lan, INET1_OTHER_V4) == SECOND_V4
    finally:
        net.proxy.nft("delete table inet marks")


@pytest.mark.parametrize("ports", ["random", 40000])
@pytest.mark.parametrize("seen", [seen_by_tcp, seen_by_udp])
def test_traffic_leaves_from_the_address_that_the_client_connected_to(net, start, two_ways, seen, ports):
    """Both families; what leaves by the family that the client has not connected over is the system's choice."""
    start({"listen": [{"address": "::", "port": 1080, "auth": "none", "open": True}],
           "outbound": {"address_v4": "listener", "address_v6": "listener"}, "udp": {"ports": ports}})
    net.client.ip("route add 10.88.0.0/24 via 10.77.0.1", "route add fd88::/64 via fd77::1")
    try:
        for local, target, expected in ((PROXY_WAN_V4, INET1_V4, PROXY_WAN_V4), (SECOND_V4, INET1_V4, SECOND_V4),
                                        (SECOND_V4, INET1_V6, PROXY_WAN_V6), (SECOND_V6, INET1_V6, SECOND_V6)):
            assert seen(net, (local, 1080), target, client=CLIENT_V6 if ":" in local else CLIENT_V4) == expected
    finally:
        net.client.ip("route del 10.88.0.0/24", "route del fd88::/64")


def test_listeners_have_terms_and_rules_of_their_own(net, serve, two_ways, lan, peer):
    """A reload changes a listener's terms and name for what begins afterwards, and what the rules deny it ends."""
    listeners = [{"address": lan[0], "port": 1080, "name": "first"},
                 {"address": lan[0], "port": 1081, "name": "second", "address_v4": SECOND_V4}]
    rules = [{"action": "deny", "listener": ["second"], "command": ["udp"]}]
    proxy = serve({"listen": listeners, "rules": rules})
    second = (lan[0], 1081)
    assert seen_by_tcp(net, lan, INET1_V4) == PROXY_WAN_V4
    assert seen_by_tcp(net, second, INET1_V4) == SECOND_V4
    association = Association(net.client, lan)
    assert association.alive(peer)
    with pytest.raises(AssertionError, match="ASSOCIATE refused: .*code=2"):
        Association(net.client, second)
    told = [net.proxy.run(daemon.PROGRAM, "explain", "-c", str(proxy.config_path), "--from", CLIENT_V4, "--listener", at,
                          "--command", command, "--to", f"{INET1_V4}:80").stdout
            for at, command in (("second", "connect"), (f"{lan[0]}:1081", "udp"), ("first", "udp"), ("third", "udp"))]
    assert told[0].endswith(f"terms: address_v4 {SECOND_V4} (listen[1])\n") and told[1].startswith("denied")
    assert told[2].startswith("allowed") and "--listener is not a name" in told[3]
    listeners[0], listeners[1] = {**listeners[0], "name": "second"}, {**listeners[1], "name": "first"}
    assert proxy.reload(lan_config({"listen": listeners, "rules": rules}))
    assert association.control.recv(1) == b""
    assert seen_by_udp(net, second, INET1_V4) == SECOND_V4


def test_a_mark_that_cannot_be_set_is_no_start(net, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"users": users(bob={"mark": 1})}))
    without = ("setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")
    done = net.proxy.run(*without, daemon.PROGRAM, "-c", str(config))
    assert done.returncode == 1
    assert "cannot set a mark (outbound.mark, or that of a user or a rule): Operation not permitted" in done.stdout
    assert net.proxy.run(daemon.PROGRAM, "-t", "-c", str(config)).returncode == 0


def test_an_address_that_this_host_has_not_is_a_clean_refusal(net, start, lan, peer):
    proxy = start({"listen": WITH_LOGIN, "users": users(bob={"address_v4": "10.88.0.99"})})
    sock, reply = socks5.connect(net.client, lan, peer.getsockname(), CLIENT_V4, *BOB)
    assert reply.code == 1  # not 3: the network is fine
    sock.close()
    assert "this host does not have the source address" in proxy.session(command="connect")["why"]
    with pytest.raises(AssertionError, match="ASSOCIATE refused: .*code=1"):
        Association(net.client, lan, user=BOB[0], password=BOB[1])
    assert "this host does not have the source address" in proxy.session(command="none")["why"]
    assert Association(net.client, lan, user=ALICE[0], password=ALICE[1]).alive(peer)


def test_row29_filtering_by_rule(net, start, lan):
    """RFC 5780 section 4.4 for two clients: each has the filtering that its rule names, and both one mapping."""
    start({"udp": {"filtering": "address-dependent"},
           "rules": [{"action": "allow", "from": [CLIENT_V4], "filtering": "address-and-port-dependent"},
                     {"action": "allow", "from": [NEIGHBOUR_V4], "filtering": "endpoint-independent"}]})
    primary, other_port = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_V4)
    other_address, elsewhere = net.inet1.udp(INET1_OTHER_V4), net.inet2.udp(INET2_V4)
    for host, source, expected in ((net.client, CLIENT_V4, [True, False, False, False]),
                                   (net.neighbour, NEIGHBOUR_V4, [True, True, True, True]),
                                   (net.stranger, "10.77.0.66", [True, True, False, False])):
        association = Association(host, lan, source)
        external = association.external(primary)
        let_in = []
        for sock in (primary, other_port, other_address, elsewhere):
            sock.sendto(b"may I?", external)
            let_in.append(not association.silent(0.2))
        assert let_in == expected
        assert association.external(elsewhere) == external


def test_row30_hairpin_between_users_with_addresses_of_their_own(net, start, two_ways, lan, peer):
    """A mapping is open where it is bound; at the other address the same number is this host's own, and closed."""
    proxy = start({"listen": WITH_LOGIN,
                   "users": users(alice={"address_v4": PROXY_WAN_V4}, bob={"address_v4": SECOND_V4})})
    one = Association(net.client, lan, user=ALICE[0], password=ALICE[1])
    two = Association(net.neighbour, lan, NEIGHBOUR_V4, user=BOB[0], password=BOB[1])
    at_one, at_two = one.external(peer), two.external(peer)
    assert (at_one[0], at_two[0]) == (PROXY_WAN_V4, SECOND_V4)
    one.send(at_two, b"over the hairpin")
    assert two.recv() == (at_one, b"over the hairpin")
    two.send(at_one, b"and back")
    assert one.recv() == (at_two, b"and back")
    one.send((PROXY_WAN_V4, at_two[1]), b"nobody there")
    assert two.silent() and one.silent()
    assert proxy.counters()["refused_own_total"] == 1


def test_explain_tells_the_terms(tmp_path):
    config = tmp_path / "c.yaml"
    rules = [{"action": "allow", "command": ["connect"], "ports": [25], "mark": MARK},
             {"action": "allow", "user": ["bob"], "filtering": "address-dependent"}]
    config.write_text(json.dumps({"users": users(bob={"address_v4": SECOND_V4}), "rules": rules}))

    def explain(*arguments):
        command = [daemon.PROGRAM, "explain", "-c", str(config), "--from", "198.41.0.9", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        return done.stdout.splitlines()[1:]

    assert explain("--to", "9.9.9.9:80") == []
    assert explain("--to", "9.9.9.9:25") == ["terms: mark 0x10 (rules[0])"]
    assert explain("--to", "9.9.9.9:25", "--user", "bob") == [
        f"terms: mark 0x10 (rules[0]), address_v4 {SECOND_V4} (users[1])"]
    assert explain("--to", "9.9.9.9:25", "--user", "bob", "--command", "udp") == [
        f"terms: filtering address-dependent (rules[1]), address_v4 {SECOND_V4} (users[1])"]
    assert explain("--to", "[::1]:25", "--user", "bob") == []  # refused, so on no terms
