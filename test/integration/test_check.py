"""conesocks check, against servers that do well and servers that do not: what it finds, whom it blames, how it exits."""
import os
import pty
import re
import signal
import subprocess

import pytest
import servers
from checks import Found, run_check
from conftest import ALICE, LISTEN, USERS
from crooked import Socks5, Stun
from daemon import PATIENCE, PROGRAM, wait_until
from netns import (CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4)
from test_upstream import DANTED

OK, WRONG, USAGE, UNKNOWN = 0, 1, 2, 3
BY_V4 = f"socks5://{PROXY_V4}:1080"
WITH_LOGIN = {"listen": [{"address": entry["address"]} for entry in LISTEN], "users": USERS}


@pytest.fixture
def stun(net, running, tmp_path):
    """A STUN server with two addresses (RFC 5780) on the internet."""
    running(net.inet1, *servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4), udp=(INET1_OTHER_V4, 3479))
    return INET1_V4


@pytest.fixture
def check(net):
    """check(argument ...) on the client, or on `host`: see run_check()."""
    return lambda *arguments, host=net.client, proxy=BY_V4, **options: run_check(host, *arguments, proxy=proxy, **options)


@pytest.fixture
def crooked(net):
    """crooked(what is wrong) is a server on the proxy's host."""
    running = []

    def run(**wrong):
        running.append(Socks5(net.proxy, PROXY_V4, PROXY_WAN_V4, **wrong).__enter__())
        return running[-1]
    yield run
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def packet_filter(net):
    """packet_filter(host, rules) puts them into a table of their own, until the test is over."""
    hosts = []

    def run(host, rules):
        host.nft(f"table inet check {{\n{rules}\n}}")
        hosts.append(host)
    yield run
    for host in hosts:
        host.nft("delete table inet check")


@pytest.fixture
def knowing(tmp_path):
    """knowing(host, addresses, argument ...) checks on that host, where the name both.test has those addresses."""
    def run(host, addresses, *arguments):
        if host.run("unshare", "--mount", "true").returncode != 0:
            pytest.skip("cannot put a file in place of the system's here (a chroot?)")
        hosts = tmp_path / "hosts"
        hosts.write_text("".join(f"{address} both.test\n" for address in addresses), encoding="ascii")
        return Found(host.run("unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh",
                              PROGRAM, "check", "--json", *arguments))
    return run


# A server that does well.


def test_full_cone_for_people(net, proxy, stun, check):
    found = check("--stun", stun, form=None, LC_ALL="C.UTF-8")
    assert found.status == OK
    assert re.search(r'✓ NAT type, IPv4 +Full cone, "Open / A / 1" on game consoles \(endpoint-independent mapping and '
                     r"filtering\)\n", found.text)
    marks = re.findall(r"^  (\S) ", found.text, re.MULTILINE)
    assert len(marks) >= 8 and set(marks) == {"✓"}
    assert "Result: everything works." in found.text and "\r" not in found.text and "\033" not in found.text


def test_plain_bytes_where_the_locale_is_not_utf8(net, proxy, check):
    found = check(form=None, LC_ALL="C")
    assert found.text.isascii() and re.search(r"^  \+ TCP connection ", found.text, re.MULTILINE)


def test_full_cone_for_programs(net, proxy, stun, check):
    found = check("--stun", stun)
    assert found.status == found.json["exit_status"] == OK
    assert set(found.statuses().values()) == {"ok"}
    assert found.json["proxy"] == f"{PROXY_V4}:1080" and found.json["far_end"] == stun
    assert found.step("connect")["data"]["external"].startswith(PROXY_WAN_V4)
    assert found.step("datagram_v4")["data"]["external"].startswith(PROXY_WAN_V4)
    nat = found.step("nat_v4")["data"]
    assert (nat["mapping"], nat["filtering"], nat["nat_type"]) == ("endpoint-independent", "endpoint-independent", "open")


@pytest.mark.parametrize("filtering, cone", [("address-dependent", "Restricted cone"),
                                             ("address-and-port-dependent", "Port-restricted cone")])
def test_row29_stricter_filtering_is_seen(net, start, stun, check, filtering, cone):
    start({"udp": {"filtering": filtering}})
    found = check("--stun", stun)
    assert found.blames("nat_v4", "only peers that the client has sent to can answer", "udp.filtering: endpoint-independent")
    step = found.step("nat_v4")
    assert step["status"] == "warning" and step["found"].startswith(cone) and "Moderate / B / 2" in step["found"]
    assert (step["data"]["mapping"], step["data"]["filtering"]) == ("endpoint-independent", filtering)


