"""A new process takes over from the running one: no connection is refused, no association ends, no byte is lost."""
import contextlib
import errno
import json
import os
import signal
import socket
import struct
import subprocess
import time
from types import SimpleNamespace

import pytest
import servers
import socks5
from conftest import USERS, lan_config
from daemon import PROGRAM, wait_until
from faults import LIBRARY, Faults
from netns import BALANCER_V4, INET1_V4, INET2_V4, NEIGHBOUR_V4, PROXY_V4, STRANGER_V4
from socks5 import Association
from test_admin import ask
from test_reload import OTHER_USERS, Load, echo, talk  # pylint: disable=unused-import
from test_users import WITH_LOGIN, flood, refused

ECHO = echo  # a fixture, used by its name
ADMIN_PORT = 1081


@pytest.fixture
def config(folder):
    """config(...) with what an upgrade needs."""
    def make(extra=()):
        extra = dict(extra)
        run = {"handover": str(folder / "handover"), "pid_file": str(folder / "pid"), **extra.pop("run", {})}
        return {"workers": 2, "run": run, **extra}

    return make


@pytest.fixture
def upgrade(serve, config, folder):
    """upgrade(...) starts a process that takes over, and waits until the pid file names it."""
    def run(extra=(), **options):
        proxy = serve(config(extra), arguments=("--take-over",), **options)
        wait_until(lambda: (folder / "pid").read_text(encoding="ascii") == f"{proxy.pid}\n", "the pid file")
        return proxy

    return run


def has_ended(proxy):
    wait_until(lambda: proxy.process.poll() is not None, "the old process to end")
    assert proxy.process.returncode == 0
    return True


@pytest.mark.parametrize("extra", [{}, {"udp": {"ports": "40000-40999", "external_ports": "41000-41999"}}])
def test_upgrades_under_load(net, serve, config, upgrade, lan, echo, folder, extra):
    """Five upgrades in a row, each with another number of threads, while clients connect, play, download and stay."""
    proxies = [serve(config(extra))]
    peer, other_peer = net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)
    stays = [Association(net.client, lan) for _ in range(4)]
    external = [each.external(peer) for each in stays]
    streams = [socks5.connect(net.client, lan, echo)[0] for _ in range(3)]
    data = servers.pattern(100000)

    def come():
        association = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
        alive = association.alive(other_peer, 2)
        association.close()
        association.udp.close()
        return alive

    def knock():
        with net.stranger.connect(None, lan) as sock:
            socks5.negotiate(sock)
        return True

    with Load(come) as comers, Load(knock) as knocks, Load(lambda: all(each.alive(peer, 1) for each in stays)) as plays, \
            Load(lambda: all(talk(sock, data) for sock in streams)) as loads:
        for workers in (1, 4, 2, 3, 2):
            before = [load.steps for load in (comers, knocks, plays, loads)]
            proxies.append(upgrade({**extra, "workers": workers}))
            proxies[-2].wait_log(f"process {proxies[-1].pid} serves now")
            wait_until(lambda b=before: all(load.steps > n + 3 for load, n in zip((comers, knocks, plays, loads), b)),
                       "all of them to go on")
    assert all(has_ended(proxy) for proxy in proxies[1:-1])
    assert proxies[0].process.poll() is None and [each.external(peer) for each in stays] == external
    for sock in (*streams, *(each.control for each in stays)):
        sock.close()
    assert has_ended(proxies[0])
    assert not [row for proxy in proxies for row in proxy.sessions(why="server stops")]
    assert (folder / "pid").read_text(encoding="ascii") == f"{proxies[-1].pid}\n"


# ---- what goes wrong ----

@pytest.mark.parametrize("text, why", [
    ("listen: [{port: perhaps}]", "expected a port"),
    ("listen: [{address: 192.0.2.1, port: 1080, auth: none, open: true}]\nrun: {handover: HERE}", "cannot listen on"),
    ("listen: [{address: 10.77.0.1, port: 1080, auth: none, open: true}]\nrun: {handover: HERE, user: nobody-of-that-name}"
     "\nadmin: {socket: HERE.admin}", "run.user"),
    ("listen: [{address: 10.77.0.1, port: 1080, auth: none, open: true}]", "run.handover"),
])
def test_a_new_process_that_cannot_serve_changes_nothing(net, serve, config, upgrade, lan, peer, folder, text, why):
    """It has an error in its file, a listener that it cannot open, or a sandbox that it cannot enter."""
    here = str(folder / "handover")
    old = serve(config({"admin": {"socket": f"{here}.admin"}}))
    association = Association(net.client, lan)
    path = folder / "new.yaml"
    path.write_text(text.replace("HERE", here), encoding="utf-8")
    result = net.proxy.run(PROGRAM, "-c", str(path), "--take-over", timeout=20)
    assert result.returncode == 1 and why in result.stdout
    if "about to take over" in old.log:
        old.wait_log("has not taken over; nothing has changed")
    assert association.alive(peer, 5) and Association(net.client, lan).alive(peer, 5)
    assert (folder / "pid").read_text(encoding="ascii") == f"{old.pid}\n" and (folder / "handover.admin").is_socket()
    assert old.reload(lan_config(config({"admin": {"socket": f"{here}.admin"}})))
    net.client.close_sockets()
    upgrade()
    assert has_ended(old)


