"""conesocks status and conesocks reload: what they show of a server that runs, and what they say of anything else."""
import fcntl
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
import socks5
from answers import EVIL, PORT, URL, Answers, association, http, paged, status, stream
from conftest import ALICE, LISTEN, USERS
from daemon import PROGRAM, SANITIZER, wait_until
from netns import INET1_V4, PROXY_V4
from socks5 import Association

OTHER_USERS = int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]) > 1


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
              "advice": "conesocks explain shows what denies it"}]
    limits = [{"name": "sessions", "limit": 100, "used": 95, "refused": 3},
              {"name": "associations", "limit": 100, "used": 5, "refused": 0},
              {"name": "lookups_per_user", "limit": 10, "used": None, "refused": 7}]
    configuration = {"file": "/etc/c.yaml", "loaded": "today", "reloads": 1, "reloads_failed": 1,
                     "last_error": "c.yaml:1:1: found nothing"}
    whole = status([association(1), stream(2), {"id": 3, "kind": "negotiation"}], drops=drops, limits=limits,
                   configuration=configuration, totals={"auth_failed_total": 6})
    with Answers(net.proxy, lambda path: paged(whole, path)):
        result = run("status")
    assert result.returncode == 0
    for words in ("0.2.0", "process 4711", "full cone", "call it Open, type A or type 1", "UDP associations: 1\n", "TCP streams: 1\n",
                  "sessions: 95 of 100, refused 3 times", "lookups_per_user: refused 7 times", "c.yaml:1:1: found nothing",
                  "6 failed since the start: wrong user name or password", "refused: to a destination that the policy denies", "What to do: conesocks explain"):
        assert words in result.stdout, result.stdout
    assert "associations: 5" not in result.stdout  # far from its mark
    assert re.search(r"^alice +10\.77\.0\.2:10001 +203\.0\.113\.7:31000 +3 +10 B +1 KiB +2 +1s +1h 1m$", result.stdout, re.MULTILINE), result.stdout
    assert re.search(r"^10\.77\.0\.2:40000 +www\.example\.org:443 +3 MiB +10 B +9s$", result.stdout, re.MULTILINE)


USERS_NOW = {"total": 3, "list": [
    {"name": "bob", "sessions": 2, "associations": 1, "addresses": 1, "up_bytes_per_second": 1000,
     "down_bytes_per_second": 250_000, "volume_bytes": 93 << 30, "volume_limit": 100 << 30, "month": "2026-11",
     "expires": None, "limits": {"sessions": 20, "addresses": None}, "near": "volume"},
    {"name": EVIL, "sessions": 0, "volume_bytes": 1 << 30, "expires": "2020-01-31", "limits": {}, "near": "expires"}]}


def test_status_of_users(net, run):
    """Who uses what, and who is near which limit."""
    with Answers(net.proxy, lambda path: paged(status(users=USERS_NOW), path)):
        words = run("status").stdout
    assert "Users: 3, 1 connected, 2 near a limit\n" in words
    assert re.search(r"^bob +2 Mbit/s +8 kbit/s +93 GiB of 100 GiB +93 % of the volume +2 of 20 +1 +-$", words, re.MULTILINE), words
    assert re.search(r"^x.* +1 GiB +expired +0 +0 +2020-01-31$", words, re.MULTILINE), words
    assert "Users" not in run_without_users(net, run)


def run_without_users(net, run):
    with Answers(net.proxy, lambda path: paged(status(users={"total": 0, "list": []}), path)):
        return run("status").stdout


def test_only_ports_are_shown_of_wildcard_addresses(net, run):
    any_address = ["0.0.0.0:53965", "[::]:40112"]
    sessions = [association(1, external=any_address, filtering="address-dependent"), association(2)]
    with Answers(net.proxy, lambda path: paged(status(sessions), path)):
        words = run("status").stdout
    assert "port 53965, port 40112 (IPv6)" in words and "0.0.0.0" not in words
    assert words.count("address-restricted") == 1, "the filtering is shown where it differs"