def test_row29_dante_is_port_restricted(net, running, stun, check, tmp_path):
    """Its filtering is address-and-port-dependent, whatever its configuration."""
    config = tmp_path / "danted.conf"
    text = DANTED.format(address=PROXY_V4, log=tmp_path / "danted.out")
    config.write_text(text.replace(f"external: {PROXY_V4}", f"external: {PROXY_WAN_V4}"), encoding="ascii")
    with open(tmp_path / "danted.log", "w", encoding="ascii") as log:
        process = net.proxy.start("danted", "-f", str(config), stdout=log, stderr=log)
    wait_until(lambda: f"{PROXY_V4}:1080 " in net.proxy.run("ss", "-ltn").stdout, "danted")
    found = check("--stun", stun)
    process.terminate()
    process.wait(10)
    assert found.blames("nat_v4", "only peers that the client has sent to can answer", "dante cannot do better")
    data = found.step("nat_v4")["data"]
    assert (data["mapping"], data["filtering"]) == ("endpoint-independent", "address-and-port-dependent")
    assert {name: status for name, status in found.statuses().items() if status != "ok"} == {"nat_v4": "warning"}


def test_row29_ipv6(net, proxy, running, check, tmp_path):
    net.inet1.ip("address add fd88::12/64 dev eth0 nodad")
    try:
        running(net.inet1, *servers.coturn(tmp_path, INET1_V6, "fd88::12"), udp=("[fd88::12]", 3479))
        found = check("--stun", INET1_V6, proxy=f"socks5://[{PROXY_V6}]:1080")
    finally:
        net.inet1.ip("address del fd88::12/64 dev eth0")
    assert found.status == OK and found.step("nat_v6")["data"]["nat_type"] == "open"
    assert "nat_v4" not in found.statuses()


def test_a_verdict_survives_lost_datagrams(net, start, stun, check, packet_filter):
    """A fifth of them, each way."""
    start({"udp": {"filtering": "address-dependent"}})
    drop = "meta l4proto udp numgen random mod 5 0 drop"
    packet_filter(net.client, f"chain i {{ type filter hook input priority 0; {drop}; }}\n"
                              f"chain o {{ type filter hook output priority 0; {drop}; }}")
    assert check("--stun", stun).step("nat_v4")["data"]["filtering"] == "address-dependent"


# What cannot be found out is not guessed.


def test_a_stun_server_with_one_address(net, proxy, running, check, tmp_path):
    command = servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4)
    at = command.index(INET1_OTHER_V4)
    running(net.inet1, *command[:at - 1], *command[at + 1:], udp=(INET1_V4, 3478))
    found = check("--stun", INET1_V4)
    assert found.status == UNKNOWN and found.step("datagram_v4")["status"] == "ok"
    step = found.step("nat_v4")
    assert step["status"] == "skipped" and step["data"]["nat_type"] == "unknown"
    assert "no second address" in step["found"] and "two addresses" in step["fix"]


@pytest.mark.parametrize("elsewhere", ["stays", "silent"])
@pytest.mark.parametrize("filtering", ["endpoint-independent", "address-and-port-dependent"])
def test_a_stun_server_that_does_not_answer_from_elsewhere(net, start, check, filtering, elsewhere):
    """It says that it could. What it does not send is not taken for filtered."""
    start({"udp": {"filtering": filtering}})
    with Stun(net.inet1, (INET1_V4, INET1_OTHER_V4), elsewhere):
        found = check("--stun", INET1_V4)
    step = found.step("nat_v4")
    assert found.status == UNKNOWN and step["status"] == "skipped"
    assert (step["data"]["mapping"], step["data"]["filtering"]) == ("endpoint-independent", "unknown")


def test_a_stun_server_that_is_down(net, proxy, own_way, check):
    """Nor does it answer without the proxy, so the proxy is not accused."""
    found = check("--stun", INET1_V4)
    step = found.step("datagram_v4")
    assert found.status == UNKNOWN and step["status"] == "skipped" and step["data"]["cause"] == "far_end"
    assert "another STUN server" in step["fix"]


def test_without_a_stun_server(net, proxy, check):
    found = check()
    assert found.status == UNKNOWN
    assert found.statuses()["associate"] == "ok" and found.statuses()["nat_v4"] == "skipped"
    assert "--stun" in found.step("datagram_v4")["found"]


