"""Ranges of ports, thousands of listeners, and addresses of a whole network to leave by."""
import ipaddress
import resource

import pytest
import socks5
from conftest import lan_config
from daemon import PROGRAM, wait_until
from netns import CLIENT_V4, INET1_V4, INET1_V6, INET2_V6, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V6
from socks5 import Association
from test_bind import ask

NETWORK = "fd88:1::/64"
FIRST, LAST = 30000, 31999
RANGE = {"address": PROXY_V4, "port": f"{FIRST}-{LAST}", "name": "range"}


@pytest.fixture
def prefix(net):
    """A network that is local to the proxy host by a route, and that the internet reaches there."""
    net.proxy.ip(f"route add local {NETWORK} dev lo")
    for host in net.inet1, net.inet2:
        host.ip(f"route add {NETWORK} via {PROXY_WAN_V6}")
    # Until then the proxy's host cannot ask for a neighbour's address in the name of an address of the network.
    wait_until(lambda: "tentative" not in net.proxy.run("ip", "-6", "address").stdout, "the link-local addresses")
    yield
    for host in net.inet1, net.inet2:
        host.ip(f"route del {NETWORK} via {PROXY_WAN_V6}")
    net.proxy.ip(f"route del local {NETWORK} dev lo")


def seen_by_tcp(net, port, client=CLIENT_V4):
    listener = net.inet1.listen(INET1_V6)
    sock, reply = socks5.connect(net.client, (PROXY_V4, port), listener.getsockname()[:2], client)
    assert reply.code == 0
    accepted, source = listener.accept()
    accepted.sendall(b"back")
    assert socks5.recv_exact(sock, 4) == b"back"
    for each in sock, accepted, listener:
        each.close()
    return source[0]


@pytest.mark.parametrize("kernel_path", ["off", "auto"])
def test_each_port_leaves_by_an_address_of_its_own(net, serve, prefix, kernel_path):
    """By TCP and by UDP; both ways, also from hosts that the client has not sent to, and from one client to another."""
    serve({"listen": [{**RANGE, "address_v6": NETWORK, "address_by_port": True}], "workers": 2,
           "udp": {"kernel_path": kernel_path}})
    for port, expected in ((FIRST, "fd88:1::1"), (FIRST + 1, "fd88:1::2"), (FIRST + 300, "fd88:1::12d"), (LAST, "fd88:1::7d0")):
        assert seen_by_tcp(net, port) == expected
        association = Association(net.client, (PROXY_V4, port))
        assert association.alive(net.inet1.udp(INET1_V6))
        external = association.external(net.inet2.udp(INET2_V6))
        assert external[0] == expected
        stranger = net.inet2.udp(INET2_V6)
        stranger.sendto(b"hello", external)
        assert association.recv()[1] == b"hello"
        other = Association(net.neighbour, (PROXY_V4, FIRST + 7), NEIGHBOUR_V4)
        other.send(external, b"hairpin")
        assert association.recv() == ((("fd88:1::8", other.external(stranger)[1])), b"hairpin")


def test_a_session_has_a_random_address_of_a_network(net, serve, prefix, lan, peer):
    """One client, a new address with each CONNECT, BIND and association; an association keeps its own."""
    serve({"outbound": {"address_v6": NETWORK}})
    seen = {seen_by_tcp(net, 1080) for _ in range(5)}
    associations = [Association(net.client, lan) for _ in range(5)]
    targets = net.inet1.udp(INET1_V6), net.inet2.udp(INET2_V6)
    for association in associations:
        external = association.external(targets[0])
        assert association.external(targets[1]) == external and association.alive(targets[0]) and association.alive(peer)
        seen.add(external[0])
    control, reply = ask(net, lan, INET1_V6)
    seen.add(reply.address[0])
    control.close()
    assert len(seen) >= 10 and all(ipaddress.ip_address(each) in ipaddress.ip_network(NETWORK) for each in seen)


