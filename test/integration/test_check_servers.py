"""conesocks check against servers that answer oddly, want a login, or are no SOCKS5 servers, and its CONNECT."""
import subprocess

import pytest
import servers
from checks import BY_V4, OK, USAGE, WRONG, check, crooked, knowing, stun  # noqa: F401 (fixtures)
from conftest import ALICE, LISTEN, USERS
from crooked import Socks5
from daemon import PROGRAM, wait_until
from netns import INET1_V4, INET1_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4

WITH_LOGIN = {"listen": [{"address": entry["address"]} for entry in LISTEN], "users": USERS}


# Servers that answer oddly.


def test_wildcard_bound_address(net, stun, check, crooked):  # noqa: F811
    """It stands for the proxy's own address, as clients take it, and the other steps run."""
    crooked(bound="0.0.0.0")
    found = check("--stun", stun)
    assert found.blames("associate", "does not know which one clients use", "advertises")
    assert found.statuses()["datagram_v4"] == found.statuses()["nat_v4"] == "ok"


def test_bound_address_of_loopback(net, stun, check, crooked):  # noqa: F811
    crooked(bound="127.0.0.1")
    found = check("--stun", stun)
    assert found.blames("associate", "behind a NAT", r"udp\.advertise_v4")
    assert found.blames("datagram_v4", f"tells clients to send UDP to 127.0.0.1:.* reached at {PROXY_V4}", "advertise")
    assert found.statuses()["nat_v4"] == "ok"


def test_a_bound_address_of_the_internet_at_home(net, stun, check, crooked):  # noqa: F811
    """Another address to advertise would cut off the clients on the internet."""
    crooked(bound="8.8.8.8")
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "tells clients to send UDP to 8.8.8.8:", "use 8.8.8.8 .* NAT loopback")


@pytest.mark.parametrize("bound, words", [((PROXY_V4, 0), "port 0"), (PROXY_V6, "is IPv6, but we connected by IPv4")])
def test_other_odd_bound_addresses(net, check, crooked, bound, words):  # noqa: F811
    crooked(bound=bound)
    found = check()
    assert words in found.step("associate")["found"] and found.step("associate")["cause"] and found.status == WRONG


def test_row50_what_a_server_says_commands_no_terminal(net, check, crooked):  # noqa: F811
    """A name with a control sequence of one character (CSI), and one that turns the direction of what follows."""
    crooked(bound="clear\u009b2J\u202egone")
    found = check()
    assert found.step("associate")["data"]["bound"] == "clear\u009b2J\u202egone" and found.text.isascii()
    assert "\u009b" not in check(form=None).text


def test_a_server_that_insists_on_the_hint(net, stun, check, crooked):  # noqa: F811
    crooked(wants_hint=True)
    found = check("--stun", stun)
    assert found.blames("datagram_v4", "accepts UDP only from the port that the request names", "learns the port")


def test_a_server_that_refuses_without_the_hint(net, stun, check, crooked):  # noqa: F811
    crooked(wants_hint=True, refuses=1)
    assert check("--stun", stun).blames("associate", "wants the client's address and port in the request")


@pytest.mark.parametrize("code, cause", [(1, "cannot open a UDP port"), (2, "rules do not allow"), (8, "not accept 0.0.0.0:0")])
def test_refusals_are_explained(net, check, crooked, code, cause):  # noqa: F811
    crooked(refuses=code)
    found = check()
    assert found.blames("associate", cause) and found.step("associate")["data"]["code"] == code


def test_answers_from_another_socket(net, stun, check, crooked):  # noqa: F811
    crooked(answers_from=True)
    assert check("--stun", stun).blames("origin", "answers from another socket than it listens on")


def test_answers_without_their_origin(net, stun, check, crooked):  # noqa: F811
    """The NAT type is right nevertheless: the STUN server itself reports where it answered from."""
    crooked(origin=("0.0.0.0", 0))
    found = check("--stun", stun)
    assert found.blames("origin", "does not tell who sent a datagram")
    assert found.step("nat_v4")["data"]["nat_type"] == "open"


def test_answers_under_another_origin(net, stun, check, crooked):  # noqa: F811
    """Always the one that was asked: an answer from elsewhere is still recognised. But new peers cannot be answered,
    as behind docker's userland proxy."""
    crooked(origin=(INET1_V4, 3478))
    found = check("--stun", stun)
    data = found.step("nat_v4")["data"]
    assert (data["nat_type"], data["strangers_seem"]) == ("open", f"{INET1_V4}:3478")
    assert found.blames("nat_v4", "cannot answer a peer", "keep the sender's address") and found.statuses()["origin"] == "warning"


def test_answers_follow_the_port_that_sent_last(net, stun, check, crooked):  # noqa: F811
    crooked(follows=True)
    found = check("--stun", stun)
    assert found.blames("port", "address that sent last", "update", "use another server", "can take over your game")


def test_silenced_by_another_port(net, stun, check, crooked):  # noqa: F811
    crooked(silenced=True)
    found = check("--stun", stun)
    assert found.blames("port", "another port of its address", means="can cut off your game .* with one datagram") and found.statuses()["nat_v4"] == "ok"


