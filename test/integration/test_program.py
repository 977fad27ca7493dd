"""The program itself: options, start and end, pid file, what it tells whoever starts it."""
import os
import re
import signal
import subprocess
import termios
from pathlib import Path

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS
from daemon import PROGRAM, wait_until
from netns import CLIENT_V4, INET1_V4, PROXY_V4
from socks5 import Association

OTHER_USERS = int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]) > 1
LAN = "listen: [{address: 10.77.0.1, port: 1080, auth: none, open: true}]\n"


@pytest.fixture
def run(net, tmp_path):
    """run(option ..., config=TEXT) on the proxy host, until it ends by itself."""

    def run(*arguments, config=None, **options):
        if config is not None:
            path = tmp_path / "run.yaml"
            path.write_text(config, encoding="utf-8")
            path.chmod(0o600)  # else hashes in it are worth a warning
            arguments = ("-c", str(path), *arguments)
        return net.proxy.run(PROGRAM, *arguments, timeout=20, **options)

    return run


def test_version_and_help(run):
    version = run("-V")
    assert version.returncode == 0 and re.fullmatch(
        r"conesocks \d+\.\d+\.\d+\n((kernel path|seccomp|systemd): (not )?built in\n){3}libevent: .+\ncompiler: .+\n", version.stdout)
    assert run("--help").returncode == 0 and "--config" in run("-h").stdout


@pytest.mark.parametrize("arguments", [["-x"], ["--nonsense"], ["-c"], ["frobnicate"], ["hash-password", "secret"]])
def test_wrong_usage(run, arguments):
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout.startswith("conesocks")
    assert re.fullmatch(r"[^\n]+\nTry 'conesocks[^\n]* --help'\.\n", result.stdout), "not the error and one line"


@pytest.mark.parametrize("arguments, answer", [
    (["stauts"], "conesocks: unknown command stauts, did you mean status?"),
    (["frobnicate"], "conesocks: unknown command frobnicate"),
    (["-d", "status"], "conesocks: the command has to be the first argument: conesocks status [OPTIONS]"),
    (["/dev/null"], "conesocks: /dev/null is not a command. To use it as the configuration: conesocks -c /dev/null"),
    (["--dmup"], "conesocks: unknown option --dmup, did you mean --dump?"), (["-tx"], "conesocks: unknown option -x"),
    (["--config"], "conesocks: --config needs an argument"), (["-tc"], "conesocks: -c needs an argument"),
    (["--daemon=1"], "conesocks: --daemon takes no argument"),
    (["status", "--wach=3"], "conesocks status: unknown option --wach, did you mean --watch?"),
    (["status", "--url", "a"], "conesocks status: --url is not http://HOST:PORT: a"),
    (["check", "--stnu", "a"], "conesocks check: unknown option --stnu, did you mean --stun?"),
    (["check", "--stun"], "conesocks check: --stun needs an argument"),
    (["check", "--direct=1"], "conesocks check: --direct takes no argument"),
    (["explain"], "conesocks explain: --from ADDRESS and --to HOST:PORT are required"),
    (["reload", "-c", "a", "b"], "conesocks reload: unexpected argument: b")])
def test_a_wrong_command_line_is_explained(run, arguments, answer):
    assert run(*arguments).stdout.splitlines()[0] == answer


@pytest.mark.parametrize("password, why", [(b"a\0b\n", "cannot contain a NUL byte"), (b"\n", "has 1 to 255 bytes"),
                                           (b"x" * 256, "has 1 to 255 bytes")])
def test_a_password_that_cannot_be_hashed(password, why):
    done = subprocess.run([PROGRAM, "hash-password"], input=password, check=False, capture_output=True)
    assert done.returncode == 1 and why in done.stderr.decode()


def test_counters_that_are_all_zero(start):
    proxy = start(None)
    assert proxy.counters() == {}
    proxy.wait_log("counters: all zero$")


def test_built_in_default(net, start):
    """No file: loopback only, where a client may go everywhere, this host's own services included."""
    proxy = start(None)
    assert proxy.listening() == ["127.0.0.1:1080"]
    with servers.Web(net.proxy, "127.0.0.1", 8000):
        result = net.proxy.run("curl", "-sS", "--proxy", "socks5h://127.0.0.1:1080", "http://127.0.0.1:8000/5",
                               text=False)
        assert result.stdout == servers.pattern(5)
    peer = net.inet1.udp(INET1_V4)
    assert Association(net.proxy, ("127.0.0.1", 1080), source="127.0.0.1").alive(peer, 5)


