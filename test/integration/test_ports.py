"""Ports that a router, a firewall or docker lets through: ranges, their end, their rest."""
import pytest
import socks5
from daemon import wait_until
from netns import CLIENT_V4, INET1_V4
from socks5 import Association

RELAYS, EXTERNALS = range(30000, 30004), range(31000, 31004)
RANGES = {"ports": "30000-30003", "external_ports": "31000-31003"}


def ask(net, lan):
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    reply = socks5.request(sock, socks5.ASSOCIATE, socks5.ANY_V4)
    return sock, reply.code


def test_ranges_are_kept_to_the_last_port(net, start, lan):
    """Row 10: each association has ports of its own; when there are no more, that is said at once (reply 1)."""
    proxy = start({"udp": RANGES})
    peer = net.inet1.udp(INET1_V4)
    associations = [Association(net.client, lan) for _ in RELAYS]
    assert sorted(one.relay[1] for one in associations) == list(RELAYS)
    assert sorted(one.external(peer)[1] for one in associations) == list(EXTERNALS)
    assert ask(net, lan)[1] == 1
    assert proxy.counters()["associations_without_port_total"] == 1
    proxy.wait_log(r"udp\.ports")
    assert all(one.alive(peer) for one in associations)


@pytest.mark.parametrize("rest, early", [("1h", 2), ("off", None)])
def test_row11_a_port_rests_before_somebody_else_gets_it(net, start, lan, rest, early):
    """What old peers still send to a port must not reach the next association, unless there is no other port."""
    proxy = start({"udp": {**RANGES, "port_rest": rest}})
    peer = net.inet1.udp(INET1_V4)
    first = Association(net.client, lan)
    external = first.external(peer)
    first.close()
    wait_until(proxy.sessions, "the end of the first association")
    associations = [Association(net.client, lan) for _ in RELAYS[1:]]
    others = [one.external(peer) for one in associations]
    if rest != "off":
        assert first.relay not in [one.relay for one in associations] and external not in others
        peer.sendto(b"are you still there?", external)
        assert all(one.silent(0.1) for one in associations)
    associations.append(Association(net.client, lan))
    assert proxy.counters().get("ports_reused_early_total") == early
    assert ask(net, lan)[1] == 1


def test_workers_share_a_range(net, start, lan):
    """All ports are given, whichever worker gets the connections."""
    start({"workers": 4, "udp": {"ports": "30000-30031", "external_ports": "31000-31031", "port_rest": "1s"}})
    associations = [Association(net.client, lan) for _ in range(32)]
    assert len({one.relay[1] for one in associations}) == 32
    assert ask(net, lan)[1] == 1
