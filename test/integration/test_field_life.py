"""What ends has ended wholly, whatever it waited for; and upstreams as people run them. Attack rows 58, 62 and 69."""
import concurrent.futures
import contextlib
import itertools
import struct
import threading

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import wait_until
from netns import CLIENT_V4, INET1_V4, INET2_OTHER_V4, INET2_V4, PROXY_V4
from socks5 import Association, OverTcp
from test_reload import echo  # pylint: disable=unused-import

ECHO = echo  # a fixture, used by its name

FAR = {"name": "far", "address": INET2_V4, "port": 1080}
GRANTED = bytes([5, 0, 0]) + socks5.encode_address(INET2_V4, 4000)
REFUSED = bytes([5, 1, 0]) + socks5.encode_address("0.0.0.0", 0)


class Upstream(servers.Server):
    """A SOCKS5 server that does what `play(control, command)` does once it has read a request."""

    def __init__(self, host, play, login=None, address=INET2_V4, port=1080):
        """`login` is what it answers to a user name and password; None: it asks for none."""
        self.play, self.login, self.asked = play, login, []
        self.listener = host.listen(address, port, timeout=None)
        self.sockets = [self.listener]

    def loop(self):
        while True:
            try:
                control = self.listener.accept()[0]
            except OSError:
                return
            threading.Thread(target=self.serve, args=(control,), daemon=True).start()

    def serve(self, control):
        with control, contextlib.suppress(OSError, EOFError):
            control.settimeout(10)
            socks5.recv_exact(control, socks5.recv_exact(control, 2)[1])
            control.sendall(bytes([5, 2 if self.login else 0]))
            if self.login:
                socks5.recv_exact(control, socks5.recv_exact(control, 2)[1])
                socks5.recv_exact(control, socks5.recv_exact(control, 1)[0])
                control.sendall(self.login)
            command = socks5.recv_exact(control, 4)
            rest = {socks5.V4: 6, socks5.V6: 18}.get(command[3]) or socks5.recv_exact(control, 1)[0] + 2
            self.asked.append((command[1], socks5.recv_exact(control, rest)))
            self.play(control, command[1])


# ---- what a session waits for, when a reload takes it away ----

BOB = {"name": "bob", "password": USERS[0]["password"]}
BOB_LOGIN = ("bob", ALICE[1])
SLOW = {"name": "slow", "password": "$6$rounds=1000000$conesocks$" + "x" * 86}  # takes about a second to check
WAITING = {"listen": [{"address": PROXY_V4, "port": 1080, "auth": "password"}], "users": [*USERS, BOB, SLOW],
           "upstreams": [FAR], "dns": {"servers": [INET2_OTHER_V4]},
           "rules": [*({"action": "deny", "to": [f"10.88.0.{last}"]} for last in range(100, 300 - 64)),
                     {"action": "allow", "to": [INET1_V4], "command": ["connect"]},
                     {"action": "allow", "to": [".nobody.test"], "command": ["connect"]},
                     {"action": "allow", "command": ["bind"]},
                     {"action": "allow", "upstream": "far"}]}
REVOKED = {"user gone": WAITING | {"users": USERS},
           "rule": WAITING | {"rules": [{"action": "deny", "user": ["bob"]}]},
           "UDP off": WAITING | {"udp": {"enabled": False}}}
ANSWERS = ("grants", "refuses", "closes", "is silent")


def begin(net, lan, command, destination, login=BOB_LOGIN):
    """A request that gets no answer yet."""
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock, *login)
    sock.sendall(socks5.request_message(command, destination))
    return sock