def test_check_only(run):
    assert run("-t").returncode == 0
    assert run("-t", config=LAN).returncode == 0


def test_every_example_is_fine(run):
    config = Path(__file__).resolve().parents[2] / "config"
    examples = [*config.glob("*.yaml"), *config.glob("*/conesocks.yaml")]
    assert {example.parent.name for example in examples} == {"config", "docker"}
    for example in examples:
        result = run("-t", config=example.read_text(encoding="utf-8"))
        warnings = [line for line in result.stdout.splitlines() if "warning" in line]
        of_elsewhere = re.compile("this host does not have|does not resolve|has no route|has no IPv[46] address")  # an example's addresses
        assert result.returncode == 0 and all(map(of_elsewhere.search, warnings)), result.stdout


def test_open_to_the_lan_is_worth_a_warning(run):
    result = run("-t", config="listen: [{address: 10.77.0.1, port: 1080, auth: none}]")
    assert result.returncode == 0 and "open: true" in result.stdout


@pytest.mark.parametrize("config, place, words", [
    ("udp: {idle: 1080x}", "1:13", "1080x"),
    ("udp:\n  filtring: address-dependent\n", "2:3", "filtring"),
    ("listen: [{address: 0.0.0.0, port: 1080}]", "", "auth"),
    ("users: [{name: alice, password: wonderland}]", "", "hash-password"),
    ("udp: [", "", ""),
])
def test_row55_broken_configuration(run, config, place, words):
    """Refused with file, line and column, both by -t and at start; a plain password is not repeated."""
    for options in (["-t"], []):
        result = run(*options, config=config)
        assert result.returncode == 1
        assert f"run.yaml:{place}" in result.stdout and words in result.stdout
        assert "wonderland" not in result.stdout


@pytest.mark.parametrize("key", ["user", "group"])
def test_unknown_user_or_group(run, key):
    """Found by -t, before the start that would fail."""
    for options in (["-t"], []):
        result = run(*options, config=f"run: {{{key}: nobody-of-that-name}}")
        assert result.returncode == 1
        assert f'run.{key}: this system has no "nobody-of-that-name"' in result.stdout


@pytest.mark.parametrize("key, config", [
    ("log.file", "log: {target: file, file: /nonexistent/log}"), ("admin.socket", "admin: {socket: /nonexistent/admin}"),
    ("run.pid_file", "run: {pid_file: /nonexistent/pid}"), ("run.handover", "run: {handover: /nonexistent/socket}")])
def test_missing_folder(run, key, config):
    """-t warns of it, for whoever starts the server may make it; without it there is no start."""
    result = run("-t", config=config)
    assert result.returncode == 0 and f"warning: {key}: the folder /nonexistent does not exist; " in result.stdout
    assert run(config=config).returncode == 1


def test_missing_configuration(run):
    result = run("-c", "/nonexistent/conesocks.yaml")
    assert result.returncode == 1 and "/nonexistent/conesocks.yaml" in result.stdout


def test_dump_loads_again(run):
    hash_text = USERS[0]["password"]
    config = (f"listen: [{{address: 10.77.0.1, port: 1080}}]\nusers: [{{name: alice, password: '{hash_text}'}}]\n"
              "udp: {idle: 5m, filtering: address-dependent}\n")
    dump = run("--dump", config=config)
    assert dump.returncode == 0 and hash_text not in dump.stdout and "address-dependent" in dump.stdout
    again = run("--dump", config=dump.stdout.replace("***", hash_text))
    assert again.stdout == dump.stdout


def test_hash_password(net, run, start, lan):
    """What it prints is what the configuration wants."""
    result = run("hash-password", input="open sesame\n")
    assert result.returncode == 0 and result.stdout.startswith("$y$")
    listen = [{"address": PROXY_V4, "port": 1080}]
    start({"listen": listen, "users": [{"name": "ali", "password": result.stdout.strip()}]})
    peer = net.inet1.udp(INET1_V4)
    assert Association(net.client, lan, user="ali", password="open sesame").alive(peer, 3)


