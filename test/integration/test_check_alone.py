"""conesocks check with nothing but the proxy: ordinary STUN servers tell the mapping, a socket of this machine the
filtering. On an internet of the test's own, with routers, firewalls and servers that are down."""
import re

import pytest
from checks import OK, UNKNOWN, WRONG, Found, run_check
from crooked import PlainStun, Socks5
from daemon import PROGRAM, wait_until
from internet import GATEWAY, HOME, ROUTER, SECOND, SECOND_V6, STUN, STUN_OTHER, STUN_V6, THIRD, VPS, VPS_V6, Internet
from servers import Dns, coturn
from test_upstream import DANTED

SERVERS = ("--stun", f"{STUN},{SECOND}", "--stun", THIRD)
EXTERNAL = "31000-31099"


@pytest.fixture(scope="session")
def internet():
    return Internet()


@pytest.fixture
def world(net, internet):
    """The internet with a router of each home that translates, and lets in what was asked for."""
    internet.translate(internet.router)
    internet.translate(internet.gateway)
    yield internet
    internet.close_sockets()
    for host in internet.hosts:
        host.nft("flush ruleset")


@pytest.fixture
def stuns(world):
    """Three public STUN servers, each with one address of a family."""
    with PlainStun(world.stun, STUN, STUN_V6) as one, PlainStun(world.second, SECOND, SECOND_V6) as two, \
            PlainStun(world.third, THIRD) as three:
        yield one, two, three


def packet_filter(host, hook, rules):
    host.nft(f"table inet filters {{\nchain c {{\ntype filter hook {hook} priority 0; {rules}\n}}\n}}")


@pytest.fixture
def vps(world, start):
    """vps(udp options) is a proxy on the internet."""
    def run(**udp):
        listen = [{"address": address, "port": 1080, "auth": "none", "open": True} for address in (VPS, VPS_V6)]
        return start({"listen": listen, "udp": udp}, host=world.vps)
    return run


@pytest.fixture
def at_home(world, start):
    """at_home(udp options) is a proxy in a home, with its ports forwarded: TCP, the relay's, and what is asked for."""
    def run(forwards="", masquerade="masquerade", hairpin=False, advertise=GATEWAY, **udp):
        where = f"ip daddr {GATEWAY}" if hairpin else f'iifname "eth0" ip daddr {GATEWAY}'
        forwards = (f"{where} tcp dport 1080 dnat ip to {HOME}; {where} udp dport 30000-30099 dnat ip to {HOME};"
                    f"{forwards.format(where=where)}")
        world.translate(world.gateway, masquerade=masquerade, forwards=forwards)
        if hairpin:
            world.gateway.nft('add rule inet home post oifname "eth1" ct status dnat masquerade')
        listen = [{"address": HOME, "port": 1080, "auth": "none", "open": True}]
        udp = {"ports": "30000-30099", "external_ports": EXTERNAL, **({"advertise_v4": advertise} if advertise else {}), **udp}
        return start({"listen": listen, "udp": udp}, host=world.home)
    return run


OPEN_PORTS = f"{{where}} udp dport {EXTERNAL} dnat ip to {HOME};"


@pytest.fixture
def player(world):
    """player(argument ...) checks the VPS, from behind the player's router."""
    def run(*arguments, proxy=f"socks5://{VPS}", host=None, **options):
        return run_check(host or world.player, *(arguments or SERVERS), proxy=proxy, **options)
    return run


def nat(found, family=4):
    step = found.step(f"nat_v{family}")
    return step, step["data"]["mapping"], step["data"]["filtering"], step["data"]["nat_type"], step["data"].get("filtering_seen_by")


INDEPENDENT, BY_ADDRESS, BY_PORT = "endpoint-independent", "address-dependent", "address-and-port-dependent"


# A proxy with an address of its own.


@pytest.mark.parametrize("filtering, kind, words", [(INDEPENDENT, "open", "Full cone"), (BY_ADDRESS, "moderate", "Restricted cone"),
                                                    (BY_PORT, "moderate", "Port-restricted cone")])
