"""conesocks check: what it finds about UDP and the NAT type, and whether the server or the network is at fault."""
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from pathlib import Path

import pytest
import servers
from checks import BY_V4, OK, UNKNOWN, WRONG, check, crooked, dante, packet_filter, stun  # noqa: F401 (fixtures)
from crooked import Stun
from daemon import PATIENCE, PROGRAM, wait_until
from netns import INET1_OTHER_V4, INET1_V4, INET1_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4


# A server that does well.


def test_full_cone_for_people(net, proxy, stun, check):  # noqa: F811
    found = check("--stun", stun, form=None, LC_ALL="C.UTF-8")
    assert found.status == OK
    assert re.search(r'✓ NAT type, IPv4 +Full cone, "Open / A / 1" on game consoles \(endpoint-independent mapping and '
                     r"filtering\)\n", found.text)
    marks = re.findall(r"^  (\S) ", found.text, re.MULTILINE)
    assert len(marks) >= 8 and set(marks) == {"✓", "·"} and marks.count("·") == 1
    assert re.search("· Names +not tested: ", found.text)
    assert "Result: everything works." in found.text and "\r" not in found.text and "\033" not in found.text


def test_plain_bytes_where_the_locale_is_not_utf8(net, proxy, check):  # noqa: F811
    found = check(form=None, LC_ALL="C")
    assert found.text.isascii() and re.search(r"^  \+ TCP connection ", found.text, re.MULTILINE)


def test_full_cone_for_programs(net, proxy, stun, check):  # noqa: F811
    found = check("--stun", stun)
    assert found.status == found.json["exit_status"] == OK
    assert {name: status for name, status in found.statuses().items() if status != "ok"} == {"names": "info"}
    assert found.json["proxy"] == f"{PROXY_V4}:1080" and found.json["far_end"] == stun
    assert found.step("connect")["data"]["external"].startswith(PROXY_WAN_V4)
    assert found.step("datagram_v4")["data"]["external"].startswith(PROXY_WAN_V4)
    nat = found.step("nat_v4")["data"]
    assert (nat["mapping"], nat["filtering"], nat["nat_type"]) == ("endpoint-independent", "endpoint-independent", "open")


@pytest.mark.parametrize("filtering, cone", [("address-dependent", "Restricted cone"),
                                             ("address-and-port-dependent", "Port-restricted cone")])
def test_row29_stricter_filtering_is_seen(net, start, stun, check, filtering, cone):  # noqa: F811
    start({"udp": {"filtering": filtering}})
    found = check("--stun", stun)
    assert found.blames("nat_v4", "only peers that the client has sent to can send to it", "udp.filtering: endpoint-independent")
    step = found.step("nat_v4")
    assert step["status"] == "warning" and step["found"].startswith(cone) and "Moderate / B / 2" in step["found"]
    assert (step["data"]["mapping"], step["data"]["filtering"]) == ("endpoint-independent", filtering)


def test_row29_dante_is_port_restricted(net, dante, stun, check):  # noqa: F811
    """Its filtering is address-and-port-dependent, whatever its configuration."""
    dante(PROXY_V4, PROXY_WAN_V4)
    found = check("--stun", stun)
    assert found.blames("nat_v4", "only peers that the client has sent to can send to it", "dante cannot do better")
    data = found.step("nat_v4")["data"]
    assert (data["mapping"], data["filtering"]) == ("endpoint-independent", "address-and-port-dependent")
    assert {name: status for name, status in found.statuses().items() if status != "ok"} == {
        "names": "info", "nat_v4": "warning", "hairpin_v4": "info"}


def test_row29_ipv6(net, proxy, running, check, tmp_path):  # noqa: F811
    net.inet1.ip("address add fd88::12/64 dev eth0 nodad")
    try:
        running(net.inet1, *servers.coturn(tmp_path, INET1_V6, "fd88::12"), udp=("[fd88::12]", 3479))
        found = check("--stun", INET1_V6, proxy=f"socks5://[{PROXY_V6}]:1080")
    finally:
        net.inet1.ip("address del fd88::12/64 dev eth0")
    assert found.status == OK and found.step("nat_v6")["data"]["nat_type"] == "open"
    assert "nat_v4" not in found.statuses()


