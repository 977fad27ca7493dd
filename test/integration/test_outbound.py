"""How what clients send leaves this host: from which of several addresses, by which interface, with which bits in the IP
header. Addresses and marks of users and rules are in test_terms."""
import json
import signal
import socket

import daemon
import pytest
import socks5
from netns import INET1_OTHER_V4, INET1_V4, INET1_V6, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6, STRANGER_V4, Host
from socks5 import Association

POOL_V4 = [PROXY_WAN_V4, "10.88.0.2", "10.88.0.3"]
POOL_V6 = [PROXY_WAN_V6, "fd88::2"]
CLIENTS_V4 = [f"10.77.0.{host}" for host in range(201, 213)]  # no other test has these: neighbours remember
CLIENTS_V6 = ["fd77::2", "fd77::202"]  # one /64, one subscriber


@pytest.fixture
def pool(net):
    """More addresses for the proxy to leave from, and more clients."""
    more = [f"{host}/24 dev eth1" for host in POOL_V4[1:]] + [f"{host}/64 dev eth1 nodad" for host in POOL_V6[1:]]
    clients = [f"{host}/24 dev eth0" for host in CLIENTS_V4] + [f"{CLIENTS_V6[1]}/64 dev eth0 nodad"]
    net.proxy.ip(*(f"address add {each}" for each in more))
    net.client.ip(*(f"address add {each}" for each in clients))
    yield
    net.client.ip(*(f"address del {each.replace(' nodad', '')}" for each in clients))
    net.proxy.ip(*(f"address del {each.replace(' nodad', '')}" for each in more))


def seen_by_tcp(net, lan, client, target):
    listener = net.inet1.listen(target)
    sock, reply = socks5.connect(net.client, lan, listener.getsockname()[:2], client)
    assert reply.code == 0
    _, source = listener.accept()
    sock.close()
    return source[0]


def seen_by_udp(net, lan, client, target):
    association = Association(net.client, lan, client)
    source = association.external(net.inet1.udp(target))[0]
    association.close()
    return source


def test_a_client_leaves_from_one_of_several_addresses(net, pool, start, lan):
    """RFC 4787 REQ-2, paired pooling: by TCP and by UDP, again and again, after a reload and after a restart."""
    config = {"outbound": {"address_v4": " ".join(POOL_V4), "address_v6": " ".join(POOL_V6)}}
    proxy = start(config)
    first = {client: seen_by_udp(net, lan, client, INET1_V4) for client in CLIENTS_V4}
    assert set(first.values()) == set(POOL_V4)
    for client, source in first.items():
        assert seen_by_tcp(net, lan, client, INET1_V4) == source
        assert seen_by_udp(net, lan, client, INET1_V4) == source
    lan_v6 = (PROXY_V6, 1080)
    seen = {see(net, lan_v6, client, INET1_V6) for see in (seen_by_tcp, seen_by_udp) for client in CLIENTS_V6}
    assert len(seen) == 1 and seen < set(POOL_V6)
    proxy.stop()
    config["outbound"]["address_v4"] = " ".join(reversed(POOL_V4))
    start(config)
    assert {client: seen_by_tcp(net, lan, client, INET1_V4) for client in CLIENTS_V4} == first


def test_each_of_several_addresses_has_all_ports(net, pool, start, lan):
    """Two ports, three addresses: six associations, two at each address, and each gets what is sent to its own."""
    start({"outbound": {"address_v4": " ".join(POOL_V4)}, "udp": {"external_ports": "30000-30001"}})
    peer = net.inet1.udp(INET1_V4)
    alive, refused = {}, []
    for client in CLIENTS_V4 * 2:
        try:
            association = Association(net.client, lan, client)
            alive[association.external(peer)] = association
        except AssertionError as refusal:
            refused.append(str(refusal))
    assert set(alive) == {(host, port) for host in POOL_V4 for port in (30000, 30001)}
    assert len(refused) == 2 * len(CLIENTS_V4) - 6 and all("code=1" in text for text in refused)
    for external in alive:
        peer.sendto(repr(external).encode(), external)
    assert all(one.recv()[1] == repr(external).encode() for external, one in alive.items())