@pytest.mark.parametrize("how", REVOKED)
def test_row58_what_a_reload_refuses_ends_wholly(net, serve, lan, how):
    """Sessions that wait for their upstream's answer to an association, a stream; for a name, a dial, a BIND peer, a password. The
    answers come while the refused client may still read its reply; in that time it sends on. (A crash: the answer found a session that
    had let go of its negotiation, and datagrams were judged by rules that were gone.)"""
    reloaded, kinds = threading.Event(), itertools.cycle(ANSWERS)

    def play(control, _):
        kind = next(kinds)
        reloaded.wait(10)
        if kind == "is silent":
            socks5.recv_all(control)
        elif kind != "closes":
            control.sendall(GRANTED if kind == "grants" else REFUSED)
            socks5.recv_all(control)

    before, after = (lan_config(config | {"udp": {"ports": "1080", **config.get("udp", {})}}) for config in (WAITING, REVOKED[how]))
    full = net.inet1.listen(INET1_V4, backlog=0)  # does not answer a connection request once one waits there
    net.inet2.connect(INET2_V4, full.getsockname())
    with Upstream(net.inet2, play) as far, servers.Dns(net.inet2, INET2_OTHER_V4, {"nobody.test": None}):
        proxy = serve(before, leaves_lookups=True)
        associations = [begin(net, lan, command, socks5.ANY_V4)
                        for command in (socks5.ASSOCIATE, socks5.UDP_IN_TCP) for _ in ANSWERS]
        others = [begin(net, lan, socks5.CONNECT, (INET2_OTHER_V4, 80)) for _ in ANSWERS]
        others += [begin(net, lan, socks5.CONNECT, ("nobody.test", 80)), begin(net, lan, socks5.CONNECT, full.getsockname())]
        bind = begin(net, lan, socks5.BIND, (INET1_V4, 0))
        assert socks5.recv_reply(bind).code == 0
        wait_until(lambda: len(far.asked) == len(associations) + len(ANSWERS), "the upstream to be asked")
        checked = net.client.connect(CLIENT_V4, lan)
        checked.sendall(bytes([5, 1, 2]) + socks5.login_message("slow", "password"))
        assert socks5.recv_exact(checked, 2) == bytes([5, 2])
        assert proxy.reload(after)
        reloaded.set()
        sender = net.client.udp(CLIENT_V4)
        for sock in associations:
            with contextlib.suppress(OSError):
                sender.sendto(socks5.wrap((INET1_V4, 9), b"late"), lan)
            with contextlib.suppress(OSError):
                sock.sendall(socks5.frame((INET1_V4, 9), b"late"))
        revoked = associations if how == "UDP off" else associations + others + [bind]
        for sock in revoked:
            with contextlib.suppress(OSError, EOFError):
                assert socks5.recv_reply(sock).code == 2
            assert socks5.recv_all(sock) == b""
        assert socks5.recv_all(checked) in (b"", b"\1\1")
        assert socks5.recv_reply(begin(net, lan, socks5.CONNECT, (INET1_V4, 9), ALICE)).code == 5
        assert proxy.process.poll() is None


# ---- upstreams ----

BY_FAR = {"upstreams": [FAR], "outbound": {"upstream": "far"}}


def test_row69_frames_that_follow_the_request_at_once_wait_for_the_upstream(net, start, lan):
    """UDP over TCP by an upstream that takes its time: 0 of 5 frames arrived."""
    relay, asked, may_grant = net.inet2.udp(INET2_V4), threading.Event(), threading.Event()

    def play(control, _):
        asked.set()
        may_grant.wait(10)
        control.sendall(bytes([5, 0, 0]) + socks5.encode_address(*relay.getsockname()))
        socks5.recv_all(control)

    with Upstream(net.inet2, play):
        proxy = start(BY_FAR)
        control = net.client.connect(CLIENT_V4, lan)
        control.sendall(bytes([5, 1, 0]) + socks5.request_message(socks5.UDP_IN_TCP, socks5.ANY_V4)
                        + socks5.frame((INET1_V4, 9), b"0"))
        for number in range(1, 4):
            control.sendall(socks5.frame((INET1_V4, 9), b"%d" % number))
        assert asked.wait(10)
        control.sendall(socks5.frame((INET1_V4, 9), b"4"))
        wait_until(lambda: proxy.counters().get("upstream_requests_total") == 1, "the upstream to be asked")
        may_grant.set()
        assert socks5.recv_exact(control, 2) == bytes([5, 0])
        assert socks5.recv_reply(control).code == 0
        assert [socks5.unwrap(relay.recv(100)) for _ in range(5)] == [((INET1_V4, 9), b"%d" % number) for number in range(5)]
        control.close()


