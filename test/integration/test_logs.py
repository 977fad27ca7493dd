"""The log: as text and as JSON, to a file that is renamed, to what does not take it; and what it does not tell."""
import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import PROGRAM, wait_until
from netns import CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET2_V4, PROXY_V4
from socks5 import Association

OTHER_USERS = int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]) > 1
NOBODY = 65534
LOGIN = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
CONFIG = Path(__file__).resolve().parents[2] / "config"


@pytest.fixture
def log_folder(folder):
    """One that the user whom root becomes may write to."""
    path = folder / "logs"
    path.mkdir()
    if OTHER_USERS:
        os.chown(path, NOBODY, NOBODY)
    return path


@pytest.fixture
def to_file(serve, log_folder):
    """to_file(config) serves with its log in a file there."""
    def start(config=(), **log):
        path = log_folder / "conesocks.log"
        return serve({**dict(config), "log": {"target": "file", "file": str(path), **log}}, log_file=path)
    return start


def refuse(net, lan, count=1):
    """Sessions that leave a line each, for they have asked for something: there is no such port."""
    for _ in range(count):
        sock, reply = socks5.connect(net.client, lan, (INET1_V4, 9))
        assert reply.code == 5
        sock.close()


# ---- text and JSON ----

def converse(net, lan):
    """An association with datagrams both ways and a dropped one, a CONNECT that is refused, and a wrong login."""
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, lan, user="alice", password=ALICE[1])
    assert association.alive(peer, 3)
    association.send((INET1_V4, 0), b"to nowhere")
    assert association.alive(peer, 1)
    association.control.close()
    sock = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(sock, *ALICE)
    assert socks5.request(sock, socks5.CONNECT, ("10.88.0.11", 9)).code == 5
    sock.close()
    with net.client.connect(CLIENT_V4, lan) as sock:
        sock.sendall(b"\5\1\2" + socks5.login_message("mallory", "x"))
        socks5.recv_all(sock)


def test_a_record_is_the_same_in_both(net, start, lan):
    """What a text says as key=value, JSON says as a member: numbers are numbers, what is not there is null."""
    found = {}
    for form in ("text", "json"):
        proxy = start({"listen": LOGIN, "users": USERS, "log": {"format": form}})
        converse(net, lan)
        rows = proxy.objects if form == "json" else proxy.sessions
        match = {"message": "session ended"} if form == "json" else {}
        wait_until(lambda: len(rows(**match)) == 3, "three records")
        found[form] = rows(**match)
        if form == "json":
            # Each one of them, but for what is wrong with the file that asks for JSON.
            lines = [json.loads(line) for line in proxy.log.splitlines() if not line.startswith(str(proxy.config_path))]
            assert all(re.fullmatch(TIME, line["time"]) and line["level"] in ("info", "warning") for line in lines)
            assert {line["module"] for line in lines} >= {"server", "session"}
        proxy.stop()
    for text, row in zip(*(sorted(found[form], key=lambda row: int(row["id"])) for form in ("text", "json"))):
        flat = {key: value for key, value in row.items() if key not in ("time", "pid", "level", "module", "message", "dropped")}
        flat |= {f"dropped_{key}": value for key, value in row.get("dropped", {}).items()}
        assert flat.keys() == text.keys()
        for key in flat.keys() - {"client", "relay", "client_udp", "external_v4", "seconds"}:
            assert text[key] in (["-", "none"] if flat[key] is None else [str(flat[key])]), key
        assert isinstance(flat["seconds"], float) and flat["client"].startswith(CLIENT_V4)
    udp, connect, wrong = sorted(found["json"], key=lambda row: row["id"])
    assert (udp["command"], udp["user"], udp["up_datagrams"], udp["up_bytes"]) == ("udp", "alice", 4, 28)
    assert udp["dropped"] == {"bad_destination": 1} and udp["external_v6"] is None
    assert (connect["destination"], connect["via"], connect["reply"]) == ("10.88.0.11:9", None, 5)
    assert (wrong["user"], wrong["command"]) == ("mallory", "none")


