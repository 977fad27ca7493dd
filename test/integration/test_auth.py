"""Logins: what floods of wrong ones cost, and what of them shows. Rows of ATTACKS.md: 49 to 51."""
import collections
import configparser
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import socks5
from conftest import ALICE, LISTEN, USERS
from daemon import PROGRAM, wait_until
from netns import CLIENT_V4, CLIENT_V6, INET1_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, STRANGER_V4, STRANGER_V6

WITH_LOGIN = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
SWORDFISH = "Swordfish-7"  # never right
WRONG = b"\5\1\2" + socks5.login_message("alice", SWORDFISH)
BOB = ("bob", "builder")
RIGHT, REFUSED, UNSAID = b"\5\2\1\0", b"\5\2\1\1", b"\5\2"


@pytest.fixture(scope="session")
def costly():
    """A hash of BOB's password at its real cost, 16 ms a check."""
    done = subprocess.run([PROGRAM, "hash-password"], input=BOB[1], text=True, check=True, stdout=subprocess.PIPE)
    return {"name": BOB[0], "password": done.stdout.strip()}


@pytest.fixture
def with_users(start, costly):
    """Runs with one worker, so that all logins share its cache."""
    return lambda **more: start({"listen": WITH_LOGIN, "users": [costly, *USERS], "workers": 1, **more})


@pytest.fixture
def origin(net):
    return net.inet1.udp(INET1_V4)


class Flood:
    """A host that sends wrong passwords, a thousand a second or more, until the end of the block."""

    def __init__(self, host, source, lan):
        self.host, self.source, self.lan = host, source, lan
        self.sent, self.ended = 0, threading.Event()
        self.thread = threading.Thread(target=self.loop)

    def loop(self):
        while not self.ended.is_set():
            with self.host.connect(self.source, self.lan) as sock:
                sock.sendall(WRONG)
                socks5.recv_all(sock)
            self.sent += 1

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *details):
        self.ended.set()
        self.thread.join()


def begin_login(host, source, lan, user=ALICE[0], password=ALICE[1]):
    sock = host.connect(source, lan)
    sock.sendall(b"\5\1\2" + socks5.login_message(user, password))
    return sock


def end_login(sock):
    """What the server has said: its method and, where it says anything of the password, its status."""
    with sock:
        sock.settimeout(20)
        answer = b""
        while len(answer) < 4 and (more := sock.recv(4 - len(answer))):
            answer += more
        return answer


def log_in(*arguments):
    return end_login(begin_login(*arguments))


def test_row49_a_flood_of_wrong_passwords_moves_nobody_else(net, with_users, lan, origin):
    proxy = with_users()
    association = socks5.Association(net.client, lan, user=ALICE[0], password=ALICE[1])
    with Flood(net.stranger, STRANGER_V4, lan) as flood:
        wait_until(lambda: flood.sent > 100, "the flood")
        assert association.alive(origin, 200)
        for _ in range(20):  # known to the worker
            assert log_in(net.client, CLIENT_V4, lan) == RIGHT
        # Known to nobody yet, from a third address; and the flood's own gets no answer, rather than a wrong one.
        assert log_in(net.neighbour, NEIGHBOUR_V4, lan, *BOB) == RIGHT
        assert log_in(net.stranger, STRANGER_V4, lan) == UNSAID
        wait_until(lambda: flood.sent > 1000, "a thousand")
    counters = proxy.counters()
    # Ten are free, and one more for each six seconds that it took.
    assert 10 <= counters["auth_failed_total"] < 20
    assert counters["auth_failed_total"] + counters["auth_throttled_total"] == flood.sent + 1
    assert "auth_busy_total" not in counters
    said = re.findall(rf"too many wrong passwords from {re.escape(STRANGER_V4)}:", proxy.log)
    assert 1 <= len(said) < 20 and len(proxy.log.splitlines()) < 500  # but not for each