# UDP that does not get through, and where it stays.


def test_udp_is_off(net, start, stun, check):
    start({"udp": {"enabled": False}})
    found = check("--stun", stun)
    assert found.blames("associate", "switched off", r"udp\.enabled") and found.step("associate")["data"]["code"] == 7
    assert found.statuses()["connect"] == "ok" and found.statuses()["nat_v4"] == "skipped"


@pytest.fixture
def own_way(net):
    """The client gets to the internet without the proxy, too: its host forwards."""
    net.proxy.sysctl("ipv4/ip_forward", 1)
    net.client.ip(f"route add 10.88.0.0/24 via {PROXY_V4}")
    net.inet1.ip(f"route add 10.77.0.0/24 via {PROXY_WAN_V4}")
    yield
    net.inet1.ip(f"route del 10.77.0.0/24 via {PROXY_WAN_V4}")
    net.client.ip(f"route del 10.88.0.0/24 via {PROXY_V4}")
    net.proxy.sysctl("ipv4/ip_forward", 0)


def test_a_firewall_before_the_relay_ports(net, start, stun, check, packet_filter):
    """It swallows UDP: told by the same datagram inside the TCP connection, which is answered."""
    start({"udp": {"ports": "30000-30099"}})
    packet_filter(net.proxy, "chain i { type filter hook input priority 0; udp dport 30000-30099 drop; }")
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "firewall between here and the proxy drops UDP to port 300", r"udp\.ports")
    assert found.step("datagram_v4")["data"]["cause"] == "way_in"
    assert found.statuses()["nat_v4"] == "skipped"


def test_a_firewall_that_rejects(net, start, stun, check, packet_filter):
    start({"udp": {"ports": "30000-30099"}})
    packet_filter(net.proxy, "chain i { type filter hook input priority 0; udp dport 30000-30099 reject; }")
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "is rejected: the port is closed", "forward")
    assert "Connection refused" in found.step("datagram_v4")["found"]


def test_the_proxys_host_has_no_udp(net, start, stun, own_way, check, packet_filter):
    """The client itself has a way to the STUN server, so that is known to be up."""
    start()
    packet_filter(net.proxy, 'chain o { type filter hook output priority 0; oifname "eth1" meta l4proto udp drop; }')
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "cannot send UDP to the internet", "--direct")
    assert found.step("datagram_v4")["data"]["cause"] == "way_out"


def test_a_server_that_relays_nothing(net, stun, own_way, check, crooked):
    """It could as well be a firewall, and that is said."""
    crooked(drops=True)
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "cannot be told apart from here", "tcpdump")


def test_one_datagram_gets_lost(net, stun, check, crooked):
    """The first of each association, as it happens on a bad line: no step gives up for that."""
    crooked(loses_first=True)
    found = check("--stun", stun)
    wrong = {step for step, status in found.statuses().items() if status in ("failed", "warning")}
    assert wrong <= {"connect"}, found.json


def test_a_long_way(net, stun, check, crooked):
    """By a satellite, and a busy one: late is not lost."""
    crooked(slow=1.4)
    found = check("--stun", stun)
    assert found.step("datagram_v4")["data"]["rtt_ms"] >= 1400
    assert found.step("delay_v4")["data"]["through_ms"] >= 1400
    assert found.statuses()["nat_v4"] == found.statuses()["hairpin_v4"] == "ok"


# Servers that answer oddly.


def test_wildcard_bound_address(net, stun, check, crooked):
    """It is taken as the proxy's own, as clients do, and all else goes on."""
    crooked(bound="0.0.0.0")
    found = check("--stun", stun)
    assert found.blames("associate", "does not know which one clients use", "advertises")
    assert found.statuses()["datagram_v4"] == found.statuses()["nat_v4"] == "ok"


def test_bound_address_of_loopback(net, stun, check, crooked):
    crooked(bound="127.0.0.1")
    found = check("--stun", stun)
    assert found.blames("associate", "behind a NAT", r"udp\.advertise_v4")
    assert found.blames("datagram_v4", f"tells clients to send UDP to 127.0.0.1:.* reached at {PROXY_V4}", "advertise")
    assert found.statuses()["nat_v4"] == "ok"


@pytest.mark.parametrize("bound, words", [((PROXY_V4, 0), "port 0"), (PROXY_V6, "is IPv6, but we connected by IPv4")])
def test_other_odd_bound_addresses(net, check, crooked, bound, words):
    crooked(bound=bound)
    found = check()
    assert words in found.step("associate")["found"] and found.step("associate")["cause"] and found.status == WRONG


