"""Messages to systemd (sd_notify(3)), read from a socket of the test, and sockets that it passes (sd_listen_fds(3))."""
import contextlib
import ctypes
import json
import os
import re
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import lan_config
from daemon import PROGRAM, wait_until
from netns import INET1_V6, PROXY_V4, PROXY_V6
from socks5 import Association

CONFIG = Path(__file__).resolve().parents[2] / "config"
DRAIN = {"timeouts": {"drain": "1h"}}
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17

pytestmark = pytest.mark.skipif(b"NOTIFY_SOCKET" not in Path(PROGRAM).read_bytes() and
                                "libsystemd" not in subprocess.run(["ldd", PROGRAM], capture_output=True, text=True,
                                                                   check=False).stdout,
                                reason="built without libsystemd")


class Manager:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.settimeout(10)
        if isinstance(address, str):
            os.chmod(address, 0o777)
        self.environment = {"NOTIFY_SOCKET": address if isinstance(address, str) else "@" + address[1:].decode()}

    def next(self, *prefixes):
        """The next message that begins with one of these, or any."""
        while True:
            text = self.socket.recv(4096).decode()
            if not prefixes or text.startswith(prefixes):
                return text

    def is_silent(self, seconds):
        self.socket.settimeout(seconds)
        with contextlib.suppress(socket.timeout):
            return not self.socket.recv(4096)
        self.socket.settimeout(10)
        return True


@pytest.fixture(params=["path", "abstract"])
def any_manager(net, folder, request):
    with net.proxy.enter():
        manager = Manager(str(folder / "notify") if request.param == "path" else b"\0conesocks-test-%d" % os.getpid())
    yield manager
    manager.socket.close()


@pytest.fixture
def manager(folder):
    manager = Manager(str(folder / "notify"))
    yield manager
    manager.socket.close()


def test_ready_status_and_stopping(net, serve, any_manager, lan, peer):
    """From within the sandbox, as another user."""
    proxy = serve(environment=any_manager.environment)
    assert any_manager.next() == "READY=1"
    assert any_manager.next() == "STATUS=2 listeners, 0 sessions, 0 associations"
    association = Association(net.client, lan)
    assert association.alive(peer, 5)
    assert any_manager.next() == "STATUS=2 listeners, 1 session, 1 association"
    proxy.process.send_signal(signal.SIGTERM)
    assert any_manager.next().startswith("STOPPING=1\n")
    assert proxy.process.wait(10) == 0


def test_a_status_line_is_sent_once(serve, manager):
    serve(environment=manager.environment)
    assert manager.next() == "READY=1" and manager.next().startswith("STATUS=")
    assert manager.is_silent(5.5)