def test_each_type_without_a_third_machine(stuns, vps, player, filtering, kind, words):
    vps(filtering=filtering)
    found = player()
    step, *seen = nat(found)
    assert seen == [INDEPENDENT, filtering, kind, "this_machine"] and step["found"].startswith(words)
    assert re.search("3 servers (and this machine )?see the same external port", step["found"]) and "this machine gets in without the proxy" in step["found"]
    assert step["data"]["strangers_seem"] is None and found.status == (OK if kind == "open" else WRONG)


def test_a_few_questions_each(stuns, vps, player):
    """The nearest server serves the other steps; the others are asked a few times only."""
    vps()
    player()
    counts = sorted(len(server.asked) for server in stuns)
    assert counts[0] <= 5 and counts[1] <= 5 and counts[2] <= 90, counts


def test_the_hosts_firewall(stuns, vps, player, world):
    """The proxy does not filter, but what is in front of it does."""
    vps(ports="30000-30099", external_ports=EXTERNAL)
    packet_filter(world.vps, "input", "ct state established,related accept; udp dport 30000-30099 accept; meta l4proto udp drop;")
    assert nat(player())[1:] == (INDEPENDENT, BY_PORT, "moderate", "this_machine")


def test_ipv6(stuns, vps, player):
    """Servers with addresses of both families; the player's router does not translate IPv6."""
    vps()
    found = player("--stun", f"{STUN_V6},{SECOND_V6}", proxy=f"socks5://[{VPS_V6}]")
    step, *seen = nat(found, 6)
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"] and "2 servers" in step["found"]


def test_a_player_without_ipv6(stuns, vps, player, world):
    """What IPv6 peers see is known, whether they get in is not: only another client of the proxy has tried."""
    vps()
    world.player.ip("route del ::/0")
    try:
        found = player("--stun", f"{STUN},{STUN_V6},{SECOND},{SECOND_V6}")
    finally:
        world.player.ip("route add ::/0 via 2a02:f001::1")
    assert nat(found)[3] == "open"
    step, *seen = nat(found, 6)
    assert seen == [INDEPENDENT, "unknown", "unknown", None] and step["status"] == "skipped"
    assert "cannot send to the proxy's external address" in step["found"] and "another client of it gets in" in step["found"]


# Behind a NAT.


def test_a_proxy_at_home_with_its_ports_forwarded(stuns, at_home, player):
    at_home(OPEN_PORTS)
    found = player(proxy=f"socks5://{GATEWAY}")
    assert nat(found)[1:] == (INDEPENDENT, INDEPENDENT, "open", "this_machine")


def test_a_proxy_at_home_whose_ports_are_not_forwarded(stuns, at_home, player):
    """The router's NAT keeps the port, and filters."""
    at_home()
    found = player(proxy=f"socks5://{GATEWAY}")
    assert nat(found)[1:] == (INDEPENDENT, BY_PORT, "moderate", "this_machine")


@pytest.mark.parametrize("masquerade", ["masquerade random", "masquerade fully-random"])
def test_a_symmetric_nat(stuns, at_home, player, masquerade):
    at_home(OPEN_PORTS, masquerade=masquerade)
    found = player(proxy=f"socks5://{GATEWAY}")
    step, mapping, _, kind, _ = nat(found)
    assert (mapping, kind) == ("destination-dependent", "strict") and step["found"].count(GATEWAY) == 3
    assert step["status"] == "failed" and found.status == WRONG


def test_a_symmetric_server(stuns, world, player):
    with Socks5(world.vps, VPS, VPS, symmetric=True):
        assert nat(player())[3] == "strict"


def test_dante_filters(stuns, world, player, tmp_path):
    """dante filters until the client has sent to a second address: so the test sends to one address first."""
    config = tmp_path / "danted.conf"
    config.write_text(DANTED.format(address=VPS, log=tmp_path / "danted.out"), encoding="ascii")
    with open(tmp_path / "danted.log", "w", encoding="ascii") as log:
        process = world.vps.start("danted", "-f", str(config), stdout=log, stderr=log)
    wait_until(lambda: f"{VPS}:1080 " in world.vps.run("ss", "-ltn").stdout, "danted")
    step, mapping, _, kind, seen_by = nat(player())
    process.terminate()
    process.wait(10)
    assert (mapping, kind, seen_by) == (INDEPENDENT, "moderate", "this_machine"), step


