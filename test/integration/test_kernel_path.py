"""Established UDP flows, relayed by user space and by the kernel: the same datagrams in the same order to the same ends,
counted alike. What is special about packets: test_kernel_path_packets.py."""
import contextlib
import os
import random
import socket
import time

import pytest
import servers
import socks5
from daemon import wait_until
from kernel_path import FAMILIES, V4, V6, Sequence, Tally
from netns import CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, NEIGHBOUR_V4, PROXY_V4
from socks5 import Association
from test_admin import samples
from test_runs import payloads, send_run


def two_peers(net, family):
    return net.inet1.udp(family.peer), net.inet2.udp(family.other)


@FAMILIES
def test_established_flows_need_no_process(net, relay, family):
    """With the process stopped, the kernel relays both ways; without the kernel path the process does."""
    relay.start()
    association = Association(net.client, family.listener)
    peers = two_peers(net, family)
    relay.establish(association, *peers)
    with relay.alone():
        for peer in peers * 2:
            assert association.alive(peer, 50)


@FAMILIES
def test_all_counts_are_exact(net, relay, family):
    """Status, metrics and session log, to the byte: of what user space and of what the kernel has relayed."""
    proxy = relay.start()
    association = Tally(net.client, family.listener)
    peers = two_peers(net, family)
    relay.establish(association, *peers)
    external = association.external(peers[0])
    sizes = random.Random(13)
    for number in range(300):
        peer = peers[number % 2]
        association.send(peer.getsockname()[:2], bytes(sizes.randrange(1200)))
        peer.recv(2000)
        peer.sendto(bytes(sizes.randrange(1200)), external)
        association.recv()
    row = relay.row(association)
    assert {name: row[name] for name in association.sums} == association.sums
    if relay.by_kernel:
        up, down = relay.carried()
        assert 300 <= up <= association.sums["up_datagrams"] and 300 <= down <= association.sums["down_datagrams"]
    association.close()
    row = proxy.session(command="udp")
    assert {name: int(row[name]) for name in association.sums} == association.sums
    seen = samples(net)
    assert {name: seen[f"conesocks_udp_{name}_total"] for name in association.sums} == association.sums


@FAMILIES
def test_nothing_is_lost_or_overtaken_while_flows_begin(net, relay, family):
    """Peers come one by one, in the middle of traffic both ways: their first datagrams take the slow way, those after
    them the fast one."""
    relay.start()
    association = Association(net.client, family.listener)
    flow = Sequence(association)
    for _ in range(25):
        flow.receive()
        flow.add(net.inet1.udp(family.peer))
        for _ in range(8):
            flow.burst(random.Random(flow.number).randrange(1, 25))
    flow.receive()
    assert association.silent(0.1)


@FAMILIES
def test_joined_and_single_datagrams_keep_their_order(net, relay, family):
    """A sender that uses UDP_SEGMENT now and then: joined ones go through user space, and no single one overtakes them."""
    relay.start()
    association, (peer, _) = Association(net.client, family.listener), two_peers(net, family)
    relay.establish(association, peer)
    external, to = association.external(peer), peer.getsockname()[:2]
    for turn in range(60):
        single = [b"%d single %d" % (turn, number) for number in range(turn % 7)]
        joined = [each + b"%d" % turn for each in payloads(200 + turn, 2 + turn % 9, 50)[:-1]]
        for each in single:
            association.send(to, each)
            peer.sendto(each, external)
        send_run(association.udp, [socks5.wrap(to, each) for each in joined], association.relay)
        send_run(peer, joined, external)
        sent = single + joined
        if turn % 3 == 0:
            association.send(to, b"last")
            peer.sendto(b"last", external)
            sent.append(b"last")
        assert [peer.recv(2000) for _ in sent] == sent
        assert [association.recv() for _ in sent] == [(to, each) for each in sent]


