"""Requests that leave by another SOCKS5 server: a second conesocks, and Debian's danted, both on inet2."""
import subprocess

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import PROGRAM, Conesocks, wait_until
from kernel_path import V4
from netns import (CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_OTHER_V4, INET2_V4, INET2_V6, NEIGHBOUR_V4, PROXY_V4,
                   PROXY_WAN_V4)
from socks5 import Association, ClientSocket, OverTcp

FAR = {"name": "far", "address": INET2_V4, "port": 1080}
BY_FAR = {"upstreams": [FAR], "outbound": {"upstream": "far"}}
WITH_LOGIN = {"upstreams": [FAR | {"user": ALICE[0], "password": ALICE[1]}], "outbound": {"upstream": "far"}}
DANTED = """
logoutput: {log}
internal: {address} port = 1080
external: {address}
clientmethod: none
socksmethod: none
user.privileged: root
user.unprivileged: root
client pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: connect udpassociate }}
socks pass {{ from: 0.0.0.0/0 to: 0.0.0.0/0 command: udpreply }}
"""


@pytest.fixture
def far(net, tmp_path):
    """far(config) runs a second conesocks, on inet2."""
    folder = tmp_path / "far"
    folder.mkdir()
    running = []

    def run(config=()):
        config = {"listen": [{"address": INET2_V4, "auth": "none", "open": True}], "workers": 1, **dict(config)}
        running.append(Conesocks(net.inet2, folder, config))
        return running[-1]

    yield run
    net.close_sockets()
    for proxy in running:
        proxy.kill()
        print(f"--- far {proxy.log_path.name}", *proxy.log.splitlines()[-30:], sep="\n")


@pytest.fixture
def danted(net, tmp_path):
    config = tmp_path / "danted.conf"
    config.write_text(DANTED.format(address=INET2_V4, log=tmp_path / "danted.out"), encoding="ascii")
    with open(tmp_path / "danted.log", "w", encoding="ascii") as log:
        process = net.inet2.start("danted", "-f", str(config), stdout=log, stderr=log)
    listening = f"{INET2_V4}:1080 "
    wait_until(lambda: listening in net.inet2.run("ss", "--tcp", "--listening", "--numeric").stdout, "danted")
    yield process
    process.terminate()
    process.wait(10)
    print("--- danted", (tmp_path / "danted.log").read_text(), sep="\n")


def seen_by(net, lan, target, **options):
    """Where a destination sees a CONNECT come from; bytes go both ways, and an end goes through."""
    listener = net.inet1.listen(target)
    sock, reply = socks5.connect(net.client, lan, listener.getsockname()[:2], CLIENT_V4, **options)
    assert reply.code == 0
    remote, source = listener.accept()
    remote.settimeout(10)
    sock.sendall(b"ping")
    sock.shutdown(1)
    assert socks5.recv_all(remote) == b"ping"
    remote.sendall(b"pong")
    remote.close()
    assert socks5.recv_all(sock) == b"pong"
    assert reply.address == source[:2]
    return source[0]


def code_of(net, lan, destination=(INET1_V4, 80), **options):
    return socks5.connect(net.client, lan, destination, CLIENT_V4, timeout=20, **options)[1].code


# ---- CONNECT ----

def test_connect_by_a_second_conesocks(net, start, far, lan):
    far({"listen": [{"address": INET2_V4}], "users": USERS})
    proxy = start(WITH_LOGIN)
    assert seen_by(net, lan, INET1_V4) == INET2_V4
    row = proxy.session(command="connect")
    assert (row["upstream"], row["destination"].split(":")[0], row["reply"]) == ("far", INET1_V4, "0")


def test_connect_by_danted(net, start, danted, lan):
    start(BY_FAR)
    assert seen_by(net, lan, INET1_V4) == INET2_V4
    assert code_of(net, lan, (INET1_V4, 9)) in (1, 4, 5)


