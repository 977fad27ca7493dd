"""Name servers and resolv.conf as strangers' reports have them, with the sandbox on (the whole suite runs like that)."""
import contextlib
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import servers
import socks5
from daemon import SANITIZED, wait_until
from netns import CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET2_V4, NEIGHBOUR_V4
from socks5 import Association
from test_sandbox import OTHER_USERS

LANDLOCKED = OTHER_USERS and not SANITIZED
PORT = 7000


class Field(servers.Dns):
    """A name server with the manners of many. What the first label says, it does: "case" exists in lower case alone
    (docker before 20.10), "lower" comes back in lower case with other addresses each time (routers), "late2" is
    answered after 2 s, "fail3" by SERVFAIL after 3 s."""
    count = 0
    drops_edns = False  # as firewalls and old routers do

    def answer(self, query):
        if self.drops_edns and query[10:12] != b"\0\0":
            return None
        size = query[12]
        label = query[13:13 + size].decode()
        manner, *_ = label.lower().split("-")
        answer = super().answer(query)
        if manner == "case" and label != label.lower():
            answer = answer[:3] + b"\x83" + b"\0\1" + bytes(6) + query[12:]
        if manner == "lower":
            self.count += 1
            end = len(query)
            answer = answer[:12] + query[12:end].lower() + answer[end:]
            if answer[7]:
                answer = answer[:-1] + bytes([answer[-1] + self.count % 2])
        if manner[:4] == "fail":
            answer = answer[:3] + b"\x82" + b"\0\1" + bytes(6) + query[12:]
        if manner[:4] in ("late", "fail"):
            self.send_later(float(manner[4:]), answer)
            return None
        return answer

    def answer_to(self, query, client):
        self.client = client
        return self.answer(query)

    def loop(self):
        servers.answer_datagrams(self.sock, self.answer_to)

    def send(self, answer, client):
        with contextlib.suppress(OSError):
            self.sock.sendto(answer, client)

    def send_later(self, seconds, answer):
        timer = threading.Timer(seconds, self.send, (answer, self.client))
        timer.daemon = True
        timer.start()


@pytest.fixture
def field(net):
    with Field(net.inet2, INET2_V4, {}) as server:
        yield server


@pytest.mark.parametrize("drops_edns", [False, True], ids=["", "edns dropped"])
def test_row67_servers_in_the_field(net, start, lan, field, drops_edns):
    """libunbound's 0x20 failed all names with the first two; it never left EDNS out; an answer of 1 s took 4 s, one of
    3 s never came. Each name is there after S + 1.5 s."""
    start({"dns": {"servers": [INET2_V4]}})
    field.drops_edns = drops_edns
    seconds = {"case-a.test": 0, "lower-b.test": 0, "late0.5-c.test": .5, "late1-d.test": 1, "late3-e.test": 3}
    field.records.update(dict.fromkeys(seconds, [INET1_V4]))
    waiting = [net.inet1.listen(INET1_V4, PORT), net.inet1.listen(INET1_OTHER_V4, PORT)]

    def connect(name):
        begun = time.monotonic()
        code = socks5.connect(net.client, lan, (name.upper(), PORT), timeout=10)[1].code
        return code, time.monotonic() - begun

    with ThreadPoolExecutor(len(seconds)) as pool:
        for (name, late), (code, took) in zip(seconds.items(), pool.map(connect, seconds)):
            assert (name, code) == (name, 0) and took < late + 1.5
    assert len(waiting) == 2
    for name in seconds:
        assert field.asked.count((name, "A")) <= 4


def test_row67_a_dead_first_server(net, start, lan, field):
    """The first name takes a second, later ones nothing."""
    start({"dns": {"servers": [INET1_OTHER_V4, INET2_V4]}, "workers": 1})
    dead = net.inet1.udp(INET1_OTHER_V4, 53)
    net.inet1.listen(INET1_V4, PORT)
    for number in range(4):
        field.records[f"name-{number}.test"] = [INET1_V4]
        begun = time.monotonic()
        assert socks5.connect(net.client, lan, (f"name-{number}.test", PORT))[1].code == 0
        assert time.monotonic() - begun < (3 if number == 0 else .9)
    dead.close()


def test_row59_one_client_asks_for_names_that_fail_late(net, start, lan, field):
    """50 datagrams a second to names with SERVFAIL after 4 s: libunbound's sockets were used up, lookups of others took
    5 s or failed, and each datagram caused some 33 questions."""
    proxy = start({"dns": {"servers": [INET2_V4]}, "workers": 1})
    associations = [Association(net.neighbour, lan, NEIGHBOUR_V4) for _ in range(20)]
    net.inet1.listen(INET1_V4, PORT)
    sent = 0
    for round in range(10):
        for number, association in enumerate(associations):
            association.send((f"fail3-{round}-{number}.test", PORT), b"x")
            sent += 1
        name = f"good-{round}.test"
        field.records[name] = [INET1_V4]
        begun = time.monotonic()
        assert socks5.connect(net.client, lan, (name, PORT), source=CLIENT_V4)[1].code == 0
        assert time.monotonic() - begun < 1
    time.sleep(2)
    wait_until(lambda: proxy.dropped("unresolved") == sent, "the failures")
    assert 2 * sent < len(field.asked) <= 4 * (sent + 10)