@contextlib.contextmanager
def relaying(net, bound, login=None, delay=0.0):
    """An upstream that answers each datagram with its own header, a name as a name (as v2ray does), and says that it has bound
    `bound`, with the port, after `delay` seconds; and its relay's socket."""
    relay = net.inet2.udp(INET2_V4, timeout=None)

    def play(control, _):
        threading.Event().wait(delay)
        control.sendall(bytes([5, 0, 0]) + socks5.encode_address(bound, relay.getsockname()[1]))
        socks5.recv_all(control)

    def loop():
        with contextlib.suppress(OSError):
            while True:
                datagram, client = relay.recvfrom(65536)
                if not datagram:
                    return
                relay.sendto(datagram, client)

    with Upstream(net.inet2, play, login) as far, servers.serving(loop, relay):
        yield far


@pytest.mark.parametrize("kind", [Association, OverTcp])
def test_row69_an_answer_under_a_name_is_passed_on(net, start, lan, kind):
    """v2ray's family answers under the name that was asked for: such answers were dropped as bad headers."""
    with relaying(net, INET2_V4):
        proxy = start(BY_FAR)
        association = kind(net.client, lan)
        for size in (0, 5, 1400):
            sent = socks5.encode_address("echo.test", 53) + bytes(size)
            if kind is OverTcp:
                association.send(("echo.test", 53), bytes(size))
                head = socks5.recv_exact(association.control, 3)
                assert head == struct.pack("!HB", size, 3 + len(sent) - size)
                assert socks5.recv_exact(association.control, len(sent)) == sent
            else:
                association.send(("echo.test", 53), bytes(size))
                assert association.udp.recvfrom(2000) == (bytes(3) + sent, association.relay)
        assert association.send((INET1_V4, 53), b"by address") is None and association.recv() == ((INET1_V4, 53), b"by address")
        association.close()
        row = proxy.session()
        assert (row["down_datagrams"], row["down_bytes"]) == ("4", str(1405 + len(b"by address")))


@pytest.mark.parametrize("bound", ["127.0.0.1", "0.0.0.0", "::1", "nat.local", "169.254.7.7"])
def test_row69_a_relay_at_an_address_that_is_not_its_own(net, start, lan, bound):
    """Behind docker, a NAT or a default configuration, servers bind loopback, everything, or tell a name."""
    with relaying(net, bound):
        start(BY_FAR)
        association = Association(net.client, lan)
        association.send((INET1_V4, 53), b"there?")
        assert association.recv() == ((INET1_V4, 53), b"there?")


def test_row69_an_upstream_that_takes_its_time_and_puts_5_into_the_logins_status(net, start, lan):
    """It answers after the time for a handshake (timeouts.handshake) and within the one for connections."""
    by_far = {"upstreams": [FAR | {"user": "me", "password": "secret"}], "outbound": {"upstream": "far"}}
    with relaying(net, INET2_V4, login=bytes([5, 0]), delay=2.5):
        start(by_far | {"timeouts": {"handshake": "1s"}})
        with concurrent.futures.ThreadPoolExecutor() as pool:
            made = [pool.submit(kind, net.client, lan) for kind in (Association, OverTcp)]
            connected = pool.submit(socks5.connect, net.client, lan, (INET1_V4, 80), CLIENT_V4)
        for association in made:
            association.result().send((INET1_V4, 53), b"late")
            assert association.result().recv() == ((INET1_V4, 53), b"late")
        assert connected.result()[1].code == 0


def test_row69_a_hanging_destination_is_not_blamed_on_the_upstream(net, start, lan):
    """The reply code speaks of the destination, and no upstream counts as failed."""
    with Upstream(net.inet2, lambda control, _: socks5.recv_all(control)):
        proxy = start(BY_FAR | {"timeouts": {"connect": "1s"}})
        assert socks5.connect(net.client, lan, (INET1_V4, 80), CLIENT_V4)[1].code == 6
        assert proxy.session(reply="6")["why"] == "destination did not answer the upstream in time"
        assert proxy.counters().get("upstream_failed_total", 0) == 0
        assert "warning: upstream" not in proxy.log


