"""How what clients send leaves this host: from which of several addresses, by which interface, with which bits in the IP
header. Addresses and marks of users and rules are in test_terms."""
import socks5
import pytest
from netns import INET1_V4, INET1_V6, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6
from socks5 import Association

POOL_V4 = [PROXY_WAN_V4, "10.88.0.2", "10.88.0.3"]
POOL_V6 = [PROXY_WAN_V6, "fd88::2"]
CLIENTS_V4 = [f"10.77.0.{host}" for host in range(101, 113)]
CLIENTS_V6 = ["fd77::2", "fd77::102"]  # one /64, one subscriber


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


def test_associations_of_several_addresses_share_no_port(net, pool, start, lan):
    """Two ports, three addresses: the third association has none left, so that a port number tells whose it is."""
    start({"outbound": {"address_v4": " ".join(POOL_V4)}, "udp": {"external_ports": "30000-30001"}})
    alive = [Association(net.client, lan, client) for client in CLIENTS_V4[:2]]
    peer = net.inet1.udp(INET1_V4)
    assert {association.external(peer)[1] for association in alive} == {30000, 30001}
    with pytest.raises(AssertionError, match="ASSOCIATE refused: .*code=1"):
        Association(net.client, lan, CLIENTS_V4[2])
