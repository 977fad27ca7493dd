"""conesocks status and conesocks reload: what they show of a server that runs, and what they say of anything else."""
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
import urllib.parse

import pytest
import socks5
from conftest import ALICE, LISTEN, USERS
from daemon import PROGRAM, SANITIZER, wait_until
from netns import INET1_V4, PROXY_V4
from socks5 import Association

PORT = 1081
URL = f"http://127.0.0.1:{PORT}"
EVIL = 'x"\n\x1b[31mred\x1b]0;title\x07\u202e\u009b\\'


class Answers:
    """Listens at the admin port of a host and answers each connection with what answer(path) returns: bytes, or what to
    send piece by piece. It stands in for servers that are out of their mind."""

    def __init__(self, host, answer):
        self.answer = answer
        self.socket = host.listen("127.0.0.1", PORT)
        self.socket.settimeout(None)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                path = connection.recv(4096).split(b" ")[1].decode()
                answer = self.answer(path)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    connection.sendall(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


def http(body, status="200 OK", length=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.0 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def association(number, **members):
    return {"id": number, "kind": "association", "client": f"10.77.0.2:{10000 + number}", "user": "alice",
            "age_seconds": 3700, "idle_seconds": 1, "relay": "10.77.0.1:30000", "client_udp": "10.77.0.2:5000",
            "external": ["203.0.113.7:31000"], "destinations": 3, "up_datagrams": 1, "up_bytes": 1000 * number,
            "down_datagrams": 1, "down_bytes": 10, "dropped": {"stranger": 2}, "upstream": None} | members


def stream(number, **members):
    return {"id": number, "kind": "connect", "client": "10.77.0.2:40000", "user": None, "age_seconds": 9,
            "destination": "www.example.org:443", "remote": "203.0.113.9:443", "up_bytes": 10, "down_bytes": 3 << 20,
            "upstream": None} | members


def status(sessions=(), **members):
    return {"version": "0.1.0", "pid": 4711, "started": "2026-11-22T19:00:00Z", "uptime_seconds": 100, "state": "running",
            "configuration": {"file": "/etc/conesocks.yaml", "loaded": "2026-11-22T19:00:00Z", "reloads": 1,
                              "reloads_failed": 0, "last_error": None},
            "listeners": [{"address": "10.77.0.1:1080", "login": True, "proxy_protocol": False}],
            "udp": {"enabled": True, "mapping": "endpoint-independent", "filtering": "endpoint-independent",
                    "ports": "any", "external_ports": "any", "advertise_v4": None, "advertise_v6": None},
            "open": {"sessions": 2, "associations": 1, "streams": 1, "negotiating": 0}, "totals": {}, "drops": [],
            "resolver": {"servers": ["10.77.0.1:53"], "lookups": 5, "failed": 1, "waiting": 0}, "limits": [],
            "memory": {"used_bytes": 1 << 20, "limit_bytes": None, "level": "ample"},
            "sessions": list(sessions), "next": None} | members


def paged(whole, path):
    """That part of all sessions that is asked for."""
    query = urllib.parse.parse_qs(urllib.parse.urlparse(path).query)
    after, limit = int(query["after"][0]), int(query["limit"][0])
    sessions = [session for session in whole["sessions"] if session["id"] > after]
    return http(whole | {"sessions": sessions[:limit], "next": sessions[limit - 1]["id"] if sessions[limit:] else None})


@pytest.fixture
def run(net):
    """run(subcommand, ...) on the proxy host."""

    def run(*arguments):
        result = net.proxy.run(PROGRAM, *arguments, timeout=30, env=os.environ | {"LC_ALL": "C.UTF-8"})
        assert not SANITIZER.search(result.stdout), result.stdout
        return result

    return run


# ---- status ----

def test_status_in_words(net, run):
    drops = [{"reason": "refused", "count": 12, "means": "to a destination that the policy denies",
              "advice": "conesocks explain tells which rule says no"}]
    limits = [{"name": "sessions", "limit": 100, "used": 95, "refused": 3},
              {"name": "associations", "limit": 100, "used": 5, "refused": 0},
              {"name": "lookups_per_user", "limit": 10, "used": None, "refused": 7}]
    configuration = {"file": "/etc/c.yaml", "loaded": "today", "reloads": 1, "reloads_failed": 1,
                     "last_error": "c.yaml:1:1: found nothing"}
    whole = status([association(1), stream(2), {"id": 3, "kind": "negotiation"}], drops=drops, limits=limits,
                   configuration=configuration)
    with Answers(net.proxy, lambda path: paged(whole, path)):
        result = run("status")
    assert result.returncode == 0
    for words in ("0.1.0", "process 4711", "full cone", "type Open, A or 1", "UDP associations: 1\n", "TCP streams: 1\n",
                  "sessions: 95 of 100, refused 3 times", "lookups_per_user: refused 7 times", "c.yaml:1:1: found nothing",
                  "refused: to a destination that the policy denies", "What to do: conesocks explain"):
        assert words in result.stdout, result.stdout
    assert "associations: 5" not in result.stdout  # far from its mark
    assert re.search(r"^10\.77\.0\.2:10001 +alice +203\.0\.113\.7:31000 +3 +1000 B +10 B +2 +1s +1h 1m$".replace(
        "1000 B", "1.0 KiB"), result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^10\.77\.0\.2:40000 +www\.example\.org:443 +10 B +3\.0 MiB +9s$", result.stdout, re.MULTILINE)


@pytest.mark.parametrize("filtering, words", [("address-dependent", "Moderate, B or 2"),
                                              ("address-and-port-dependent", "Moderate, B or 2")])
def test_status_of_a_stricter_nat(net, run, filtering, words):
    whole = status(udp={"enabled": True, "filtering": filtering})
    with Answers(net.proxy, lambda path: paged(whole, path)):
        assert words in run("status").stdout


def test_status_is_of_all_pages(net, run):
    whole = status([association(number) for number in range(1, 3001)])
    with Answers(net.proxy, lambda path: paged(whole, path)):
        assert json.loads(run("status", "--json").stdout) == whole
        few, every = run("status").stdout, run("status", "--all").stdout
    assert "UDP associations: 3000" in few and "... and 2980 with less traffic" in few
    assert few.count("10.77.0.2:") == 20 and "10.77.0.2:13000 " in few  # the one with most
    assert every.count("10.77.0.2:") == 3000


def test_status_twice_has_rates(net, run):
    """A session that moves comes before one that once moved more; one that is new has begun at zero."""
    asked = []

    def answer(path):
        asked.append(path)
        late = len(asked) > 1
        sessions = [association(1, up_bytes=900_000_000), association(2, up_bytes=1_000_000 if late else 0)]
        return paged(status(sessions + [association(3, up_bytes=500_000)] * late,
                            totals={"udp_up_bytes_total": 1_500_000 if late else 0}), path)

    with Answers(net.proxy, answer):
        result = run("status", "--top")
    assert [int(port) for port in re.findall(r"^10\.77\.0\.2:1000(\d)", result.stdout, re.MULTILINE)] == [2, 3, 1]
    assert re.search(r"^UDP .* \d.*[kM]bit/s", result.stdout, re.MULTILINE)


def test_row51_what_clients_chose_does_not_steer_the_terminal(net, run):
    words = {"version": EVIL, "state": EVIL, "listeners": [{"address": EVIL}],
             "udp": {"enabled": True, "filtering": EVIL, "ports": EVIL, "advertise_v4": EVIL},
             "drops": [{"reason": EVIL, "count": 1, "means": EVIL, "advice": EVIL}],
             "configuration": {"file": EVIL, "loaded": EVIL, "last_error": EVIL},
             "resolver": {"servers": [EVIL]}, "limits": [{"name": EVIL, "limit": 1, "used": 1}]}
    whole = status([association(1, user=EVIL, client=EVIL, external=[EVIL, EVIL]), stream(2, destination=EVIL)], **words)
    with Answers(net.proxy, lambda path: paged(whole, path)):
        for arguments in ([], ["--top"], ["--json"]):
            output = run("status", *arguments).stdout
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", output), output
    assert json.loads(output) == whole


# (what is answered, what is said)
HOSTILE = {
    "another protocol": (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not speak HTTP"),
    "nothing": (b"", "broke off"),
    "cut short": (http(b'{"version', length=1000), "broke off"),
    "ten gigabytes": (http(b"{", length=10_000_000_000), "has no end"),
    "an endless head": (b"HTTP/1.0 200 OK\r\n" + b"X-Header: x\r\n" * 1000, "does not speak HTTP"),
    "no such path": (http(b"nginx", "404 Not Found"), "has no /status"),
    "refused": (http(b"only \x1b[31mlocalhost\nand more", "403 Forbidden"), "403: only \\x1b[31mlocalhost\n"),
    "no JSON": (http(b"<html>"), "another version"),
    "JSON that ends": (http(b'{"version": "1"'), "another version"),
    "a list": (http([]), "another version"),
    "sessions are a number": (http(status() | {"sessions": 7}), "another version"),
    "sessions are numbers": (http(status() | {"sessions": [1, 2]}), "another version"),
    "deep": (http(b"[" * 100_000), "another version"),
    "a NUL": (http(b'{"version": "\\u0000"}'), "another version"),
    "pages in a circle": (http(status([association(1)], next=1)), "have no end"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_status_of_something_else(net, run, name):
    answer, words = HOSTILE[name]
    with Answers(net.proxy, lambda path: answer):
        result = run("status")
    assert result.returncode == 1 and words in result.stdout and URL in result.stdout, result.stdout


def test_status_with_members_of_other_types(net):
    """Each member in turn, of the answer and of a session, is all that it is not."""
    members = status([association(1), stream(2)])
    strange = [None, -1, 2 ** 62, "x", [], [None], {}, {"x": []}, True, 1.5]
    answers = [members | {key: value} for key in members if key not in ("sessions", "next") for value in strange]
    answers += [members | {"sessions": [session | {key: value}]} for session in members["sessions"] for key in session
                for value in strange]
    queue = iter(answers)
    with Answers(net.proxy, lambda path: http(next(queue))):
        script = f'for i in $(seq {len(answers)}); do {PROGRAM} status 2>&1; echo "ended: $?"; done'
        output = net.proxy.run("sh", "-c", script, timeout=120).stdout
    results = re.findall(r"^ended: (\d+)$", output, re.MULTILINE)
    assert len(results) == len(answers) and set(results) <= {"0", "1"} and not SANITIZER.search(output)


def test_status_of_a_server_that_never_answers(net, run):
    net.proxy.listen("127.0.0.1", PORT)
    result = run("status", "--url", f"http://localhost:{PORT}/")
    assert result.returncode == 1 and "no answer in time" in result.stdout


def test_status_of_nobody(run, tmp_path):
    result = run("status")
    assert result.returncode == 1 and "nobody listens there" in result.stdout and "-c FILE" in result.stdout
    assert "nobody listens there" in run("status", "--socket", str(tmp_path / "socket")).stdout
    config = tmp_path / "c.yaml"
    config.write_text("listen: [{address: 127.0.0.1}]", encoding="ascii")
    result = run("status", "-c", str(config))
    assert result.returncode == 1 and "admin.port" in result.stdout and "admin.socket" in result.stdout
    result = run("status", "-c", str(tmp_path / "missing.yaml"))
    assert result.returncode == 1 and "missing.yaml" in result.stdout


def test_status_where_the_socket_is_for_others(net, folder):
    with net.proxy.enter(), socket.socket(socket.AF_UNIX) as admin:
        admin.bind(str(folder / "admin"))
        admin.listen()
        os.chmod(folder / "admin", 0o660)
        as_nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "status", "--socket",
                     str(folder / "admin")]
        result = net.proxy.run(*as_nobody)
        assert result.returncode == 1 and "group root, mode 660" in result.stdout, result.stdout
        folder.chmod(0o700)
        result = net.proxy.run(*as_nobody)
        assert result.returncode == 1 and f"{folder} belongs to the user root" in result.stdout, result.stdout


@pytest.mark.parametrize("arguments", [
    ["status", "x"], ["status", "--url", "https://127.0.0.1:1081"], ["status", "--url", "http://127.0.0.1"],
    ["status", "--url", "http://127.0.0.1:1081/status"], ["status", "--url", "http://[::1:1081"],
    ["status", "--url", "http://:1081"], ["status", "--url", "http://[]:1081"], ["status", "--url", "http://h:123456"],
    ["status", "--url", URL, "--socket", "/x"], ["status", "--watch", "0"], ["status", "--watch=x"],
    ["status", "--watch", "99999"], ["status", "--watch", "--json"], ["status", "--nonsense"],
    ["reload"], ["reload", "-c"], ["reload", "-c", "x", "y"]])
def test_wrong_usage(run, arguments):
    result = run(*arguments)
    assert result.returncode == 2 and "Usage:" in result.stdout


@pytest.mark.parametrize("command", ["status", "reload"])
def test_help(run, command):
    result = run(command, "--help")
    assert result.returncode == 0 and result.stdout.startswith(f"Usage: conesocks {command} ")


# ---- status --watch ----

class Screen:
    """A program at a terminal of its own."""

    def __init__(self, host, *command, lines=24, columns=80):
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with host.enter():
            self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs,
                                            env=os.environ | {"LC_ALL": "C.UTF-8"}, start_new_session=True)
        os.close(theirs)
        self.bytes = b""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(self.fd, 65536):
                self.bytes += data

    @property
    def written(self):
        return self.bytes.decode(errors="replace")

    def frames(self):
        """What was drawn, whole frames only, each a list of lines without what steers the terminal."""
        drawn = re.findall(r"\x1b\[H(.*?)\x1b\[J", self.written, re.DOTALL)
        return [frame.replace("\x1b[K", "").split("\r\n") for frame in drawn]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        os.close(self.fd)


ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_watch_gives_the_terminal_back(net, number):
    asked = []

    def answer(path):
        asked.append(path)
        return paged(status([association(1, up_bytes=len(asked) << 20)]), path)

    with Answers(net.proxy, answer), Screen(net.proxy, PROGRAM, "status", "--watch", "1") as screen:
        wait_until(lambda: len(screen.frames()) >= 3, "three frames")
        assert screen.written.startswith(ENTER) and LEAVE not in screen.written
        screen.process.send_signal(number)
        assert screen.process.wait(10) == -number
        screen.reader.join()
        assert screen.written.endswith(LEAVE)
    first, second = screen.frames()[0], screen.frames()[1]
    assert any("UP b/s" in line for line in second) and not any("UP b/s" in line for line in first)


def test_watch_is_stopped_and_goes_on(net):
    with Answers(net.proxy, lambda path: paged(status(), path)), \
            Screen(net.proxy, PROGRAM, "status", "--watch", "1") as screen:
        wait_until(screen.frames, "a frame")
        screen.process.send_signal(signal.SIGTSTP)
        wait_until(lambda: screen.written.endswith(LEAVE), "the terminal")
        screen.process.send_signal(signal.SIGCONT)
        wait_until(lambda: screen.written.count(ENTER) == 2, "the screen")
        before = len(screen.frames())
        wait_until(lambda: len(screen.frames()) > before, "another frame")


@pytest.mark.parametrize("lines, columns", [(24, 80), (10, 30), (60, 200), (3, 10), (1, 1)])
def test_watch_fits_the_terminal(net, lines, columns):
    """Row 51: with names that are long and wide, too."""
    long = "日本" * 60 + EVIL
    sessions = [association(number, user=long) for number in range(1, 200)]
    sessions += [stream(number, destination=long) for number in range(200, 300)]
    with Answers(net.proxy, lambda path: paged(status(sessions), path)), \
            Screen(net.proxy, PROGRAM, "status", "--watch", "1", lines=lines, columns=columns) as screen:
        wait_until(lambda: len(screen.frames()) >= 2, "two frames")
        for frame in screen.frames():
            assert len(frame) <= lines
            for line in frame:
                width = sum(2 if char in "日本" else 1 for char in line)
                assert width <= columns and not re.search("[\x00-\x1f\x7f-\x9f\u202e]", line), line
        if lines >= 24:
            assert any("UDP associations: 199" in line for line in frame)
            assert any("TCP streams: 100" in line for line in frame)


def test_watch_outlives_the_server(net):
    """It says that nobody answers, and goes on when somebody does, with another process's counters."""
    with Answers(net.proxy, lambda path: paged(status(totals={"udp_up_bytes_total": 1}), path)):
        screen = Screen(net.proxy, PROGRAM, "status", "--watch", "1")
        wait_until(screen.frames, "a frame")
    with screen:
        wait_until(lambda: any("nobody listens there" in line for line in screen.frames()[-1]), "what is wrong")
        assert any("process 4711" in line for line in screen.frames()[-1])
        with Answers(net.proxy, lambda path: paged(status(pid=4712, totals={"udp_up_bytes_total": 1 << 30}), path)):
            wait_until(lambda: any("process 4712" in line for line in screen.frames()[-1]), "the next one")
        first = next(frame for frame in screen.frames() if any("process 4712" in line for line in frame))
        assert not any("nobody listens" in line or "bit/s" in line for line in first), first


def test_watch_without_a_terminal(net):
    """Block after block, and it ends when nobody reads on."""
    with Answers(net.proxy, lambda path: paged(status(), path)):
        result = net.proxy.run("sh", "-c", f"{PROGRAM} status --watch 1 | head -n 25; echo ended")
    assert result.stdout.count("process 4711") >= 2 and "\x1b" not in result.stdout and "ended" in result.stdout


def test_watch_that_cannot_begin(net, run):
    result = run("status", "--watch")
    assert result.returncode == 1 and "nobody listens there" in result.stdout


# ---- status of the program itself ----

ADMIN = {"admin": {"port": PORT}}


def test_status_of_associations_and_streams(net, start, lan, peer, run):
    """What is shown is what is there: its client, its external port, what it moved."""
    proxy = start({**ADMIN, "udp": {"filtering": "address-dependent"}})
    server = net.inet1.listen(INET1_V4)
    associations = [Association(net.client, lan) for _ in range(3)]
    for count, each in enumerate(associations, 1):
        assert each.alive(peer, count)
    sock, _ = socks5.connect(net.client, lan, server.getsockname())
    sock.sendall(b"x" * 5000)
    socks5.recv_exact(server.accept()[0], 5000)
    arguments = ["-c", str(proxy.config_path)]
    whole = json.loads(run("status", *arguments, "--json").stdout)
    assert whole["pid"] == proxy.pid and len(whole["sessions"]) == 4
    words = run("status", *arguments).stdout
    assert f"process {proxy.pid}, running" in words and "address-dependent filtering" in words
    assert "3 associations, 1 streams, 0 negotiating" in words
    for session in whole["sessions"]:
        sockets = session.get("external") or [session["destination"]]
        assert re.search(rf"^{re.escape(session['client'])} .* ?{re.escape(sockets[0])} ", words, re.MULTILINE), words
    assert [session.get("up_datagrams") for session in whole["sessions"]] == [1, 2, 3, None]


def test_status_of_hundreds_is_whole(net, start, lan, run):
    proxy = start(ADMIN)
    server = net.inet1.listen(INET1_V4, backlog=2000)
    streams = [socks5.connect(net.client, lan, server.getsockname())[0] for _ in range(1200)]
    whole = json.loads(run("status", "-c", str(proxy.config_path), "--json").stdout)
    ours = sorted("%s:%d" % sock.getsockname() for sock in streams)
    assert sorted(session["client"] for session in whole["sessions"]) == ours and whole["next"] is None
    words = run("status", "--all").stdout
    assert "TCP streams: 1200\n" in words and all(f"\n{client} " in words for client in ours)


def test_row51_a_clients_name_does_not_steer_the_terminal(net, start, lan, run):
    """The destination of a CONNECT that is still being looked up, and of one that stays: both are the client's words."""
    start(ADMIN | {"users": [{"name": EVIL.replace("\n", ""), "password": USERS[0]["password"]}], "listen": [
        {"address": PROXY_V4, "port": 1080}]})
    server = net.inet1.listen(INET1_V4)
    user = EVIL.replace("\n", "")
    sock, reply = socks5.connect(net.client, lan, server.getsockname(), user=user, password=ALICE[1])
    assert reply.code == 0, sock
    output = run("status").stdout
    assert "TCP streams: 1" in output and "red\\x1b]0;title" in output, output
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", output)


def test_status_by_the_socket(serve, folder, run):
    proxy = serve({"admin": {"socket": str(folder / "admin")}})
    for arguments in (["-c", str(proxy.config_path)], ["--socket", str(folder / "admin")]):
        result = run("status", *arguments)
        assert result.returncode == 0 and f"process {proxy.pid}" in result.stdout


# ---- reload ----

@pytest.fixture
def reloadable(serve, folder):
    """reloadable(config) starts one with a pid file."""
    return lambda config=(): serve({"run": {"pid_file": str(folder / "pid")}, **dict(config)})


def edit(proxy, **members):
    proxy.configure(json.loads(proxy.config_path.read_text()) | members)


@pytest.mark.parametrize("admin", [{}, {"port": PORT}])
def test_reload(reloadable, run, admin):
    """What came of it is known where there is an admin listener."""
    proxy = reloadable({"admin": admin})
    edit(proxy, limits={"sessions": 7}, workers=1)
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 0, result.stdout
    if admin:
        assert "reloaded" in result.stdout and "at the next start: workers\n" in result.stdout
        assert "configuration reloaded" in proxy.log
        assert "waiting for the next start: workers" in run("status").stdout
    else:
        assert f"process {proxy.pid} was told" in result.stdout
        proxy.wait_log("configuration reloaded")


def test_reload_by_the_status_alone(serve, run):
    """Without a pid file, whoever answers at the admin listener is told."""
    proxy = serve(ADMIN)
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 0 and "reloaded" in result.stdout and "configuration reloaded" in proxy.log


def test_row55_reload_of_a_broken_file(reloadable, run):
    """It is told as -t does, and the server hears nothing of it."""
    proxy = reloadable(ADMIN)
    proxy.configure("listen: [{port: 1080x}]\n")
    result, checked = run("reload", "-c", str(proxy.config_path)), run("-t", "-c", str(proxy.config_path))
    assert result.returncode == 1 and result.stdout.startswith(checked.stdout) and "1080x" in checked.stdout
    assert "stays in force" in result.stdout and "reload:" not in proxy.log


def test_reload_that_the_server_refuses(net, reloadable, run):
    """The file is fine, the new listener's port is not free: the server's own words."""
    proxy = reloadable(ADMIN)
    net.proxy.listen(PROXY_V4, 1082)
    edit(proxy, listen=[*LISTEN, {"address": PROXY_V4, "port": 1082, "auth": "none", "open": True}])
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 1 and "not reloaded" in result.stdout and "10.77.0.1:1082" in result.stdout
    assert "The last reload failed" in run("status").stdout


def test_row57_reload_of_what_does_not_run(net, run, tmp_path):
    """No pid file, one that nobody holds, and one whose process is somebody else's by now, which SIGHUP would end."""
    pid_file, config = tmp_path / "pid", tmp_path / "c.yaml"
    config.write_text(f"run: {{pid_file: {pid_file}}}\n", encoding="ascii")
    assert "not running" in run("reload", "-c", str(config)).stdout
    other = net.proxy.start("sleep", "60")
    pid_file.write_text(f"{other.pid}\n", encoding="ascii")
    result = run("reload", "-c", str(config))
    assert result.returncode == 1 and "not running" in result.stdout
    with open(pid_file, encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run("reload", "-c", str(config))
    assert result.returncode == 1 and f"process {other.pid} is not conesocks" in result.stdout
    assert other.poll() is None
    other.kill()
    other.wait()


def test_reload_believes_no_stranger(net, run, tmp_path):
    """Whoever listens at the admin port names a process: it has to be a conesocks."""
    config, other = tmp_path / "c.yaml", net.proxy.start("sleep", "60")
    config.write_text(f"admin: {{port: {PORT}}}\nrun: {{pid_file: {tmp_path}/pid}}\n", encoding="ascii")
    with Answers(net.proxy, lambda path: paged(status(pid=other.pid), path)):
        result = run("reload", "-c", str(config))
    assert result.returncode == 1 and "is not conesocks" in result.stdout and other.poll() is None
    other.kill()
    other.wait()


def test_reload_of_another_file(reloadable, run, tmp_path):
    proxy = reloadable(ADMIN)
    copy = tmp_path / "copy.yaml"
    copy.write_text(proxy.config_path.read_text())
    result = run("reload", "-c", str(copy))
    assert result.returncode == 1 and str(proxy.config_path) in result.stdout and "reload:" not in proxy.log


def test_reload_by_somebody_else(net, reloadable, folder):
    """Who may not signal it is told so."""
    proxy = reloadable({"run": {"pid_file": str(folder / "pid"), "user": "daemon"}})
    result = net.proxy.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "reload", "-c",
                           str(proxy.config_path))
    assert result.returncode == 1 and "only root and the user" in result.stdout, result.stdout