def test_names_are_resolved_by_the_upstream(net, start, far, lan):
    """There the name leads somewhere; here it is not even asked for. A name that no rule sends away stays."""
    with servers.Dns(net.inet2, INET2_V4, {"there.test": [INET1_V4]}) as there:
        far({"dns": {"servers": [there.address]}})
        proxy = start(BY_FAR | {"dns": {"servers": [INET2_OTHER_V4], "timeout": "1s"}})
        listener = net.inet1.listen(INET1_V4)
        _, reply = socks5.connect(net.client, lan, ("there.test", listener.getsockname()[1]), CLIENT_V4)
        assert reply.code == 0
        assert listener.accept()[1][0] == INET2_V4
        assert proxy.counters().get("lookups_total", 0) == 0
        assert code_of(net, lan, ("nobody.test", 80)) == 4


def test_part_of_the_traffic_by_rule(net, start, far, lan):
    """By address, by a name's own rule, by what a name led to; "none" is stronger than the default."""
    def rule(**more):
        return {"action": "allow", "command": ["connect"], **more}

    with servers.Dns(net.inet2, INET2_V4, {"far.test": [INET1_V4], "near.test": [INET1_V4], "other.test": [INET1_OTHER_V4]}) as dns:
        far({"dns": {"servers": [dns.address]}})
        start({"upstreams": [FAR], "dns": {"servers": [dns.address]},
               "rules": [rule(to=["far.test"], upstream="far"), rule(to=["near.test"]),
                         rule(to=[INET1_OTHER_V4], upstream="far"), rule(to=[INET1_V4], upstream="none")]})
        one, other = net.inet1.listen(INET1_V4, 8080), net.inet1.listen(INET1_OTHER_V4, 8080)
        for name, listener, source in (("far.test", one, INET2_V4), ("near.test", one, PROXY_WAN_V4),
                                       ("other.test", other, INET2_V4), (INET1_V4, one, PROXY_WAN_V4),
                                       (INET1_OTHER_V4, other, INET2_V4)):
            _, reply = socks5.connect(net.client, lan, (name, 8080), CLIENT_V4)
            assert reply.code == 0
            assert listener.accept()[1][0] == source, name


def test_what_is_denied_does_not_leave(net, start, far, lan):
    """Rules about names see them; reach sees addresses as ever."""
    far()
    proxy = start(BY_FAR | {"rules": [{"action": "deny", "to": [".bad.test"]}]})
    assert code_of(net, lan, ("www.bad.test", 80)) == 2
    assert code_of(net, lan, ("127.0.0.1", 80)) == 2
    assert proxy.counters().get("upstream_requests_total", 0) == 0


def test_the_upstreams_answers_are_passed_on(net, start, far, lan):
    far({"rules": [{"action": "deny", "ports": [81]}], "bind": {"enabled": False}})
    start(BY_FAR)
    assert code_of(net, lan, (INET1_V4, 9)) == 5
    assert code_of(net, lan, (INET1_V4, 81)) == 2
    assert code_of(net, lan, ("127.0.0.1", 80), atyp=socks5.NAME) == 2


def test_explain(tmp_path):
    config = tmp_path / "explained.yaml"
    config.write_text("upstreams: [{name: far, address: 192.0.2.9}]\n"
                      "rules: [{action: deny, to: [.bad.test]}, {action: allow, command: [connect], upstream: far}]\n")

    def explain(to, *more):
        return subprocess.run([PROGRAM, "explain", "-c", config, "--from", "127.0.0.1", "--to", to, *more],
                              capture_output=True, text=True, check=False).stdout

    assert explain("www.test:80") == "allowed: goes to the upstream far, which resolves the name\n"
    assert explain("www.bad.test:80") == "denied by rules[0], whatever address the name has\n"
    assert explain("www.test:80", "--command", "udp").startswith("not denied by name")
    assert explain("198.41.0.4:80").endswith("terms: upstream far (rules[1])\n")