def test_errors_at_the_start_reach_the_journal(folder):
    """With the priority of an error, for `journalctl -p err`, although the log has not started yet."""
    config, journal = folder / "c.yaml", folder / "journal"
    config.write_text("listen: perhaps\nworkers: none\n", encoding="ascii")
    with journal.open("w") as stderr:
        status = os.fstat(stderr.fileno())
        result = subprocess.run([PROGRAM, "-t", "-c", str(config)], stderr=stderr, check=False, timeout=20,
                                env=os.environ | {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"})
    lines = journal.read_text(encoding="ascii").splitlines()
    assert result.returncode == 1 and lines and all(line.startswith(f"<3>{config}:") for line in lines)


def test_systemd_is_told_of_a_drain(net, serve, manager, lan):
    """And how long it may take; otherwise systemd kills the process after TimeoutStopSec=."""
    proxy = serve(DRAIN, environment=manager.environment)
    association = Association(net.client, lan)
    proxy.process.send_signal(signal.SIGTERM)
    assert manager.next("STOPPING") == "STOPPING=1\nEXTEND_TIMEOUT_USEC=3630000000"
    assert manager.next() == "STATUS=about to end; 1 session, 1 association"
    association.close()
    assert proxy.process.wait(10) == 0


def test_reloading(serve, manager):
    """With the time, which systemd compares with that of its request; and ready again, even if the reload has failed."""
    proxy = serve(environment=manager.environment)
    manager.next("STATUS")
    for config, done in ((lan_config(), True), ("listen: perhaps", False)):
        before = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        assert proxy.reload(config) == done
        first, second = manager.next("RELOADING").split("\n")
        assert first == "RELOADING=1" and second.startswith("MONOTONIC_USEC=")
        assert abs(int(second.partition("=")[2]) / 1e6 - before) < 60
        assert manager.next("READY") == "READY=1"


@contextlib.contextmanager
def paused(threads):
    """Only these threads of the process stand still."""
    for thread in threads:
        if libc.ptrace(PTRACE_SEIZE, thread, None, None) < 0 or libc.ptrace(PTRACE_INTERRUPT, thread, None, None) < 0:
            pytest.skip("cannot pause a thread here (ptrace)")
        os.waitpid(thread, 0x40000000)  # __WALL
    try:
        yield
    finally:
        for thread in threads:
            libc.ptrace(PTRACE_DETACH, thread, None, None)


def test_watchdog(serve, manager):
    """It is notified as long as every worker's loop turns, and again when a hung worker continues."""
    proxy = serve(environment=manager.environment | {"WATCHDOG_USEC": "1000000"})
    for _ in range(3):
        assert manager.next("WATCHDOG") == "WATCHDOG=1"
    tasks = Path(f"/proc/{proxy.pid}/task").iterdir()
    threads = [int(task.name) for task in tasks if (task / "comm").read_text(encoding="ascii") == "worker\n"]
    with paused(threads):
        proxy.wait_log("a worker has been hung for 3 s")
        manager.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while manager.socket.recv(4096):
                pass
        assert manager.is_silent(2)
    assert manager.next("WATCHDOG") == "WATCHDOG=1"


def test_another_process_is_not_watched(serve, manager):
    serve(environment=manager.environment | {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"})
    manager.next("STATUS")
    assert manager.is_silent(2)


@pytest.mark.parametrize("socket_name", ["", "/nonexistent/notify", "nonsense"])
def test_a_notify_socket_that_nobody_reads(net, serve, lan, peer, socket_name):
    serve(environment={"NOTIFY_SOCKET": socket_name, "WATCHDOG_USEC": "nonsense"})
    assert Association(net.client, lan).alive(peer, 5)


def reload_by_the_unit(net, proxy, path):
    """Runs ExecReload= of the unit as systemd would, for the unit that `proxy` is the process of."""
    unit = (CONFIG / "conesocks.service").read_text(encoding="utf-8").replace("@bindir@/conesocks", PROGRAM)
    command, = re.findall(r"^ExecReload=\+(.*)", unit.replace("@sysconfdir@/conesocks.yaml", str(path)), re.MULTILINE)
    return net.proxy.run("env", f"MAINPID={proxy.pid}", *command.split(), timeout=20)


@pytest.mark.parametrize("admin", [{}, {"admin": {"port": 1081}}])
def test_the_unit_reloads_its_process(net, serve, admin):
    """Also without an admin listener. If the file has an error, the reload fails, and the service continues."""
    proxy = serve(admin)
    assert reload_by_the_unit(net, proxy, proxy.config_path).returncode == 0
    proxy.wait_log("configuration reloaded")
    proxy.configure("workers: none")
    result = reload_by_the_unit(net, proxy, proxy.config_path)
    assert result.returncode != 0 and "workers" in result.stdout and "reload failed" not in proxy.log


def test_the_unit_reloads_the_process_that_serves(net, serve, folder, lan, peer):
    """After an upgrade the unit's own process serves its sessions only."""
    path = folder / "both.yaml"
    path.write_text(json.dumps(lan_config({"admin": {"port": 1081}, "run": {"handover": str(folder / "handover")}})),
                    encoding="ascii")
    old = serve(None, arguments=("-c", str(path)))
    association = Association(net.client, lan)
    new = serve(None, arguments=("-c", str(path), "--take-over"))
    old.wait_log("accepting no new connections; 1 session continues")
    assert reload_by_the_unit(net, old, path).returncode == 0
    new.wait_log("configuration reloaded")
    assert "SIGHUP" not in old.log and association.alive(peer, 5)


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze")
def test_units_are_valid(tmp_path):
    """As far as systemd can tell without running them."""
    units = []
    for name, restart in (("conesocks.service", "always"), ("conesocks@next.service", "on-failure"), ("conesocks.socket", "")):
        text = (CONFIG / name.replace("@next", "")).read_text(encoding="utf-8").replace("@bindir@/conesocks", PROGRAM)
        units.append(tmp_path / name)
        units[-1].write_text(text.replace("@sysconfdir@", "/etc").replace("@restart@", f"Restart={restart}"), encoding="utf-8")
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True,
                            check=False)
    lines = [line for line in result.stderr.splitlines() if "conesocks" in line]
    assert units and lines == [], result.stderr


# ---- socket activation ----

def listening(net, *addresses):
    """Sockets as systemd opens them: blocking, and not to be shared."""
    with net.proxy.enter():
        sockets = []
        for host, port in addresses:
            sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            sock.listen(100)
            sockets.append(sock)
    net.proxy.opened += sockets
    return sockets


@pytest.mark.parametrize("workers", [1, 3])
def test_passed_sockets_are_used(net, serve, lan, peer, workers):
    """One socket for all workers; the server opens the other addresses itself."""
    sockets = listening(net, lan)
    proxy = serve({"workers": workers}, sockets=sockets)
    inode = os.fstat(sockets[0].fileno()).st_ino
    assert proxy.descriptors().count(f"socket:[{inode}]") == workers
    for _ in range(20):
        assert Association(net.client, lan).alive(peer, 1)
    assert Association(net.client, (PROXY_V6, 1080)).alive(net.inet1.udp(INET1_V6), 5)


def test_a_privileged_port_without_privileges(net, serve, peer):
    """It runs as a user who could not open that port."""
    sockets = listening(net, (PROXY_V4, 80))
    config = {"listen": [{"address": PROXY_V4, "port": 80, "auth": "none", "open": True}]}
    proxy = serve(config, sockets=sockets)
    assert Association(net.client, (PROXY_V4, 80)).alive(peer, 5)
    assert proxy.reload(lan_config({**config, "workers": 2}))
    assert Association(net.client, (PROXY_V4, 80)).alive(peer, 5)


def test_a_client_during_a_restart_waits(net, serve, lan, peer):
    sockets = listening(net, lan)
    config = {"listen": [{"address": PROXY_V4, "port": 1080, "auth": "none", "open": True}]}
    first = serve(config, sockets=sockets)
    assert Association(net.client, lan).alive(peer, 5)
    net.client.close_sockets()
    first.stop()
    waiting = [net.client.connect(None, lan, timeout=10) for _ in range(10)]
    serve(config, sockets=sockets)
    for control in waiting:
        assert Association(net.client, lan, control=control).alive(peer, 1)


def start_with(net, sock):
    """The built-in default, which is not to start."""
    return net.proxy.run("sh", "-c", 'exec 3<&0; LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"', "sh", PROGRAM, stdin=sock,
                         timeout=20)


def test_a_passed_socket_that_no_listener_names(net, lan):
    """With the built-in default, too: a socket unit does not make an open proxy."""
    result = start_with(net, *listening(net, lan))
    assert result.returncode == 1
    assert f"systemd passes a socket at {PROXY_V4}:1080, but the configuration does not listen there" in result.stdout


@pytest.mark.parametrize("kind", [socket.SOCK_DGRAM, socket.SOCK_STREAM])
def test_a_passed_socket_of_another_kind(net, kind):
    """A UDP socket, and one that does not listen."""
    with net.proxy.enter():
        sock = socket.socket(socket.AF_INET, kind)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of an earlier test may linger there
        sock.bind(("127.0.0.1", 1080))
    net.proxy.opened.append(sock)
    result = start_with(net, sock)
    assert result.returncode == 1 and "cannot use descriptor 3, which was passed to this process" in result.stdout


def test_sockets_for_another_process_are_left_alone(net, serve, lan, peer):
    serve(environment={"LISTEN_FDS": "5", "LISTEN_PID": "1"})
    assert Association(net.client, lan).alive(peer, 5)


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="no systemd-socket-activate")
def test_activation_by_systemd(net, folder, lan, peer):
    """The first client starts it."""
    config = folder / "lan.yaml"
    config.write_text("listen: [{address: %s, port: 1080, auth: none, open: true}]\n" % PROXY_V4, encoding="ascii")
    process = net.proxy.start("systemd-socket-activate", "-l", f"{PROXY_V4}:1080", PROGRAM, "-c", str(config))
    try:
        wait_until(lambda: f"{PROXY_V4}:1080 " in net.proxy.run("ss", "-tlnH").stdout, "the socket")
        assert Association(net.client, lan).alive(peer, 5)
    finally:
        process.terminate()
        assert process.wait(10) == 0


def test_a_replaced_process_is_not_stopping(net, serve, manager, lan, folder):
    """Otherwise systemd would end it after TimeoutStopSec=, although it has sessions."""
    config = {"run": {"handover": str(folder / "handover")}}
    old = serve(config, environment=manager.environment)
    association = Association(net.client, lan)
    serve(config, arguments=("--take-over",))
    assert manager.next("STATUS=another") == "STATUS=another process serves; 1 session, 1 association"
    association.close()
    assert old.process.wait(10) == 0 and manager.is_silent(0.1)