@pytest.mark.parametrize("filtering, kind", [(INDEPENDENT, "open"), (BY_PORT, "moderate")])
def test_udp_that_does_not_reach_the_proxy(stuns, vps, player, world, filtering, kind):
    """As in a network that drops all UDP: inside TCP the type is found all the same."""
    vps(filtering=filtering)
    world.translate(world.router, more="meta l4proto udp drop;")
    found = player()
    assert found.blames("datagram_v4", "drops UDP to port", "open the proxy's UDP ports", "try another network")
    step, mapping, _, seen_kind, seen_by = nat(found)
    assert mapping == INDEPENDENT and seen_kind == ("moderate" if kind == "moderate" else "unknown"), step
    assert seen_by == ("another_client" if kind == "moderate" else None)
    assert found.step("delay_v4")["data"]["through_ms"] > 0


def test_this_machines_own_firewall(stuns, vps, player, world):
    vps()
    packet_filter(world.player, "output", "meta l4proto udp drop;")
    assert player().blames("datagram_v4", "firewall on this machine", user="in this machine's firewall")


def test_strangers_with_another_address(stuns, vps, player, world):
    """As behind rootless Docker: a process in front passes on datagrams with its own address."""
    vps(external_ports=EXTERNAL)
    world.vps.nft(f"table ip inside {{\nchain c {{\ntype nat hook input priority 100; ip saddr {ROUTER} udp dport {EXTERNAL} "
                  "snat to 172.17.0.1\n}\n}")
    world.vps.ip("address add 172.17.0.1/32 dev lo")
    try:
        found = player()
    finally:
        world.vps.ip("address del 172.17.0.1/32 dev lo")
    step = found.step("nat_v4")
    assert step["data"]["strangers_seem"].startswith("172.17.0.1:") and step["status"] == "warning", step


# The player's own network.


def test_a_network_that_drops_udp_without_a_proxy(stuns, vps, player, world):
    vps()
    packet_filter(world.player, "output", f"meta l4proto udp ip daddr != {VPS} drop;")
    found = player()
    step, *seen = nat(found)
    # Its way to the proxy's ports is open, so it gets in all the same.
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"], step
    assert found.step("delay_v4")["data"]["through_ms"] > 0


def test_a_network_that_lets_udp_to_the_relay_alone(stuns, vps, player, world):
    """Then strangers cannot be tried. The rest is known, and that the proxy itself does not filter."""
    vps(ports="30000-30099", external_ports=EXTERNAL)
    packet_filter(world.player, "output", "udp dport != 30000-30099 drop;")
    found = player()
    step, *seen = nat(found)
    assert seen == [INDEPENDENT, "unknown", "unknown", None] and found.status == UNKNOWN
    assert "lets no UDP out without the proxy" in step["found"] and "another client of it gets in" in step["found"]
    assert step["found"].startswith("Open or Moderate") and "hotspot" in step["user"]


@pytest.mark.parametrize("filtering", [INDEPENDENT, BY_PORT])
def test_a_network_that_loses_datagrams(stuns, vps, player, world, filtering):
    """A fifth of them, each way: none is taken for filtered. How many were lost is told."""
    vps(filtering=filtering)
    for hook in ("input", "output"):
        world.player.nft(f"table inet loss {{\nchain {hook} {{\ntype filter hook {hook} priority 0; "
                         "meta l4proto udp numgen random mod 5 0 drop\n}\n}")
    found = player()
    assert nat(found)[1:3] == (INDEPENDENT, filtering)
    delay = found.step("delay_v4")
    assert delay["status"] == "warning" and delay["data"]["unanswered"] > 0 and "stutter" in delay["means"]