def test_a_verdict_survives_lost_datagrams(net, start, stun, check, packet_filter):  # noqa: F811
    """A fifth of them, each way."""
    start({"udp": {"filtering": "address-dependent"}})
    drop = "meta l4proto udp numgen random mod 5 0 drop"
    packet_filter(net.client, f"chain i {{ type filter hook input priority 0; {drop}; }}\n"
                              f"chain o {{ type filter hook output priority 0; {drop}; }}")
    assert check("--stun", stun).step("nat_v4")["data"]["filtering"] == "address-dependent"


@pytest.mark.parametrize("columns", [80, 100])
def test_advice_stands_under_its_line(net, start, check, columns):  # noqa: F811
    """What it means first, then the cause, then what to do; the result repeats what it means. No line is too long."""
    start({"udp": {"enabled": False}})
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    process = net.client.start(PROGRAM, "check", "--proxy", BY_V4, stdout=theirs,
                               env=os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": "1"})
    assert process.wait(PATIENCE) == WRONG
    os.close(theirs)
    text = re.sub(r"[^\n]*\r\033\[K", "", os.read(ours, 65536).decode().replace("\r\n", "\n"))
    os.close(ours)
    assert re.search(r"\n  ✗ UDP ASSOCIATE .*\n {20}means: no UDP .*\n(?: {27}.*\n)*"
                     r" {20}cause: .*\n(?: {27}.*\n)* {20}owner: .*\n(?: {27}.*\n)* {20}user:  ", text), text
    assert max(map(len, text.splitlines())) <= columns, text
    assert "Result: something is wrong. No UDP through this proxy: most online games" in " ".join(text.split()), text


# What cannot be found out is not guessed.


def test_a_stun_server_with_one_address(net, proxy, running, check, tmp_path):  # noqa: F811
    command = servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4)
    at = command.index(INET1_OTHER_V4)
    running(net.inet1, *command[:at - 1], *command[at + 1:], udp=(INET1_V4, 3478))
    found = check("--stun", INET1_V4)
    assert found.status == UNKNOWN and found.step("datagram_v4")["status"] == "ok"
    step = found.step("nat_v4")
    assert step["status"] == "skipped" and step["data"]["nat_type"] == "unknown"
    assert "no second address" in step["found"] and "two addresses" in step["owner"]


@pytest.mark.parametrize("elsewhere", ["stays", "silent"])
@pytest.mark.parametrize("filtering", ["endpoint-independent", "address-and-port-dependent"])
def test_a_stun_server_that_does_not_answer_from_elsewhere(net, start, check, filtering, elsewhere):  # noqa: F811
    """The server reports a second address. What it does not send from there is not taken for filtered; but that the proxy filters, another client
    of it shows."""
    start({"udp": {"filtering": filtering}})
    with Stun(net.inet1, (INET1_V4, INET1_OTHER_V4), elsewhere):
        found = check("--stun", INET1_V4)
    step, filters = found.step("nat_v4"), filtering != "endpoint-independent"
    assert (found.status, step["status"]) == ((WRONG, "warning") if filters else (UNKNOWN, "skipped"))
    assert step["data"]["mapping"] == "endpoint-independent"
    assert step["data"]["filtering"] == ("destination-dependent" if filters else "unknown")
    assert step["data"].get("filtering_seen_by") == ("another_client" if filters else None)


def test_a_stun_server_that_is_down(net, proxy, own_way, check):  # noqa: F811
    """Nor does it answer without the proxy, so the proxy is not accused."""
    found = check("--stun", INET1_V4)
    step = found.step("datagram_v4")
    assert found.status == UNKNOWN and step["status"] == "skipped" and step["data"]["cause"] == "far_end"
    assert "another STUN server" in step["owner"]


def test_without_a_stun_server(net, proxy, check):  # noqa: F811
    found = check("--stun", "none")
    assert found.status == UNKNOWN
    assert found.statuses()["associate"] == "ok" and found.statuses()["nat_v4"] == "skipped"
    assert "--stun" in found.step("datagram_v4")["found"] and "--stun HOST" in found.step("public")["owner"]