def test_a_new_process_that_is_killed_changes_nothing(net, serve, config, upgrade, lan, peer, folder):
    """It has the sockets, and ends before it serves."""
    old = serve(config())
    with net.proxy.enter():
        taker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    taker.connect(str(folder / "handover"))
    messages, fds = receive_all(taker)
    assert [kind for kind, _ in messages] == [0, 0, 4, 5, 10, 6] and sum(count for _, count in messages[:-1]) == len(fds)
    second = net.proxy.run(PROGRAM, "-c", str(old.config_path), "--take-over", timeout=20)
    assert second.returncode == 1 and "the running server refuses: see its log" in second.stdout
    assert f": process {os.getpid()} is about to take over" in old.log
    assert Association(net.client, lan).alive(peer, 20)
    taker.close()
    for fd in fds:
        os.close(fd)
    old.wait_log("has not taken over; nothing has changed")
    assert Association(net.client, lan).alive(peer, 5)
    net.client.close_sockets()
    upgrade()
    assert has_ended(old)


@pytest.fixture
def taker(net, folder):
    """taker() is a process that has been given everything, and does not report that it serves."""
    def ask():
        with net.proxy.enter():
            asker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        asker.connect(str(folder / "handover"))
        for fd in receive_all(asker)[1]:
            os.close(fd)
        return asker

    return ask


def test_a_new_process_that_hangs_makes_room_for_another(net, serve, config, upgrade, taker, lan, peer):
    """After a while the next one that asks is accepted. The first is told that it is too late, so only one serves."""
    old = serve(config())
    hangs = taker()

    def next_one():
        with contextlib.suppress(struct.error):  # it is refused
            return taker()
        return time.sleep(0.5)

    next_one = wait_until(next_one, "the next one's turn", 30)
    old.wait_log("telling process [0-9]+ to exit: ")
    assert [hangs.recv(100), hangs.recv(100)] == [struct.pack("=III", 1, 9, 0), b""]
    with pytest.raises(BrokenPipeError):
        hangs.sendall(struct.pack("=III", 1, 7, 0))
    next_one.close()
    old.wait_log("has not taken over; nothing has changed")
    assert Association(net.client, lan).alive(peer, 5)
    net.client.close_sockets()
    upgrade()
    assert has_ended(old)


@pytest.mark.skipif(not LIBRARY.exists(), reason="sanitizers cannot be preloaded over, so faults.so is not built")
def test_row40_a_new_process_serves_after_a_time_limit(net, serve, config, taker, lan, peer, tmp_path):
    """It does not hear that the old process has stopped accepting."""
    faults = Faults(tmp_path)
    serve(config(), environment=faults.environment)
    association, new = Association(net.client, lan), taker()
    faults.set("sendmsg", errno.ENOBUFS)
    new.sendall(struct.pack("=III", 1, 7, 0))
    assert new.recv(100) == b"" and faults.clear()["sendmsg"] == 1
    assert association.alive(peer, 5)
    new.close()


@pytest.mark.skipif(not LIBRARY.exists(), reason="sanitizers cannot be preloaded over, so faults.so is not built")
def test_row46_each_nth_allocation_of_giving(net, serve, config, taker, lan, tmp_path):
    """The answer of a process that has everything is heard; otherwise two would serve."""
    faults, given = Faults(tmp_path), 0
    serve(config(), environment=faults.environment)
    for skip in range(20):
        Association(net.client, lan)  # so that the next connection gets a number that was never waited at
        faults.set("allocation", errno.ENOMEM, skip)
        with contextlib.suppress(struct.error):  # it is told at once that there is nothing to have
            new = taker()
            new.sendall(b"no")
            assert new.recv(100) == b""
            given += 1
        if not faults.clear()["allocation"]:
            break
    assert 3 < skip < 19 and given