@pytest.mark.parametrize("wrong", [{}, {"dies_of_v6": True}])
def test_a_host_without_ipv6(net, stun, knowing, crooked, wrong):  # noqa: F811
    """That is no fault; but a server may not give up all for one datagram that it cannot send. (As dante does.)"""
    crooked(**wrong)
    found = knowing(net.client, (stun, INET1_V6), "--proxy", BY_V4, "--stun", "both.test")
    if wrong:
        assert found.blames("datagram_v6", "ends a whole association when one datagram")
    else:
        assert found.statuses()["datagram_v6"] == "info"
    assert found.statuses()["port"] == found.statuses()["nat_v4"] == "ok"


def test_every_port_of_the_client(net, stun, check, crooked):  # noqa: F811
    crooked(serves_all=True)
    found = check("--stun", stun)
    assert found.status == OK and found.step("port")["status"] == "info"
    assert found.step("port")["data"] == {"kept": True, "other_port_relayed": True}


def test_row29_a_port_for_each_destination_is_symmetric(net, stun, check, crooked):  # noqa: F811
    crooked(symmetric=True)
    found = check("--stun", stun)
    assert found.blames("nat_v4", "each destination sees another port", "endpoint-independent mapping")
    step = found.step("nat_v4")
    assert step["status"] == "failed" and step["found"].startswith('Symmetric, "Strict / C / 3"') and "(address-and-port-dependent mapping" in step["found"]


# Login.


@pytest.mark.parametrize("user, environment", [
    (f"{ALICE[0]}:{ALICE[1]}", {}), (f"{ALICE[0]}:%77onderland", {}), (ALICE[0], {"CONESOCKS_CHECK_PASSWORD": ALICE[1]})])
def test_login(net, start, check, user, environment):  # noqa: F811
    start(WITH_LOGIN)
    found = check(proxy=f"socks5://{user}@{PROXY_V4}", **environment)
    assert found.step("login")["status"] == "ok" and found.step("login")["data"]["method"] == "password"
    assert found.json["user"] == ALICE[0] and ALICE[1] not in found.text


def test_row50_the_password_is_shown_nowhere(net, proxy, check):  # noqa: F811
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


def test_wrong_login(net, start, check):  # noqa: F811
    start(WITH_LOGIN)
    found = check(proxy=f"socks5://{ALICE[0]}:wrong@{PROXY_V4}")
    assert found.blames("login", "misspelt", means="nothing works") and found.statuses()["associate"] == "skipped"
    step = found.step("login")
    assert step["owner"] == step["user"] and found.json["means"] == "Nothing works through this proxy."


def test_a_right_login_after_too_many_wrong_ones(net, start, check):  # noqa: F811
    """The server does not say why it closes."""
    start({**WITH_LOGIN, "limits": {"failed_logins": 1}, "workers": 1})
    check(proxy=f"socks5://{ALICE[0]}:wrong@{PROXY_V4}")
    found = check(proxy=f"socks5://{ALICE[0]}:{ALICE[1]}@{PROXY_V4}")
    assert found.blames("login", r"too many .*limits\.failed_logins", "wait a minute")


def test_no_login_where_one_is_wanted(net, start, check):  # noqa: F811
    start(WITH_LOGIN)
    step = check().step("login")
    assert step["status"] == "failed" and "asks for a user name and password" in step["found"]
    assert f"socks5://USER@{PROXY_V4}:1080" in step["owner"]


def test_a_user_without_a_password(net, check):  # noqa: F811
    found = check(proxy=f"socks5://alice@{PROXY_V4}")
    assert found.status == USAGE and "CONESOCKS_CHECK_PASSWORD" in found.text


def test_a_login_that_is_not_asked_for(net, proxy, check):  # noqa: F811
    assert "did not look at your user name" in check(proxy=f"socks5://alice:secret@{PROXY_V4}").step("login")["found"]


# No SOCKS5 server.


def test_closed_port(net, check):  # noqa: F811
    found = check()
    assert found.blames("tcp", "nothing listens on this port.* a NAT", "ss -ltnp.* forwarded or published")
    assert "refused" in found.step("tcp")["found"]
    assert {step["found"] for step in found.json["steps"][1:]} == {"skipped: the proxy cannot be reached"}


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_closed_port_on_this_machine(net, check, address):  # noqa: F811
    """No NAT is blamed, and nobody is sent to the address that was tried."""
    step = check(host=net.proxy, proxy=f"socks5://{address}").step("tcp")
    assert "127.0.0.1" not in step["cause"]
    assert "nothing listens on this port" in step["cause"]
    assert "NAT" not in step["cause"] and "Docker" not in step["owner"]


def test_the_far_end_has_no_address(net, proxy, check):  # noqa: F811
    found = check("--stun", "nobody.invalid")
    assert found.step("far_end")["status"] == "failed" and found.step("nat_v4")["found"] == "skipped: the test server's address is unknown"