@pytest.mark.parametrize("text", ["", "\n", "x" * 256 + "\n", "a\0b\n"])
def test_hash_password_refuses(run, text):
    assert run("hash-password", input=text).returncode == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_hash_password_interrupted(net, number):
    """The terminal shows again what is typed."""
    ours, theirs = os.openpty()
    with net.proxy.enter():
        process = subprocess.Popen([PROGRAM, "hash-password"], stdin=theirs, stderr=theirs)
    assert os.read(ours, 100) == b"Password: "
    assert not termios.tcgetattr(theirs)[3] & termios.ECHO
    process.send_signal(number)
    assert process.wait(10) == -number
    assert termios.tcgetattr(theirs)[3] & termios.ECHO
    os.close(ours)
    os.close(theirs)


def test_row50_no_secret_in_the_most_talkative_log(net, start, lan):
    listen = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
    proxy = start({"listen": listen, "users": USERS, "log": {"level": "debug"}})
    peer = net.inet1.udp(INET1_V4)
    assert Association(net.client, lan, user=ALICE[0], password=ALICE[1]).alive(peer, 3)
    sock = net.client.connect(CLIENT_V4, lan)
    sock.sendall(b"\5\1\2" + socks5.login_message("alice", "nearly-wonderland"))
    socks5.recv_all(sock)
    wait_until(lambda: len(proxy.sessions()) >= 1, "the refused session")
    assert "wonderland" not in proxy.log and USERS[0]["password"] not in proxy.log


def test_row51_names_cannot_forge_log_lines(net, start, lan):
    """Newlines, escapes, quotes and bad UTF-8 in a name: one escaped line."""
    proxy = start()
    evil = b'x"\nconesocks: info: session: client=forged \x1b[31m\xff%n\\'
    sock, reply = socks5.connect(net.client, lan, (evil, 80), atyp=socks5.NAME)
    assert reply.code in (1, 4)
    sock.close()
    proxy.session()
    assert len(proxy.sessions()) == 1 and not proxy.sessions(client="forged")
    assert "\x1b" not in proxy.log


def test_row57_started_twice(net, proxy, run):
    result = run(config=LAN)
    assert result.returncode == 1 and "10.77.0.1:1080" in result.stdout


def test_row57_pid_file(net, start, run, tmp_path):
    pid_file = tmp_path / "conesocks.pid"
    pid_file.write_text("1\n", encoding="ascii")  # a stale one
    config = {"run": {"pid_file": str(pid_file)}}
    proxy = start(config)
    assert int(pid_file.read_text(encoding="ascii")) == proxy.pid
    other_port = LAN.replace("1080", "1081") + f"run: {{pid_file: {pid_file}}}\n"
    result = run(config=other_port)
    assert result.returncode == 1 and "running already" in result.stdout
    assert int(pid_file.read_text(encoding="ascii")) == proxy.pid
    proxy.stop()
    assert pid_file.read_text(encoding="ascii") == ""  # the sandbox leaves no right to remove it
    start(config)


def test_row57_signals_before_it_serves(net, start, tmp_path):
    """Its pid file is there already, for logrotate and the like to find; what they ask for waits."""
    pid_file = tmp_path / "conesocks.pid"

    class Dns(servers.Dns):
        def answer(self, query):
            """On the way to what it serves by."""
            if not self.asked:
                for number in (signal.SIGHUP, signal.SIGUSR1):
                    os.kill(int(pid_file.read_text(encoding="ascii")), number)
            return super().answer(query)

    with Dns(net.inet1, INET1_V4, {"outside.test": ["198.51.100.7"]}):
        proxy = start({"dns": {"servers": [INET1_V4]}, "udp": {"advertise_v4": "outside.test"},
                       "run": {"pid_file": str(pid_file)}})
        proxy.wait_log("reload: configuration ")  # or why not
        proxy.wait_log("counters:")


def test_row57_symlinked_pid_file(run, tmp_path):
    precious, pid_file = tmp_path / "precious", tmp_path / "conesocks.pid"
    precious.write_text("precious", encoding="ascii")
    pid_file.symlink_to(precious)
    assert run(config=LAN + f"run: {{pid_file: {pid_file}}}\n").returncode == 1
    assert precious.read_text(encoding="ascii") == "precious"