def test_row57_sigterm_just_before_the_new_process_serves(serve, config, taker, folder):
    """The old process removes neither the pid file nor the sockets' files: they belong to the new one."""
    old = serve(config({"admin": {"socket": str(folder / "admin")}, "run": {"user": "root", "sandbox": "off"}}))
    new = taker()
    old.process.send_signal(signal.SIGTERM)
    assert has_ended(old)
    assert (folder / "pid").exists() and (folder / "admin").is_socket() and (folder / "handover").is_socket()
    new.close()


def receive_all(taker):
    """[(kind, count)], descriptors"""
    messages, fds = [], []
    taker.settimeout(10)
    while not messages or messages[-1][0] != 6:
        data, more, _, _ = socket.recv_fds(taker, 100, 200)
        version, kind, count = struct.unpack("=III", data)
        assert version == 1
        messages.append((kind, count))
        fds += more
    return messages, fds


@pytest.mark.parametrize("answer", [b"", b"nonsense", struct.pack("=III", 2, 7, 0), struct.pack("=III", 1, 6, 0)])
def test_a_wrong_answer_changes_nothing(net, serve, config, lan, peer, folder, answer):
    old = serve(config())
    with net.proxy.enter():
        taker = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    taker.connect(str(folder / "handover"))
    for fd in receive_all(taker)[1]:
        os.close(fd)
    taker.sendall(answer) if answer else taker.close()  # pylint: disable=expression-not-assigned
    old.wait_log("has not taken over; nothing has changed")
    assert Association(net.client, lan).alive(peer, 5)
    taker.close()


@pytest.mark.skipif(not OTHER_USERS, reason="there is no other user in this namespace")
@pytest.mark.parametrize("mode, why", [(0o600, "Permission denied"), (0o666, "the running server refuses: see its log")])
def test_another_users_process_is_refused(net, serve, config, lan, peer, folder, mode, why):
    """The socket's mode refuses it, and so does the server."""
    old = serve(config({"run": {"user": "root"}}))
    (folder / "handover").chmod(mode)
    result = net.proxy.run("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", PROGRAM, "-c",
                           str(old.config_path), "--take-over", timeout=20)
    assert result.returncode == 1 and why in result.stdout
    if mode == 0o666:
        old.wait_log("refusing to give the listeners to process [0-9]+: it runs as user id 12345")
    assert Association(net.client, lan).alive(peer, 5)