def test_what_waits_in_a_stopped_process_is_not_overtaken(net, relay):
    """New peers' datagrams wait in its sockets meanwhile; established ones behind them wait, too."""
    proxy = relay.start()
    association, (peer, other) = Association(net.client, V4.listener), two_peers(net, V4)
    relay.establish(association, peer)
    flow = Sequence(association)
    flow.add(peer)
    external = flow.externals[peer]
    for _ in range(20):
        with proxy.stopped():
            association.send(other.getsockname(), b"new")
            other.sendto(b"new", external)
            flow.down.append((other.getsockname(), b"new"))
            for _ in range(10):
                flow.send_up(peer)
                flow.send_down(peer)
        flow.burst(5)
        flow.receive()
        assert other.recv(10) == b"new"


@pytest.mark.parametrize("way", ["up", "down"])
def test_what_a_full_socket_loses_is_not_waited_for(net, relay, peer, way):
    """More than the process's sockets hold while it stands still; after that the kernel relays again."""
    proxy = relay.start()
    association, other = Association(net.client, V4.listener), net.inet2.udp(INET2_V4)
    relay.establish(association, peer)
    external = association.external(peer)
    with proxy.stopped():
        for _ in range(5000):
            if way == "up":
                association.send(other.getsockname(), bytes(1000))
            else:
                other.sendto(bytes(1000), external)
    while not association.silent(0.2):
        pass
    relay.establish(association, peer)
    with relay.alone():
        assert association.alive(peer)


FILTERING = {"endpoint-independent": [True] * 4, "address-dependent": [True, True, False, False],
             "address-and-port-dependent": [True, False, False, False]}


@pytest.mark.parametrize("filtering", FILTERING)
def test_strangers_are_filtered_as_without_it(net, relay, filtering):
    proxy = relay.start({"udp": {"filtering": filtering}})
    primary, other_port = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_V4)
    strangers = (primary, other_port, net.inet1.udp(INET1_OTHER_V4, primary.getsockname()[1]), net.inet2.udp(INET2_V4))
    association = Association(net.client, V4.listener)
    relay.establish(association, primary)
    external = association.external(primary)
    for _ in range(3):
        let_in = []
        for sock in strangers:
            sock.sendto(b"may I?", external)
            let_in.append(not association.silent(0.1))
        assert let_in == FILTERING[filtering]
    assert proxy.dropped("filtered") == 3 * let_in.count(False)
    relay.establish(association, *strangers)
    with relay.alone():
        assert all(association.alive(sock, 5) for sock in strangers)
    association.close()


def test_row30_hairpin(net, relay, peer):
    """Two clients talk to each other's external address while each has established flows."""
    relay.start()
    one, two = Association(net.client, V4.listener), Association(net.neighbour, V4.listener, source=NEIGHBOUR_V4)
    relay.establish(one, peer)
    relay.establish(two, peer)
    at_one, at_two = one.external(peer), two.external(peer)
    for number in range(40):
        one.send(at_two, b"there %d" % number)
        assert two.recv() == (at_one, b"there %d" % number)
        two.send(at_one, b"back %d" % number)
        assert one.recv() == (at_two, b"back %d" % number)
    assert one.alive(peer) and two.alive(peer)


def test_row24_own_addresses(net, relay, peer):
    """As often as it takes to establish a flow: to its own external port once each, to its relay port never."""
    proxy = relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external = association.external(peer)
    for number in range(40):
        association.send(external, b"to myself %d" % number)
        assert association.recv() == (external, b"to myself %d" % number)
        association.send(association.relay, socks5.wrap(association.relay, b"again"))
        association.send((PROXY_V4, 1080), b"listener")
        association.send(("127.0.0.1", 53), b"loopback")
    assert association.alive(peer) and association.silent(0.1)
    assert proxy.dropped("refused") == 3 * 40