def test_no_user_is_null(net, start, lan):
    proxy = start({"log": {"format": "json"}})
    refuse(net, lan)
    assert wait_until(lambda: proxy.objects(message="session ended"), "its record")[0]["user"] is None


@pytest.mark.parametrize("name", [
    b"a\n{\"forged\": 1}", b"\r\x1b[2J\x07", b"%n%s%n%999999d", b"\xff\xfe\x80\xc3", b'","user":"', b"\\x0a\\", b"\xc2\x9b31m",
    b"\"" * 255, b"\n" * 255, b"\0a\0"], ids=str)
@pytest.mark.parametrize("form", ["text", "json"])
def test_row51_a_name_is_one_line(net, start, lan, name, form):
    """Of a user and of a destination. Each line of JSON is an object, and the value is as escaped as in a text."""
    proxy = start({"listen": LOGIN, "users": USERS, "log": {"format": form, "level": "debug"}})
    before = len(proxy.log.splitlines())
    with net.client.connect(CLIENT_V4, lan) as sock:
        sock.sendall(b"\5\1\2\1" + bytes([len(name)]) + name + b"\1x")
        socks5.recv_all(sock)
    with net.client.connect(CLIENT_V4, lan) as sock:
        socks5.negotiate(sock, *ALICE)
        sock.sendall(socks5.request_message(socks5.CONNECT, (name, 80), socks5.NAME))
        socks5.recv_all(sock)
    wait_until(lambda: len(proxy.log.splitlines()) >= before + 2, "the lines")
    raw = proxy.log_path.read_bytes()
    lines = raw.decode().splitlines()[before:]
    assert not re.search(rb"[\x00-\x09\x0b-\x1f\x7f]", raw) and not re.search("[\x80-\x9f]", raw.decode())
    if form == "text":
        assert all(line.startswith("conesocks: ") for line in lines)
        return
    rows = [json.loads(line) for line in lines]
    assert all(row.keys() >= {"time", "pid", "level", "module", "message"} for row in rows)
    escaped = "".join(chr(byte) if 32 <= byte < 127 and byte != 92 else f"\\x{byte:02x}" for byte in name.split(b"\0")[0])
    assert (rows[0]["user"] or "") == escaped[:599 - 599 % (4 if escaped.startswith("\\") else 1)]


def test_format_and_level_change_with_a_reload(net, serve, lan):
    proxy = serve()
    assert "{" not in proxy.log
    proxy.configure(lan_config({"log": {"format": "json"}}))
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: proxy.objects(module="reload", message="configuration reloaded"), "the reload")
    refuse(net, lan)
    wait_until(lambda: proxy.objects(message="session ended"), "a record")
    assert not proxy.sessions()
    proxy.configure(lan_config({"log": {"format": "text"}}))
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: proxy.sessions() or refuse(net, lan), "a record")


# ---- a file ----