def test_row50_what_a_server_says_commands_no_terminal(net, check, crooked):
    """A name with a control sequence of one character (CSI), and one that turns the direction of what follows."""
    crooked(bound="clear\u009b2J\u202egone")
    found = check()
    assert found.step("associate")["data"]["bound"] == "clear\u009b2J\u202egone" and found.text.isascii()
    assert "\u009b" not in check(form=None).text


def test_a_server_that_insists_on_the_hint(net, stun, check, crooked):
    crooked(wants_hint=True)
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "accepts UDP only from the port that the request names", "learns the port")


def test_a_server_that_refuses_without_the_hint(net, stun, check, crooked):
    crooked(wants_hint=True, refuses=1)
    assert check("--stun", stun).blames("associate", "wants the client's address and port in the request")


@pytest.mark.parametrize("code, cause", [(1, "cannot open a UDP port"), (2, "rules do not allow"), (8, "not accept 0.0.0.0:0")])
def test_refusals_in_words(net, check, crooked, code, cause):
    crooked(refuses=code)
    found = check()
    assert found.blames("associate", cause) and found.step("associate")["data"]["code"] == code


def test_answers_from_another_socket(net, stun, check, crooked):
    crooked(answers_from=True)
    assert check("--stun", stun).blames("origin", "answers from another socket than it listens on")


def test_answers_without_their_origin(net, stun, check, crooked):
    """The NAT type is not mistaken for it: the STUN server itself says from where it answered."""
    crooked(origin=("0.0.0.0", 0))
    found = check("--stun", stun)
    assert found.blames("origin", "does not tell who sent a datagram")
    assert found.step("nat_v4")["data"]["nat_type"] == "open"


def test_answers_under_another_origin(net, stun, check, crooked):
    """Always the one that was asked: an answer from elsewhere is still known for one. But nobody else can be answered,
    as behind docker's userland proxy."""
    crooked(origin=(INET1_V4, 3478))
    found = check("--stun", stun)
    data = found.step("nat_v4")["data"]
    assert (data["nat_type"], data["strangers_seem"]) == ("open", f"{INET1_V4}:3478")
    assert found.blames("nat_v4", "cannot be answered", "keep the sender's address") and found.statuses()["origin"] == "ok"


def test_whoever_sends_last(net, stun, check, crooked):
    crooked(follows=True)
    found = check("--stun", stun)
    assert found.blames("port", "can take over its datagrams")


def test_silenced_by_another_port(net, stun, check, crooked):
    crooked(silenced=True)
    found = check("--stun", stun)
    assert found.blames("port", "can cut it off with one datagram") and found.statuses()["nat_v4"] == "ok"


@pytest.mark.parametrize("wrong", [{}, {"dies_of_v6": True}])
def test_a_host_without_ipv6(net, stun, knowing, crooked, wrong):
    """That is no fault; but a server may not give up all for one datagram that it cannot send. (As dante does.)"""
    crooked(**wrong)
    found = knowing(net.client, (stun, INET1_V6), "--proxy", BY_V4, "--stun", "both.test")
    if wrong:
        assert found.blames("datagram_v6", "ends a whole association when one datagram")
    else:
        assert found.statuses()["datagram_v6"] == "info"
    assert found.statuses()["port"] == found.statuses()["nat_v4"] == "ok"


def test_every_port_of_the_client(net, stun, check, crooked):
    crooked(serves_all=True)
    found = check("--stun", stun)
    assert found.status == OK and found.step("port")["status"] == "info"
    assert found.step("port")["data"] == {"kept": True, "other_port_relayed": True}


def test_row29_a_port_for_each_destination_is_symmetric(net, stun, check, crooked):
    crooked(symmetric=True)
    found = check("--stun", stun)
    assert found.blames("nat_v4", "each destination sees another port", "endpoint-independent mapping")
    step = found.step("nat_v4")
    assert step["status"] == "failed" and step["found"].startswith('Symmetric, "Strict / C / 3"') and "(address-and-port-dependent mapping" in step["found"]


# Login.


@pytest.mark.parametrize("user, environment", [
    (f"{ALICE[0]}:{ALICE[1]}", {}), (f"{ALICE[0]}:%77onderland", {}), (ALICE[0], {"CONESOCKS_CHECK_PASSWORD": ALICE[1]})])