# ---- interface ----

ANYCAST_V4, ANYCAST_V6 = "10.66.0.1", "fd66::1"


@pytest.fixture
def uplinks(net):
    """Two ways to one address, to inet1 by eth1, which is preferred, and to this other host by eth2."""
    other = Host("other")
    net.proxy.ip(f"link add eth2 type veth peer name eth0 netns {other.path}", "address add 10.99.0.1/24 dev eth2",
                 "address add fd99::1/64 dev eth2 nodad", "link set eth2 up")
    other.ip("address add 10.99.0.2/24 dev eth0", "address add fd99::2/64 dev eth0 nodad", "link set eth0 up")
    for host in net.inet1, other:
        host.ip(f"address add {ANYCAST_V4}/32 dev lo", f"address add {ANYCAST_V6}/128 dev lo nodad")
    net.proxy.ip(f"route add {ANYCAST_V4} via {INET1_V4} metric 10", f"route add {ANYCAST_V4} via 10.99.0.2 metric 20",
                 f"route add {ANYCAST_V6} via {INET1_V6} metric 10", f"route add {ANYCAST_V6} via fd99::2 metric 20")
    yield net.inet1, other
    other.close_sockets()
    net.inet1.ip(f"address del {ANYCAST_V4}/32 dev lo", f"address del {ANYCAST_V6}/128 dev lo")
    net.proxy.ip(f"route del {ANYCAST_V4} metric 10", f"route del {ANYCAST_V6} metric 10")
    if "eth2" in net.proxy.run("ip", "-o", "link").stdout:
        net.proxy.ip("link del eth2")


def reaches(net, lan, host, target, login=(None, None)):
    """Whether what a client sends to `target` by TCP and by UDP is what comes to this host."""
    listener, peer = host.listen(target), host.udp(target, timeout=0.5)
    sock, reply = socks5.connect(net.client, lan, listener.getsockname()[:2], None, *login)
    association = Association(net.client, lan, user=login[0], password=login[1])
    association.send(peer.getsockname()[:2], b"who is there?")
    try:
        _, external = peer.recvfrom(100)
        peer.sendto(b"I am", external)
        return reply.code == 0 and association.recv()[1] == b"I am"
    except TimeoutError:
        assert reply.code == 5
        return False
    finally:
        for each in sock, association, listener, peer:
            each.close()


@pytest.mark.parametrize("target", [ANYCAST_V4, ANYCAST_V6])
@pytest.mark.parametrize("config, expected", [
    ({}, 0),
    ({"outbound": {"interface": "eth2"}}, 1),
    ({"outbound": {"interface": "eth2"}, "rules": [{"action": "allow", "interface": "eth1"}]}, 0),
    ({"rules": [{"action": "allow", "interface": "eth2"}]}, 1)])
def test_it_leaves_by_its_interface(net, uplinks, start, lan, target, config, expected):
    proxy = start(config)
    assert reaches(net, lan, uplinks[expected], target)
    assert not reaches(net, lan, uplinks[1 - expected], target)
    with open(f"/proc/{proxy.process.pid}/status", encoding="ascii") as status:
        assert "CapPrm:\t0000000000000000" in status.read()


def test_an_interface_that_is_not_there_is_no_start(net, tmp_path):
    config = tmp_path / "c.yaml"
    config.write_text(json.dumps({"rules": [{"action": "deny"}, {"action": "allow", "interface": "nowhere0"}]}))
    done = net.proxy.run(daemon.PROGRAM, "-c", str(config))
    assert done.returncode == 1
    assert 'rules[1].interface: this system has no interface "nowhere0" (now)' in done.stdout
    assert net.proxy.run(daemon.PROGRAM, "-t", "-c", str(config)).returncode == 0