def test_a_file(net, to_file, lan):
    """Each line has its time; what is said at standard error is where to look."""
    proxy = to_file()
    refuse(net, lan)
    row = proxy.session(reply="5")
    assert row["destination"] == f"{INET1_V4}:9"
    assert all(re.match(TIME + rf" conesocks\[{proxy.pid}\]: ", line) for line in proxy.log.splitlines())
    assert proxy.log_path.stat().st_mode & 0o777 == 0o640 & ~current_umask()
    assert f"the log continues in {proxy.log_path}" in (proxy.config_path.with_suffix(".log")).read_text()
    assert "cannot make" not in proxy.log


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.skipif(not OTHER_USERS, reason="who stays root keeps the file as it was at the start")
def test_renamed_files_hold_all_lines(net, to_file, lan, form):
    """As logrotate does, while sessions end all the time and the configuration is broken every other time: each of them
    has one whole line in one of the files."""
    proxy = to_file(format=form)
    path, names = proxy.log_path, []
    assert (path.stat().st_uid, path.stat().st_gid) == (NOBODY, NOBODY)  # or it cannot be compressed once it was renamed
    for number in range(20):
        refuse(net, lan, 5)
        names.append(path.with_name(f"old.{number}"))
        path.rename(names[-1])
        proxy.configure(lan_config({"log": {"format": form}}) if number % 2 else "log: [broken")
        refuse(net, lan, 3)  # to the file that had the name
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: path.exists() and "opened again" in path.read_text(), "the new file")
        assert path.stat().st_uid == NOBODY
    refuse(net, lan, 5)

    def ended():
        text = "".join(name.read_text(encoding="ascii") for name in [*names, path])
        assert text.endswith("\n")
        return text.count("command=connect") if form == "text" else len(
            [line for line in text.splitlines() if json.loads(line).get("command") == "connect"])
    wait_until(lambda: ended() == 20 * 8 + 5, "all records")
    wait_until(proxy.is_idle, "none open of the files that it was once")


def test_a_file_is_kept_when_it_cannot_be_opened_again(net, to_file, lan):
    """The folder is another's by then: lines go on, and say so once for each try."""
    proxy = to_file()
    path = proxy.log_path
    old = path.with_name("old")
    path.rename(old)
    path.mkdir()
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: re.search("error: log: log.file: .* cannot be opened again", old.read_text()), "the complaint")
    refuse(net, lan)
    wait_until(lambda: "reply=5" in old.read_text(), "the record")
    proxy.log_path = old


@pytest.mark.skipif(not OTHER_USERS, reason="root of this user namespace becomes nobody else")
def test_a_folder_that_is_not_ours_is_told_early(net, to_file, log_folder, lan):
    """Root could open the file; the user that it becomes cannot make another. copytruncate works all the same."""
    os.chown(log_folder, 0, 0)
    proxy = to_file()
    proxy.wait_log(f"warning: reload: log.file: user id {NOBODY} cannot create {proxy.log_path} again.*copytruncate")
    refuse(net, lan)
    proxy.session()
    os.truncate(proxy.log_path, 0)
    refuse(net, lan)
    assert proxy.session(reply="5") and "\0" not in proxy.log


@pytest.mark.parametrize("what, words", [("symlink", "symbolic link"), ("fifo", "not a plain file"), ("missing", "No such file")])
def test_what_is_no_file_of_ours_is_refused(net, folder, log_folder, tmp_path, what, words):
    path = log_folder / "log"
    precious = tmp_path / "precious"
    precious.write_text("precious", encoding="ascii")
    if what == "symlink":
        path.symlink_to(precious)
    elif what == "fifo":
        os.mkfifo(path)
    else:
        path = log_folder / "missing" / "log"
    config = folder / "c.yaml"
    config.write_text(json.dumps(lan_config({"log": {"target": "file", "file": str(path)}})), encoding="ascii")
    result = net.proxy.run(PROGRAM, "-c", str(config), timeout=20)
    assert result.returncode == 1 and words in result.stdout and "log.file" in result.stdout
    assert precious.read_text(encoding="ascii") == "precious"


def test_a_daemon_logs_to_its_file(net, folder, log_folder, lan):
    """Whoever starts it still hears what is wrong."""
    path, pid_file, config = log_folder / "log", folder / "pid", folder / "c.yaml"
    config.write_text(json.dumps(lan_config({"log": {"target": "file", "file": str(path)},
                                             "run": {"pid_file": str(pid_file)}})), encoding="ascii")
    assert net.proxy.run(PROGRAM, "-d", "-c", str(config)).returncode == 0
    try:
        refuse(net, lan)
        wait_until(lambda: "reply=5" in path.read_text(), "the record")
        again = net.proxy.run(PROGRAM, "-d", "-c", str(config))
        assert again.returncode == 1 and "running already" in again.stdout
    finally:
        os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGTERM)
    wait_until(lambda: "counters: " in path.read_text(), "its end")


