"""Clients that send from several ports in one association (udp.client_ports)."""
import contextlib
import time

import pytest
from conftest import lan_config
from daemon import wait_until
from netns import INET1_V4, INET1_V6, INET2_V4, NEIGHBOUR_V4, PROXY_V6, PROXY_WAN_V4, STRANGER_V4
from socks5 import Association, ClientSocket, wrap
from test_status import WATCHED, row_of, text_of
from test_upgrade import config, has_ended, upgrade  # pylint: disable=unused-import

CONFIG, UPGRADE = config, upgrade  # fixtures, used by their names

NOFILE = 256
MODES = [pytest.param({}, id="own port"), pytest.param({"ports": "1080"}, id="one port")]


def ports_of(net, association):
    return row_of(net, association.control).get("client_ports", [])


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("proxy_address", ["10.77.0.1", PROXY_V6])
def test_each_socket_has_a_mapping(net, serve, mode, proxy_address):
    serve(WATCHED | {"udp": {"client_ports": 4} | mode})
    association = Association(net.client, (proxy_address, 1080))
    peer, peer_v6, other = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_V6), net.inet2.udp(INET2_V4)
    first = association.external(peer)
    sockets = [ClientSocket(association) for _ in range(3)]
    externals = [one.external(peer) for one in sockets]
    assert len({first, *externals}) == 4
    assert [one.external(peer) for one in sockets] == externals
    assert len({one.external(peer_v6) for one in sockets}) == 3
    for one, external in zip(sockets, externals):
        other.sendto(b"to %d" % external[1], external)
        assert one.recv() == (other.getsockname(), b"to %d" % external[1])
    other.sendto(b"to the first", first)
    assert association.recv() == (other.getsockname(), b"to the first")
    assert association.alive(peer)
    shown = ports_of(net, association)
    assert [row["client_udp"] for row in shown] == [
        text_of(one.getsockname()) for one in [association.udp] + [one.udp for one in sockets]]
    assert [row["external"][0] for row in shown] == [f"0.0.0.0:{port}" for _, port in [first, *externals]]


@pytest.mark.parametrize("mode", MODES)
def test_one_more_waits_for_silence(net, serve, lan, peer, mode):
    proxy = serve(WATCHED | {"udp": {"client_ports": 2, "rebind_after": "2s"} | mode})
    association = Association(net.client, lan)
    second, third = ClientSocket(association), ClientSocket(association)
    first_external, second_external = association.external(peer), second.external(peer)
    third.send(peer.getsockname(), b"no room")
    wait_until(lambda: proxy.dropped("other_port") == 1, "the drop to be counted")

    def taken_over():
        association.send(peer.getsockname(), b"I stay")
        third.send(peer.getsockname(), b"may I now?")
        seen = {}
        while b"I stay" not in seen:
            payload, address = peer.recvfrom(65536)
            seen[payload] = address
        assert seen[b"I stay"] == first_external
        return seen.get(b"may I now?")
    assert wait_until(taken_over, "the second one's mapping to be taken over") == second_external
    peer.sendto(b"yours now", second_external)
    assert third.recv()[1] == b"yours now"


def test_only_the_client_s_address(net, serve, lan, peer):
    proxy = serve({"udp": {"client_ports": 4}})
    association = Association(net.client, lan)
    assert association.alive(peer)
    stranger = net.stranger.udp(STRANGER_V4)
    stranger.sendto(wrap(peer.getsockname(), b"mine"), association.relay)
    wait_until(lambda: proxy.dropped("stranger") == 1, "the drop to be counted")
    assert association.alive(peer)


@pytest.mark.parametrize("mode", MODES)
def test_each_filters_for_itself(net, serve, lan, peer, mode):
    proxy = serve({"udp": {"client_ports": 2, "filtering": "address-and-port-dependent"} | mode})
    association = Association(net.client, lan)
    second, other = ClientSocket(association), net.inet2.udp(INET2_V4)
    external = association.external(peer)
    assert second.external(other) != external
    peer.sendto(b"not asked by the second", second.external(other))
    wait_until(lambda: proxy.dropped("filtered") == 1, "the drop to be counted")
    assert association.alive(peer)
    second.external(peer)
    peer.sendto(b"asked now", second.external(peer))
    assert second.recv()[1] == b"asked now"