# ---- an upgrade, and then another configuration ----

class Upgrades:
    """Servers that replace each other, each with clients of its own: alice's and bob's associations and streams."""

    def __init__(self, net, serve, lan, folder, echo):
        self.net, self.serve, self.lan, self.folder, self.echo = net, serve, lan, folder, echo
        self.peer, self.servers, self.sessions = net.inet1.udp(INET1_V4), [], {"alice": [], "bob": []}

    def start(self, config):
        run = {"handover": str(self.folder / "handover"), "pid_file": str(self.folder / "pid")}
        config = lan_config({"listen": WAITING["listen"], "users": [*USERS, BOB], "run": run} | config)
        self.servers.append(self.serve(config, arguments=("--take-over",)))
        wait_until(lambda: (self.folder / "pid").read_text(encoding="ascii") == f"{self.servers[-1].pid}\n", "the pid file")
        for user, sessions in self.sessions.items():
            login = {"user": user, "password": ALICE[1]}
            sessions += [Association(self.net.client, self.lan, **login), OverTcp(self.net.client, self.lan, **login),
                         socks5.connect(self.net.client, self.lan, self.echo, **login)[0]]
        assert all(self.works(session) for sessions in self.sessions.values() for session in sessions)
        return config

    def works(self, session):
        if isinstance(session, Association):
            return session.alive(self.peer, 1)
        session.sendall(b"hello")
        return socks5.recv_exact(session, 5) == b"hello"

    def is_over(self, user):
        controls = [getattr(session, "control", session) for session in self.sessions[user]]
        return all(socks5.recv_all(control) == b"" for control in controls)

    def last_reloads(self, config):
        assert self.servers[-1].reload(config)


@pytest.fixture
def upgrades(net, serve, lan, folder, echo):
    yield Upgrades(net, serve, lan, folder, echo)
    net.close_sockets()


NO_BOB = {"users": USERS}
DENY_BOB = {"rules": [{"action": "deny", "user": ["bob"]}]}


@pytest.mark.parametrize("tightened", [NO_BOB, DENY_BOB])
@pytest.mark.parametrize("servers_before", [1, 2, 3])
def test_row62_a_reload_after_an_upgrade_reaches_all_before(upgrades, tightened, servers_before):
    """A removed user went on relaying in the old process, which refuses a SIGHUP. Also where that was replaced in its turn."""
    for _ in range(servers_before + 1):
        config = upgrades.start({})
    upgrades.last_reloads(config | tightened)
    assert upgrades.is_over("bob")
    assert all(upgrades.works(session) for session in upgrades.sessions["alice"])


@pytest.mark.parametrize("tightened", [NO_BOB, DENY_BOB])
def test_row62_an_upgrade_with_another_file_reaches_the_old_one(upgrades, tightened):
    upgrades.start({})
    old = {user: list(sessions) for user, sessions in upgrades.sessions.items()}
    upgrades.sessions = {"alice": []}
    upgrades.start(tightened)
    upgrades.sessions = old
    assert upgrades.is_over("bob")
    assert all(upgrades.works(session) for session in upgrades.sessions["alice"])
    upgrades.servers[0].wait_log("following the configuration of the process that took over$")


def test_row62_users_of_a_file_that_the_old_one_cannot_open(upgrades):
    """Root starts both, and the new users_file is root's alone: the old process gets it open. It has another name, too."""
    first, second = (upgrades.folder / name for name in ("users", "users-later"))
    for path, users in ((first, (*USERS, BOB)), (second, USERS)):
        path.write_text("".join(f"{user['name']}:{user['password']}\n" for user in users), encoding="ascii")
        path.chmod(0o600)
    upgrades.start({"users": [], "users_file": str(first)})
    bobs = upgrades.sessions.pop("bob")
    upgrades.start({"users": [], "users_file": str(second)})
    upgrades.sessions["bob"] = bobs
    assert upgrades.is_over("bob")
    assert all(upgrades.works(session) for session in upgrades.sessions["alice"])
