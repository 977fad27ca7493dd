"""One UDP port for the clients of all associations (udp.ports: 1080), the number of the TCP port, too."""
import socket
import threading

import pytest
import socks5
from conftest import lan_config
from daemon import wait_until
from netns import (CLIENT_V4, INET1_V6, INET2_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4,
                   STRANGER_V4)
from socks5 import Association
from test_hijack import heard_nothing

PORT = 1080
ONE_PORT = {"workers": 4, "udp": {"ports": str(PORT)}}


@pytest.fixture
def proxy(start):
    return start(ONE_PORT)


@pytest.fixture
def victim(net):
    """Somebody on the internet to whom nobody's datagrams should go."""
    return net.inet2.udp(INET2_V4, timeout=0.3)


def test_clients_of_all_workers_share_it(net, proxy, lan, peer):
    associations = [Association(host, lan, source=source) for _ in range(8)
                    for host, source in ((net.client, CLIENT_V4), (net.neighbour, NEIGHBOUR_V4))]
    assert {one.relay for one in associations} == {(PROXY_V4, PORT)}
    assert all(one.alive(peer) for one in associations)
    assert len({one.external(peer) for one in associations}) == 16


def test_ipv6_beside_ipv4(net, proxy, lan, peer):
    four, six = Association(net.client, lan), Association(net.client, (PROXY_V6, 1080))
    assert (four.relay, six.relay) == ((PROXY_V4, PORT), (PROXY_V6, PORT))
    assert six.alive(net.inet1.udp(INET1_V6)) and four.alive(peer) and six.alive(peer)


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_a_wildcard_listener_answers_from_where_the_client_connected_to(net, start, peer, address):
    """The client checks each answer's sender: Association.recv()."""
    proxy = start(ONE_PORT | {"listen": [{"address": address, "port": 1080, "auth": "none", "open": True}]})
    net.client.ip(f"route add {PROXY_WAN_V4} via {PROXY_V4}")
    try:
        targets = [PROXY_V4, PROXY_WAN_V4] + [PROXY_V6] * (address == "::")
        associations = [Association(net.client, (target, 1080)) for target in targets * 4]
        assert [one.relay for one in associations] == [(target, PORT) for target in targets * 4]
        assert all(one.alive(peer) for one in associations)
        for one in associations:
            one.close()
        wait_until(lambda: len(proxy.sessions()) == len(associations), "the sessions to end")
    finally:
        net.client.ip(f"route del {PROXY_WAN_V4}")


def test_another_number_than_the_listeners(net, start, lan, peer):
    start({"udp": {"ports": "5080"}})
    association = Association(net.client, lan)
    assert association.relay == (PROXY_V4, 5080) and association.alive(peer)