@pytest.mark.parametrize("mode", MODES)
def test_a_reload_allows_more(net, serve, lan, peer, mode):
    proxy = serve({"udp": {"client_ports": 1} | mode})
    association = Association(net.client, lan)
    second = ClientSocket(association)
    first = association.external(peer)
    assert proxy.reload(lan_config({"udp": {"client_ports": 2} | mode}))
    assert second.external(peer) != first
    assert proxy.reload(lan_config({"udp": {"client_ports": 1} | mode}))
    assert association.alive(peer)
    assert second.external(peer) != first
    peer.sendto(b"still yours", second.external(peer))
    assert second.recv()[1] == b"still yours"


def test_ended_mappings_give_back_all_they_hold(net, serve, lan, peer):
    proxy = serve(WATCHED | {"udp": {"client_ports": 16, "idle": "10s"}})
    association = Association(net.client, lan)
    assert association.alive(peer, 1)
    before = len(proxy.descriptors())
    sockets = [ClientSocket(association) for _ in range(15)]
    assert len({one.external(peer) for one in sockets}) == 15
    assert len(proxy.descriptors()) == before + 15
    assert len(ports_of(net, association)) == 16

    def gone():
        assert association.alive(peer, 1)
        return len(proxy.descriptors()) == before
    wait_until(gone, "the silent mappings to end", timeout=20)
    assert "client_ports" not in row_of(net, association.control)


def test_who_uses_many_ports_pays_when_descriptors_are_short(net, serve, lan, peer):
    """Each port counts as a descriptor of its client. Other clients are served, and the further ports end."""
    proxy = serve({"udp": {"client_ports": 16}, "workers": 1}, nofile=NOFILE)
    greedy, sockets = [], []
    with contextlib.suppress(AssertionError, EOFError, OSError):  # refused: descriptors are short
        while True:
            greedy.append(Association(net.client, lan))
            sockets += [ClientSocket(greedy[-1]) for _ in range(15)]
            for one in sockets[-15:]:
                one.send(peer.getsockname(), b"one more")
            wait_until(lambda: peer.recv(100) == b"one more", "a port to be opened")
    time.sleep(1.1)  # what ports take is charged once a second
    others = []
    for host, source in ((net.neighbour, NEIGHBOUR_V4), (net.stranger, STRANGER_V4)) * 10:
        others.append(Association(host, lan, source))
    while True:
        try:
            peer.settimeout(0.2)
            peer.recvfrom(100)
        except TimeoutError:
            break
    peer.settimeout(5)
    assert all(one.alive(peer, 3) for one in others)
    assert proxy.reload()


@pytest.mark.parametrize("mode", MODES)
def test_an_upgrade_keeps_them(net, serve, config, upgrade, lan, peer, mode):  # noqa: F811
    """The process that is replaced still gives a port that appears only then its mapping."""
    options = {"udp": {"client_ports": 3} | mode}
    first = serve(config(options))
    association = Association(net.client, lan)
    second, third = ClientSocket(association), ClientSocket(association)
    externals = [association.external(peer), second.external(peer)]
    upgrade(options)
    assert [association.external(peer), second.external(peer)] == externals
    assert third.external(peer) not in externals
    newcomer = Association(net.neighbour, lan, NEIGHBOUR_V4)
    assert ClientSocket(newcomer).external(peer) != newcomer.external(peer)
    peer.sendto(b"by the first process", third.external(peer))
    assert third.recv()[1] == b"by the first process"
    association.close()
    assert has_ended(first)
    assert newcomer.alive(peer)


def test_its_sockets_reach_each_other(net, start, lan, peer):
    """Hairpinning, from one mapping of a client to another."""
    start({"udp": {"client_ports": 2}, "reach": "all"})
    association = Association(net.client, lan)
    second = ClientSocket(association)
    first_port, second_port = association.external(peer)[1], second.external(peer)[1]
    association.send((PROXY_WAN_V4, second_port), b"to myself")
    origin, payload = second.recv()
    assert payload == b"to myself" and origin[1] == first_port