def test_login(net, start, check, user, environment):
    start(WITH_LOGIN)
    found = check(proxy=f"socks5://{user}@{PROXY_V4}", **environment)
    assert found.step("login")["status"] == "ok" and found.step("login")["data"]["method"] == "password"
    assert found.json["user"] == ALICE[0] and ALICE[1] not in found.text


def test_row50_the_password_is_shown_nowhere(net, proxy, check):
    """Not in ps(1), and not in what is printed."""
    found = check(proxy=f"socks5://alice:very-secret@{PROXY_V4}:1080", form=None)
    assert "very-secret" not in found.text
    with net.client.enter():
        process = subprocess.Popen([PROGRAM, "check", "--proxy", "socks5://alice:very-secret@10.77.0.99:1080"],
                                   stdout=subprocess.DEVNULL)
    with open(f"/proc/{process.pid}/cmdline", "rb") as line:
        wait_until(lambda: line.seek(0) or b"alice:***********@" in line.read(), "the password to be overwritten")
    process.kill()
    process.wait()


def test_wrong_login(net, start, check):
    start(WITH_LOGIN)
    found = check(proxy=f"socks5://{ALICE[0]}:wrong@{PROXY_V4}")
    assert found.blames("login", "misspelt") and found.statuses()["associate"] == "skipped"


def test_a_right_login_after_too_many_wrong_ones(net, start, check):
    """The server does not say why it closes."""
    start({**WITH_LOGIN, "limits": {"failed_logins": 1}, "workers": 1})
    check(proxy=f"socks5://{ALICE[0]}:wrong@{PROXY_V4}")
    found = check(proxy=f"socks5://{ALICE[0]}:{ALICE[1]}@{PROXY_V4}")
    assert found.blames("login", r"too many .*limits\.failed_logins", "wait a minute")


def test_no_login_where_one_is_wanted(net, start, check):
    start(WITH_LOGIN)
    step = check().step("login")
    assert step["status"] == "failed" and "asks for a user name and password" in step["found"]
    assert f"socks5://USER@{PROXY_V4}:1080" in step["fix"]


def test_a_user_without_a_password(net, check):
    found = check(proxy=f"socks5://alice@{PROXY_V4}")
    assert found.status == USAGE and "CONESOCKS_CHECK_PASSWORD" in found.text


def test_a_login_that_nobody_asks_for(net, proxy, check):
    assert "did not look at your user name" in check(proxy=f"socks5://alice:secret@{PROXY_V4}").step("login")["found"]


# No SOCKS5 server.


def test_nobody_listens(net, check):
    found = check()
    assert found.blames("tcp", "nothing listens on this port.* a NAT", "ss -ltnp.* forwarded or published")
    assert "refused" in found.step("tcp")["found"]
    assert {step["found"] for step in found.json["steps"][1:]} == {"skipped: the proxy cannot be reached"}


def test_nobody_listens_here(net, check):
    """There is no NAT to suspect."""
    step = check(host=net.proxy, proxy="socks5://127.0.0.1").step("tcp")
    assert "nothing listens on this port" in step["cause"]
    assert "NAT" not in step["cause"] and "Docker" not in step["fix"]


def test_the_far_end_has_no_address(net, proxy, check):
    found = check("--stun", "nobody.invalid")
    assert found.step("far_end")["status"] == "failed" and found.step("nat_v4")["found"] == "skipped: the test server has no address"


def test_nobody_is_there(net, check):
    assert check(proxy="socks5://10.77.0.99").blames("tcp", "no route to the host", "open TCP port 1080")


def test_one_address_of_two(net, knowing):
    """Nobody listens at the first that most clients try. They go on at once, so nothing is wrong with that."""
    with Socks5(net.proxy, "127.0.0.1", PROXY_WAN_V4):
        found = knowing(net.proxy, ("::1", "127.0.0.1"), "--proxy", "socks5://both.test")
    assert "::1" in found.step("name")["found"] and "127.0.0.1" in found.step("name")["found"]
    assert found.step("tcp")["status"] == "ok" and "[::1]:1080 does not: Connection refused" in found.step("tcp")["found"]


def test_the_name_is_wrong(net, check):
    assert check(proxy="socks5://nobody.invalid").blames("name", "misspelt")


@pytest.mark.parametrize("says, words", [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"), (b"\0\x5b", "SOCKS4"),
                                         (b"\x15\3\1\0\2\2\x50", "TLS"), (b"", "does not accept this client")])