def test_rows_1_and_35_strangers(net, proxy, lan, peer, victim):
    """Before, during and after: nothing leaves, nothing is answered, and it costs no association."""
    stranger = net.stranger.udp(STRANGER_V4)
    datagram = socks5.wrap(victim.getsockname(), b"mine")
    stranger.sendto(datagram, (PROXY_V4, PORT))  # nobody listens yet: the system refuses it
    stranger = net.stranger.udp(STRANGER_V4)
    associations = [Association(net.client, lan) for _ in range(8)]
    for number in range(100):
        stranger.sendto(datagram, (PROXY_V4, PORT))
        if number % 12 == 0:
            assert associations[number // 12 % 8].alive(peer, 1)
    assert all(one.alive(peer) for one in associations)
    wait_until(lambda: proxy.dropped("stranger") == 100, "all of them to be counted")
    assert heard_nothing(victim) and heard_nothing(stranger)


def test_row2_a_stranger_sprays_meanwhile(net, proxy, lan, peer, victim):
    datagram = socks5.wrap(victim.getsockname(), b"mine")
    strangers = [net.stranger.udp(STRANGER_V4) for _ in range(50)]
    associations = []
    for stranger in strangers:
        associations.append(Association(net.client, lan))
        for _ in range(20):
            stranger.sendto(datagram, (PROXY_V4, PORT))
        assert associations[-1].alive(peer, 2)
    assert all(one.alive(peer, 5) for one in associations)
    assert heard_nothing(victim) and all(stranger.setblocking(False) or silent(stranger) for stranger in strangers)


def silent(sock):
    try:
        return not sock.recv(65536)
    except BlockingIOError:
        return True


@pytest.mark.parametrize("wildcard", [False, True], ids=["own address", "0.0.0.0"])
def test_row3_neighbour_on_the_same_address(net, proxy, lan, peer, wildcard):
    """Another program at the client's address is faster, but the client said its port."""
    hint = ("0.0.0.0", 4321) if wildcard else "own"
    association = Association(net.client, lan, port=4321, hint=hint)
    other = net.client.udp(CLIENT_V4)
    other.sendto(socks5.wrap(peer.getsockname(), b"mine"), association.relay)
    assert peer.recv(100) == b"mine"
    assert association.alive(peer)
    other.sendto(socks5.wrap(peer.getsockname(), b"mine"), association.relay)
    assert association.alive(peer)
    assert heard_nothing(other)


def test_row7_stranger_and_clients_in_one_batch(net, proxy, lan, peer, victim):
    """The process is stopped while all send, so that one receive call finds all of it, for all workers."""
    associations = [Association(net.client, lan, hint="own") for _ in range(8)]
    stranger = net.stranger.udp(STRANGER_V4)
    with proxy.stopped():
        for number in range(10):
            stranger.sendto(socks5.wrap(victim.getsockname(), b"mine"), (PROXY_V4, PORT))
            for index, one in enumerate(associations):
                one.send(peer.getsockname(), b"%d from %d" % (number, index))
    heard = {}
    for _ in range(80):
        payload, external = peer.recvfrom(100)
        heard.setdefault(external, []).append(payload)
    assert sorted(heard.values()) == [[b"%d from %d" % (number, index) for number in range(10)] for index in range(8)]
    assert heard_nothing(victim)
    assert proxy.dropped("stranger") == 10
    assert all(one.alive(peer) for one in associations)


def test_row8_the_clients_of_others_before_the_connect(net, proxy, lan, peer):
    """All first datagrams wait at once. Each socket, as long as it is bound and not connected, hears everybody's."""
    hosts = ((net.client, CLIENT_V4), (net.neighbour, NEIGHBOUR_V4), (net.stranger, STRANGER_V4))
    associations = [Association(host, lan, source=source, hint="own") for _ in range(16) for host, source in hosts]
    for one in associations:
        threading.Thread(target=one.send, args=(peer.getsockname(), b"%d" % one.udp.getsockname()[1])).start()
    externals = {}
    for _ in associations:
        payload, external = peer.recvfrom(100)
        externals[external] = payload
        peer.sendto(payload, external)
    assert len(externals) == len(associations)
    for one in associations:
        assert one.recv()[1] == b"%d" % one.udp.getsockname()[1]
        assert one.alive(peer, 10)


def test_row9_another_port_while_the_client_is_active(net, proxy, lan, peer, victim):
    association = Association(net.client, lan)
    assert association.alive(peer)
    other = net.client.udp(CLIENT_V4)
    other.sendto(socks5.wrap(victim.getsockname(), b"mine"), association.relay)
    wait_until(lambda: proxy.dropped("other_port") == 1, "the drop to be counted")
    assert association.alive(peer)
    assert heard_nothing(victim) and heard_nothing(other)


def test_row9_rebinding_after_silence(net, start, lan, peer):
    """A NAT gives quiet clients other ports: each goes on at the external port that it had."""
    start(ONE_PORT | {"udp": {"ports": str(PORT), "rebind_after": "1s"}})
    hosts = ((net.client, CLIENT_V4), (net.neighbour, NEIGHBOUR_V4))
    associations = [Association(host, lan, source=source) for host, source in hosts]
    externals = [one.external(peer) for one in associations]
    old = [one.udp for one in associations]
    for one, (host, source) in zip(associations, hosts):
        one.udp = host.udp(source)

    def taken_over(one, external):
        one.send(peer.getsockname(), b"it is still me")
        try:
            peer.settimeout(0.2)
            return peer.recvfrom(100) == (b"it is still me", external)
        except socket.timeout:
            return False

    for one, external in zip(associations, externals):
        wait_until(lambda one=one, external=external: taken_over(one, external), "the new port to be accepted")
    peer.settimeout(5)
    assert all(one.alive(peer) for one in associations)
    assert all(heard_nothing(sock) for sock in old)


def test_row10_two_of_one_address_that_name_their_ports(net, proxy, lan, peer):
    """Whoever sends first, in whatever order they asked."""
    associations = [Association(net.client, lan, hint="own") for _ in range(12)]
    externals = {}
    for one in reversed(associations):
        externals[one] = one.external(peer)
    for number, one in enumerate(associations):
        peer.sendto(b"for %d" % number, externals[one])
    for number, one in enumerate(associations):
        assert one.recv()[1] == b"for %d" % number
        assert one.alive(peer, 10)
    assert all(one.silent(0.05) for one in associations)


def test_row10_without_hints_in_the_order_of_the_requests(net, proxy, lan, peer):
    associations = [Association(net.client, lan) for _ in range(12)]
    assert all(one.alive(peer, 10) for one in associations)
    assert len({one.external(peer) for one in associations}) == 12


def test_row11_churn_delivers_nothing_wrongly(net, proxy, lan):
    """500 associations of two addresses and all workers, each with traffic both ways from its first to its last moment:
    what each says is heard from one external port, and what is answered there it alone hears. Where two of one address
    begin at the same time, one of them names its port, as the manual asks for; and no port is used twice."""
    origin = net.inet1.udp("10.88.0.12")
    wrong, silent_ones, seen = [], [], {}
    stop = threading.Event()

    def echo():
        origin.settimeout(0.1)
        while not stop.is_set():
            try:
                payload, external = origin.recvfrom(65536)
            except socket.timeout:
                continue
            who = payload.split()[0]
            if seen.setdefault(who, external) != external:
                wrong.append((who, seen[who], external))
            origin.sendto(payload, external)

    def churn(host, source, first, hints):
        for number in range(first, first + 125):
            one = Association(host, lan, source=source, port=10000 + number, hint=hints[number % 2])
            for probe in range(10):
                one.send(origin.getsockname(), b"%d %d" % (number, probe))
                try:
                    payload = one.recv(5)[1]
                except socket.timeout:
                    silent_ones.append((number, probe))
                    break
                if payload.split()[0] != b"%d" % number:
                    wrong.append((number, payload))
            one.send(origin.getsockname(), b"%d last" % number)  # under way when it ends
            one.close()
            one.udp.close()

    echoing = threading.Thread(target=echo)
    echoing.start()
    none = socks5.ANY_V4
    clients = ((net.client, CLIENT_V4, 0, ("own", "own")), (net.client, CLIENT_V4, 1000, (none, none)),
               (net.neighbour, NEIGHBOUR_V4, 2000, (none, none)), (net.stranger, STRANGER_V4, 3000, ("own", none)))
    churning = [threading.Thread(target=churn, args=client) for client in clients]
    for thread in churning:
        thread.start()
    for thread in churning:
        thread.join()
    stop.set()
    echoing.join()
    assert not wrong and not silent_ones
    assert len(seen) == 500


def test_row24_it_is_no_destination(net, start, peer):
    proxy = start(ONE_PORT | {"reach": "all"})
    association = Association(net.client, (PROXY_V4, 1080))
    association.send((PROXY_V4, PORT), b"round and round")
    assert association.alive(peer)
    assert proxy.dropped("refused") == 1


@pytest.fixture
def router(net):
    """The neighbour stands for docker or a home router: it hands on one port of TCP and UDP, in its own name."""
    net.neighbour.nft(f"""table ip router {{
        chain prerouting {{
            type nat hook prerouting priority dstnat
            ip daddr {NEIGHBOUR_V4} meta l4proto {{ tcp, udp }} th dport {PORT} dnat to {PROXY_V4}
        }}
        chain postrouting {{
            type nat hook postrouting priority srcnat
            ip daddr {PROXY_V4} masquerade
        }}
    }}""")
    net.neighbour.sysctl("ipv4/ip_forward", 1)
    yield (NEIGHBOUR_V4, PORT)
    net.neighbour.sysctl("ipv4/ip_forward", 0)
    net.neighbour.nft("delete table ip router")


def test_through_a_router(net, router, start, peer):
    """All its clients seem to be at one address, and still each gets what is its own: in order."""
    start(ONE_PORT | {"udp": {"ports": str(PORT), "advertise_v4": NEIGHBOUR_V4}, "reach": "private"})
    associations = []
    for host, source in ((net.client, CLIENT_V4), (net.stranger, STRANGER_V4)) * 4:
        one = Association(host, router, source=source)
        assert one.relay == (NEIGHBOUR_V4, PORT)
        assert one.alive(peer, 10)
        associations.append(one)
    assert all(one.alive(peer) for one in associations)


def test_a_port_that_is_taken_is_told_at_the_start(net, start):
    taken = net.proxy.udp(PROXY_V4, PORT)
    with pytest.raises(AssertionError) as refusal:
        start(ONE_PORT)
    assert f"udp.ports: cannot open UDP port {PROXY_V4}:{PORT}: Address already in use" in str(refusal.value)
    taken.close()


def test_a_reload_changes_it_for_new_associations(net, serve, lan, peer):
    def config(ports):
        return lan_config({"udp": {"ports": ports}})

    proxy = serve()
    own = Association(net.client, lan)
    assert own.alive(peer, 10)
    assert proxy.reload(config(str(PORT)))
    shared = Association(net.client, lan)
    assert shared.relay == (PROXY_V4, PORT) and shared.alive(peer, 10)
    taken = net.proxy.udp(PROXY_V4, 2080)
    assert not proxy.reload(config("2080"))
    assert Association(net.client, lan, hint="own").relay == (PROXY_V4, PORT)
    taken.close()
    assert proxy.reload(config("2080"))
    other, late = Association(net.client, lan), Association(net.client, lan, hint="own")
    assert other.relay == late.relay == (PROXY_V4, 2080)
    assert proxy.reload(config("30000-30009"))
    again = Association(net.client, lan)
    assert 30000 <= again.relay[1] <= 30009
    assert all(one.alive(peer) for one in (own, shared, late, other, again))