def test_a_dead_upstream(net, serve, lan):
    """Nobody listens; nobody is there; somebody is there and says nothing."""
    proxy = serve(BY_FAR | {"timeouts": {"connect": "1s"}})
    assert code_of(net, lan) == 1
    proxy.wait_log(r"warning: upstream: upstream=far .*Connection refused")
    silent = net.inet2.listen(INET2_V4, 1080)
    assert code_of(net, lan) == 1
    proxy.wait_log(r"warning: upstream: upstream=far .*did not answer in time")
    silent.close()
    assert proxy.reload({"listen": LISTEN, "timeouts": {"connect": "1s"}, **BY_FAR, "upstreams": [FAR | {"address": "10.88.0.99"}]})
    assert code_of(net, lan) == 1
    assert proxy.counters()["upstream_failed_total"] == 3


def test_row50_a_wrong_password(net, start, far, lan):
    far({"listen": [{"address": INET2_V4}], "users": USERS})
    proxy = start({**WITH_LOGIN, "upstreams": [FAR | {"user": "alice", "password": "looking-glass"}], "log": {"level": "debug"}})
    assert code_of(net, lan) == 1
    proxy.wait_log(r"upstream=far address=10.88.0.21:1080: it does not accept the upstream's user and password")
    assert "looking-glass" not in proxy.log
    shown = subprocess.run([PROGRAM, "--dump", "-c", str(proxy.config_path)], capture_output=True, text=True, check=True)
    assert "looking-glass" not in shown.stdout + shown.stderr and "user: alice" in shown.stdout


def test_row24_no_loop_by_an_upstream(net, start, lan):
    """Its name or address is one of our own, which only this host can know: refused before anything is sent."""
    with servers.Dns(net.inet2, INET2_V4, {"self.test": [PROXY_V4]}) as dns:
        proxy = start({"upstreams": [FAR | {"address": "self.test"}], "outbound": {"upstream": "far"},
                       "dns": {"servers": [dns.address]}})
        assert code_of(net, lan) == 1
        proxy.wait_log("this proxy itself, so requests would loop")
        assert proxy.counters()["sessions_total"] == 1


def test_row24_a_loop_by_another_host_ends(net, start, far, lan):
    """Each sends it to the other. The limit that the manual names bounds it, and all of it is over then."""
    far({"upstreams": [{"name": "back", "address": PROXY_WAN_V4}], "outbound": {"upstream": "back"}})
    proxy = start({"listen": [*LISTEN, {"address": PROXY_WAN_V4, "auth": "none", "open": True}], **BY_FAR,
                   "limits": {"sessions_per_client": 20}})
    assert code_of(net, lan) == 1
    wait_until(proxy.is_idle, "the end of all turns")
    assert proxy.counters()["sessions_total"] <= 22


def test_a_reload_is_for_new_requests(net, serve, far, lan):
    far()
    proxy = serve(BY_FAR)
    listener = net.inet1.listen(INET1_V4)
    sock, reply = socks5.connect(net.client, lan, listener.getsockname()[:2], CLIENT_V4)
    assert reply.code == 0
    remote, source = listener.accept()
    assert source[0] == INET2_V4
    assert proxy.reload({"listen": LISTEN, "workers": 2})
    sock.sendall(b"still here")
    assert socks5.recv_exact(remote, 10) == b"still here"
    assert seen_by(net, lan, INET1_V4) == PROXY_WAN_V4
    assert proxy.reload({"listen": LISTEN, "workers": 2, "rules": [{"action": "deny", "to": [INET1_V4]}]})
    assert socks5.recv_all(sock) == b""


def test_row27_what_is_on_its_way_is_judged_anew(net, serve, lan):
    """The upstream has not answered yet when a reload denies the name."""
    silent = net.inet2.listen(INET2_V4, 1080)
    proxy = serve(BY_FAR)
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    sock.sendall(socks5.request_message(socks5.CONNECT, ("www.bad.test", 80)))
    asked, _ = silent.accept()
    assert socks5.recv_exact(asked, 3) == b"\5\1\0"
    assert proxy.reload({"listen": LISTEN, **BY_FAR, "rules": [{"action": "deny", "to": ["other.test"]}]})
    asked.sendall(b"\5\0")
    assert socks5.recv_exact(asked, 19)[:3] == b"\5\1\0"
    assert proxy.reload({"listen": LISTEN, **BY_FAR, "rules": [{"action": "deny", "to": [".bad.test"]}]})
    assert asked.recv(1) == b""
    assert socks5.recv_reply(sock).code == 2