def test_an_interface_that_goes_and_comes_back(net, uplinks, start, lan):
    proxy = start({"outbound": {"interface": "eth2"}})
    net.proxy.ip("link del eth2")
    sock, reply = socks5.connect(net.client, lan, (INET1_V4, 1), None)
    assert reply.code == 3
    sock.close()
    with pytest.raises(AssertionError, match="ASSOCIATE refused: .*code=1"):
        Association(net.client, lan)
    assert proxy.session(command="none")["why"] == "no association: No such device"
    net.proxy.ip(f"link add eth2 type veth peer name eth0 netns {uplinks[1].path}", "address add 10.99.0.1/24 dev eth2", "link set eth2 up")
    Association(net.client, lan).close()


# ---- DSCP and ECN ----

def tos_of(sock):
    """Receives one datagram: the TOS byte that it came with, its sender, itself."""
    data, ancillary, _, sender = sock.recvmsg(65536, 64)
    values = [value[0] for level, kind, value in ancillary
              if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS))]
    return values[0], sender[:2], data


def hearing_tos(sock):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
    return sock


@pytest.mark.parametrize("target", [INET1_V4, INET1_V6])
def test_what_goes_to_destinations_bears_its_dscp(net, start, lan, target):
    start({"outbound": {"dscp": "ef"}, "rules": [{"action": "allow", "command": ["connect"], "to": [INET1_OTHER_V4],
                                                  "dscp": 8}]})
    association = Association(net.client, lan)
    hearing_tos(association.udp)
    peer = hearing_tos(net.inet1.udp(target))
    association.send(peer.getsockname()[:2], b"up")
    tos, external, _ = tos_of(peer)
    assert tos == 46 << 2
    peer.sendto(b"down", external)
    assert tos_of(association.udp)[0] == 0  # the client's side is another network
    for to, family, dscp in (target, "ip6" if ":" in target else "ip", "ef"), (INET1_OTHER_V4, "ip", "cs1"):
        listener = net.inet1.listen(to)
        port = listener.getsockname()[1]
        net.inet1.nft(f"""table inet dscp {{
            chain input {{ type filter hook input priority 0; tcp dport {port} {family} dscp != {dscp} reject; }}
        }}""")
        try:
            sock, reply = socks5.connect(net.client, lan, (to, port), None)
            assert reply.code == 0
            sock.close()
        finally:
            net.inet1.nft("delete table inet dscp")


def send_tos(sock, tos):
    if sock.family == socket.AF_INET:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, tos)
    else:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, tos)


AF41 = 34 << 2
UDP_SEGMENT = 103


@pytest.mark.parametrize("offload", ["auto", "off"])
@pytest.mark.parametrize("carry, carried", [(None, 0x03), ("none", 0), ("ecn-and-dscp", 0xff)])
@pytest.mark.parametrize("lan, target", [((PROXY_V4, 1080), INET1_V4), ((PROXY_V4, 1080), INET1_V6),
                                         ((PROXY_V6, 1080), INET1_V4), ((PROXY_V6, 1080), INET1_V6)])
def test_ecn_goes_through_both_ways(net, start, offload, carry, carried, lan, target):
    """Datagrams that could be joined but for these bits, in one batch, single ones and segments; `outbound.dscp` is
    what goes in place of what is not carried."""
    proxy = start({"udp": {"offload": offload, **({"carry": carry} if carry else {})}, "outbound": {"dscp": "cs1"}})
    association = Association(net.client, lan)
    client, peer = hearing_tos(association.udp), hearing_tos(net.inet1.udp(target))
    external = association.external(peer)
    association.external(peer)  # from now on the relay's socket is connected
    up, down = 8 << 2, 0
    for segments in 1, 3:
        sent = [(tos, b"%d" % number * 100) for number, tos in enumerate((0, 1, 1, 3, 2, AF41 | 1, 0))]
        proxy.process.send_signal(signal.SIGSTOP)  # so that it finds all of them at once
        try:
            for sock in client, peer:
                sock.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            for tos, payload in sent:
                wire = socks5.wrap(peer.getsockname()[:2], payload)
                if segments > 1:
                    client.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(wire))
                    peer.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, len(payload))
                for sock in client, peer:
                    send_tos(sock, tos)
                client.sendto(wire * segments, association.relay)
                peer.sendto(payload * segments, external)
        finally:
            proxy.process.send_signal(signal.SIGCONT)
        for tos, payload in [each for each in sent for _ in range(segments)]:
            seen, _, data = tos_of(peer)
            assert (seen, data) == (up & ~carried & 0xff | tos & carried, payload)
            seen, _, data = tos_of(client)
            assert (seen, data) == (down & ~carried & 0xff | tos & carried,
                                    socks5.wrap(peer.getsockname()[:2], payload))