# ---- resolv.conf ----


class System:
    """/etc and /run of one conesocks, where /etc/resolv.conf is a link into /run."""

    def __init__(self, folder):
        self.etc, self.run = folder / "etc", folder / "run"
        for path in (self.etc, self.run):
            path.mkdir()
            path.chmod(0o755)
        (self.etc / "hosts").write_text("", encoding="ascii")
        self.mounts = [(self.etc, "/etc"), (self.run, "/run")]

    def write(self, name, server):
        path = self.run / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"nameserver {server}\n", encoding="ascii")

    def link(self, name):
        new = self.etc / "resolv.conf.new"
        new.symlink_to(f"/run/{name}")
        new.rename(self.etc / "resolv.conf")


@pytest.fixture
def system(folder):
    return System(folder)


@pytest.fixture
def two(net):
    """Two name servers; each knows other names, so that a name tells which one was asked."""
    records = {"first.test": [INET1_V4]}, {"second.test": [INET1_V4]}
    with servers.Dns(net.inet1, INET1_V4, records[0]), servers.Dns(net.inet2, INET2_V4, records[1]):
        net.inet1.listen(INET1_V4, PORT)
        yield


def resolves(net, lan, name):
    return socks5.connect(net.client, lan, (name, PORT))[1].code == 0


@pytest.mark.skipif(not OTHER_USERS, reason="who stays root reads the files as they were at the start")
def test_row67_resolv_conf_folder_made_anew(net, start, lan, system, two):
    """A restart of systemd-resolved: names were dead until conesocks was started again, without a line in the log. Then
    another service takes over, and the link leads to its folder."""
    system.write("systemd/resolve/stub-resolv.conf", INET1_V4)
    system.write("NetworkManager/resolv.conf", INET1_V4)
    system.link("systemd/resolve/stub-resolv.conf")
    proxy = start({"workers": 1}, files=system.mounts)
    assert resolves(net, lan, "first.test")
    (system.run / "systemd/resolve").rename(system.run / "systemd/old")
    system.write("systemd/resolve/stub-resolv.conf", INET2_V4)
    assert resolves(net, lan, "second.test")
    proxy.wait_log(rf"info: resolver: /etc/resolv.conf has changed: asking {INET2_V4}")
    system.link("NetworkManager/resolv.conf")
    assert resolves(net, lan, "first.test")


@pytest.mark.skipif(not LANDLOCKED, reason="needs Landlock")
def test_row67_resolv_conf_out_of_reach(net, start, lan, system, two):
    """A link to where the sandbox lets nobody look: the servers stay, and the log says so, once."""
    system.write("systemd/resolve/stub-resolv.conf", INET1_V4)
    system.write("elsewhere/resolv.conf", INET2_V4)
    system.link("systemd/resolve/stub-resolv.conf")
    proxy = start({"workers": 2}, files=system.mounts)
    if "no Landlock" in proxy.log:
        pytest.skip("a kernel without Landlock")
    system.link("elsewhere/resolv.conf")
    for _ in range(4):
        assert resolves(net, lan, "first.test")
    proxy.wait_log(rf"warning: resolver: /etc/resolv.conf: keeping the name server {INET1_V4}: cannot read it \(Permission denied\)\. .*"
                   "restart conesocks")
    assert proxy.log.count("keeping the name server") == 1


@pytest.mark.skipif(not OTHER_USERS, reason="who stays root reads the files as they were at the start")
def test_row67_resolv_conf_appears_after_the_start(net, start, lan, system, two):
    """A container or a host whose network comes up later; then the file is emptied and removed."""
    proxy = start({"workers": 1}, files=system.mounts)
    proxy.wait_log(r"warning: resolver: /etc/resolv.conf: asking the name server 127\.0\.0\.1 until the file exists: "
                   r"cannot read it \(No such file")
    (system.etc / "resolv.conf").write_text(f"nameserver {INET1_V4}\n", encoding="ascii")
    assert resolves(net, lan, "first.test")
    (system.etc / "resolv.conf").write_text("# soon\n", encoding="ascii")
    assert resolves(net, lan, "first.test")
    proxy.wait_log(f"keeping the name server {INET1_V4}: the file names none")
    (system.etc / "resolv.conf").unlink()
    assert resolves(net, lan, "first.test")
    proxy.wait_log(rf"keeping the name server {INET1_V4} until the file exists: cannot read it \(No such file or directory\)")
    (system.etc / "resolv.conf").write_text(f"nameserver {INET2_V4}\n", encoding="ascii")
    assert resolves(net, lan, "second.test")