@pytest.mark.skipif(not OTHER_USERS, reason="logrotate wants to become the user of the file")
def test_logrotate_with_our_example(net, to_file, folder, lan):
    proxy = to_file()
    example = (CONFIG / "conesocks.logrotate").read_text(encoding="ascii")
    assert all(text in example for text in ("/var/log/conesocks/*.log", "su conesocks conesocks", "systemctl kill -s HUP"))
    ours = example.replace("/var/log/conesocks", str(proxy.log_path.parent)).replace("conesocks conesocks", "nobody nogroup")
    ours = re.sub("systemctl kill .*", f"kill -HUP {proxy.pid}", ours)
    rules = folder / "logrotate.conf"
    rules.write_text(ours, encoding="ascii")
    refuse(net, lan, 2)
    wait_until(lambda: len(proxy.sessions()) == 2, "two records")
    result = net.proxy.run("logrotate", "--force", "--state", str(folder / "state"), str(rules))
    assert result.returncode == 0, result.stdout
    proxy.wait_log("opened again")
    refuse(net, lan)
    proxy.session()
    assert len(proxy.sessions()) == 1
    assert (proxy.log_path.parent / "conesocks.log.1").read_text(encoding="ascii").count("reply=5") == 2
    result = net.proxy.run("logrotate", "--force", "--state", str(folder / "state"), str(rules))
    assert result.returncode == 0 and (proxy.log_path.parent / "conesocks.log.2.gz").exists(), result.stdout


# ---- what does not take lines ----

def lost(text):
    return sum(int(number) for number in re.findall(r"warning: log: lines lost here: (\d+)", text))


@pytest.mark.skipif(not OTHER_USERS, reason="the file system of another mount namespace is out of sight")
def test_row57_a_full_disk(net, serve, folder, lan):
    """The proxy relays on; once there is room a line says how many are missing, and none of the others is torn."""
    mount = folder / "full"
    mount.mkdir()
    inside = mount / "log"
    proxy = serve({"log": {"target": "file", "file": str(inside), "format": "text"}}, log_file="/proc/{pid}/root" + str(inside),
                  mounts=[f"mount -t tmpfs -o size=64k,mode=777 none {mount}"])
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, lan)
    refuse(net, lan, 3)
    wait_until(lambda: proxy.log.count("reply=5") == 3, "the records")
    ballast = proxy.log_path.with_name("ballast")
    with open(ballast, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"x" * 4096)
    refuse(net, lan, 100)
    assert association.alive(peer, 50)
    assert proxy.log.endswith("\n")
    ballast.unlink()
    refuse(net, lan, 1)
    wait_until(lambda: lost(proxy.log), "the count")
    lines = proxy.log.splitlines()
    assert all(re.match(TIME + rf" conesocks\[{proxy.pid}\]: ", line) for line in lines)
    assert proxy.log.count("reply=5") + lost(proxy.log) == 104
    assert "No space left on device" in proxy.log


def test_row57_standard_error_that_nobody_reads(net, folder, lan):
    """A pipe that is full, as of a journald that is stuck, stops nothing: neither streams nor datagrams, nor the end."""
    config = folder / "c.yaml"
    config.write_text(json.dumps(lan_config()), encoding="ascii")
    ours, theirs = os.pipe()
    with net.proxy.start(PROGRAM, "-c", str(config), stderr=theirs) as process:
        os.close(theirs)
        wait_until(lambda: net.proxy.run("ss", "-tlnH", "sport = 1080").stdout, "the listener")
        peer = net.inet1.udp(INET1_V4)
        association = Association(net.client, lan)
        refuse(net, lan, 700)  # more than a pipe holds
        assert association.alive(peer, 50)
        text = b""
        while text.count(b"reply=5") < 700:
            assert select.select([ours], [], [], 10)[0]
            text += os.read(ours, 65536)
        assert not lost(text.decode())
        refuse(net, lan, 700)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    os.close(ours)


