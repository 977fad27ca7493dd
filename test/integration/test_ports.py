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


@pytest.mark.parametrize("rest, code", [("1h", 1), ("off", 0)])
def test_row11_a_port_rests_before_somebody_else_gets_it(net, start, lan, rest, code):
    """What old peers still send to a port must not reach the next association."""
    proxy = start({"udp": {**RANGES, "port_rest": rest}})
    peer = net.inet1.udp(INET1_V4)
    associations = [Association(net.client, lan) for _ in RELAYS]
    external = associations[0].external(peer)
    associations.pop(0).close()
    wait_until(proxy.sessions, "the end of the first association")
    peer.sendto(b"are you still there?", external)
    sock, given = ask(net, lan)
    assert given == code
    if rest == "off":
        return
    assert all(one.silent(0.1) for one in associations)


def test_workers_share_a_range(net, start, lan):
    """All ports are given, whichever worker gets the connections."""
    start({"workers": 4, "udp": {"ports": "30000-30031", "external_ports": "31000-31031", "port_rest": "1s"}})
    associations = [Association(net.client, lan) for _ in range(32)]
    assert len({one.relay[1] for one in associations}) == 32
    assert ask(net, lan)[1] == 1