def test_row49_workers_count_failures_together(net, with_users, lan):
    """Whichever worker accepts a connection; one after the other, and many at once."""
    proxy = with_users(workers=2, limits={"failed_logins": 5})
    answers = [log_in(net.client, CLIENT_V4, lan, ALICE[0], SWORDFISH) for _ in range(10)]
    assert answers == [REFUSED] * 5 + [UNSAID] * 5
    socks = [begin_login(net.stranger, STRANGER_V4, lan, ALICE[0], SWORDFISH) for _ in range(40)]
    assert sorted(end_login(sock) for sock in socks) == [UNSAID] * 35 + [REFUSED] * 5
    assert proxy.counters()["auth_failed_total"] == 10


class SpreadFlood(Flood):
    """Each wrong password from another address, of a /64 that has not been seen yet, and none waits for its answer."""
    IPV6_FREEBIND = 78

    def loop(self):
        waiting = collections.deque()
        while not self.ended.is_set():
            with self.host.enter():
                sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
            sock.setsockopt(socket.IPPROTO_IPV6, self.IPV6_FREEBIND, 1)
            sock.bind((self.source % self.sent, 0))
            sock.connect(self.lan)
            sock.sendall(WRONG)
            waiting.append(sock)
            if len(waiting) > 400:  # more than the queue takes
                waiting.popleft().close()
            self.sent += 1
        for sock in waiting:
            sock.close()


def test_row49_a_network_of_guessing_addresses_keeps_nobody_out(net, start, costly):
    """A host with a /48 of its own has 65,536 times what is free."""
    net.stranger.ip("route add local 2001:db8:66::/48 dev lo")
    net.proxy.ip(f"route add 2001:db8:66::/48 via {STRANGER_V6}")
    proxy = start({"listen": [{"address": "::"}], "users": [costly, *USERS], "workers": 1,
                   "timeouts": {"login_cache": "off"}})
    assert log_in(net.client, CLIENT_V4, (PROXY_V4, 1080)) == RIGHT
    # From an address that is its own, so that the two hosts know each other's before.
    assert log_in(net.stranger, STRANGER_V6, (PROXY_V6, 1080), "alice", SWORDFISH) == REFUSED
    with SpreadFlood(net.stranger, "2001:db8:66:%x::1", (PROXY_V6, 1080)) as flood:
        wait_until(lambda: flood.sent > 200, "the flood")
        for _ in range(20):
            assert log_in(net.client, CLIENT_V4, (PROXY_V4, 1080)) == RIGHT
        wait_until(lambda: proxy.counters().get("auth_throttled_total", 0) > 100, "the network to be throttled")
        assert log_in(net.neighbour, NEIGHBOUR_V4, (PROXY_V4, 1080), *BOB) == RIGHT  # never seen before
    assert proxy.counters()["auth_failed_total"] < 200
    assert "too many wrong passwords from the network of 2001:db8:66:" in proxy.log


def test_row49_a_full_queue_is_not_a_wrong_password(net, with_users, lan):
    """Should a flood come from everywhere: whoever is known gets in, and nobody is told what is not so."""
    proxy = with_users(limits={"failed_logins": "off", "handshakes_per_client": "unlimited"})
    assert log_in(net.client, CLIENT_V4, lan) == RIGHT
    flood = [begin_login(net.stranger, STRANGER_V4, lan, BOB[0], SWORDFISH) for _ in range(600)]
    wait_until(lambda: proxy.counters().get("auth_busy_total", 0) >= 200, "a full queue")
    assert log_in(net.client, CLIENT_V4, lan) == RIGHT
    unknown = begin_login(net.client, CLIENT_V4, lan, *BOB)
    for sock in flood:
        sock.close()
    # Nobody waits for those checks any more, so they are skipped.
    assert end_login(unknown) in (RIGHT, UNSAID)
    wait_until(lambda: log_in(net.client, CLIENT_V4, lan, *BOB) == RIGHT, "the queue to be empty")
    assert proxy.counters()["auth_failed_total"] < 300
    assert "passwords wait to be checked" in proxy.log


def test_row49_a_right_login_costs_one_check(net, with_users, lan):
    """A tun bridge logs in for each connection and each association."""
    proxy = with_users()
    for number in range(300):
        assert log_in(net.client, CLIENT_V4, lan, *BOB) == RIGHT, f"login {number}"
    assert proxy.counters()["auth_cached_total"] == 299


