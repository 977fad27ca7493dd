"""What the running daemon has given up, and what it logs about that. The whole suite runs in the sandbox."""
import re
from pathlib import Path

import pytest
import socks5
from conftest import ALICE, LISTEN, USERS
from daemon import PROGRAM, SANITIZED, wait_until
from netns import INET1_OTHER_V4, INET1_V4, PROXY_V4
from socks5 import Association

PROGRAM_BYTES = Path(PROGRAM).read_bytes()
# Root of a user namespace that holds nobody else cannot become anybody else either.
OTHER_USERS = int(Path("/proc/self/uid_map").read_text(encoding="ascii").split()[2]) > 1
NOBODY = "65534"


def threads(proxy):
    """/proc's view of each thread: privileges belong to threads, not to processes."""
    for task in Path(f"/proc/{proxy.pid}/task").iterdir():
        lines = (task / "status").read_text(encoding="ascii").splitlines()
        yield {key: value.split() for key, _, value in (line.partition(":") for line in lines)}


@pytest.mark.skipif(b"__tsan_init" in PROGRAM_BYTES, reason="TSan's own thread is older than the sandbox")
def test_row52_what_every_thread_has_given_up(net, start, lan):
    """Workers, the password helper and the log's thread; the daemon continues to serve."""
    listen = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
    proxy = start({"listen": listen, "users": USERS, "workers": 3})
    seen = list(threads(proxy))
    assert len(seen) == 6
    for status in seen:
        assert status["CapEff"] == status["CapPrm"] == status["CapInh"] == status["CapAmb"] == ["0" * 16]
        assert status["CapBnd"] == ["0" * 16]
        assert status["NoNewPrivs"] == ["1"]
        if OTHER_USERS:
            assert status["Uid"] == status["Gid"] == [NOBODY] * 4
            assert status["Groups"] == []
        if not SANITIZED and "without libseccomp" not in proxy.log:
            assert status["Seccomp"] == ["2"]
    assert Association(net.client, lan, user=ALICE[0], password=ALICE[1]).alive(net.inet1.udp(INET1_V4), 5)


@pytest.mark.skipif(not OTHER_USERS, reason="a user namespace with a single user")
def test_row52_user_and_group_by_name(start):
    proxy = start({"run": {"user": "daemon", "group": "sys"}})
    for status in threads(proxy):
        assert status["Uid"] == ["1"] * 4 and status["Gid"] == ["3"] * 4 and status["Groups"] == []


def test_ports_below_1024_are_opened_before_the_sandbox(net, start):
    start({"listen": [{"address": PROXY_V4, "port": 80, "auth": "none", "open": True}]})
    server = net.inet1.listen(INET1_V4)
    assert socks5.connect(net.client, (PROXY_V4, 80), server.getsockname())[1].code == 0


@pytest.mark.parametrize("key", ["user", "group"])
def test_unknown_user(net, tmp_path, key):
    path = tmp_path / "run.yaml"
    path.write_text(f"listen: [{{port: 1089}}]\nrun: {{{key}: no-such-name}}\n", encoding="ascii")
    result = net.proxy.run(PROGRAM, "-c", str(path), timeout=20)
    assert result.returncode == 1 and f'run.{key}: this system has no "no-such-name"' in result.stdout


@pytest.mark.skipif(not OTHER_USERS, reason="who stays root reads the files as they were at the start")
def test_replaced_files_are_read_again(net, start, lan, tmp_path):
    """Editors and DHCP clients write a new file and rename it over the old one; Landlock knows files, not names."""
    etc = tmp_path / "etc"
    etc.mkdir()
    etc.chmod(0o755)
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n", encoding="ascii")
    (etc / "hosts").write_text(f"{INET1_OTHER_V4} printer.lan\n", encoding="ascii")
    start(files=[(etc, "/etc")])
    servers = [net.inet1.listen(INET1_OTHER_V4, 80), net.inet1.listen(INET1_V4, 80)]
    assert socks5.connect(net.client, lan, ("printer.lan", 80))[1].code == 0
    servers[0].accept()
    servers[0].close()
    (etc / "hosts.new").write_text(f"{INET1_V4} printer.lan\n", encoding="ascii")
    (etc / "hosts.new").rename(etc / "hosts")
    wait_until(lambda: socks5.connect(net.client, lan, ("printer.lan", 80))[1].code == 0, "the new address")


def test_a_sandbox_that_is_off_is_logged(net, start, lan):
    proxy = start({"run": {"sandbox": "off"}})
    assert re.search(r"warning: sandbox: run\.sandbox is off", proxy.log) or SANITIZED
    assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4), 5)
    for status in threads(proxy):  # of the rest it takes nothing away
        assert status["CapPrm"] == ["0" * 16] and status["NoNewPrivs"] == ["1"]
        assert status["Seccomp"] == ["0"]


def test_sandbox_errors_reach_the_calling_process(net, tmp_path):
    """The program that starts a daemon reports what the sandbox could not do."""
    path = tmp_path / "daemon.yaml"
    path.write_text(f"listen: [{{port: 1089}}]\nrun: {{user: no-such-user, pid_file: {tmp_path}/pid}}\n",
                    encoding="ascii")
    result = net.proxy.run(PROGRAM, "-d", "-c", str(path), timeout=20)
    assert result.returncode == 1 and "no-such-user" in result.stdout
    assert not (tmp_path / "pid").exists()