def test_curl_by_name_through_both(net, start, far, lan):
    with servers.Web(net.inet1, INET1_V4), servers.Dns(net.inet2, INET2_V4, {"www.test": [INET1_V4]}) as dns:
        far({"dns": {"servers": [dns.address]}})
        start(BY_FAR)
        result = net.client.run("curl", "--silent", "--proxy", f"socks5h://{PROXY_V4}:1080", "http://www.test/100000", text=False)
        assert result.stdout == servers.pattern(100000)


# ---- UDP ASSOCIATE ----

def code_of_association(net, lan):
    sock = net.client.connect(CLIENT_V4, lan, 20)
    socks5.negotiate(sock)
    return socks5.request(sock, socks5.ASSOCIATE, socks5.ANY_V4).code


def test_udp_by_a_second_conesocks(net, start, far, lan):
    far({"listen": [{"address": INET2_V4}], "users": USERS})
    proxy = start(WITH_LOGIN)
    association = Association(net.client, lan)
    peer = net.inet1.udp(INET1_V4)
    assert association.external(peer)[0] == INET2_V4
    assert association.alive(peer)
    association.close()
    row = proxy.session(command="udp")
    assert (row["upstream"], row["up_datagrams"], row["down_datagrams"]) == ("far", "101", "100")


def test_row29_full_cone_through_two(net, start, far, lan):
    """One mapping for all destinations, in both families, and open to whoever sends there."""
    far()
    start(BY_FAR)
    association = Association(net.client, lan)
    peers = [net.inet1.udp(INET1_V4), net.inet1.udp(INET1_OTHER_V4), net.inet1.udp(INET1_V4)]
    external = association.external(peers[0])
    assert [association.external(peer) for peer in peers] == [external] * 3
    stranger = net.inet1.udp(INET1_OTHER_V4)
    stranger.sendto(b"hello", external)
    assert association.recv() == (stranger.getsockname(), b"hello")
    six = net.inet1.udp(INET1_V6)
    assert association.external(six)[0] == INET2_V6


def test_udp_by_danted(net, start, danted, lan):
    start(BY_FAR)
    association = Association(net.client, lan)
    peer = net.inet1.udp(INET1_V4)
    assert association.external(peer)[0] == INET2_V4
    assert association.alive(peer)


def test_payloads_are_exact_through_two(net, start, far, lan):
    """Also in runs, which are cut and joined on the way, and as large as two headers leave room for."""
    far()
    proxy = start(BY_FAR)
    association = Association(net.client, lan)
    peer = net.inet1.udp(INET1_V4)
    external = association.external(peer)
    for size in (0, 1, 1472, 9000, 65507 - 10):
        payload = servers.pattern(size, seed=size)
        association.send(peer.getsockname(), payload)
        assert peer.recv(65536) == payload
        peer.sendto(payload, external)
        assert association.recv() == (peer.getsockname(), payload)
    for first in range(0, 320, 32):
        numbers = range(first, first + 32)
        with proxy.stopped():  # so that they wait side by side
            for number in numbers:
                association.send(peer.getsockname(), b"%1000d" % number)
                peer.sendto(b"%900d" % number, external)
        assert [int(peer.recv(65536)) for _ in numbers] == list(numbers)
        assert [int(association.recv()[1]) for _ in numbers] == list(numbers)
    assert proxy.counters().get("udp_dropped_oversize", 0) == 0