def test_the_same_with_a_proxy_that_filters(stuns, vps, player, world):
    """Another client of the proxy is let in only after it was sent to: so the proxy filters, whatever is around it."""
    vps(ports="30000-30099", external_ports=EXTERNAL, filtering=BY_PORT)
    packet_filter(world.player, "output", "udp dport != 30000-30099 drop;")
    _, mapping, _, kind, seen_by = nat(player())
    assert (mapping, kind, seen_by) == (INDEPENDENT, "moderate", "another_client")


@pytest.mark.parametrize("filtering, kind", [(INDEPENDENT, "open"), (BY_ADDRESS, "moderate"), (BY_PORT, "moderate")])
def test_a_player_behind_a_symmetric_nat(stuns, vps, player, world, filtering, kind):
    """Its port is another one for each destination, so the proxy cannot be told which one to let in; then another
    client of the proxy is the stranger."""
    world.translate(world.router, masquerade="masquerade fully-random")
    vps(filtering=filtering)
    step, mapping, filtered, seen_kind, seen_by = nat(player())
    assert (mapping, seen_kind) == (INDEPENDENT, kind), step
    assert seen_by == ("another_client" if filtering == BY_PORT else "this_machine")
    assert filtered in (filtering, "destination-dependent")
    assert step["data"]["strangers_seem"] is None


# The player in the proxy's own network.


def test_near_with_hairpin(stuns, at_home, player, world):
    """It gets in, but has not come through the router from outside."""
    at_home(OPEN_PORTS, hairpin=True)
    step, *seen = nat(player(proxy=f"socks5://{GATEWAY}", host=world.sofa))
    assert seen == [INDEPENDENT, "unknown", "unknown", None] and "in the proxy's own network" in step["found"]


def test_near_without_hairpin(stuns, at_home, player, world):
    at_home(OPEN_PORTS, advertise=None)
    step, *seen = nat(player(proxy=f"socks5://{HOME}", host=world.sofa))
    assert seen == [INDEPENDENT, "unknown", "unknown", None] and "in the proxy's own network" in step["found"]


@pytest.mark.parametrize("forwards, kind", [(OPEN_PORTS, "open"), ("", "moderate")])
def test_near_but_a_server_has_two_addresses(world, at_home, player, running, tmp_path, forwards, kind):
    """Its second address is a stranger on the internet."""
    running(world.stun, *coturn(tmp_path, STUN, STUN_OTHER), udp=(STUN_OTHER, 3479))
    at_home(forwards, advertise=None)
    with PlainStun(world.second, SECOND):
        found = player("--stun", SECOND, "--stun", STUN, proxy=f"socks5://{HOME}", host=world.sofa)
    _, mapping, _, seen_kind, seen_by = nat(found)
    assert (mapping, seen_kind, seen_by) == (INDEPENDENT, kind, "stun_second_address")


# Servers.


def test_servers_that_are_down_or_wrong(world, vps, player):
    """One of five is down, one has no address, one answers with an error, one late."""
    vps()
    with PlainStun(world.second, SECOND, fails=True), PlainStun(world.third, THIRD, slow=0.3), \
            PlainStun(world.stun, STUN, port=19302):
        found = player("--stun", f"{STUN},nobody.invalid,{SECOND},{THIRD},{STUN}:19302")
    step, *seen = nat(found)
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"] and found.status == OK, step
    assert "nobody.invalid" in found.step("far_end")["found"]


def test_one_server_is_enough_if_this_machine_sees_the_port_too(world, vps, player):
    vps()
    with PlainStun(world.second, SECOND):
        step, *seen = nat(player("--stun", f"{SECOND},{STUN}"))
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"] and "1 server and this machine" in step["found"]


@pytest.mark.parametrize("liar", [STUN, SECOND, THIRD])
def test_a_server_that_lies(world, vps, player, liar):
    """Two agree. With a dependent mapping no two would. The first one may be the liar."""
    vps()
    lies = {liar: ("203.0.113.9", 9)}
    with PlainStun(world.second, SECOND, lies=lies.get(SECOND)), PlainStun(world.third, THIRD, lies=lies.get(THIRD)), \
            PlainStun(world.stun, STUN, lies=lies.get(STUN)):
        found = player()
    step, *seen = nat(found)
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"] and found.status == WRONG
    assert liar in step["cause"] and "203.0.113.9:9" in step["cause"]