def test_the_manual_lists_the_public_servers(net, check):  # noqa: F811
    text = check("--help", proxy=None, form=None).text
    (built_in,) = [line for line in text.splitlines() if "stun.cloudflare.com" in line]
    manual = (Path(__file__).resolve().parents[2] / "man" / "conesocks.8").read_text(encoding="utf-8")
    assert "\n".join(built_in.split()) in manual.partition(".Ss Public STUN servers")[2]


# UDP that does not get through, and where it stays.


def test_udp_is_off(net, start, stun, check):  # noqa: F811
    start({"udp": {"enabled": False}})
    found = check("--stun", stun)
    assert found.blames("associate", "switched off", r"udp\.enabled", "use another server", "no UDP") and found.step("associate")["data"]["code"] == 7
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


def test_a_firewall_before_the_relay_ports(net, start, stun, check, packet_filter):  # noqa: F811
    """It swallows UDP: told by the same datagram inside the TCP connection, which is answered."""
    start({"udp": {"ports": "30000-30099"}})
    packet_filter(net.proxy, "chain i { type filter hook input priority 0; udp dport 30000-30099 drop; }")
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "firewall between here and the proxy drops UDP to port 300", r"udp\.ports")
    assert found.step("datagram_v4")["data"]["cause"] == "way_in"
    # The rest is tested inside TCP.
    assert found.step("nat_v4")["data"]["nat_type"] == "open" and found.statuses()["delay_v4"] == "ok"
    assert ". With UDP over TCP, Open:" in found.json["means"]
    assert not {"origin", "port", "end_v4"} & set(found.statuses())


def test_a_firewall_that_rejects(net, start, stun, check, packet_filter):  # noqa: F811
    start({"udp": {"ports": "30000-30099"}})
    packet_filter(net.proxy, "chain i { type filter hook input priority 0; udp dport 30000-30099 reject; }")
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "is rejected: the port is closed", "forward")
    assert "Connection refused" in found.step("datagram_v4")["found"]


def test_the_proxys_host_has_no_udp(net, start, stun, own_way, check, packet_filter):  # noqa: F811
    """The client itself has a way to the STUN server, so that is known to be up."""
    start()
    packet_filter(net.proxy, 'chain o { type filter hook output priority 0; oifname "eth1" meta l4proto udp drop; }')
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "cannot send UDP to the internet", "--direct")
    assert found.step("datagram_v4")["data"]["cause"] == "way_out"


def test_the_proxys_host_has_no_udp_and_neither_have_we(net, start, stun, check, packet_filter):  # noqa: F811
    """The test server answers by TCP through the proxy, so it is up."""
    start()
    packet_filter(net.proxy, 'chain o { type filter hook output priority 0; oifname "eth1" meta l4proto udp drop; }')
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "cannot send UDP to the internet.*: by TCP, the test server answers", "--direct", "another server",
                        "no UDP through this proxy")
    assert found.step("datagram_v4")["data"]["cause"] == "way_out" and found.json["means"].startswith("No UDP")


def test_the_proxys_host_has_no_route(net, proxy, check):  # noqa: F811
    """The refused CONNECT shows that there is no route."""
    found = check("--stun", "10.99.0.1")
    assert found.blames("datagram_v4", "has no route there") and found.step("datagram_v4")["data"]["cause"] == "way_out"


def test_nothing_shows_who_is_silent(net, proxy, check):  # noqa: F811
    found = check("--stun", INET1_V4)
    step = found.step("datagram_v4")
    assert found.status == UNKNOWN and (step["status"], step["data"]["cause"]) == ("skipped", "beyond")


def test_the_clients_own_firewall(net, start, stun, check, packet_filter):  # noqa: F811
    start()
    packet_filter(net.client, "chain o { type filter hook output priority 0; meta l4proto udp drop; }")
    assert check("--stun", stun).blames("datagram_v4", "firewall on this machine", "this machine's firewall", "this machine's firewall")


def test_dante_without_a_way_out(net, dante, stun, check, packet_filter):  # noqa: F811
    """It answers each datagram that it cannot send with an ICMP error. Its ports are open nevertheless."""
    dante(PROXY_V4, PROXY_WAN_V4)
    packet_filter(net.proxy, 'chain o { type filter hook output priority 0; oifname "eth1" meta l4proto udp drop; }')
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "receives UDP, but fails when it should forward", "--direct")
    assert "forward the" not in found.step("datagram_v4")["owner"]