def test_names_in_datagrams_are_resolved_by_the_upstream(net, start, far, lan):
    with servers.Dns(net.inet2, INET2_V4, {"there.test": [INET1_V4]}) as there:
        far({"dns": {"servers": [there.address]}})
        proxy = start(BY_FAR | {"rules": [{"action": "deny", "to": ["bad.test"]}]})
        association = Association(net.client, lan)
        peer = net.inet1.udp(INET1_V4)
        port = peer.getsockname()[1]
        association.send(("bad.test", port), b"no")
        association.send(("there.test", port), b"yes")
        payload, source = peer.recvfrom(100)
        assert (payload, source[0]) == (b"yes", INET2_V4)
        assert proxy.counters().get("lookups_total", 0) == 0
        assert proxy.dropped("refused") == 1


def test_some_associations_by_rule(net, start, far, lan):
    """One rule takes every destination: whoever it is about leaves by the upstream, and the others do not."""
    far()
    start({"upstreams": [FAR], "rules": [{"action": "allow", "from": [NEIGHBOUR_V4], "upstream": "far"}]})
    peer = net.inet1.udp(INET1_V4)
    assert Association(net.client, lan).external(peer)[0] == PROXY_WAN_V4
    assert Association(net.neighbour, lan, source=NEIGHBOUR_V4).external(peer)[0] == INET2_V4


def test_an_association_ends_with_the_upstreams(net, start, far, lan):
    upstream = far()
    proxy = start(BY_FAR)
    association = Association(net.client, lan)
    assert association.alive(net.inet1.udp(INET1_V4), 3)
    upstream.kill()
    assert socks5.recv_all(association.control) == b""
    assert proxy.session(command="udp")["why"] == "upstream closed its association"
    assert code_of_association(net, lan) == 1


def test_the_upstreams_association_ends_with_ours(net, start, far, lan):
    upstream = far()
    start(BY_FAR)
    association = Association(net.client, lan)
    association.close()
    upstream.session(command="udp")


def test_associations_that_are_not_granted(net, start, far, lan):
    far({"udp": {"enabled": False}})
    proxy = start(BY_FAR)
    assert code_of_association(net, lan) == 7
    assert proxy.counters().get("associations_total", 0) == 0


def test_a_client_that_leaves_before_the_answer(net, start, lan):
    silent = net.inet2.listen(INET2_V4, 1080)
    proxy = start(BY_FAR)
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    sock.sendall(socks5.request_message(socks5.ASSOCIATE, socks5.ANY_V4))
    asked, _ = silent.accept()
    assert socks5.recv_exact(asked, 3) == b"\5\1\0"
    sock.close()
    assert asked.recv(1) == b""
    wait_until(proxy.is_idle, "its end")


def test_bind_is_not_sent_on(net, start, far, lan):
    """Nor does it leave here, where it was not to."""
    far()
    start(BY_FAR)
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock)
    assert socks5.request(sock, socks5.BIND, (INET1_V4, 0)).code == 7


def test_udp_over_tcp_leaves_by_it_too(net, start, far, lan):
    """The client's side does not matter: here it is over TCP, and the upstream's is not."""
    far()
    start(BY_FAR)
    association = OverTcp(net.client, lan)
    peer = net.inet1.udp(INET1_V4)
    assert association.external(peer)[0] == INET2_V4
    assert association.alive(peer, 10)


@pytest.mark.parametrize("mode", [{}, {"ports": "1080"}], ids=["own port", "one port"])
def test_each_client_port_has_an_association_there(net, start, lan, far, mode):
    far()
    start(BY_FAR | {"udp": {"client_ports": 3} | mode})
    peer, other = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_OTHER_V4)
    association = Association(net.client, lan)
    first = association.external(peer)
    sockets = [ClientSocket(association) for _ in range(2)]
    externals = [one.external(peer) for one in sockets]
    assert len({first, *externals}) == 3 and {host for host, _ in [first, *externals]} == {INET2_V4}
    for one, external in zip(sockets, externals):
        other.sendto(b"anybody", external)
        assert one.recv() == (other.getsockname(), b"anybody")
    assert association.alive(peer)


TO_FAR = {"upstreams": [FAR], "rules": [{"action": "allow", "to": [f"{INET1_OTHER_V4}/32", ".far.test"], "upstream": "far"}]}