def test_row49_many_first_logins_at_once(net, with_users, lan):
    proxy = with_users()
    socks = [net.client.connect(CLIENT_V4, lan) for _ in range(200)]
    for sock in socks:
        sock.sendall(b"\5\1\2" + socks5.login_message(*BOB))
    for sock in socks:
        assert socks5.recv_exact(sock, 4) == RIGHT
    assert "auth_failed_total" not in proxy.counters()


def test_row49_unknown_users_are_answered_alike(net, with_users, lan):
    """That they cost the same check is test_auth.c's to show."""
    with_users()
    for user in "alice", "bob", "mallory", "Alice", "x" * 255:
        assert log_in(net.client, CLIENT_V4, lan, user, SWORDFISH) == REFUSED


def test_row50_secrets_appear_nowhere(net, with_users, lan, origin, costly, tmp_path):
    users_file = tmp_path / "users"
    users_file.write_text(f"carol:{costly['password']}\n", encoding="ascii")
    users_file.chmod(0o600)
    proxy = with_users(log={"level": "debug"}, users_file=str(users_file))
    socks5.Association(net.client, lan, user=ALICE[0], password=ALICE[1]).alive(origin, 3)
    assert log_in(net.client, CLIENT_V4, lan, *BOB) == RIGHT
    assert log_in(net.client, CLIENT_V4, lan, "carol", BOB[1]) == RIGHT
    assert log_in(net.client, CLIENT_V4, lan, "bob", SWORDFISH) == REFUSED
    assert log_in(net.client, CLIENT_V4, lan, SWORDFISH[:-1], SWORDFISH) == REFUSED
    with net.client.connect(CLIENT_V4, lan) as sock:  # it never gets as far as a check
        sock.sendall(b"\5\1\2\1\5alice\x20" + SWORDFISH.encode())
        socks5.recv_exact(sock, 2)
    wait_until(lambda: proxy.sessions(user="carol"), "the log")
    proxy.counters()
    seen = {"log": proxy.log}
    for task in [Path(f"/proc/{proxy.pid}"), *Path(f"/proc/{proxy.pid}/task").iterdir()]:
        for name in "cmdline", "environ", "comm":
            seen[str(task / name)] = (task / name).read_text(encoding="utf-8", errors="replace")
    for option in "--dump", "-t":
        done = subprocess.run([PROGRAM, option, "-c", str(proxy.config_path)], text=True, check=True, timeout=10,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        seen[option] = done.stdout
    assert "carol" in seen["log"] and "alice" in seen["--dump"]
    hashes = [user["password"].rsplit("$", 1)[1] for user in (costly, *USERS)]
    for secret in (ALICE[1], BOB[1], SWORDFISH, *hashes):
        for where, text in seen.items():
            assert secret not in text, f"{secret} in {where}"


def test_row50_a_mistake_does_not_quote_the_secret(tmp_path):
    """Neither a password in place of a hash, nor one in a file that holds the wrong thing."""
    users, config = tmp_path / "users", tmp_path / "c.yaml"
    config.write_text(f"users_file: {users}\nusers: [{{name: alice, password: {SWORDFISH}}}]", encoding="ascii")
    users.write_text(f"bob:{SWORDFISH}\n{SWORDFISH}\n", encoding="ascii")
    users.chmod(0o600)
    for _ in range(2):
        done = subprocess.run([PROGRAM, "-t", "-c", str(config)], text=True, timeout=10, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        assert done.returncode != 0 and SWORDFISH not in done.stdout
        config.write_text(f"users_file: {users}", encoding="ascii")
    assert f"{users}:1:5:" in done.stdout and f"{users}:2:1:" in done.stdout


def test_users_file(net, with_users, lan, costly, tmp_path):
    users_file = tmp_path / "users"
    users_file.write_text(f"# the team\ncarol:{costly['password']}\n", encoding="ascii")
    users_file.chmod(0o640)
    with_users(users=[], users_file=str(users_file))
    assert log_in(net.client, CLIENT_V4, lan, "carol", BOB[1]) == RIGHT
    assert log_in(net.client, CLIENT_V4, lan, *BOB) == REFUSED


@pytest.mark.parametrize("name", [
    b"a\nconesocks: info: session: client=10.0.0.1 user=forged", b"\r\x1b[2J\x07", b"%n%s%n%999999d",
    b"\xff\xfe\x80\xc3", b'" command=udp why="', b"\\x0a", b"\xc2\x9b31m", b"x" * 255,
], ids=["newline", "escape", "format", "bad-utf8", "quotes", "backslash", "c1", "long"])
def test_row51_a_name_is_one_escaped_line(net, with_users, lan, name):
    proxy = with_users()
    before = len(proxy.log.splitlines())
    with net.client.connect(CLIENT_V4, lan) as sock:
        sock.sendall(b"\5\1\2\1" + bytes([len(name)]) + name + b"\1x")
        assert socks5.recv_all(sock) == REFUSED
    wait_until(lambda: "wrong user name" in proxy.log, "the line")
    raw = proxy.log_path.read_bytes()
    lines = raw.decode().splitlines()[before:]  # decode() ends the test where it is not UTF-8
    assert len(lines) == 1 and lines[0].startswith("conesocks: info: session: ")
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw) and not re.search("[\x80-\x9f]", raw.decode())
    (session,) = proxy.sessions()
    assert session["client"].startswith(CLIENT_V4)
    assert session["why"] == "wrong user name or password"


# ---- fail2ban ----

FILTER = Path(__file__).resolve().parents[2] / "config" / "fail2ban" / "filter.d" / "conesocks.conf"
ADDRESS = r"\[?(?P<host>[0-9]+\.[0-9.]+|[0-9a-f:]+:[0-9a-f:]+)\]?"  # as fail2ban's <ADDR>
LIAR = 'x" client=192.0.2.99:1 user="y'


def filtered(lines):
    """The addresses that the filter finds. fail2ban has removed the time of each line."""
    parser = configparser.ConfigParser()
    parser.read(FILTER)
    patterns = [re.compile(each.replace("<ADDR>", ADDRESS)) for each in parser["Definition"]["failregex"].splitlines()]
    found = []
    for line in lines:
        line = re.sub(r"^\d\d\d\d-\d\d-\d\dT[\d:.]+Z|^[A-Z][a-z]+ \d\d [\d:]+", "", line)
        found += [match["host"] for pattern in patterns if (match := pattern.search(line))]
    return found


@pytest.mark.parametrize("format_", ["text", "json"])
def test_fail2ban_finds_failed_logins(net, with_users, lan, tmp_path, format_):
    """The filter finds exactly the clients that failed, whatever user names they send, even if strangers fill the log."""
    proxy = with_users(limits={"failed_logins": 4}, log={"format": format_})
    for _ in range(20):
        net.stranger.connect(STRANGER_V4, lan).close()
    for user in "alice", LIAR, "carol", "dave":
        assert log_in(net.client, CLIENT_V4, lan, user, SWORDFISH) == REFUSED
    assert log_in(net.client, CLIENT_V6, (PROXY_V6, 1080), LIAR, SWORDFISH) == REFUSED
    assert log_in(net.neighbour, NEIGHBOUR_V4, lan) == RIGHT
    wait_until(lambda: "too many wrong passwords" in proxy.log and proxy.log.count("wrong user name") == 5, "the log")
    expected = [CLIENT_V4] * 5 + [CLIENT_V6]
    lines = proxy.log.splitlines()
    assert sorted(filtered(lines)) == expected
    plain = [line.replace("conesocks: info: ", "") for line in lines]
    assert sorted(filtered(f"Nov 30 23:57:25 host conesocks[123]: {line}" for line in plain)) == expected
    in_file = [line.replace("conesocks:", "2026-11-30T23:57:25.553Z conesocks[123]:") for line in lines]
    assert sorted(filtered(in_file)) == expected
    if shutil.which("fail2ban-regex"):
        (tmp_path / "log").write_text("\n".join(in_file) + "\n", encoding="utf-8")
        found = subprocess.run(["fail2ban-regex", "-v", tmp_path / "log", FILTER], capture_output=True, text=True, check=True)
        assert f"Failregex: {len(expected)} total" in found.stdout
