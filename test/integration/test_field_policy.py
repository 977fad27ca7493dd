"""Policy and messages as the field has met them: public reports of other servers, tried against this one (issue
"Withstand the field", section 6). Each test names its report."""
import signal
import subprocess

import pytest

import daemon
import servers
import socks5
from conftest import ALICE, USERS, lan_config
from daemon import wait_until
from netns import CLIENT_V4, INET1_V4, INET2_V4, NEIGHBOUR_V4, PROXY_V4
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
    assert status == 1 and "UDP ASSOCIATE is refused" in told


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


# ---- reports of other servers ----

@pytest.fixture
def dns(net):
    with servers.Dns(net.inet2, INET2_V4, {name: [INET1_V4] for name in ("blocked.test", "notblocked.test", "free.test")}) as server:
        yield {"servers": [server.address], "timeout": "1s"}


def denied(net, lan, name):
    sock, reply = socks5.connect(net.client, lan, (name, 9), CLIENT_V4)  # nobody listens there
    sock.close()
    return {2: True, 5: False}[reply.code]


def test_a_name_is_denied_however_it_is_written(net, start, lan, dns):
    """hysteria #1574 (a dot at the end passed), sing-box #330 (capitals passed), tinyproxy #627 ("notblocked" matched
    "blocked", and ".blocked" left the domain itself out)."""
    start({"dns": dns, "rules": [{"action": "deny", "to": [".Blocked.test"]}]})
    for name in ("blocked.test", "blocked.test.", "BLOCKED.test", "www.blocked.test", "WWW.Blocked.Test."):
        assert denied(net, lan, name), name
    assert not denied(net, lan, "notblocked.test") and not denied(net, lan, "free.test.")


def test_rules_about_users_hold_for_datagrams(net, start, lan):
    """mihomo #3108, sing-box #292: the user of an association was not known to the rules."""
    start({"listen": [{"address": PROXY_V4, "port": 1080}], "users": USERS,
           "rules": [{"action": "deny", "user": ["alice"], "command": ["udp"], "to": [INET2_V4]}]})
    allowed, refused = net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)
    association = Association(net.client, lan, user=ALICE[0], password=ALICE[1])
    association.send(refused.getsockname(), b"x")
    assert association.alive(allowed, 3)
    refused.settimeout(0.3)
    with pytest.raises(TimeoutError):
        refused.recv(10)


def test_one_port_takes_no_datagram_of_who_has_not_logged_in(net, start, lan, peer):
    """v2fly #104, Xray #3371, paqet #133: the shared UDP port served everybody who knew it."""
    start({"listen": [{"address": PROXY_V4, "port": 1080}], "users": USERS, "udp": {"ports": 1080}})
    association = Association(net.client, lan, user=ALICE[0], password=ALICE[1])
    stranger = net.neighbour.udp(NEIGHBOUR_V4)
    stranger.sendto(socks5.wrap(peer.getsockname(), b"stolen"), association.relay)
    assert association.alive(peer, 3)  # and nothing else arrived there


def test_the_hint_of_an_association_is_no_destination(net, start, lan, peer):
    """sing-box #755 and #1370: a rule about 127.0.0.1 refused clients that named it as their own address."""
    start({"rules": [{"action": "deny", "to": ["127.0.0.0/8", CLIENT_V4]}]})
    for hint in (("127.0.0.1", 5000), (CLIENT_V4, 5000), ("0.0.0.0", 0)):
        association = Association(net.client, lan, hint=hint)
        assert association.alive(peer, 2)
        association.close()


def test_an_exception_within_a_network(net, start, lan):
    """shadowsocks-libev #2322: 10.10.123.123 allowed, the rest of 10.0.0.0/8 not."""
    start({"rules": [{"action": "allow", "to": [INET1_V4]}, {"action": "deny", "to": [f"{INET1_V4.split('.')[0]}.0.0.0/8", INET2_V4]}]})
    assert reply_code(net, lan, 1, (INET1_V4, 9)) == 5
    assert reply_code(net, lan, 1, (INET2_V4, 9)) == 2


def test_a_client_of_a_listener_for_both_families_matches_rules_about_ipv4(net, start, lan):
    """shadowsocks-rust #1060: it was ::ffff:a.b.c.d to the rules, and locked out."""
    start({"listen": [{"address": "::", "port": 1080}], "rules": [{"action": "allow", "from": ["10.77.0.0/24"]}, {"action": "deny"}]})
    assert reply_code(net, lan, 1, (INET1_V4, 9)) == 5
    assert reply_code(net, lan, UDP) == 0


@pytest.mark.parametrize("password", ["p@ss:w#rd%40$", "пароль €", " leading and trailing ", "x" * 255])
def test_passwords_with_any_character(net, start, lan, password):
    """gost #768 (#), tun2proxy #107 (@), foxyproxy #212 (not ASCII)."""
    done = subprocess.run([daemon.PROGRAM, "hash-password"], input=password, text=True, check=True, stdout=subprocess.PIPE)
    start({"listen": [{"address": PROXY_V4, "port": 1080}], "users": [{"name": "a:b@c#ü", "password": done.stdout.strip()}]})
    with net.client.connect(CLIENT_V4, lan) as sock:
        socks5.negotiate(sock, "a:b@c#ü", password)


def test_a_wrong_password_is_refused_at_once(net, start, lan):
    """3proxy #802: the login succeeded, and the request failed."""
    start({"listen": [{"address": PROXY_V4, "port": 1080}], "users": USERS})
    for offered in (b"\5\1\2", b"\5\3\0\1\2", b"\5\2\0\2"):  # microsocks #17: with GSSAPI among them
        with net.client.connect(CLIENT_V4, lan) as sock:
            sock.sendall(offered)
            assert socks5.recv_exact(sock, 2) == b"\5\2"
            sock.sendall(socks5.login_message(ALICE[0], "wrong"))
            assert socks5.recv_exact(sock, 2) == b"\1\1"


def test_who_is_removed_goes_and_others_stay(net, serve, lan, peer):
    """3proxy #33, #947, #1055: after a reload removed users went on, or everybody was cut."""
    bob = {"name": "bob", "password": USERS[0]["password"]}
    config = {"listen": [{"address": PROXY_V4, "port": 1080}]}
    proxy = serve(config | {"users": [USERS[0], bob]})
    stays = Association(net.client, lan, user="alice", password=ALICE[1])
    goes = Association(net.client, lan, user="bob", password=ALICE[1])
    assert stays.alive(peer, 2) and goes.alive(peer, 2)
    assert proxy.reload(lan_config(config | {"users": [USERS[0]]}))
    assert socks5.recv_all(goes.control) == b""
    assert stays.alive(peer, 3)
    proxy.wait_log('user=bob .*why="no longer allowed by the configuration: its user is gone')


@pytest.mark.parametrize("address", ["::1", "127.0.0.1"])
def test_the_relay_is_where_the_client_came_to(net, start, address, peer):
    """v2ray #2594, #2610 (127.0.0.1 was told for ::1) and wireproxy #199 (the relay listened on all addresses)."""
    proxy = start({"listen": [{"address": address, "port": 1080}]})
    association = Association(net.proxy, (address, 1080), source=address)
    assert association.relay[0] == address
    sockets = net.proxy.run("ss", "--udp", "--all", "--numeric", "--processes").stdout
    at_relay = [line for line in sockets.splitlines() if f":{association.relay[1]} " in line and f"pid={proxy.pid}," in line]
    assert at_relay and all(f"{address}" in line for line in at_relay), sockets


def test_a_list_of_thirty_thousand_names(net, start, lan, dns):
    """3proxy #625, wstunnel #268: as many sites to block."""
    names = [f"site{number}.test" for number in range(30000)]
    start({"dns": dns, "rules": [{"action": "deny", "to": names[at:at + 1000]} for at in range(0, len(names), 1000)]})
    assert denied(net, lan, "site29999.test") and not denied(net, lan, "free.test")


def test_a_rule_that_never_decides_is_told(net, tmp_path):
    """3proxy #693: allow stood before deny."""
    file = tmp_path / "order.yaml"
    file.write_text("rules: [{action: allow, user: [login]}, {action: deny, user: [login], to: [.paypal.com]}]\n"
                    "listen: [{address: 127.0.0.1}]\n", encoding="utf-8")
    told = net.proxy.run(daemon.PROGRAM, "-t", "-c", str(file)).stdout
    assert f"{file}:1:50: warning: rules[1].action: has no effect: rules[0], above it, matches everything" in told


def test_each_datagram_is_judged(net, start, lan, peer):
    """sing-box #2991 (only the first datagram of an association was) and #2356 (a rule about port 53 refused the whole)."""
    start({"rules": [{"action": "deny", "ports": [53]}]})
    dns_server = net.inet1.udp(INET1_V4, 53)
    association = Association(net.client, lan)
    association.send((INET1_V4, 53), b"x")
    assert association.alive(peer, 2)
    association.send((INET1_V4, 53), b"x")
    assert association.alive(peer, 2)
    dns_server.settimeout(0.3)
    with pytest.raises(TimeoutError):
        dns_server.recv(10)


def test_several_listeners_with_logins_and_udp(net, start, peer):
    """v2ray #1498: it did not start."""
    listen = [{"address": PROXY_V4, "port": port} for port in (1080, 1081, 1082)]
    start({"listen": listen, "users": USERS, "udp": {"ports": 1080}})
    for port in (1080, 1081, 1082):
        association = Association(net.client, (PROXY_V4, port), user=ALICE[0], password=ALICE[1])
        assert association.alive(peer, 2)
        association.close()


def test_a_refused_login_tells_the_address(net, start, lan):
    """serjs/socks5-server #90: fail2ban needs one line of one form with the client's address. hev #92: and no password."""
    proxy = start({"listen": [{"address": PROXY_V4, "port": 1080}], "users": USERS})
    with net.client.connect(CLIENT_V4, lan) as sock:
        sock.sendall(b"\5\1\2" + socks5.login_message("jerry", "S3cret-word"))
        assert socks5.recv_all(sock) == b"\5\2\1\1"
    proxy.wait_log(rf'info: session: id=\d+ client={CLIENT_V4}:\d+ user=jerry command=none .*why="wrong user name or password"')
    assert "S3cret" not in proxy.log


OVERLAPS = [(["127.0.0.1"], ["0.0.0.0"]), (["0.0.0.0"], [PROXY_V4]), (["0.0.0.0"], ["::"]), (["::"], ["0.0.0.0"]),
            (["0.0.0.0"], ["0.0.0.0", PROXY_V4]), ([PROXY_V4], ["::", "0.0.0.0"])]


def at(addresses, **extra):
    return lan_config({"listen": [{"address": address, "port": 1080, "auth": "none", "open": True} for address in addresses], **extra})


def is_served(net, address):
    """Several times, by whichever worker."""
    host = net.proxy if address.startswith("127.") else net.client
    for _ in range(6):
        with host.connect(None, (address, 1080)) as sock:
            socks5.negotiate(sock)
    return True


@pytest.mark.parametrize("before, after", OVERLAPS)
def test_a_reload_to_a_listener_that_overlaps_the_previous_one(net, serve, peer, before, after):
    """nginx/unit #20, #303 and apisix #9571: "Address already in use", by the server's own listener. Connections that
    wait at the previous one are served too."""
    known = "127.0.0.1" if before == ["127.0.0.1"] else PROXY_V4
    host = net.proxy if known == "127.0.0.1" else net.client
    proxy = serve(at(before))
    assert is_served(net, known)
    proxy.configure(at(after))
    with proxy.stopped():
        waiting = [host.connect(None, (known, 1080)) for _ in range(4)]
        proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_log("reload: configuration reloaded")
    for sock in waiting:
        with sock:
            socks5.negotiate(sock)
    assert is_served(net, PROXY_V4) and Association(net.client, (PROXY_V4, 1080)).alive(peer, 3)
    assert proxy.reload(at(before)) and is_served(net, known)


@pytest.mark.parametrize("before, after", OVERLAPS)
def test_an_upgrade_to_a_listener_that_overlaps_the_previous_one(net, serve, folder, peer, before, after):
    """The same by --take-over, and by a reload after it."""
    run = {"handover": str(folder / "handover"), "pid_file": str(folder / "pid")}
    known = "127.0.0.1" if before == ["127.0.0.1"] else PROXY_V4
    old = serve(at(before, run=run))
    assert is_served(net, known)
    new = serve(at(after, run=run), arguments=("--take-over",))
    wait_until(lambda: old.process.poll() is not None, "the old process to end")
    assert is_served(net, PROXY_V4) and Association(net.client, (PROXY_V4, 1080)).alive(peer, 3)
    assert new.reload(at(before, run=run)) and is_served(net, known)
    assert new.reload(at(after, run=run)) and is_served(net, PROXY_V4)


def test_an_overlap_with_another_program_is_still_refused(net, serve, lan):
    """The port is the server's own, and at one address another program's."""
    proxy = serve(at([PROXY_V4]))
    taken = net.proxy.listen("127.0.0.1", 1080)
    assert not proxy.reload(at(["0.0.0.0"]))
    proxy.wait_log(rf"cannot listen on 0\.0\.0\.0:1080: Address already in use: .*own listener at {PROXY_V4}:1080 may be")
    assert is_served(net, PROXY_V4)
    taken.close()
