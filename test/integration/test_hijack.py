"""attacks.md, Hijack: an association belongs to its client, whoever else sends what and when."""
import socket
import time

import pytest
import socks5
from daemon import wait_until
from netns import CLIENT_V4, INET2_V4, PROXY_V4, STRANGER_V4
from socks5 import Association


@pytest.fixture
def victim(net):
    """Somebody on the internet to whom nobody's datagrams should go."""
    return net.inet2.udp(INET2_V4, timeout=0.3)


def heard_nothing(sock):
    try:
        sock.settimeout(0.3)
        return not sock.recvfrom(65536)
    except socket.timeout:
        return True


def test_row1_stranger_first(net, proxy, lan, peer, victim):
    association = Association(net.client, lan)
    stranger = net.stranger.udp(STRANGER_V4)
    stranger.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    wait_until(lambda: proxy.dropped("stranger") == 1, "the drop to be counted")
    assert association.alive(peer)
    assert heard_nothing(victim) and heard_nothing(stranger)


def test_row2_stranger_sprays_all_ports_meanwhile(net, proxy, lan, peer, victim):
    """While associations come up, a stranger tries every port that they can have."""
    stranger = net.stranger.udp(STRANGER_V4)
    datagram = socks5.wrap(victim.getsockname(), b"mine")
    associations = []
    for port in range(1024, 65536):
        stranger.sendto(datagram, (PROXY_V4, port))
        if port % 3000 == 0:
            associations.append(Association(net.client, lan))
    for association in associations:
        stranger.sendto(datagram, association.relay)
        assert association.alive(peer, 5)
    assert heard_nothing(victim) and heard_nothing(stranger)


@pytest.mark.parametrize("wildcard", [False, True], ids=["own address", "0.0.0.0"])
def test_row3_neighbour_on_the_same_address(net, proxy, lan, peer, victim, wildcard):
    """Another program at the client's address is faster, but the client said its port."""
    hint = ("0.0.0.0", 4321) if wildcard else "own"
    association = Association(net.client, lan, port=4321, hint=hint)
    other = net.client.udp(CLIENT_V4)
    other.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    assert association.alive(peer)
    external = association.external(peer)
    peer.sendto(b"for the client", external)
    assert association.recv()[1] == b"for the client"
    other.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    assert association.alive(peer, 5)
    assert heard_nothing(other)


def test_row4_hint_names_the_destination(net, proxy, lan, peer):
    association = Association(net.client, lan, hint=peer.getsockname())
    assert association.alive(peer)


def test_row5_hint_names_a_third_party(net, proxy, lan, peer):
    """It receives nothing, ever, nor may it send."""
    third = net.neighbour.udp("10.77.0.3", 5000)
    association = Association(net.client, lan, hint=("10.77.0.3", 5000))
    third.sendto(socks5.wrap(peer.getsockname(), b"mine"), association.relay)
    assert association.alive(peer)
    peer.sendto(b"x", association.external(peer))
    assert association.recv()[1] == b"x"
    assert heard_nothing(third)
    assert proxy.dropped("stranger") == 1


def test_row6_internet_first(net, proxy, lan, peer):
    """Before the client's first datagram nothing is queued for it. The external port is found by trying them all."""
    association = Association(net.client, lan)
    for port in range(1024, 65536):
        peer.sendto(b"too early", ("10.88.0.1", port))
    wait_until(lambda: proxy.dropped("no_client") == 1, "the early datagram to be counted")
    assert association.silent()
    assert association.alive(peer)


def test_row7_stranger_and_client_in_one_batch(net, proxy, lan, peer, victim):
    """The process is stopped while both send, so that one receive call finds all of it."""
    association = Association(net.client, lan)
    stranger = net.stranger.udp(STRANGER_V4)
    with proxy.stopped():
        for number in range(10):
            stranger.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
            association.send(peer.getsockname(), b"%d" % number)
    assert [peer.recv(10) for _ in range(10)] == [b"%d" % number for number in range(10)]
    assert heard_nothing(victim)
    assert proxy.dropped("stranger") == 10
    assert association.alive(peer)


def test_row8_queued_before_the_connect(net, proxy, lan, peer, victim):
    """Many strangers' datagrams behind the client's first: connect() leaves them in the queue, so each is checked."""
    association = Association(net.client, lan)
    stranger = net.stranger.udp(STRANGER_V4)
    with proxy.stopped():
        association.send(peer.getsockname(), b"first")
        for _ in range(100):
            stranger.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    assert peer.recv(10) == b"first"
    assert association.alive(peer)
    assert heard_nothing(victim)
    # The kernel itself refuses what comes once the socket is connected, so not all need be counted.
    assert 1 <= proxy.dropped("stranger") <= 100