def test_a_routers_congestion_mark_arrives(net, start, lan):
    """On both sides of the proxy a packet filter plays the router that marks; what may not be marked is left alone."""
    start()
    association = Association(net.client, lan)
    client, peer = hearing_tos(association.udp), hearing_tos(net.inet1.udp(INET1_V4))
    external = association.external(peer)
    net.proxy.nft("""table inet router {
        chain input { type filter hook input priority 0; meta l4proto udp ip ecn ect0 ip ecn set ce; }
    }""")
    try:
        for sent, heard in (2, 3), (0, 0):
            send_tos(client, sent)
            association.send(peer.getsockname()[:2], b"up")
            assert tos_of(peer)[::2] == (heard, b"up")
            send_tos(peer, sent)
            peer.sendto(b"down", external)
            assert tos_of(client)[0] == heard
    finally:
        net.proxy.nft("delete table inet router")


# ---- fragments ----

@pytest.mark.parametrize("lan, target, overhead", [((PROXY_V4, 1080), INET1_V4, 28), ((PROXY_V6, 1080), INET1_V6, 48)])
def test_row32_probes_are_not_fragmented(net, start, lan, target, overhead):
    """Over an MTU of 1500, both ways: what just fits arrives, one byte more is counted, and the next is not held up."""
    proxy = start({"udp": {"df": "probe"}})
    association = Association(net.client, lan)
    peer = net.inet1.udp(target)
    external = association.external(peer)
    largest = 1500 - overhead
    header = len(socks5.wrap(peer.getsockname()[:2], b""))
    for size in largest + 1, largest, largest + 1, 1:
        association.send(peer.getsockname()[:2], b"u" * size)  # fragmented on the way to the proxy
        peer.sendto(b"d" * (size - header if size > 1 else 1), external)
    assert [len(peer.recv(2000)) for _ in range(2)] == [largest, 1]
    assert [len(association.recv()[1]) for _ in range(2)] == [largest - header, 1]
    daemon.wait_until(lambda: proxy.dropped("oversize") == 4, "four drops to be counted")
    assert association.alive(peer)


def test_row32_probes_say_so_to_routers(net, start, lan, request):
    """The destination drops what has no "don't fragment"."""
    start({"udp": {"df": "probe"}})
    association = Association(net.client, lan)
    peer = net.inet1.udp(INET1_V4)
    external = association.external(peer)
    net.inet1.nft("""table inet df {
        chain input { type filter hook input priority 0; ip frag-off & 0x4000 == 0 udp length > 8 drop; }
    }""")
    request.addfinalizer(lambda: net.inet1.nft("delete table inet df"))
    association.send(peer.getsockname(), b"whole or not at all")
    assert peer.recvfrom(100) == (b"whole or not at all", external)


# ---- the client's port ----

@pytest.mark.parametrize("keep", [True, False])
def test_the_clients_port_is_kept(net, start, lan, keep):
    start({"udp": {"keep_port": keep}})
    peer, peer_v6 = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_V6)
    first = Association(net.client, lan, port=3074, hint="own")
    assert (first.external(peer)[1] == 3074) is keep
    assert (first.external(peer_v6)[1] == 3074) is keep
    second = Association(net.neighbour, lan, NEIGHBOUR_V4, port=3074, hint="own")  # it is taken
    assert second.external(peer)[1] != 3074
    unsaid = Association(net.stranger, lan, STRANGER_V4, port=3075)
    assert (unsaid.external(peer)[1] == 3075) is keep
    assert (unsaid.external(peer_v6)[1] == 3075) is keep
    assert first.alive(peer) and second.alive(peer) and unsaid.alive(peer)