@pytest.mark.skipif(not OTHER_USERS, reason="root of this user namespace becomes nobody else")
def test_pid_file_for_others(net, folder):
    """As whoever is not root finds with -d, whose default is in /run."""
    config = folder / "c.yaml"
    config.write_text(LAN + f"run: {{pid_file: {folder}/pid}}\n", encoding="ascii")
    result = net.proxy.run("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", PROGRAM, "-d", "-c", str(config))
    assert result.returncode == 1 and "run.pid_file" in result.stdout


@pytest.mark.parametrize("room", [4096, 8192])
def test_row57_a_full_disk(net, tmp_path, room):
    """The pid file cannot be written: that is said, and there is no server that nobody would find again. With room it starts."""
    disk, path = tmp_path / "disk", tmp_path / "run.yaml"
    disk.mkdir()
    path.write_text(LAN + f"run: {{pid_file: {disk}/pid}}\n", encoding="ascii")
    script = f"mount -t tmpfs -o size={room} tmpfs {disk} && head -c 4096 /dev/zero > {disk}/all && exec \"$@\""
    if net.proxy.run("unshare", "--mount", "true").returncode != 0:
        pytest.skip("cannot mount here (a chroot?)")
    process = net.proxy.start("unshare", "--mount", "sh", "-c", script, "sh", PROGRAM, "-c", str(path),
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with process:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "listening on" in line:
                process.send_signal(signal.SIGTERM)
    full = f"pid file {disk}/pid: No space left on device" in "".join(lines)
    assert (process.returncode, full) == ((1, True) if room == 4096 else (0, False)), lines


def test_row57_kill_9_and_again(net, start, lan):
    """With connections open, the port can be bound again at once."""
    proxy = start(killed=True)
    server = net.inet1.listen(INET1_V4)
    streams = [socks5.connect(net.client, lan, server.getsockname())[0] for _ in range(10)]
    proxy.process.kill()
    proxy.process.wait()
    assert [socks5.recv_all(sock) for sock in streams] == [b""] * 10
    start()
    assert socks5.connect(net.client, lan, server.getsockname())[1].code == 0


@pytest.fixture
def background(net, tmp_path):
    """background(config) starts with -d: (status, output, pid)."""
    pid_file = tmp_path / "daemon.pid"
    pids = []

    def run(config):
        path = tmp_path / "daemon.yaml"
        path.write_text(config + f"run: {{pid_file: {pid_file}}}\n", encoding="utf-8")
        result = net.proxy.run(PROGRAM, "-d", "-c", str(path), timeout=20)
        if result.returncode == 0:
            pids.append(int(pid_file.read_text(encoding="ascii")))
        return result, pids[-1] if result.returncode == 0 else None

    yield run
    for pid in pids:
        if os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGKILL)


def test_daemon(net, background, lan, tmp_path):
    """The caller returns once it listens; the daemon has a session of its own and keeps nothing of the caller's."""
    result, pid = background(LAN)
    assert result.returncode == 0, result.stdout
    peer = net.inet1.udp(INET1_V4)
    assert Association(net.client, lan).alive(peer, 5)
    assert os.getsid(pid) not in (os.getsid(0), pid)  # a session, and not its leader: it can get no terminal
    assert [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)] == ["/dev/null"] * 3
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: (tmp_path / "daemon.pid").read_text() == "", "the daemon's end")


def test_daemon_that_cannot_start_says_so(net, background, proxy):
    result, _ = background(LAN)
    assert result.returncode == 1 and "10.77.0.1:1080" in result.stdout


def test_hangup_does_not_end_it(net, proxy, lan):
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, lan)
    proxy.process.send_signal(signal.SIGHUP)
    proxy.wait_log("reload: ")
    assert association.alive(peer, 5)


def test_control_connection_over_a_dead_path(net, start, lan):
    """Keepalive is on: it is how a client that vanished is noticed."""
    start({"workers": 1})
    Association(net.client, lan)
    timers = ("ss", "--tcp", "--no-header", "--options", "state", "established", "sport", "=", ":1080")
    wait_until(lambda: "timer:(keepalive" in net.proxy.run(*timers).stdout, "the keepalive timer")