def test_no_such_host(net, check):  # noqa: F811
    assert check(proxy="socks5://10.77.0.99").blames("tcp", "no route to the host", "open TCP port 1080")


def test_one_address_of_two(net, knowing):  # noqa: F811
    """Nobody listens at the first that most clients try. They go on at once, so nothing is wrong with that."""
    with Socks5(net.proxy, "127.0.0.1", PROXY_WAN_V4):
        found = knowing(net.proxy, ("::1", "127.0.0.1"), "--proxy", "socks5://both.test")
    assert "::1" in found.step("name")["found"] and "127.0.0.1" in found.step("name")["found"]
    assert found.step("tcp")["status"] == "ok" and "[::1]:1080 does not: Connection refused" in found.step("tcp")["found"]


def test_the_name_is_wrong(net, check):  # noqa: F811
    assert check(proxy="socks5://nobody.invalid").blames("name", "misspelt")


@pytest.mark.parametrize("says, words", [(b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server"), (b"\0\x5b", "SOCKS4"),
                                         (b"\x15\3\1\0\2\2\x50", "TLS"), (b"", "does not accept this client")])
def test_another_protocol(net, check, crooked, says, words):  # noqa: F811
    crooked(says=says)
    assert check().blames("login", words)


def test_a_web_server(net, check):  # noqa: F811
    with servers.Web(net.proxy, PROXY_V4, 1080):
        assert check().status == WRONG


@pytest.mark.parametrize("arguments", [["--stun", "10.88.0.11:99999"], ["--connect", "10.88.0.11"], ["--what"], ["word"],
                                       ["--proxy", "http://10.77.0.1:1080"]])
def test_usage(net, check, arguments):  # noqa: F811
    found = check(*arguments, proxy=None)
    assert found.status == USAGE and "Try 'conesocks check --help'." in found.text


# CONNECT.


def test_connect_to_what_is_named(net, proxy, web, check):  # noqa: F811
    assert check("--connect", "%s:%d" % web).step("connect")["found"] == "connected to %s:%d" % web


def test_connect_refused(net, proxy, check):  # noqa: F811
    found = check("--connect", f"{INET1_V4}:9")
    assert found.blames("connect", "nothing listens on that port") and found.step("connect")["data"]["code"] == 5


def test_connect_where_nobody_listens(net, check, crooked):  # noqa: F811
    """Granted all the same, by a server that connects afterwards (as v2ray does): it is not taken for a connection."""
    crooked(grants_early=True)
    found = check("--connect", f"{INET1_V4}:9")
    assert found.blames("connect", "grants every CONNECT before it has connected", "without the proxy", "--connect", "websites may work")
    assert found.step("connect")["data"]["answered"] is False


def test_connect_that_is_granted_early(net, web, stun, check, crooked):  # noqa: F811
    """A silent server proves nothing: it may wait for its client. A STUN server answers."""
    crooked(grants_early=True)
    step = check("--connect", "%s:%d" % web).step("connect")
    assert step["status"] == "info" and "nothing answers yet" in step["found"]
    assert check("--stun", stun).step("connect")["status"] == "ok"


def test_connect_by_a_name_that_cannot_be_resolved(net, start, check):  # noqa: F811
    start({"dns": {"servers": ["10.88.0.99"], "timeout": "1s"}}, leaves_lookups=True)  # no host has it
    assert check("--connect", "silent.test:80").blames("connect", "name servers do not answer", "look the name up")


def test_names_that_the_proxy_cannot_look_up(net, start, stun, knowing):  # noqa: F811
    """Only this machine knows the name of the test server."""
    start({"dns": {"servers": ["10.88.0.99"], "timeout": "1s"}}, leaves_lookups=True)  # no host has it
    found = knowing(net.client, (stun,), "--proxy", BY_V4, "--stun", "both.test")
    assert found.blames("names", "name servers do not answer", "port 53", means="leave names to the proxy fail")
    assert found.statuses()["connect"] == "ok"
    assert "has no name" in knowing(net.client, (stun,), "--proxy", BY_V4, "--stun", stun).step("names")["found"]


def test_names_that_the_proxy_looks_up(net, start, stun, knowing):  # noqa: F811
    with servers.Dns(net.inet1, INET1_V4, {"both.test": [stun]}):
        start({"dns": {"servers": [INET1_V4]}})
        found = knowing(net.client, (stun,), "--proxy", BY_V4, "--stun", "both.test")
    assert found.status == OK and found.step("names")["found"] == "the proxy looks up both.test"


def test_another_association_does_not_hide_the_end(net, start, stun, check):  # noqa: F811
    """With one relay port for all, the first one takes the datagram of the one that has ended, after a silence."""
    start({"udp": {"ports": 1080, "rebind_after": "1s"}})
    assert check("--stun", stun).step("end_v4")["data"] == {"ended": True}


def test_connect_denied(net, start, check):  # noqa: F811
    start({"rules": [{"action": "deny", "to": [f"{INET1_V4}/32"]}]})
    assert check("--connect", f"{INET1_V4}:80").blames("connect", "rules do not allow", "conesocks explain")