def test_status_of_the_kernel_path(net, run):
    """Why there is none; else what it has relayed, and which associations it serves."""
    associations = [association(1, kernel_path={"active": True, "why_not": None}),
                    association(2, kernel_path={"active": False, "why_not": "df probe"})]
    none = {"active": False, "why_not": "missing capabilities: CAP_BPF"}
    some = {"active": True, "why_not": None, "interfaces": "eth0 eth1", "slots_used": 1, "slots": 16384,
            "passed": {"joined": 12, "new": 3000}}
    totals = {"udp_up_datagrams_total": 60, "udp_down_datagrams_total": 40, "udp_kernel_up_datagrams_total": 50,
              "udp_kernel_down_datagrams_total": 25}
    with Answers(net.proxy, lambda path: paged(status(associations, kernel_path=none), path)):
        words = run("status").stdout
    assert "kernel     relays nothing: missing capabilities: CAP_BPF\n" in words and "PATH" not in words
    with Answers(net.proxy, lambda path: paged(status(associations, kernel_path=some, totals=totals), path)):
        words = run("status").stdout
    assert "at eth0 eth1: 75 of 100 datagrams; 1 of 16384 slots in use" in words
    assert "left to user space: joined 12, new 3k\n" in words, words
    assert re.search(r"10\.77\.0\.2:10001 .* kernel +1s ", words, re.MULTILINE), words
    assert re.search(r"10\.77\.0\.2:10002 .* user: df probe +1s ", words, re.MULTILINE), words


@pytest.mark.parametrize("filtering, words", [("address-dependent", "Moderate, type B or type 2"),
                                              ("address-and-port-dependent", "Moderate, type B or type 2")])
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
    assert [int(port) for port in re.findall(r"^alice +10\.77\.0\.2:1000(\d)", result.stdout, re.MULTILINE)] == [2, 3, 1]
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
    "nothing": (b"", "is incomplete"),
    "cut short": (http(b'{"version', length=1000), "is incomplete"),
    "ten gigabytes": (http(b"{", length=10_000_000_000), "is too large"),
    "an endless head": (b"HTTP/1.0 200 OK\r\n" + b"X-Header: x\r\n" * 1000, "does not speak HTTP"),
    "no such path": (http(b"nginx", "404 Not Found"), "has no /status"),
    "refused": (http(b"only \x1b[31mlocalhost\nand more", "403 Forbidden"), "403: only \\x1b[31mlocalhost\n"),
    "no JSON": (http(b"<html>"), "a different version"),
    "JSON that ends": (http(b'{"version": "1"'), "a different version"),
    "a list": (http([]), "a different version"),
    "sessions are a number": (http(status() | {"sessions": 7}), "a different version"),
    "sessions are numbers": (http(status() | {"sessions": [1, 2]}), "a different version"),
    "deep": (http(b"[" * 100_000), "a different version"),
    "a NUL": (http(b'{"version": "\\u0000"}'), "a different version"),
    "pages in a circle": (http(status([association(1)], next=1)), "does not end"),
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


def test_status_without_a_server(run, tmp_path):
    result = run("status")
    assert result.returncode == 1 and "nothing listens there" in result.stdout and "-c FILE" in result.stdout
    assert "nothing listens there" in run("status", "--socket", str(tmp_path / "socket")).stdout
    config = tmp_path / "c.yaml"
    config.write_text("listen: [{address: 127.0.0.1}]", encoding="ascii")
    result = run("status", "-c", str(config))
    assert result.returncode == 1 and "admin.port" in result.stdout and "admin.socket" in result.stdout
    result = run("status", "-c", str(tmp_path / "missing.yaml"))
    assert result.returncode == 1 and "missing.yaml" in result.stdout


def test_status_without_permission_for_the_socket(net, folder):
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
        assert result.returncode == 1 and f"{folder} belongs to user root" in result.stdout, result.stdout


@pytest.mark.parametrize("arguments", [
    ["status", "x"], ["status", "--url", "https://127.0.0.1:1081"], ["status", "--url", "http://127.0.0.1"],
    ["status", "--url", "http://127.0.0.1:1081/status"], ["status", "--url", "http://[::1:1081"],
    ["status", "--url", "http://:1081"], ["status", "--url", "http://[]:1081"], ["status", "--url", "http://h:123456"],
    ["status", "--url", URL, "--socket", "/x"], ["status", "--watch", "0"], ["status", "--watch=x"],
    ["status", "--watch", "99999"], ["status", "--watch", "--json"], ["status", "--nonsense"],
    ["reload"], ["reload", "-c"], ["reload", "-c", "x", "y"]])
def test_wrong_usage(run, arguments):
    result = run(*arguments)
    error, advice = result.stdout.splitlines()
    assert result.returncode == 2 and error.startswith(f"conesocks {arguments[0]}: ")
    assert advice == f"Try 'conesocks {arguments[0]} --help'."


