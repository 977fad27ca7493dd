"""The servers that compare drives: how each is configured, started on one core and stopped."""
import contextlib
import getpass
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

START_SECONDS = 5
STOP_SECONDS = 3
ASK_SECONDS = 0.25
UDP, CONNECT = "udp", "connect"


class ServerFailed(Exception):
    """A server did not start, or ended by itself."""


def probing(address):
    return socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)


def free_port(address="127.0.0.1"):
    with probing(address) as probe:
        probe.bind((address, 0))
        return probe.getsockname()[1]


def listens(address, port):
    with probing(address) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def host_in_url(address):
    return f"[{address}]" if ":" in address else address


def listeners(port):
    """The inodes of the sockets that listen on a port of this host."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                found.add(fields[9])
    return found


def sockets_of_session(session):
    """The inodes of the sockets that the processes of a session hold."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(process.name)) != session:
                continue
            for descriptor in (process / "fd").iterdir():
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    yield target[8:-1]
        except OSError:
            continue  # ended meanwhile


class Server:
    """`command` and `config` may hold {address}, {host} (that address with brackets, if it needs them), {port} and
    {admin_port}, `command` also {config}. `port` is fixed for servers whose configuration names it.
    `asked`: paths that are fetched meanwhile from {admin_port} of its configuration."""

    def __init__(self, name, command, config=None, port=None, kind="rival", serves=(UDP, CONNECT), asked=()):
        self.name, self.command, self.config, self.port = name, command, config, port
        self.kind, self.serves, self.asked = kind, serves, asked

    def start(self, core, address="127.0.0.1"):
        """On this core alone; on any, when it is None."""
        return Running(self, core, address)


class Asker:
    """Somebody who looks at the admin listener again and again, far more often than a Prometheus or a page does."""

    def __init__(self, urls):
        self.urls, self.answers, self.over = urls, 0, threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        while not self.over.wait(ASK_SECONDS):
            for url in self.urls:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    self.answers += answer.status == 200 and len(answer.read()) > 0

    def stop(self):
        self.over.set()
        self.thread.join()
        if not self.answers:
            raise ServerFailed(f"nobody answered at {self.urls[0]}")


def pin(core):
    """This process to that core, and before others that want it too, where the system lets us say so: a server that has
    to wait finds more work at once, which looks cheap."""
    os.sched_setaffinity(0, {core})
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20", encoding="ascii")


def fill_in(text, known):
    for name, value in known.items():
        text = text.replace(name, str(value))
    return text


class Running:
    """A started server; ends with the `with` block, and all its processes with it."""

    def __init__(self, server, core, address):
        self.server, self.address = server, address
        self.port = server.port or free_port(address)
        if listeners(self.port):
            raise ServerFailed(f"{server.name} cannot start: another program listens on port {self.port}")
        self.folder = tempfile.TemporaryDirectory(prefix="conesocks-bench-")
        config = Path(self.folder.name) / "config"
        self.admin_port = free_port()
        known = {"{address}": address, "{host}": host_in_url(address), "{port}": self.port, "{config}": config,
                 "{admin_port}": self.admin_port}
        if server.config:
            config.write_text(fill_in(server.config, known), encoding="utf-8")
        command = [fill_in(word, known) for word in server.command]
        self.log = Path(self.folder.name) / "log"
        self.asker = None
        # A session of its own, so that what it forks can be ended with it.
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True,
                                            preexec_fn=None if core is None else lambda: pin(core))
        try:
            self.await_listening()
        except BaseException:
            self.stop()
            raise
        if server.asked:
            self.asker = Asker([f"http://127.0.0.1:{self.admin_port}{path}" for path in server.asked])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def await_listening(self):
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            if listens(self.address, self.port):
                return
            time.sleep(0.02)
        how = "does not listen" if self.process.poll() is None else f"ended with status {self.process.returncode}"
        raise ServerFailed(f"{self.server.name} {how} on port {self.port}: {self.last_words()}")

    def check_alone(self):
        """With SO_REUSEPORT two servers can share a port, and the wrong one would be measured."""
        if not listeners(self.port) <= set(sockets_of_session(self.process.pid)):
            raise ServerFailed(f"another program listens on {self.server.name}'s port {self.port} too")

    def last_words(self):
        lines = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self):
        if self.asker:
            self.asker.stop()
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(STOP_SECONDS)
                break
            except subprocess.TimeoutExpired:
                continue
            except ProcessLookupError:
                break
        self.process.wait()
        try:
            os.killpg(self.process.pid, signal.SIGKILL)  # children that outlived it
        except ProcessLookupError:
            pass
        self.folder.cleanup()