@pytest.mark.parametrize("kind", [Association, OverTcp])
@pytest.mark.parametrize("mode", [{}, {"ports": "1080"}], ids=["own port", "one port"])
def test_rules_choose_upstreams_for_destinations_of_an_association(net, start, lan, far, kind, mode):
    far()
    proxy = start(TO_FAR | {"udp": mode})
    peer, other = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_OTHER_V4)
    association = kind(net.client, lan)
    direct, by_far = association.external(peer), association.external(other)
    assert (direct[0], by_far[0]) == (PROXY_WAN_V4, INET2_V4)
    assert (association.external(peer), association.external(other)) == (direct, by_far)
    for sender, external in ((peer, by_far), (other, direct)):  # each mapping is open to everybody
        sender.sendto(b"anybody", external)
        assert association.recv() == (sender.getsockname(), b"anybody")
    assert association.alive(peer) and association.alive(other)
    assert not any(proxy.dropped(reason) for reason in ("no_upstream", "no_socket", "queue_full"))


def test_an_upstream_that_comes_later_or_ends_costs_only_its_datagrams(net, start, lan, far):
    proxy = start(TO_FAR)
    peer, other = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_OTHER_V4)
    association = Association(net.client, lan)
    assert association.alive(peer)
    association.send(other.getsockname(), b"nobody is there")
    wait_until(lambda: proxy.dropped("no_upstream") == 1, "the drop to be counted")
    assert association.alive(peer)
    server = far()

    def arrives():
        association.send(other.getsockname(), b"and now?")
        other.settimeout(0.2)
        try:
            return other.recvfrom(100)[1][:2]
        except TimeoutError:
            return None
    assert wait_until(arrives, "the upstream to be asked again")[0] == INET2_V4
    server.kill()
    before = proxy.dropped("no_upstream")

    def drops():
        association.send(other.getsockname(), b"gone")
        return proxy.dropped("no_upstream") > before
    wait_until(drops, "the upstream's end to be noticed")
    assert association.alive(peer)


def test_a_reload_moves_destinations_of_an_association(net, serve, lan, far):
    far()
    proxy = serve(TO_FAR)
    peer, other = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_OTHER_V4)
    association = Association(net.client, lan)
    direct, by_far = association.external(peer), association.external(other)
    assert by_far[0] == INET2_V4
    assert proxy.reload(lan_config({"upstreams": [FAR]}))
    assert association.external(other) == direct
    assert proxy.reload(lan_config(TO_FAR))
    assert association.external(other)[0] == INET2_V4
    assert association.alive(peer) and association.alive(other)


@pytest.mark.parametrize("destination, told", [
    (f"{INET1_OTHER_V4}:53", "upstream for this destination: far (rules[0])"),
    ("game.far.test:53", "allowed: goes to the upstream far, which resolves the name"),
    (f"{INET1_V4}:53", None), ("game.test:53", None)])
def test_explain_tells_the_upstream_of_a_destination(net, start, destination, told):
    proxy = start(TO_FAR)
    done = net.proxy.run(PROGRAM, "explain", "-c", str(proxy.config_path), "--from", CLIENT_V4, "--command", "udp",
                         "--to", destination)
    assert done.returncode == 0
    assert told in done.stdout.splitlines() if told else "upstream" not in done.stdout, done.stdout


def test_the_kernel_relays_what_does_not_leave_by_an_upstream(net, relay, far):
    far()
    relay.start(TO_FAR)
    peer, other = net.inet1.udp(INET1_V4), net.inet1.udp(INET1_OTHER_V4)
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    assert association.external(other)[0] == INET2_V4
    assert association.alive(other, 10)
    relay.establish(association, peer)
    assert relay.reload({"upstreams": [FAR], "rules": [{"action": "allow", "to": ["any"], "ports": ["1-65535"], "upstream": "far"}]})
    assert association.external(peer)[0] == INET2_V4
    before = relay.carried()
    assert association.alive(peer, 10) and association.alive(other, 10)
    assert relay.carried() == before
    assert relay.reload(TO_FAR)
    relay.establish(association, peer)
    assert association.alive(other, 10)