@pytest.mark.parametrize("command", ["status", "reload"])
def test_help(run, command):
    result = run(command, "--help")
    assert result.returncode == 0 and result.stdout.startswith(f"Usage: conesocks {command} ")


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
    assert "3 associations, 1 stream, 0 in the handshake" in words
    for session in whole["sessions"]:
        outside = (session.get("external") or [session["destination"]])[0].replace("0.0.0.0:", "port ")
        assert re.search(rf"^{re.escape(session['client'])} .* ?{re.escape(outside)} ", words, re.MULTILINE), words
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
        proxy.wait_log("configuration reloaded")
        assert "at the next start: workers" in run("status").stdout
    else:
        assert f"process {proxy.pid} was told" in result.stdout
        proxy.wait_log("configuration reloaded")


def test_reload_by_the_status_alone(serve, run):
    """Without a pid file, the process that answers at the admin listener reloads."""
    proxy = serve(ADMIN)
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 0 and "reloaded" in result.stdout
    proxy.wait_log("configuration reloaded")


def test_row55_reload_of_a_broken_file(reloadable, run):
    """It is told as -t does, and the server hears nothing of it."""
    proxy = reloadable(ADMIN)
    proxy.configure("listen: [{port: 1080x}]\n")
    result, checked = run("reload", "-c", str(proxy.config_path)), run("-t", "-c", str(proxy.config_path))
    assert result.returncode == 1 and result.stdout.startswith(checked.stdout) and "1080x" in checked.stdout
    assert "keeping the current configuration" in result.stdout and "reload:" not in proxy.log


def test_reload_that_the_server_refuses(net, reloadable, run):
    """The file is fine, the new listener's port is not free: the server's own words."""
    proxy = reloadable(ADMIN)
    net.proxy.listen(PROXY_V4, 1082)
    edit(proxy, listen=[*LISTEN, {"address": PROXY_V4, "port": 1082, "auth": "none", "open": True}])
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 1 and "not reloaded" in result.stdout and "10.77.0.1:1082" in result.stdout
    assert "The last reload failed" in run("status").stdout


@pytest.mark.skipif(not OTHER_USERS, reason="root of this user namespace becomes nobody else")
def test_reload_of_what_the_server_cannot_read(reloadable, run):
    """Root, who asks for it, can; so it is said whose permission it takes."""
    proxy = reloadable(ADMIN)
    proxy.config_path.chmod(0o600)
    os.chown(proxy.config_path, 0, 0)
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 1 and "cannot be read again as user id 65534" in result.stdout and "chgrp" in result.stdout


def test_reload_while_it_drains(net, reloadable, lan, peer, run):
    proxy = reloadable({**ADMIN, "timeouts": {"drain": "1h"}})
    association = Association(net.client, lan)
    assert association.alive(peer)
    proxy.process.send_signal(signal.SIGTERM)
    proxy.wait_log("accepting no new connections")
    result = run("reload", "-c", str(proxy.config_path))
    assert result.returncode == 1 and "not reloaded: the server is draining and exits soon" in result.stdout
    shown = run("status").stdout
    assert re.search("^listens on +nothing: the server is draining", shown, re.MULTILINE) and re.search(r"running for \w+, draining$", shown, re.MULTILINE)
    association.close()


def test_row57_reload_of_what_does_not_run(net, run, tmp_path):
    """No pid file, one that nobody holds, and one whose process is somebody else's by now, which SIGHUP would end."""
    pid_file, config = tmp_path / "pid", tmp_path / "c.yaml"
    config.write_text(f"run: {{pid_file: {pid_file}}}\n", encoding="ascii")
    result = run("reload", "-c", str(config))
    assert "no server found" in result.stdout and "systemctl reload conesocks" in result.stdout
    assert "run.pid_file or an admin listener" in result.stdout and "kill -HUP PID" in result.stdout
    other = net.proxy.start("sleep", "60")
    pid_file.write_text(f"{other.pid}\n", encoding="ascii")
    result = run("reload", "-c", str(config))
    assert result.returncode == 1 and "no server found" in result.stdout
    with open(pid_file, encoding="ascii") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        result = run("reload", "-c", str(config))
    assert result.returncode == 1 and f"process {other.pid} is not conesocks" in result.stdout
    assert other.poll() is None
    other.kill()
    other.wait()


def test_reload_signals_no_other_program(net, run, tmp_path):
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


def test_reload_without_permission(net, reloadable, folder):
    """Who may not signal it is told so."""
    proxy = reloadable({"run": {"pid_file": str(folder / "pid"), "user": "daemon"}})
    result = net.proxy.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "reload", "-c",
                           str(proxy.config_path))
    assert result.returncode == 1 and "only root and the user" in result.stdout, result.stdout