def test_standard_error_whose_reader_is_gone(net, folder, lan):
    config = folder / "c.yaml"
    config.write_text(json.dumps(lan_config()), encoding="ascii")
    ours, theirs = os.pipe()
    with net.proxy.start(PROGRAM, "-c", str(config), stderr=theirs) as process:
        os.close(theirs)
        wait_until(lambda: net.proxy.run("ss", "-tlnH", "sport = 1080").stdout, "the listener")
        os.close(ours)
        refuse(net, lan, 20)
        assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4), 10)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


# ---- what it does not tell ----

@pytest.mark.parametrize("form", ["text", "json"])
def test_destinations_are_not_told(net, serve, lan, form):
    """Neither in records nor where something is refused, by rule, by reach or by name, whatever the level is."""
    rules = [{"action": "deny", "to": [f"{INET2_V4}/32"]}, {"action": "deny", "to": ["secret.test"]}]
    with servers.Dns(net.inet1, INET1_OTHER_V4, {"open.test": [INET1_V4], "secret.test": [INET1_V4]}) as dns:
        proxy = serve({"rules": rules, "dns": {"servers": [dns.address]}, "admin": {"port": 1081},
                       "log": {"destinations": False, "level": "debug", "format": form}}, leaves_lookups=True)
        web = net.inet1.listen(INET1_V4, 8088)
        destinations = [(INET1_V4, 8088), ("open.test", 8088), (INET2_V4, 8088), ("secret.test", 8088), ("127.0.0.2", 8088),
                        ("missing.test", 8088), ("224.0.0.1", 8088), (PROXY_V4, 8088)]
        shown = []
        for destination in destinations:
            sock, _ = socks5.connect(net.client, lan, destination)
            shown.append(net.proxy.run("curl", "-sS", ADMIN + "/status").stdout)
            sock.close()
        association = Association(net.client, lan)
        peer = net.inet1.udp(INET1_V4, 8088)
        assert association.alive(peer, 2)
        for destination in destinations[2:]:
            association.send(destination, b"x")
        assert association.alive(peer, 2)
        shown.append(net.proxy.run("curl", "-sS", ADMIN + "/status").stdout)
        association.control.close()
        time.sleep(1.1)  # five refusals in a second use up what the log writes about strangers
        control = net.client.connect(None, lan)
        socks5.negotiate(control)
        bound = socks5.request(control, socks5.BIND, (INET1_V4, 8088)).address
        with contextlib.suppress(ConnectionResetError):
            net.inet2.connect(INET2_V4, bound)
        came = net.inet1.connect(INET1_V4, bound)
        assert socks5.recv_reply(control).code == 0
        came.close()
        control.close()
        web.close()
        done = '"command":"bind"' if form == "json" else "command=bind"
        wait_until(lambda: proxy.log.count(done) >= 1 and "another peer" in proxy.log, "the lines")
        wait_until(proxy.is_idle, "the end of all sessions")
        assert all(json.loads(page)["sessions"] for page in shown[:2])  # which it does tell
        said = "\n".join([proxy.log, *shown])
        for secret in ("8088", "open.test", "secret.test", "missing.test", INET1_V4, INET2_V4, "224.0.0", "127.0.0.2"):
            assert secret not in said, said
        assert CLIENT_V4 in said and "denied by rules[0]" in said
        proxy.configure(lan_config({"log": {"format": form}}))
        proxy.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "configuration reloaded" in proxy.log, "the reload")
        refuse(net, lan)
        wait_until(lambda: f"{INET1_V4}:9" in proxy.log, "the destination")


MORE = {"address": PROXY_V4, "port": 1090}
ADMIN = "http://127.0.0.1:1081"