CONESOCKS = "listen: [{address: '{address}', port: {port}}]\nworkers: 1\nlog: {level: error}\n"

DANTE = """logoutput: stderr
internal: {address} port = {port}
external: {address}
clientmethod: none
socksmethod: none
user.privileged: {user}
user.unprivileged: {user}
client pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
socks pass { from: 0.0.0.0/0 to: 0.0.0.0/0 }
"""


HEV = """main: {workers: 1, port: {port}, listen-address: '{address}'}
misc: {log-file: stderr, log-level: warn, limit-nofile: 65535}
"""

# maxconn is for threads, of which each session takes one.
THREEPROXY = "maxconn 8000\nauth none\nsocks -p{port} -i{address}\n"

# How to start servers that Debian does not have: one worker, no login.
RIVALS = {
    "hev-socks5-server": (["{config}"], HEV),
    "gwproxy": (["-S", "1", "-w", "1", "-b", "{host}:{port}", "--acl-allow-all", "-m", "1"], None),
    "3proxy": (["{config}"], THREEPROXY),
}


def conesocks(build):
    """Ours, first: everything else is divided by it. And ours with its fast paths off, where it has that option."""
    program = str(build / "src/command/conesocks")
    yield Server("conesocks", [program, "-c", "{config}"], CONESOCKS, kind="ours")
    options = subprocess.run([program, "--dump"], capture_output=True, text=True, check=True).stdout
    if "offload:" in options:
        yield Server("conesocks, offload off", [program, "-c", "{config}"], CONESOCKS + "udp: {offload: off}\n",
                     kind="ours")


def with_rules(build):
    """Ours without rules, with 10 and with 10,000: networks that the load's addresses do not lie in, then one that they
    do, whose port is another's. So each datagram is looked for, found, and not decided by any."""
    program = str(build / "src/command/conesocks")
    for count in (0, 10, 10_000):
        networks = [f"{1 + i // 4096}.{i // 16 % 256}.{i % 16 * 16}.0/{20 + i % 8}" for i in range(count - 1)]
        rules = [{"action": "deny", "to": [network]} for network in networks]
        if count:
            rules.append({"action": "deny", "to": ["127.0.0.0/8"], "ports": [1]})
        yield Server(f"{count:,} rules", [program, "-c", "{config}"], CONESOCKS + f"rules: {json.dumps(rules)}\n",
                     kind="ours")


def with_admin(build):
    """Ours without the admin listener, with it, and with somebody who keeps asking there."""
    program = str(build / "src/command/conesocks")
    admin = "admin: {port: {admin_port}}\n"
    for name, config, asked in (("no admin listener", "", ()), ("an admin listener", admin, ()),
                                ("four times a second", admin, ("/metrics", "/status"))):
        yield Server(name, [program, "-c", "{config}"], CONESOCKS + config, kind="ours", asked=asked)


def yardsticks(build):
    program = str(build / "test/bench/bench_relay")
    for technique in ("plain", "segments"):
        yield Server(f"bare relay, {technique}", [program, "{port}", technique], kind="yardstick", serves=(UDP,))


def of_debian():
    """What `apt install dante-server microsocks` brings, where it is installed."""
    dante = shutil.which("danted", path="/usr/sbin:/usr/bin")
    if dante:
        yield Server("dante", [dante, "-f", "{config}"], DANTE.replace("{user}", getpass.getuser()))
    microsocks = shutil.which("microsocks")
    if microsocks:
        yield Server("microsocks", [microsocks, "-i", "127.0.0.1", "-p", "{port}"], serves=(CONNECT,))


def rival(name, program):
    arguments, config = RIVALS[name]
    return Server(name, [program, *arguments], config)


def rivals(given):
    """Those of RIVALS that are on PATH or given, and whatever else is given; the latter are texts as from_argument()
    takes them."""
    named = {server.name: server for server in map(from_argument, given)}
    for name in RIVALS:
        program = shutil.which(name)
        if name in named or program:
            yield named.pop(name, None) or rival(name, program)
    yield from named.values()


def from_argument(text):
    """NAME=PROGRAM for those of RIVALS, NAME=PORT:COMMAND for others."""
    name, equals, rest = text.partition("=")
    if name in RIVALS and os.access(rest, os.X_OK):
        return rival(name, rest)
    port, colon, command = rest.partition(":")
    if not (name and equals and colon and port.isdigit() and command.strip()):
        raise ValueError(f'"{text}": expected NAME=PROGRAM for {", ".join(RIVALS)}, and NAME=PORT:COMMAND for others, '
                         'as in other=1081:"/usr/bin/other -c other.conf"')
    return Server(name, shlex.split(command), port=int(port))