@pytest.mark.skipif(not OTHER_USERS, reason="there is no other user in this namespace")
def test_nothing_is_taken_from_another_user(net, config, folder):
    """Another user listens at the path before the server does."""
    folder.chmod(0o777)
    script = ("import socket, sys; s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); s.bind(sys.argv[1]); "
              "s.listen(); print(flush=True); s.accept(); s.recv(1)")
    trap = net.proxy.start("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "/usr/bin/python3", "-c", script,
                           str(folder / "handover"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert trap.stdout.readline()
    path = folder / "new.yaml"
    path.write_text("listen: [{address: %s, port: 1080, auth: none, open: true}]\nrun: {handover: %s}" %
                    (PROXY_V4, config()["run"]["handover"]), encoding="ascii")
    result = net.proxy.run(PROGRAM, "-c", str(path), "--take-over", timeout=20)
    trap.kill()
    trap.wait()
    assert result.returncode == 1 and "it belongs to user id 12345" in result.stdout


def test_a_start_without_take_over_takes_nothing(net, serve, config, lan, peer, folder):
    old = serve(config())
    result = net.proxy.run(PROGRAM, "-c", str(old.config_path), timeout=20)
    assert result.returncode == 1 and "running already" in result.stdout
    assert Association(net.client, lan).alive(peer, 5) and (folder / "handover").is_socket()


# ---- the rest ----

def test_no_server_to_take_over_from(net, upgrade, lan, peer):
    """Also after kill -9, which leaves the file of the socket behind."""
    first = upgrade(killed=True)
    first.wait_log("no server is running at .*: there is nothing to take over")
    first.process.kill()
    first.process.wait()
    again = upgrade()
    again.wait_log("there is nothing to take over")
    assert Association(net.client, lan).alive(peer, 5)


def test_listeners_change_with_an_upgrade(net, serve, config, upgrade, lan, peer):
    """One listener is removed, one stays, one is added."""
    def listen(*ports):
        return {"listen": [{"address": PROXY_V4, "port": port, "auth": "none", "open": True} for port in ports]}

    old = serve(config(listen(1080, 1082)))
    upgrade(listen(1080, 1083))
    assert has_ended(old)
    for port in (1080, 1083):
        assert Association(net.client, (PROXY_V4, port)).alive(peer, 5)
    with pytest.raises(ConnectionRefusedError):
        net.client.connect(None, (PROXY_V4, 1082))


def test_the_admin_listener_is_handed_over(net, serve, config, upgrade, folder):
    """It is asked all the time, over TCP and over its socket."""
    admin = {"admin": {"port": ADMIN_PORT, "socket": str(folder / "admin")}}

    def ask(family, address):
        with net.proxy.enter():
            sock = socket.socket(family)
        with sock:
            sock.settimeout(10)
            sock.connect(address)
            sock.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            return b" 200 " in socks5.recv_all(sock)

    old = serve(config(admin))
    with Load(lambda: ask(socket.AF_INET, ("127.0.0.1", ADMIN_PORT))) as tcp, \
            Load(lambda: ask(socket.AF_UNIX, str(folder / "admin"))) as local:
        for _ in range(3):
            before, new = (tcp.steps, local.steps), upgrade(admin)
            assert has_ended(old)
            wait_until(lambda b=before: tcp.steps > b[0] + 5 and local.steps > b[1] + 5, "answers")
            old = new
    assert (folder / "admin").is_socket()


def test_another_pid_file(serve, config, upgrade, folder):
    old = serve(config({"run": {"pid_file": str(folder / "other")}}))
    upgrade()
    assert has_ended(old)
    assert (folder / "other").read_text(encoding="ascii") == ""


def test_a_limit_and_sigterm(net, serve, config, upgrade, lan, peer):
    """timeouts.drain limits the replaced process; SIGTERM ends it at once; it no longer reloads on SIGHUP."""
    old = serve(config({"timeouts": {"drain": "1s"}}))
    association = Association(net.client, lan)
    middle = upgrade()
    assert association.control.recv(1) == b"" and has_ended(old)
    association = Association(net.client, lan)
    upgrade()
    middle.wait_log("accepting no new connections; 1 session continues$")
    middle.process.send_signal(signal.SIGHUP)
    middle.wait_log("SIGHUP: not reloaded")
    assert association.alive(peer, 5)
    middle.process.send_signal(signal.SIGTERM)
    assert association.control.recv(1) == b"" and has_ended(middle)
    assert Association(net.client, lan).alive(peer, 5)


def test_a_daemon(net, folder, lan, peer):
    """The command returns when the new process serves."""
    path = folder / "lan.yaml"
    path.write_text("listen: [{address: %s, port: 1080, auth: none, open: true}]\nrun: {handover: %s/handover, "
                    "pid_file: %s/pid}\n" % (PROXY_V4, folder, folder), encoding="ascii")
    pids = []
    try:
        for options in ((), ("--take-over",), ("--take-over",)):
            result = net.proxy.run(PROGRAM, "-d", "-c", str(path), *options, timeout=20)
            assert result.returncode == 0, result.stdout
            pids.append(int((folder / "pid").read_text(encoding="ascii")))
            assert Association(net.client, lan).alive(peer, 5)
            net.client.close_sockets()
        assert len(set(pids)) == 3
        wait_until(lambda: not os.path.exists(f"/proc/{pids[0]}") and not os.path.exists(f"/proc/{pids[1]}"), "their ends")
    finally:
        for pid in pids:
            if os.path.exists(f"/proc/{pid}"):
                os.kill(pid, signal.SIGTERM)
    wait_until(lambda: (folder / "pid").read_text(encoding="ascii") == "", "the end")


# ---- one UDP port for all ----

ONE_PORT = {"udp": {"ports": "1080"}}


def test_one_udp_port(net, serve, config, upgrade, lan, peer):
    """Clients that are known, clients that have not sent yet, and one whose NAT gives it another port: each is heard by the
    process that has its association, over two upgrades."""
    one_port = {"udp": {**ONE_PORT["udp"], "rebind_after": "1s"}}  # which the last one's file says for all of them
    first = serve(config({**one_port, "workers": 3}))
    rebound = Association(net.balancer, lan, source=BALANCER_V4)
    known = [rebound, *(Association(net.client, lan) for _ in range(4))]
    external = [each.external(peer) for each in known]
    waiting = [Association(net.neighbour, lan, source=NEIGHBOUR_V4) for _ in range(6)]
    second = upgrade({**one_port, "workers": 2})
    assert all(each.alive(peer, 10) for each in known)
    assert all(each.alive(peer, 5) for each in waiting[:3])
    comers = [Association(net.stranger, lan, source=STRANGER_V4) for _ in range(6)]
    assert all(each.alive(peer, 5) for each in comers[:3])
    third = upgrade({**one_port, "workers": 4})
    assert all(each.alive(peer, 5) for each in (*known, *waiting, *comers))
    more = [Association(net.client, lan) for _ in range(8)]
    assert all(each.alive(peer, 5) for each in more)
    time.sleep(3)  # rebind_after, and until that is noticed
    rebound.udp = net.balancer.udp(BALANCER_V4)
    assert rebound.alive(peer, 5)
    assert [each.external(peer) for each in known] == external
    assert first.process.poll() is None and second.process.poll() is None
    for each in (*known, *waiting):
        each.close()
    assert has_ended(first)
    assert all(each.alive(peer, 5) for each in (*comers, *more))
    for each in comers:
        each.close()
    assert has_ended(second)
    assert all(each.alive(peer, 5) for each in more)
    assert third.dropped("stranger") == 0


def test_one_udp_port_while_a_new_process_hangs(net, serve, config, lan, peer, folder):
    """We continue to read the sockets for new clients, while other processes come and end."""
    proxy = serve(config({**ONE_PORT, "workers": 3}))
    goes = [Association(net.client, lan) for _ in range(6)]
    with net.proxy.enter():
        hangs = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    hangs.connect(str(folder / "handover"))
    fds = receive_all(hangs)[1]
    for each in goes:
        each.close()
    time.sleep(0.5)
    assert all(Association(net.neighbour, lan, source=NEIGHBOUR_V4).alive(peer, 1) for _ in range(20))
    hangs.close()
    for fd in fds:
        os.close(fd)
    proxy.baseline += 3  # each worker's stays
    net.neighbour.close_sockets()
    assert all(Association(net.neighbour, lan, source=NEIGHBOUR_V4).alive(peer, 1) for _ in range(20))


def test_one_udp_port_under_load(net, serve, config, upgrade, lan, peer):
    """The first datagrams of new clients may arrive at either process, and none is lost."""
    proxies = [serve(config(ONE_PORT))]
    other_peer = net.inet2.udp(INET2_V4, timeout=0.5)
    stays = [Association(net.client, lan) for _ in range(3)]

    def is_heard(association):
        """Within three tries: a port that the client has had just before is not its own for a moment (SHARED_PORT_REST_MS)."""
        for _ in range(3):
            association.send(other_peer.getsockname(), b"hello")
            with contextlib.suppress(socket.timeout):
                return other_peer.recvfrom(100)[0] == b"hello"
        return False

    def come():
        association = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
        heard = is_heard(association)
        association.close()
        association.udp.close()
        return heard

    with Load(come) as comers, Load(lambda: all(each.alive(peer, 1) for each in stays)) as plays:
        for _ in range(3):
            before = comers.steps, plays.steps
            proxies.append(upgrade(ONE_PORT))
            wait_until(lambda b=before: comers.steps > b[0] + 5 and plays.steps > b[1] + 5, "all of them to go on")
    for each in stays:
        each.close()
    assert all(has_ended(proxy) for proxy in proxies[:-1])  # or SIGTERM would meet it on its way to the end
    assert not [row for proxy in proxies for row in proxy.sessions(why="server stops")]


def test_volumes_are_kept(net, serve, config, lan, folder):
    """What the replaced process relayed before, what it still relays, and over two upgrades."""
    def used():
        users = json.loads(ask(SimpleNamespace(proxy=net.proxy), "/status")[2])["users"]["list"]
        return users[0]["volume_bytes"] if users else 0

    def start(**options):
        proxy = serve(config({"listen": WITH_LOGIN, "users": [{**USERS[0], "volume": "1MiB"}], "admin": {"port": ADMIN_PORT}}),
                      **options)
        wait_until(lambda: (folder / "pid").read_text(encoding="ascii") == f"{proxy.pid}\n", "the pid file")
        return proxy

    def log_in():
        return Association(net.client, lan, user="alice", password="wonderland")

    peer = net.inet1.udp(INET1_V4)
    proxies = [start()]
    first = log_in()
    flood(first, peer, 200)
    proxies.append(start(arguments=("--take-over",)))
    wait_until(lambda: used() == 200 * 1200, "the volume to be handed over")
    flood(first, peer, 100)
    wait_until(lambda: used() == 300 * 1200, "the replaced process to report")
    second = log_in()
    flood(second, peer, 100)
    proxies.append(start(arguments=("--take-over",)))
    wait_until(lambda: used() == 400 * 1200, "both to report")
    first.close()
    assert has_ended(proxies[0])
    third = log_in()
    flood(third, peer, 600)
    wait_until(lambda: refused(net.client, lan) == 2, "the volume to be used up")
    second.close()
    assert has_ended(proxies[1])