def test_the_kernel_relays_from_an_address_of_a_network(net, relay, prefix):
    """With the process stopped; without the kernel path the process relays."""
    relay.start({"outbound": {"address_v6": NETWORK}})
    association, peers = Association(net.client, (PROXY_V6, 1080)), [net.inet1.udp(INET1_V6), net.inet2.udp(INET2_V6)]
    relay.establish(association, *peers)
    with relay.alone():
        for each in peers:
            assert association.alive(each)


def test_a_network_that_is_not_local_is_told(net, serve, lan):
    config = {"outbound": {"address_v6": NETWORK}}
    proxy = serve(config)
    wanted = f"outbound.address_v6: this host does not have the whole network {NETWORK} now"
    told = net.proxy.run(PROGRAM, "-t", "-c", str(proxy.config_path)).stdout
    assert wanted in told and f"ip -6 route add local {NETWORK} dev lo" in told


def test_a_range_of_ports_is_changed_by_a_reload(net, serve, peer):
    """Ports of both ranges keep their connections and take new ones. Old ports refuse, new ports serve."""
    proxy = serve({"listen": [RANGE], "workers": 2})
    assert [line.partition("listening on ")[2] for line in proxy.log.splitlines() if "listening on" in line] \
        == [f"{PROXY_V4}:{FIRST}-{LAST}"]
    kept = Association(net.client, (PROXY_V4, FIRST + 600))
    assert kept.alive(peer)
    moved = {**RANGE, "port": f"{FIRST + 500}-{LAST + 500}"}
    assert proxy.reload(lan_config({"listen": [moved], "workers": 2}))
    assert f"reload: listening on {PROXY_V4}:{LAST + 1}-{LAST + 500}" in proxy.log
    assert f"reload: no longer listening on {PROXY_V4}:{FIRST}-{FIRST + 499}" in proxy.log
    assert kept.alive(peer)
    for port in FIRST + 600, LAST + 1, LAST + 500:
        assert Association(net.client, (PROXY_V4, port)).alive(peer, 2)
    with pytest.raises(ConnectionRefusedError):
        net.client.connect(None, (PROXY_V4, FIRST + 499))


def test_a_rule_is_about_the_ports_of_a_listener(net, serve, peer):
    serve({"listen": [RANGE, {"address": PROXY_V4, "port": 1080}],
           "rules": [{"action": "deny", "listener": ["range"], "command": ["udp"]}]})
    assert Association(net.client, (PROXY_V4, 1080)).alive(peer, 2)
    with pytest.raises(AssertionError, match="ASSOCIATE refused: .*code=2"):
        Association(net.client, (PROXY_V4, LAST))


def test_two_thousand_ports_are_taken_over(net, serve, folder, peer):
    """With another number of threads: each port is served by the new process, and no waiting client is lost."""
    def config(workers):
        return {"listen": [RANGE], "workers": workers, "run": {"handover": str(folder / "handover")}}
    old = serve(config(2))
    kept = Association(net.client, (PROXY_V4, FIRST))
    assert kept.alive(peer)
    for workers in 3, 1, 2:
        new = serve(config(workers), arguments=("--take-over",))
        new.wait_log("serv")
        old.wait_log(f"process {new.pid} serves now")
        ports = [FIRST, FIRST + 1, FIRST + 2, FIRST + 999, FIRST + 1000, LAST]
        associations = [Association(net.client, (PROXY_V4, port)) for port in ports]
        assert all(each.alive(peer, 2) for each in associations)
        for each in associations:
            each.control.close()
        old = new
    assert kept.alive(peer)
    kept.control.close()


def test_too_few_descriptors_are_told_at_the_start(net, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(f"listen: [{{port: {FIRST}-{LAST}}}]\nworkers: 2\n")
    done = net.proxy.run(PROGRAM, "-c", str(path), preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024)))
    assert done.returncode == 1
    assert "cannot start: 2000 ports (listen) need at least 2032 open files, and the limit is 1024; raise it" in done.stdout
