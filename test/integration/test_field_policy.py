"""Policy and messages as the field has met them: public reports of other servers, tried against this one (issue
"Withstand the field", section 6). Each test names its report."""
import pytest

import daemon
import socks5
from conftest import ALICE, USERS
from netns import CLIENT_V4, INET1_V4, INET2_V4, PROXY_V4
from socks5 import Association

DENY_PORTS = {"action": "deny", "ports": [25, 6881]}
UDP, OVER_TCP, BIND = 3, 5, 2


def reply_code(net, lan, command, destination=("0.0.0.0", 0)):
    with net.client.connect(CLIENT_V4, lan) as sock:
        socks5.negotiate(sock)
        return socks5.request(sock, command, destination).code


def explain(net, proxy, command, destination):
    done = net.proxy.run(daemon.PROGRAM, "explain", "-c", str(proxy.config_path), "--from", CLIENT_V4, "--command", command,
                         "--to", destination)
    return done.returncode, done.stdout


@pytest.mark.parametrize("rules", [
    [DENY_PORTS, {"action": "deny", "command": ["udp", "bind"]}],
    [DENY_PORTS, {"action": "allow", "command": ["udp", "bind"], "ports": [25]}, {"action": "deny", "command": ["udp", "bind"]}],
    [{"action": "deny", "from": [CLIENT_V4], "ports": ["1-1000"]}, {"action": "deny", "command": ["udp", "bind"], "ports": ["1001-65535"]}],
    [{"action": "deny", "command": ["udp", "bind"], "to": ["0.0.0.0/0", "::/0"]}],
])
def test_what_can_reach_nothing_is_refused_at_the_request(net, start, lan, rules):
    """Issue 11: a rule that denies a port stood before the one that denies udp, and ASSOCIATE was granted and useless.
    The same for BIND and for UDP over TCP, and CONNECT goes on."""
    proxy = start({"rules": rules})
    assert [reply_code(net, lan, command) for command in (UDP, OVER_TCP, BIND)] == [2, 2, 2]
    assert reply_code(net, lan, 1, (INET1_V4, 2222)) in (0, 5)
    proxy.wait_log("denied: the rules deny every destination")
    status, told = explain(net, proxy, "udp", f"{INET1_V4}:53")
    assert status == 1 and "UDP ASSOCIATE itself" in told


def test_one_destination_that_is_left_is_enough(net, start, lan, peer):
    host, port = peer.getsockname()
    start({"rules": [DENY_PORTS, {"action": "deny", "to": ["128.0.0.0/1"], "command": ["udp"]},
                     {"action": "allow", "to": [host], "ports": [port]}, {"action": "deny", "command": ["udp"]}]})
    assert Association(net.client, lan).alive(peer, 3)


def test_bind_is_judged_by_the_port_that_the_peer_comes_from(net, start, lan):
    """FTP: the client names port 21, the peer comes from 20."""
    start({"rules": [{"action": "allow", "command": ["bind"], "to": [INET1_V4], "ports": [20]}, {"action": "deny"}]})
    assert reply_code(net, lan, BIND, (INET1_V4, 21)) == 0
    assert reply_code(net, lan, BIND, (INET2_V4, 20)) == 2


def test_what_is_named_and_does_not_exist_is_worth_a_warning(net, start):
    """Issue 11. -t and the start say the same, in the form of an error: file:line:column, what, what to do."""
    config = """listen: [{address: 127.0.0.1, port: 1080}]
rules: [{action: allow, user: [bob]}, {action: allow, address_v4: 192.0.2.7}]
outbound:
  address_v6: "2001:db8::7"
upstreams: [{name: office, address: 192.0.2.9, port: 1080}]
dns: {servers: [192.0.2.53]}
"""
    proxy = start(config)
    path = str(proxy.config_path)
    tested = net.proxy.run(daemon.PROGRAM, "-t", "-c", path)
    assert tested.returncode == 0
    for line in [f'{path}:2:32: warning: rules[0].user[0]: there is no user "bob", so nobody matches it; ',
                 f"{path}:2:67: warning: rules[1].address_v4: this host does not have the address 192.0.2.7 now ",
                 f"{path}:4:15: warning: outbound.address_v6: this host does not have the address 2001:db8::7 now "]:
        assert line in tested.stdout and line in proxy.log, line


def test_a_name_that_cannot_be_had_is_found_before_the_start(net, tmp_path):
    file = tmp_path / "names.yaml"
    file.write_text("upstreams: [{name: office, address: proxy.invalid, port: 1080}]\noutbound: {upstream: office}\n"
                    "dns: {servers: [127.0.0.1], timeout: 1s}\n", encoding="utf-8")
    tested = net.proxy.run(daemon.PROGRAM, "-t", "-c", str(file))
    assert tested.returncode == 0
    assert f"{file}:1:37: warning: upstreams[0].address: proxy.invalid does not resolve now; " in tested.stdout


@pytest.mark.parametrize("limits, own, named", [
    ({"associations_per_user": 1}, {}, r"limits\.associations_per_user \(1\)"),
    ({}, {"associations": 1}, r"users\[\]\.associations \(1\)"),
    ({"associations_per_client": 1}, {}, r"limits\.associations_per_client \(1\)"),
    ({"associations": 1}, {}, r"limits\.associations \(1\)"),
    ({"sessions_per_user": 1}, {}, r"limits\.sessions_per_user \(1\)"),
])
def test_what_ends_by_a_limit_names_it(net, start, lan, limits, own, named):
    """Issue 11: the key and its value, in the log and as the reason of the session."""
    listen = [{"address": PROXY_V4, "port": 1080}]
    proxy = start({"listen": listen, "users": [USERS[0] | own], "limits": limits, "workers": 1})
    first = Association(net.client, lan, user=ALICE[0], password=ALICE[1])
    with net.client.connect(CLIENT_V4, lan) as sock:
        socks5.negotiate(sock, *ALICE)
        assert socks5.request(sock, UDP, ("0.0.0.0", 0)).code == 2
    proxy.wait_log(rf"limits: too many .*: {named}: client={CLIENT_V4} user=alice")
    proxy.wait_log(rf'why="too many .*: {named}"')
    first.close()