def connects(net, port):
    try:
        return net.client.connect(None, (PROXY_V4, port))
    except ConnectionRefusedError:
        return None


def secrets_in(text, secrets):
    return [secret for secret in secrets if secret in text]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("level", ["error", "warning", "info", "debug"])
def test_row50_no_secret_anywhere(net, serve, lan, folder, level, form):
    """Right and wrong passwords, an upstream's too, reloads, mistakes in the file, the dump, explain, what the process
    looks like from outside, and all that the admin listener shows."""
    upstream = {"name": "far", "address": INET1_V4, "port": 1080, "user": "chain", "password": "far-away-password"}
    users_file = folder / "users"
    users_file.write_text(f"carol:{USERS[0]['password'].replace('conesocks', 'othersalt')}\n", encoding="ascii")
    users_file.chmod(0o640)
    if OTHER_USERS:
        os.chown(users_file, 0, NOBODY)
    config = {"listen": LOGIN, "users": USERS, "users_file": str(users_file), "upstreams": [upstream],
              "rules": [{"action": "allow", "to": [f"{INET2_V4}/32"], "command": ["connect"], "upstream": "far"}], "admin": {"port": 1081},
              "log": {"level": level, "format": form}}
    secrets = ["wonderland", "far-away-password", "wrong-pass", "$6$", "rounds=1000", "vl8hNS3U5Bdc", "abcdef-not-a-hash"]
    proxy = serve({**config, "log": {"level": "info", "format": form}})
    proxy.configure(lan_config({**config, "listen": [*LOGIN, MORE]}))
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: connects(net, MORE["port"]), "the reload").close()  # which may go without saying, at this level
    peer = net.inet1.udp(INET1_V4)
    association = Association(net.client, lan, user="alice", password=ALICE[1])
    assert association.alive(peer, 3)
    for user, password in (("alice", "wrong-pass"), ("nobody", "wrong-pass"), ("alice", "nearly-wonderland")):
        with net.client.connect(CLIENT_V4, lan) as sock:
            sock.sendall(b"\5\1\2" + socks5.login_message(user, password))
            socks5.recv_all(sock)
    sock = net.client.connect(None, lan)
    socks5.negotiate(sock, *ALICE)
    assert socks5.request(sock, socks5.CONNECT, (INET2_V4, 80)).code != 0  # nobody is there to log in to
    sock.close()
    shown = [Path(f"/proc/{proxy.pid}/{name}").read_bytes().decode() for name in ("cmdline", "environ", "comm", "status")]
    for page in ("/metrics", "/status", "/", "/history", "/healthz", "/proxy.pac"):
        result = net.proxy.run("curl", "-sS", ADMIN + page)
        assert result.returncode == 0, result.stdout
        shown.append(result.stdout)
    shown.append(net.proxy.run(PROGRAM, "--dump", "-c", str(proxy.config_path)).stdout)
    shown.append(net.proxy.run(PROGRAM, "-t", "-c", str(proxy.config_path)).stdout)
    shown.append(net.proxy.run(PROGRAM, "explain", "-c", str(proxy.config_path), "--from", CLIENT_V4, "--user", "alice", "--to",
                               f"{INET2_V4}:80").stdout)
    assert all(shown)
    broken = {**config, "users": [{"name": "alice", "password": "abcdef-not-a-hash"}]}
    proxy.configure(lan_config(broken))
    proxy.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "configuration not reloaded" in proxy.log, "the refusal")
    shown.append(net.proxy.run(PROGRAM, "-t", "-c", str(proxy.config_path)).stdout)
    proxy.configure(lan_config(config))
    proxy.process.send_signal(signal.SIGHUP)
    assert association.alive(peer, 3)
    association.control.close()
    wait_until(proxy.is_idle, "the end")
    proxy.stop()
    assert secrets_in("\n".join([proxy.log, *shown]), secrets) == []
    if level in ("info", "debug"):
        assert "mallory" not in proxy.log and "alice" in proxy.log