def test_names_and_addresses_of_one_peer(net, relay, lan, peer):
    """A peer asked for by its name and by its address; answers carry the address, and all arrive in order."""
    with servers.Dns(net.inet2, INET2_V4, {"game.test": [INET1_V4]}) as dns:
        relay.start({"dns": {"servers": [dns.address]}})
        association, port = Association(net.client, lan), peer.getsockname()[1]
        external = association.external(peer)
        for number in range(100):
            for host in ("game.test", INET1_V4)[:1 + number // 20 % 2]:
                association.send((host, port), b"%d" % number)
                assert peer.recvfrom(100) == (b"%d" % number, external)
                peer.sendto(b"re %d" % number, external)
                assert association.recv() == (peer.getsockname(), b"re %d" % number)
        # An answer of a name server that changes its mind: the name keeps its address.
        dns.records["game.test"] = [INET1_OTHER_V4]
        association.send(("game.test", port), b"still you")
        assert peer.recv(100) == b"still you"


@pytest.mark.parametrize("family, target", [(V4, INET1_V6), (V6, INET1_V4)], ids=["to v6", "to v4"])
def test_the_other_family(net, relay, family, target):
    """It stays in user space, beside established flows of the client's own family."""
    relay.start()
    association = Association(net.client, family.listener)
    same, other = net.inet1.udp(family.peer), net.inet1.udp(target)
    relay.establish(association, same)
    for _ in range(10):
        assert association.alive(other, 10) and association.alive(same, 10)
    assert association.external(same)[0] == family.wan


# ---- silence ----

def test_another_port_of_a_silent_client(net, relay, peer):
    """While the client sends (the kernel may be the only one that sees that), no other port is its own; after
    udp.rebind_after of silence another one takes over, both ways."""
    relay.start({"udp": {"rebind_after": "1s"}})
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external, first = association.external(peer), association.udp
    other = net.client.udp(CLIENT_V4)
    end, number = time.monotonic() + 2.5, 0
    while time.monotonic() < end:  # longer than rebind_after
        number += 1
        association.send(peer.getsockname(), b"%d" % number)
        assert peer.recv(10) == b"%d" % number
        other.sendto(socks5.wrap(peer.getsockname(), b"not mine"), association.relay)
        time.sleep(0.02)
    association.udp = other

    def is_heard():
        association.send(peer.getsockname(), b"rebound")
        peer.settimeout(0.05)
        with contextlib.suppress(socket.timeout):
            return peer.recvfrom(10)[1] == external
        return False

    wait_until(is_heard, "the other port")
    peer.settimeout(5)
    relay.establish(association, peer)
    with relay.alone():
        assert association.alive(peer, 20)
    first.settimeout(0.1)
    with pytest.raises(socket.timeout):
        first.recv(10)


@pytest.mark.skipif("CONESOCKS_SLOW" not in os.environ, reason="takes more than two minutes: set CONESOCKS_SLOW")
def test_row33_idle_limit(net, relay):
    """Traffic that only the kernel sees keeps an association alive, in either direction; a silent one ends."""
    relay.start({"udp": {"idle": "2m"}})
    ends = {name: (Tally(net.client, V4.listener), net.inet1.udp(INET1_V4)) for name in ("up", "down", "silent")}
    for association, peer in ends.values():
        relay.establish(association, peer)
        association.address = association.external(peer)
    for _ in range(130):
        ends["up"][0].send(ends["up"][1].getsockname(), b"up")
        ends["up"][1].recv(10)
        ends["down"][1].sendto(b"down", ends["down"][0].address)
        ends["down"][0].recv()
        time.sleep(1)
    assert ends["silent"][0].control.recv(1) == b""
    assert ends["up"][0].alive(ends["up"][1]) and ends["down"][0].alive(ends["down"][1])


# ---- many ----

def test_many_peers_of_one_association(net, relay):
    """Each is its own flow; all are right after the first have been idle."""
    relay.start()
    association = Association(net.client, V4.listener)
    peers = [net.inet1.udp(INET1_V4) for _ in range(300)]
    for _ in range(3):
        for peer in peers:
            assert association.alive(peer, 2)
    with relay.alone():
        assert all(association.alive(peer, 1) for peer in peers)


def test_many_associations_and_one_peer(net, relay, peer):
    relay.start()
    associations = [Association(net.client, V4.listener) for _ in range(100)]
    for association in associations:
        assert association.alive(peer, 16)
        relay.establish(association, peer)
    with relay.alone():
        assert all(association.alive(peer, 1) for association in associations)