def test_a_server_that_relays_nothing(net, stun, own_way, check, crooked):  # noqa: F811
    """It could as well be a firewall, and that is said."""
    crooked(drops=True)
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "there are three possible causes", "tcpdump")


def test_one_datagram_gets_lost(net, stun, check, crooked):  # noqa: F811
    """The first of each association, as it happens on a bad line: no step gives up for that."""
    crooked(loses_first=True)
    found = check("--stun", stun)
    wrong = {step for step, status in found.statuses().items() if status in ("failed", "warning")}
    assert wrong <= {"connect"}, found.json


def test_a_long_way(net, stun, check, crooked):  # noqa: F811
    """By a satellite, and a busy one: late is not lost."""
    crooked(slow=1.4)
    found = check("--stun", stun)
    assert found.step("datagram_v4")["data"]["rtt_ms"] >= 1400
    assert found.step("delay_v4")["data"]["through_ms"] >= 1400
    assert found.statuses()["nat_v4"] == found.statuses()["hairpin_v4"] == "ok"


# The network's fault, or the server's.


STATEFUL = 'iifname "eth1" ct state established,related accept; iifname "eth1" meta l4proto udp drop;'


def test_direct(net, stun, check):  # noqa: F811
    """Without a proxy: a host on the internet, then the same behind its own firewall."""
    found = check("--stun", stun, "--direct", host=net.proxy, proxy=None)
    assert found.status == OK and found.step("direct_v4")["data"]["nat_type"] == "open"
    assert found.json["proxy"] is None and set(found.statuses()) == {"direct_v4"}


def test_the_hosts_firewall_is_to_blame(net, proxy, stun, check, packet_filter):  # noqa: F811
    """Run on the proxy's host, where it can be told: no option is needed for that."""
    packet_filter(net.proxy, f"chain i {{ type filter hook input priority 0; {STATEFUL} }}")
    found = check("--stun", stun, host=net.proxy)
    assert found.step("nat_v4")["data"]["filtering"] == "address-and-port-dependent" and found.status == WRONG
    assert "the result for this machine is no better" in found.step("direct_v4")["cause"]


def test_the_server_may_be_to_blame_behind_a_firewall(net, start, stun, check, packet_filter):  # noqa: F811
    """What is tried without the proxy comes from a port that the firewall knows nothing of."""
    start({"udp": {"filtering": "address-and-port-dependent", "external_ports": "31000-31009"}})
    packet_filter(net.proxy, "chain i { type filter hook input priority 0; "
                             f'iifname "eth1" udp dport 31000-31009 accept; {STATEFUL} }}')
    found = check("--stun", stun, host=net.proxy)
    cause = found.step("direct_v4")["cause"]
    assert re.search(r"if udp\.external_ports are open there, the server filters .*udp\.filtering", cause)


def test_the_server_is_to_blame(net, start, stun, check):  # noqa: F811
    start({"udp": {"filtering": "address-and-port-dependent"}})
    found = check("--stun", stun, host=net.proxy)
    assert "the proxy server is at fault" in found.step("direct_v4")["cause"] and found.status == WRONG


# How it behaves.


def test_on_a_terminal(net, proxy, check):  # noqa: F811
    """A line for what is being done, which its result replaces."""
    ours, theirs = pty.openpty()
    process = net.client.start(PROGRAM, "check", "--proxy", BY_V4, stdout=theirs,
                               env=os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "NO_COLOR": ""})
    assert process.wait(PATIENCE) == UNKNOWN
    os.close(theirs)
    text = os.read(ours, 65536).decode()
    os.close(ours)
    assert re.search("  … TCP connection +\r\033\\[K  \033\\[32m✓\033\\[m TCP connection ", text), text


def test_interrupted(net, start, check, crooked):  # noqa: F811
    crooked(drops=True)
    # Whoever runs the tests in the background has it ignored.
    process = net.client.start(PROGRAM, "check", "--proxy", BY_V4, "--stun", INET1_V4, stdout=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    wait_until(lambda: "UDP ASSOCIATE" in process.stdout.readline(), "the first steps")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT
