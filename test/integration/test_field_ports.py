"""Row 63 of the attacks, as tun bridges with a port range met it: one association for each DNS lookup, and every port rests."""
import json

import socks5
from daemon import PROGRAM, wait_until
from netns import CLIENT_V4, INET1_V4, PROXY_V4, PROXY_WAN_V4
from socks5 import Association
from test_admin import ask as admin_ask

RANGES = {"ports": "30000-30007", "external_ports": "31000-31007"}


def ask(net, lan, source=CLIENT_V4):
    sock = net.client.connect(source, lan)
    socks5.negotiate(sock)
    return sock, socks5.request(sock, socks5.ASSOCIATE, socks5.ANY_V4).code


def test_row63_a_thousand_associations_at_once_refuse_nobody(net, start, lan):
    """A scanner, or a client that tries again and again: none carries a datagram, so no port has to rest."""
    proxy = start({"udp": RANGES})
    for _ in range(1000):
        sock, code = ask(net, lan)
        assert code == 0
        sock.close()
    wait_until(lambda: proxy.counters().get("associations_ended_total") == 1000, "the end of the associations")
    assert "ports_reused_early_total" not in proxy.counters()
    held = [ask(net, lan) for _ in range(8)]
    assert [code for _, code in held] == [0] * 8


def test_row63_ports_that_rest_serve_when_there_are_no_others(net, start, lan):
    """A tun bridge that looks up names: one datagram each, more associations than ports. It is said, with what to do."""
    proxy = start({"udp": RANGES})
    peer = net.inet1.udp(INET1_V4)
    seen = []
    for number in range(40):
        association = Association(net.client, lan)
        seen.append(association.external(peer)[1])
        association.close()
        wait_until(lambda: proxy.counters().get("associations_ended_total") == number + 1, "its end")
    assert len(set(seen[:8])) == 8
    assert seen[8:16] == seen[:8] and seen[16:24] == seen[:8]  # always the one that has rested longest
    assert proxy.counters()["ports_reused_early_total"] == 64
    proxy.wait_log(r"using ports again before they have rested 120 s .*Use a larger range \(udp\.(external_)?ports\)")
    assert len([line for line in proxy.log.splitlines() if "before they have rested" in line]) == 1


def test_row63_a_full_range_refuses_and_serves_again_at_once(net, start, lan):
    proxy = start({"udp": RANGES})
    peer = net.inet1.udp(INET1_V4)
    associations = [Association(net.client, lan) for _ in range(8)]
    assert all(one.alive(peer, 3) for one in associations)
    assert ask(net, lan)[1] == 1
    proxy.wait_log(r"no association: every port of udp\.(external_)?ports is in use: make the range larger")
    associations.pop().close()
    wait_until(lambda: proxy.counters().get("associations_ended_total") == 1, "the end of one")
    assert ask(net, lan)[1] == 0
    assert all(one.alive(peer, 3) for one in associations)


def test_row63_how_full_a_range_is_can_be_seen(net, serve, lan):
    """Metrics, status, the command and /readyz tell, before the users do."""
    proxy = serve({"udp": {**RANGES, "external_ports": "random"}, "admin": {"port": 1081}})
    peer = net.inet1.udp(INET1_V4)
    associations = [Association(net.client, lan) for _ in range(8)]
    associations[0].external(peer)

    def fetch(path):
        code, _, text = admin_ask(net, path)
        return code, text

    def ready():
        return fetch("/readyz")

    def relay_range():
        return json.loads(fetch("/status")[1])["port_ranges"][0]

    assert relay_range() == {"option": "udp.ports", "range": "30000-30007", "used": 8, "resting": 0, "total": 8, "full": 1}
    assert ready() == (503, "every port of udp.ports is in use: make the range larger\n")
    assert 'conesocks_ports_full{range="udp.ports"} 1\n' in fetch("/metrics")[1]
    shown = net.proxy.run(PROGRAM, "status", "-c", proxy.config_path).stdout
    assert "udp.ports: 8 of 8 in use, 0 resting; FULL" in shown
    for one in associations[:2]:
        one.close()
    wait_until(lambda: ready()[0] == 200, "two free ports")
    assert (relay_range()["used"], relay_range()["resting"]) == (6, 1)  # the other one carried nothing
    external = json.loads(fetch("/status")[1])["port_ranges"][1]
    assert external["option"] == "udp.external_ports" and external["used"] == 6 and external["total"] > 1000
    assert proxy.counters().get("associations_without_port_total") is None


def test_row63_the_old_process_of_an_upgrade_holds_ports_of_the_range(net, serve, lan, folder):
    """The new one finds those that are free, and those that the old one gives back."""
    config = {"udp": RANGES, "run": {"handover": str(folder / "handover"), "pid_file": str(folder / "pid")}}
    serve(config)
    peer = net.inet1.udp(INET1_V4)
    old = [Association(net.client, lan) for _ in range(5)]
    assert all(one.alive(peer, 2) for one in old)
    proxy = serve(config, arguments=("--take-over",))
    wait_until(lambda: (folder / "pid").read_text(encoding="ascii") == f"{proxy.pid}\n", "the pid file")
    new = [Association(net.client, lan) for _ in range(3)]
    assert ask(net, lan)[1] == 1
    assert all(one.alive(peer, 2) for one in old + new)
    old.pop().close()
    new.append(wait_until(lambda: (got := ask(net, lan))[1] == 0 and got, "a port of the old process"))
    assert all(one.alive(peer, 2) for one in old)


def test_the_number_of_a_relay_port_is_somebody_elses_at_another_address(net, start, lan):
    """A DNS server on the proxy's own host, at an address that a rule allows: refused as a loop when it happened to have the
    number of one of our ports."""
    start({"udp": RANGES, "rules": [{"action": "allow", "to": [PROXY_WAN_V4, PROXY_V4]}]})
    association = Association(net.client, lan)
    port = association.relay[1]
    server = net.proxy.udp(PROXY_WAN_V4, port)
    association.send((PROXY_WAN_V4, port), b"a question")
    assert server.recvfrom(100)[0] == b"a question"
    association.send((PROXY_V4, port), b"to our own relay")
    assert association.silent()


def test_no_port_left_is_not_the_networks_fault(net, start, lan):
    """CONNECTs by the thousand to one server: "network unreachable" sent people to their router."""
    target = net.inet1.listen(INET1_V4).getsockname()
    before = net.proxy.run("sysctl", "-n", "net.ipv4.ip_local_port_range").stdout.split()
    net.proxy.run("sysctl", "-w", "net.ipv4.ip_local_port_range=50000 50003")
    try:
        proxy = start()
        codes = [socks5.connect(net.client, lan, target)[1].code for _ in range(6)]
        unroutable = socks5.connect(net.client, lan, ("198.41.0.4", 80))[1].code
    finally:
        net.proxy.run("sysctl", "-w", "net.ipv4.ip_local_port_range=" + " ".join(before))
    assert codes == [0, 0, 0, 0, 1, 1]
    assert "no port of this host is left to connect from" in proxy.session(command="connect", reply="1")["why"]
    assert unroutable == 3