def test_another_protocol(net, check, crooked, says, words):
    crooked(says=says)
    assert check().blames("login", words)


def test_a_web_server(net, check):
    with servers.Web(net.proxy, PROXY_V4, 1080):
        assert check().status == WRONG


@pytest.mark.parametrize("arguments", [["--stun", "10.88.0.11:99999"], ["--connect", "10.88.0.11"], ["--what"], ["word"],
                                       ["--proxy", "http://10.77.0.1:1080"]])
def test_usage(net, check, arguments):
    found = check(*arguments, proxy=None)
    assert found.status == USAGE and "Usage: conesocks check" in found.text


# CONNECT.


def test_connect_to_what_is_named(net, proxy, web, check):
    assert check("--connect", "%s:%d" % web).step("connect")["found"] == "connected to %s:%d" % web


def test_connect_refused(net, proxy, check):
    found = check("--connect", f"{INET1_V4}:9")
    assert found.blames("connect", "nothing listens on that port") and found.step("connect")["data"]["code"] == 5


def test_connect_by_a_name_that_cannot_be_resolved(net, start, check):
    start({"dns": {"servers": ["10.88.0.99"], "timeout": "1s"}}, leaves_lookups=True)  # no host has it
    assert check("--connect", "silent.test:80").blames("connect", "name servers do not answer", "look the name up")


def test_connect_denied(net, start, check):
    start({"rules": [{"action": "deny", "to": [f"{INET1_V4}/32"]}]})
    assert check("--connect", f"{INET1_V4}:80").blames("connect", "rules do not allow", "conesocks explain")


# The network's fault, or the server's.


STATEFUL = 'iifname "eth1" ct state established,related accept; iifname "eth1" meta l4proto udp drop;'


def test_direct(net, stun, check):
    """Without a proxy: a host on the internet, then the same behind its own firewall."""
    found = check("--stun", stun, "--direct", host=net.proxy, proxy=None)
    assert found.status == OK and found.step("direct_v4")["data"]["nat_type"] == "open"
    assert found.json["proxy"] is None and set(found.statuses()) == {"direct_v4"}


def test_the_hosts_firewall_is_to_blame(net, proxy, stun, check, packet_filter):
    """Run on the proxy's host, where it can be told: no option is needed for that."""
    packet_filter(net.proxy, f"chain i {{ type filter hook input priority 0; {STATEFUL} }}")
    found = check("--stun", stun, host=net.proxy)
    assert found.step("nat_v4")["data"]["filtering"] == "address-and-port-dependent" and found.status == WRONG
    assert "this machine does no better" in found.step("direct_v4")["cause"]


def test_the_server_may_be_to_blame_behind_a_firewall(net, start, stun, check, packet_filter):
    """What is tried without the proxy comes from a port that the firewall knows nothing of."""
    start({"udp": {"filtering": "address-and-port-dependent", "external_ports": "31000-31009"}})
    packet_filter(net.proxy, "chain i { type filter hook input priority 0; "
                             f'iifname "eth1" udp dport 31000-31009 accept; {STATEFUL} }}')
    found = check("--stun", stun, host=net.proxy)
    cause = found.step("direct_v4")["cause"]
    assert re.search(r"if udp\.external_ports are open there, it is the server .*udp\.filtering", cause)


def test_the_server_is_to_blame(net, start, stun, check):
    start({"udp": {"filtering": "address-and-port-dependent"}})
    found = check("--stun", stun, host=net.proxy)
    assert "the proxy server is at fault" in found.step("direct_v4")["cause"] and found.status == WRONG


# How it behaves.


def test_on_a_terminal(net, proxy, check):
    """A line for what is being done, which its result replaces."""
    ours, theirs = pty.openpty()
    process = net.client.start(PROGRAM, "check", "--proxy", BY_V4, stdout=theirs,
                               env=os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": ""})
    assert process.wait(PATIENCE) == UNKNOWN
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert re.search("  … TCP connection +\r\033\\[K  \033\\[32m✓\033\\[m TCP connection ", text), text


def test_interrupted(net, start, check, crooked):
    crooked(drops=True)
    # Whoever runs the tests in the background has it ignored.
    process = net.client.start(PROGRAM, "check", "--proxy", BY_V4, "--stun", INET1_V4, stdout=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_until(lambda: "UDP ASSOCIATE" in process.stdout.readline(), "the first steps")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT
