"""SIGHUP: another configuration while clients are served. Sessions that it forbids end, all others notice nothing."""
import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import PROGRAM, wait_until
from netns import BALANCER_V4, CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET2_V4, PROXY_V4
from socks5 import Association, OverTcp

PROGRAM_BYTES = Path(PROGRAM).read_bytes()
SANITIZED = b"__sanitizer" in PROGRAM_BYTES or b"__tsan_init" in PROGRAM_BYTES
OTHER_USERS = int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]) > 1
NO_INET2 = {"rules": [{"action": "deny", "to": [f"{INET2_V4}/32"]}]}
BROKEN = "listen: [{port: 1080}]\nrules:\n  - {action: perhaps}\nworkers: 2x\n"
WITH_LOGIN = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
BOB = {"name": "bob", "password": USERS[0]["password"]}
MORE = {"address": PROXY_V4, "port": 1090, "auth": "none", "open": True}  # another listener
OTHER_HASH = "$6$rounds=1000$othersalt$" + "x" * 86


@pytest.fixture
def echo(net):
    """A TCP server that sends back what it gets."""
    def serve(sock):
        with sock:
            while data := sock.recv(65536):
                sock.sendall(data)

    def loop():
        while True:
            try:
                sock = listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=contextless(serve), args=(sock,), daemon=True).start()

    listener = net.inet1.listen(INET1_V4, timeout=None)
    with servers.serving(loop, listener):
        yield listener.getsockname()


def contextless(serve):
    """A connection that is reset is no failure of the server."""
    def run(sock):
        try:
            serve(sock)
        except OSError:
            pass
    return run


def talk(sock, data=b"hello"):
    sock.sendall(data)
    return socks5.recv_exact(sock, len(data)) == data


def ended(sock):
    """Reset, or closed; what the test sends before it notices is lost."""
    sock.settimeout(5)
    return socks5.recv_all(sock) == b""


# ---- rules ----

@pytest.mark.parametrize("kind", [Association, OverTcp])
def test_row27_the_next_datagram_obeys_the_new_rules(net, serve, lan, kind):
    """One association, two destinations: the denied one is dropped at once, the other keeps every datagram and its port."""
    proxy = serve()
    allowed, denied = net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)
    association = kind(net.client, lan)
    external = association.external(denied)
    assert association.alive(allowed, 20) and association.alive(denied, 20)
    assert proxy.reload(lan_config(NO_INET2))
    for _ in range(10):
        association.send(denied.getsockname(), b"no more")
    assert association.alive(allowed, 20)  # so those before have been looked at
    assert proxy.dropped("refused") == 10
    denied.settimeout(0.1)
    with pytest.raises(socket.timeout):
        denied.recvfrom(1)
    assert proxy.reload(lan_config())
    denied.settimeout(5)
    assert association.alive(denied, 20) and association.external(denied) == external


def test_row27_associations_without_any_destination_end(net, serve, lan):
    proxy = serve()
    association, other = Association(net.client, lan), Association(net.neighbour, lan, source="10.77.0.3")
    assert proxy.reload(lan_config({"rules": [{"action": "deny", "from": ["10.77.0.2"], "command": ["udp"]}]}))
    assert ended(association.control)
    assert "no longer allowed by the configuration" in proxy.session(command="udp")["why"]
    assert other.alive(net.inet1.udp(INET1_V4), 20)
    assert proxy.reload(lan_config({"udp": {"enabled": False}}))
    assert ended(other.control)
    wait_until(lambda: any("udp.enabled" in row["why"] for row in proxy.sessions(command="udp")), "its record")


def test_row27_streams_to_denied_destinations_end(net, serve, lan, echo):
    """By the address in use and by the name asked for; a stream elsewhere keeps every byte."""
    listener = net.inet2.listen(INET2_V4)
    with servers.Dns(net.inet1, INET1_V4, {"a.test": [INET1_V4], "b.test": [INET1_V4]}) as dns:
        config = {"dns": {"servers": [dns.address]}}
        proxy = serve(config, leaves_lookups=True)
        by_address, _ = socks5.connect(net.client, lan, listener.getsockname())
        remote = listener.accept()[0]
        by_name, _ = socks5.connect(net.client, lan, ("a.test", echo[1]))
        other, _ = socks5.connect(net.client, lan, ("b.test", echo[1]))
        assert talk(by_name) and talk(other)
        assert proxy.reload(lan_config({**config, "rules": [{"action": "deny", "to": [f"{INET2_V4}/32", "a.test"]}]}))
        assert ended(by_address) and ended(remote) and ended(by_name)
        assert talk(other, servers.pattern(100000))
        for destination in (f"{INET2_V4}:{listener.getsockname()[1]}", f"a.test:{echo[1]}"):
            why = proxy.session(destination=destination)["why"]
            assert why == "no longer allowed by the configuration: its destination is denied"
        other.close()


@pytest.fixture
def hole(net):
    """Nothing arrives at INET2 until it is filled."""
    net.inet2.nft("table inet hole { chain input { type filter hook input priority 0; meta l4proto tcp drop; }; }")
    filled = []

    def fill():
        net.inet2.nft("delete table inet hole")
        filled.append(True)
    yield fill
    if not filled:
        fill()


@pytest.mark.parametrize("name", [None, "slow.test"])
def test_row27_streams_that_are_connecting(net, serve, lan, hole, name):
    """An address is refused at once; for a name, the address that answers is checked again."""
    with servers.Dns(net.inet1, INET1_V4, {"slow.test": [INET2_V4]}) as dns:
        config = {"dns": {"servers": [dns.address]}}
        proxy = serve(config, leaves_lookups=True)
        listener = net.inet2.listen(INET2_V4, 80)
        sock = net.client.connect(None, lan, timeout=15)
        socks5.negotiate(sock)
        sock.sendall(socks5.request_message(socks5.CONNECT, (name or INET2_V4, 80)))
        wait_until(lambda: net.proxy.run("ss", "-tnH", "state", "syn-sent").stdout, "the attempt")
        assert proxy.reload(lan_config({**config, **NO_INET2}))
        if name:
            hole()
        assert socks5.recv_reply(sock).code == 2
        assert proxy.session(command="connect")["reply"] == "2"
        if name:
            assert ended(listener.accept()[0])


# ---- users ----

def test_row27_bind_that_waits_and_bind_that_is_connected(net, serve, lan):
    proxy = serve(lan_config())
    asked = {}
    for peer in (INET1_V4, INET2_V4):
        for number in range(2):
            sock = net.client.connect("10.77.0.2", lan)
            socks5.negotiate(sock)
            asked[peer, number] = sock, socks5.request(sock, socks5.BIND, (peer, 0)).address
    served = [(host.connect(peer, asked[peer, 0][1]), asked[peer, 0][0])
              for host, peer in ((net.inet1, INET1_V4), (net.inet2, INET2_V4))]
    assert [socks5.recv_reply(control).code for _, control in served] == [0, 0]
    assert proxy.reload(lan_config(NO_INET2))
    assert socks5.recv_reply(asked[INET2_V4, 1][0]).code == 2
    assert ended(served[1][0])
    served[0][0].sendall(b"still here")
    assert socks5.recv_exact(served[0][1], 10) == b"still here"
    net.inet1.connect(INET1_V4, asked[INET1_V4, 1][1])
    assert socks5.recv_reply(asked[INET1_V4, 1][0]).code == 0
    assert proxy.reload(lan_config({"bind": {"enabled": False}}))
    assert ended(served[0][0])


def log_in(net, lan, user="alice"):
    return Association(net.client, lan, user=user, password=ALICE[1])


def test_users_come_and_go(net, serve, lan):
    """Sessions of removed users and of changed passwords end; others stay, and a new user can log in."""
    peer = net.inet1.udp(INET1_V4)
    proxy = serve({"listen": WITH_LOGIN, "users": [*USERS, BOB]})
    alice, bob = log_in(net, lan), log_in(net, lan, "bob")
    carol = {"name": "carol", "password": USERS[0]["password"]}
    assert proxy.reload(lan_config({"listen": WITH_LOGIN, "users": [carol, *USERS]}))
    assert ended(bob.control) and alice.alive(peer, 10)
    assert proxy.session(user="bob")["why"].startswith("no longer allowed by the configuration: its user is gone")
    with pytest.raises(AssertionError, match="login refused"):
        log_in(net, lan, "bob")
    assert log_in(net, lan, "carol").alive(peer, 5)
    changed = {"name": "alice", "password": OTHER_HASH}
    assert proxy.reload(lan_config({"listen": WITH_LOGIN, "users": [changed, carol]}))
    assert ended(alice.control)
    with pytest.raises(AssertionError, match="login refused"):
        log_in(net, lan)  # not by a cache's leave either


def test_users_file_is_read_again(net, serve, lan, folder):
    users = folder / "users"
    users.write_text(f"alice:{USERS[0]['password']}\n", encoding="ascii")
    users.chmod(0o640)
    if OTHER_USERS:
        os.chown(users, 0, 65534)
    config = {"listen": WITH_LOGIN, "users_file": str(users)}
    proxy = serve(config)
    alice = log_in(net, lan)
    users.write_text(f"bob:{USERS[0]['password']}\n", encoding="ascii")
    assert proxy.reload()
    assert ended(alice.control)
    log_in(net, lan, "bob").close()


def test_a_handshake_continues(net, serve, lan):
    """Half a login before the reload, the other half after; the password is checked against the new users."""
    proxy = serve({"listen": WITH_LOGIN, "users": [*USERS, BOB]})
    logins = {name: socks5.login_message(name, ALICE[1]) for name in ("alice", "bob")}
    socks = {name: net.client.connect(None, lan) for name in logins}
    for name, sock in socks.items():
        sock.sendall(b"\5\1\2" + logins[name][:4])
        assert socks5.recv_exact(sock, 2) == b"\5\2"
    assert proxy.reload(lan_config({"listen": WITH_LOGIN, "users": USERS}))
    for name, sock in socks.items():
        sock.sendall(logins[name][4:])
        assert socks5.recv_exact(sock, 2) == (b"\1\0" if name == "alice" else b"\1\1")
        sock.close()


def test_a_login_becomes_necessary(net, serve, lan):
    proxy = serve({"users": [BOB]})
    association = Association(net.client, lan)
    assert proxy.reload(lan_config({"listen": WITH_LOGIN, "users": [BOB]}))
    assert ended(association.control)
    assert "asks for a login" in proxy.session(command="udp")["why"]
    log_in(net, lan, "bob").close()


# ---- what is wrong, and what has to wait ----

def test_row55_a_broken_file_changes_nothing(net, serve, lan):
    proxy = serve(NO_INET2)
    association, peer = Association(net.client, lan), net.inet1.udp(INET1_V4)
    assert not proxy.reload(BROKEN)
    for where in ("3:14: rules[0].action: ", "4:10: workers: "):
        proxy.wait_log(f"error: reload: {proxy.config_path}:{where}".replace("[", r"\[").replace("]", r"\]"))
    proxy.wait_log("configuration not reloaded: keeping the current configuration")
    assert association.alive(peer, 10)
    assert socks5.connect(net.client, lan, (INET2_V4, 80))[1].code == 2
    proxy.config_path.unlink()
    assert not proxy.reload()
    proxy.wait_log("No such file")
    os.mkfifo(proxy.config_path)
    assert not proxy.reload()
    proxy.wait_log("is not a regular file")
    assert association.alive(peer, 10)


def test_without_a_file_there_is_nothing_to_reload(start, net):
    proxy = start(None)
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_log("SIGHUP: there is no configuration file")


def test_changes_for_the_next_start_are_named(serve):
    proxy = serve()
    assert proxy.reload(lan_config({"workers": 3, "run": {"sandbox": "off"}, "timeouts": {"connect": "3s"}}))
    proxy.wait_log("configuration reloaded; these changes take effect at the next start: workers, run.sandbox$")
    assert proxy.reload(lan_config())
    proxy.wait_log("configuration reloaded$")


def connects(net, port):
    try:
        return net.client.connect(None, (PROXY_V4, port))
    except ConnectionRefusedError:
        return None


def test_log_level(net, serve):
    """The lines about a reload already have the log level of the new file."""
    proxy = serve()
    proxy.configure(lan_config({"listen": [*LISTEN, MORE], "log": {"level": "error"}}))
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: connects(net, 1090), "the new listener")
    assert not proxy.reload(BROKEN)
    assert "1090" not in proxy.log and "configuration reloaded" not in proxy.log
    assert proxy.reload(lan_config())


# ---- listeners and the resolver ----

def test_listeners_come_and_go(net, serve, lan):
    """Sessions outlive the listener that accepted them."""
    peer = net.inet1.udp(INET1_V4)
    proxy = serve()
    first = Association(net.client, lan)
    assert proxy.reload(lan_config({"listen": [MORE]}))
    proxy.wait_log(r"reload: listening on 10\.77\.0\.1:1090")
    proxy.wait_log(r"reload: no longer listening on 10\.77\.0\.1:1080")
    for _ in range(20):  # whichever worker gets it
        Association(net.client, (PROXY_V4, 1090)).close()
    with pytest.raises(ConnectionRefusedError):
        net.client.connect(None, lan)
    assert first.alive(peer, 10)
    assert proxy.reload(lan_config({"listen": [*LISTEN, MORE]}))
    for port in (1080, 1090):
        assert Association(net.client, (PROXY_V4, port)).alive(peer, 2)
    assert proxy.reload(lan_config())


@pytest.mark.parametrize("port, why", [(2000, "Address already in use"), (81, "Permission denied")])
def test_a_listener_that_cannot_be_opened_changes_nothing(net, serve, lan, port, why):
    taken = net.proxy.listen(PROXY_V4, 2000)
    proxy = serve()
    association = Association(net.client, lan)
    assert not proxy.reload(lan_config({"listen": [MORE, {**MORE, "port": port}], **NO_INET2}))
    proxy.wait_log(f"cannot listen on {PROXY_V4}:{port}: {why}")
    assert association.alive(net.inet2.udp(INET2_V4), 10)
    with pytest.raises(ConnectionRefusedError):
        net.client.connect(None, (PROXY_V4, 1090))
    taken.close()


def test_a_capability_that_was_given_up_changes_nothing(net, serve, lan):
    proxy = serve()
    assert not proxy.reload(lan_config({"outbound": {"mark": 7}, **NO_INET2}))
    assert Association(net.client, lan).alive(net.inet2.udp(INET2_V4), 5)


def test_new_name_servers_answer_lookups_under_way(net, serve, lan, echo):
    """The lookup waits for a server that never answers; the next server does."""
    with servers.Dns(net.inet1, INET1_OTHER_V4, {"name.test": None}) as mute, \
            servers.Dns(net.inet2, INET2_V4, {"name.test": [INET1_V4]}) as able:
        config = {"dns": {"servers": [mute.address], "timeout": "30s"}, "workers": 1}
        proxy = serve(config, leaves_lookups=True)
        sock = net.client.connect(None, lan, timeout=10)
        socks5.negotiate(sock)
        sock.sendall(socks5.request_message(socks5.CONNECT, ("name.test", echo[1])))
        wait_until(lambda: mute.asked, "the question")
        assert proxy.reload(lan_config({**config, "dns": {"servers": [able.address], "timeout": "30s"}}))
        assert socks5.recv_reply(sock).code == 0 and talk(sock)
        sock.close()


# ---- the sandbox ----

@pytest.mark.skipif(not OTHER_USERS, reason="who stays root reads the file as it was at the start")
def test_a_replaced_file_is_read_by_the_unprivileged_user(net, serve, lan, folder):
    """Editors rename a new file over the old one. The server started as root, and now runs as nobody."""
    proxy = serve()
    assert "cannot be read again" not in proxy.log
    fresh = folder / "fresh"
    for number in range(3):
        fresh.write_text('{"listen": [{"address": "%s", "auth": "none", "open": true}], "rules": [%s]}' %
                         (PROXY_V4, '{"action": "deny", "to": ["%s/32"]}' % INET2_V4 if number % 2 == 0 else ""),
                         encoding="ascii")
        fresh.rename(proxy.config_path)
        assert proxy.reload()
        code = socks5.connect(net.client, lan, (INET2_V4, 80))[1].code
        assert code == (2 if number % 2 == 0 else 5)


@pytest.mark.skipif(SANITIZED, reason="sanitized: no file is out of reach")
def test_a_replaced_file_out_of_reach_is_named(serve, folder):
    """A server that runs as root can read only that file, and so can one whose file is in a home folder."""
    proxy = serve({"run": {"user": "root"}})
    if "without Landlock" in proxy.log or "has no Landlock" in proxy.log:
        pytest.skip("a kernel, or a build, without Landlock")
    (folder / "fresh").write_bytes(proxy.config_path.read_bytes())
    (folder / "fresh").rename(proxy.config_path)
    assert not proxy.reload()
    proxy.wait_log(f"warning: reload: {proxy.config_path} was replaced after the start")


@pytest.mark.skipif(not OTHER_USERS, reason="root of this user namespace becomes nobody else")
def test_the_start_warns_of_files_that_cannot_be_read_again(net, serve, lan, folder):
    folder.chmod(0o700)
    proxy = serve()
    proxy.wait_log(f"warning: reload: {proxy.config_path} cannot be read again as user id 65534.*chgrp")
    assert not proxy.reload()
    proxy.wait_log(f"error: reload: {proxy.config_path}: .*Permission denied")
    assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4), 5)


def test_a_daemon_finds_its_file_again(net, folder):
    """The file was named relative to the working directory, which a daemon leaves."""
    path, pid_file = folder / "lan.yaml", folder / "pid"
    text = "listen: [{address: %s, port: %d, auth: none, open: true}]\nrun: {pid_file: %s}\n"
    path.write_text(text % (PROXY_V4, 1080, pid_file), encoding="ascii")
    assert net.proxy.run(PROGRAM, "-d", "-c", path.name, cwd=folder).returncode == 0
    pid = int(pid_file.read_text(encoding="ascii"))
    path.write_text(text % (PROXY_V4, 1090, pid_file), encoding="ascii")
    os.kill(pid, signal.SIGHUP)
    try:
        wait_until(lambda: connects(net, 1090), "the new listener")
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not pid_file.exists() or not pid_file.read_text(encoding="ascii"), "its end")


# ---- under load ----

class Load:
    """Runs step() in a thread until the block ends; an exception fails the test."""

    def __init__(self, step):
        self.step, self.steps, self.failure, self.over = step, 0, None, threading.Event()
        self.thread = threading.Thread(target=self.loop)

    def loop(self):
        try:
            while not self.over.is_set():
                assert self.step()
                self.steps += 1
        except BaseException as failure:  # pylint: disable=broad-except
            self.failure = failure

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        assert self.failure is None, repr(self.failure)


def resident_kib(proxy):
    lines = Path(f"/proc/{proxy.pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def test_logins_while_users_change(net, serve, lan):
    """Passwords are checked against the present users: a user that stays can always log in."""
    staying, coming = ({"listen": WITH_LOGIN, "users": users, "timeouts": {"login_cache": "off"}}
                       for users in (USERS, [BOB, *USERS]))
    proxy = serve(staying)
    outcomes = set()

    def try_bob():
        with net.neighbour.connect(None, lan) as sock:
            sock.sendall(b"\5\1\2" + socks5.login_message("bob", ALICE[1]))
            sock.shutdown(socket.SHUT_WR)
            outcomes.add(socks5.recv_all(sock))
        return True

    def try_alice():
        with net.client.connect(None, lan) as sock:
            socks5.negotiate(sock, *ALICE)
        return True

    with Load(try_alice) as alice, Load(try_bob) as bob:
        for number in range(40):
            assert proxy.reload(lan_config(coming if number % 2 == 0 else staying))
        wait_until(lambda: alice.steps > 20 and bob.steps > 20, "logins")
    assert outcomes <= {b"\5\2\1\0", b"\5\2\1\1", b"\5\2"}


def rotate(path, number):
    """As logrotate does with "create": the name gets another file."""
    old = path.with_name(f"{path.name}.{number}")
    path.rename(old)
    path.touch()
    os.chown(path, 65534, 65534)
    return old


def test_row27_row55_a_thousand_reloads_under_load(net, serve, lan, echo, folder):
    """Every other file is broken, and the log's file another one for every tenth. Nobody loses a datagram, a byte or a
    connection, the log no line, and nothing is left behind."""
    reloads = 150 if SANITIZED else 1000
    users = [{"name": f"user{number}", "password": USERS[0]["password"]} for number in range(50)]
    rules = [{"action": "deny", "to": [f"192.0.{number // 250}.{number % 250}/32"]} for number in range(300)]
    logs = [folder / "log"]
    log = {"target": "file", "file": str(logs[0])}
    configs = [lan_config({"users": users, "rules": rules, "log": {"level": "info", **log}}),
               lan_config({"users": users[:40], "rules": rules[::2], "timeouts": {"connect": "9s"}, "log": log})]
    proxy = serve(configs[0], log_file=logs[0])
    peer = net.inet1.udp(INET1_V4)
    associations = [Association(net.client, lan) for _ in range(4)]
    streams = [socks5.connect(net.client, lan, echo)[0] for _ in range(2)]
    data = servers.pattern(200000)
    failed = []
    with Load(lambda: all(each.alive(peer, 1) for each in associations)) as datagrams, \
            Load(lambda: all(talk(sock, data[:20000]) for sock in streams)) as bytes_:
        for number in range(reloads):
            good = number % 2 == 0
            if number % 10 == 0 and OTHER_USERS:
                logs.append(rotate(logs[0], number))
            if proxy.reload(configs[number // 2 % 2] if good else BROKEN) != good:
                failed.append(number)
            if number == reloads // 5:
                resident, descriptors = resident_kib(proxy), len(proxy.descriptors())
        assert datagrams.steps > 0 and bytes_.steps > 0
        assert failed == []
        assert len(proxy.descriptors()) == descriptors
        assert SANITIZED or resident_kib(proxy) <= resident + 1024
    for each in associations:
        assert each.alive(peer, 5)
    lines = "".join(path.read_text(encoding="ascii") for path in logs).splitlines()
    assert all(re.match(r"\S+Z conesocks\[\d+\]: \w+: \w+: ", line) for line in lines)
    assert len([line for line in lines if "reload: configuration reloaded" in line]) == reloads // 2
    assert len([line for line in lines if "reload: configuration not reloaded" in line]) == reloads // 2
    assert not [line for line in lines if "command=udp" in line or "command=connect" in line or "cannot be" in line]


def test_a_listener_that_gets_balancers_serves_them_only(net, serve):
    """Sessions end that came directly, or from a balancer that is no longer trusted."""
    def behind(balancer):
        return {"listen": [{**MORE, "proxy_protocol": "required", "proxy_from": [balancer]}], "reach": "private"}

    proxy = serve({"listen": [MORE]})
    peer, address = net.inet1.udp(INET1_V4), (PROXY_V4, MORE["port"])
    direct = Association(net.client, address)
    assert proxy.reload(lan_config(behind(BALANCER_V4)))
    assert direct.control.recv(1) == b""
    control = net.balancer.connect(BALANCER_V4, address)
    control.sendall(f"PROXY TCP4 {CLIENT_V4} {BALANCER_V4} 40000 1080\r\n".encode())
    announced = Association(net.client, address, control=control)
    assert proxy.reload() and announced.alive(peer, 5)
    assert proxy.reload(lan_config(behind(INET1_V4)))
    assert announced.control.recv(1) == b""
    why = [row["why"] for row in proxy.sessions()]
    assert len(why) == 2 and all("serves its balancers only" in text for text in why), why