def test_row9_another_port_while_the_client_is_active(net, proxy, lan, peer, victim):
    association = Association(net.client, lan)
    assert association.alive(peer)
    other = net.client.udp(CLIENT_V4)
    other.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    assert association.alive(peer)
    assert heard_nothing(victim) and heard_nothing(other)


def test_row9_another_port_in_the_same_batch(net, proxy, lan, peer, victim):
    """What was queued before the socket was connected to the client is not judged by the kernel."""
    association = Association(net.client, lan)
    other = net.client.udp(CLIENT_V4)
    with proxy.stopped():
        association.send(peer.getsockname(), b"first")
        for _ in range(5):
            other.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    assert peer.recv(10) == b"first"
    assert heard_nothing(victim)
    assert proxy.dropped("other_port") == 5
    assert association.alive(peer)


def test_row9_rebinding_after_silence(net, start, lan, peer):
    """A NAT gives a quiet client another port: the game goes on, at the same external port."""
    start({"udp": {"rebind_after": "1s"}})
    association = Association(net.client, lan)
    external = association.external(peer)
    old, association.udp = association.udp, net.client.udp(CLIENT_V4)

    def taken_over():
        association.send(peer.getsockname(), b"it is still me")
        try:
            peer.settimeout(0.2)
            return peer.recvfrom(100) == (b"it is still me", external)
        except socket.timeout:
            return False

    wait_until(taken_over, "the new port to be accepted")
    peer.settimeout(5)
    assert association.alive(peer)
    assert heard_nothing(old)


def test_row9_invalid_datagram_takes_nothing_over(net, start, lan, peer):
    start({"udp": {"rebind_after": "1s"}})
    association = Association(net.client, lan)
    external = association.external(peer)
    other = net.client.udp(CLIENT_V4)
    time.sleep(1.5)
    other.sendto(b"no header", association.relay)
    peer.sendto(b"for the client", external)
    assert association.recv()[1] == b"for the client"
    assert heard_nothing(other)


def test_row10_two_associations_ports_crossed(net, proxy, lan, peer):
    one, two = Association(net.client, lan), Association(net.client, lan)
    external = one.external(peer), two.external(peer)
    assert external[0] != external[1]
    two.udp.sendto(socks5.wrap(peer.getsockname(), b"crossed"), one.relay)
    one.udp.sendto(socks5.wrap(peer.getsockname(), b"crossed"), two.relay)
    peer.sendto(b"for one", external[0])
    peer.sendto(b"for two", external[1])
    assert one.recv()[1] == b"for one" and two.recv()[1] == b"for two"
    assert one.silent() and two.silent()
    assert heard_nothing(peer)


def test_row10_one_socket_for_two_associations(net, proxy, lan, peer):
    """A client may use one UDP socket for both: each relay still wraps its own."""
    one, two = Association(net.client, lan), Association(net.client, lan, bind=False)
    two.udp = one.udp
    for number, association in enumerate((one, two) * 10):
        assert association.alive(peer, 1), number


def test_row11_no_delivery_to_the_next_owner(net, proxy, lan, peer):
    """Old peers keep sending to every port that was in use; new associations hear none of it. (Ports are random among
    28,000, so that one comes back at once can happen, and is not what is tested here.)"""
    old = set()
    for _ in range(30):
        association = Association(net.client, lan)
        old.add(association.external(peer))
        association.close()
    wait_until(lambda: len(proxy.sessions(command="udp")) == 30, "the sessions to end")
    new = [Association(net.neighbour, lan, source="10.77.0.3") for _ in range(30)]
    quiet = net.inet2.udp(INET2_V4)
    old -= {association.external(quiet) for association in new}
    for _ in range(3):
        for external in old:
            peer.sendto(b"late", external)
    assert all(association.silent(0.02) for association in new)


@pytest.mark.parametrize("client_family", ["v4", "v6"])
def test_row12_dual_stack_listener(net, start, peer, client_family):
    """The peer is IPv4-mapped on the TCP socket, plain IPv4 on UDP: one and the same."""
    start({"listen": [{"address": "::", "port": 1080, "auth": "none", "open": True}]})
    association = Association(net.client, (PROXY_V4, 1080) if client_family == "v4" else ("fd77::1", 1080))
    assert association.reply.atyp == (socks5.V4 if client_family == "v4" else socks5.V6)
    assert association.alive(peer)
    assert Association(net.client, association.control.getpeername()[:2], hint="own").alive(peer)