def test_two_servers_that_are_down(vps, player):
    """They do not answer without the proxy either, so the proxy is not blamed."""
    vps()
    found = player("--stun", f"{STUN},{SECOND}")
    step = found.step("datagram_v4")
    assert found.status == UNKNOWN and step["data"]["cause"] == "far_end" and "2 test servers" in step["found"]


@pytest.mark.parametrize("arguments", [SERVERS, ("--stun", STUN)], ids=["three servers", "coturn"])
def test_the_proxys_host_has_no_udp(world, vps, player, running, tmp_path, arguments):
    """The player's network has no UDP either. TCP shows that a server is up, or it is certain because there are several."""
    if arguments != SERVERS:
        running(world.stun, *coturn(tmp_path, STUN, STUN_OTHER), udp=(STUN_OTHER, 3479))
    vps(external_ports=EXTERNAL)
    packet_filter(world.vps, "output", f"udp sport {EXTERNAL} drop;")
    packet_filter(world.player, "output", f"meta l4proto udp ip daddr != {VPS} drop;")
    found = player(*arguments)
    assert found.blames("datagram_v4", "cannot send UDP to the internet", "--direct", "another server", "no UDP")
    assert found.step("datagram_v4")["data"]["cause"] == "way_out"


def test_the_built_in_ones(world, vps, tmp_path):
    """By their names, as on the internet. One is down, one has no address."""
    vps()
    names = {"stun.l.google.com": STUN, "stun.cloudflare.com": SECOND, "stun.nextcloud.com": THIRD,
             "stun.voipgate.com": STUN_OTHER}
    hosts = tmp_path / "hosts"
    hosts.write_text("".join(f"{address} {name}\n" for name, address in names.items()), encoding="ascii")
    with PlainStun(world.stun, STUN, port=19302), PlainStun(world.third, THIRD):
        found = with_hosts(world.player, hosts, "--proxy", f"socks5://{VPS}")
    public = found.step("public")
    assert "stunserver2025.stunprotocol.org:3478" in public["found"] and public["status"] == "info"
    step, *seen = nat(found)
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"] and "2 servers" in step["found"]
    assert found.status == OK and "(" in found.step("datagram_v4")["found"]


def test_the_proxy_resolves_the_names(world, start, player):
    """The player's network cannot resolve them: its name server is blocked, or gives wrong answers."""
    names = {"stun.l.google.com": [STUN], "stun.cloudflare.com": [SECOND], "stun.nextcloud.com": [THIRD]}
    with Dns(world.third, THIRD, names), PlainStun(world.stun, STUN, port=19302), PlainStun(world.second, SECOND):
        start({"listen": [{"address": VPS, "port": 1080, "auth": "none", "open": True}], "dns": {"servers": [THIRD]}},
              host=world.vps)
        found = run_check(world.player, proxy=f"socks5://{VPS}")
    assert "this machine cannot resolve them, but the proxy can" in found.step("public")["found"]
    step, *seen = nat(found)
    assert seen == [INDEPENDENT, INDEPENDENT, "open", "this_machine"] and "2 servers" in step["found"]


def with_hosts(host, hosts, *arguments):
    if host.run("unshare", "--mount", "true").returncode != 0:
        pytest.skip("cannot put a file in place of the system's here (a chroot?)")
    return Found(host.run("unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh", PROGRAM,
                          "check", "--json", *arguments, timeout=100))


def test_nobody_is_asked(world, stuns, vps, player):
    vps()
    found = player("--stun", "none")
    assert found.status == UNKNOWN and found.step("public")["status"] == "skipped"
    assert not any(server.asked for server in stuns)


def test_direct(stuns, world):
    """Without a proxy too, several servers show the mapping."""
    found = run_check(world.player, "--direct", *SERVERS)
    step = found.step("direct_v4")
    assert step["data"]["mapping"] == INDEPENDENT and step["data"]["filtering"] == "unknown"
    world.translate(world.router, masquerade="masquerade fully-random")
    assert run_check(world.player, "--direct", *SERVERS).step("direct_v4")["data"]["nat_type"] == "strict"
