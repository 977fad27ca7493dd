"""Memory: readers that never read, and what limits.memory does when a thousand clients want more than there is."""
import contextlib
import hashlib
import os
import re
import resource
import select
import threading
from pathlib import Path

import daemon
import pytest
import servers
import socks5
from daemon import wait_until
from netns import CLIENT_V4, INET1_V4, INET2_V4
from socks5 import Association

LIMIT = 64 << 20
SHORT = "memory is short|memory is almost used up"
SANITIZED = any(name in Path(daemon.PROGRAM).read_bytes() for name in (b"__asan_init", b"__tsan_init"))
REFUSED = (OSError, EOFError, AssertionError)  # closed at once, closed later, or told so


@pytest.fixture(autouse=True)
def many_descriptors():
    """A thousand clients and their servers are all in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


class Flood:
    """Feeds each socket as fast as it takes, in a thread; closes them at the end."""

    def __init__(self):
        self.over = threading.Event()
        self.fed = 0  # bytes, in all
        self.socks = {}
        self.poll = select.epoll()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def add(self, sock):
        sock.setblocking(False)
        self.socks[sock.fileno()] = sock
        self.poll.register(sock, select.EPOLLOUT | select.EPOLLET)

    def loop(self):
        block = bytes(1 << 16)
        while not self.over.is_set():
            for fd, _ in self.poll.poll(0.05):
                with contextlib.suppress(OSError):
                    while not self.over.is_set():
                        self.fed += self.socks[fd].send(block)

    def stalls(self):
        """Waits until none takes any more."""
        def still():
            before = self.fed
            self.over.wait(0.5)
            return self.fed == before
        wait_until(still, "the senders to be held back", 30)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.poll.close()
        for sock in self.socks.values():
            sock.close()


def never_read(net, lan, server, flood):
    """A client that asks for a flood and never reads it."""
    sock, reply = socks5.connect(net.client, lan, server.getsockname())
    assert reply.code == 0
    flood.add(server.accept()[0])
    return sock


def resident(pid):
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGESIZE")


def in_sockets(net):
    """What the kernel holds in the proxy host's sockets, as ss tells it: received, to be sent, reserved, backlog."""
    text = net.proxy.run("ss", "-tumanHO").stdout
    return sum(int(number) for number in re.findall(r"[(,](?:r|w|f|bl)(\d+)", text))


def test_row44_200_readers_that_never_read(net, start, lan):
    """The senders are held back; what waits is bounded; the other direction, other streams and UDP go on; who reads at
    last finds all his data."""
    proxy = start()
    server = net.inet1.listen(INET1_V4)
    before = resident(proxy.pid)
    with Flood() as flood:
        streams = [never_read(net, lan, server, flood) for _ in range(200)]
        flood.stalls()
        assert resident(proxy.pid) - before < 16 << 20
        for sock, remote in zip(streams[::20], list(flood.socks.values())[::20]):
            sock.sendall(b"the other way")
            remote.settimeout(5)
            assert socks5.recv_exact(remote, 13) == b"the other way"
    assert Association(net.client, lan).alive(net.inet1.udp(INET1_V4))
    sock, _ = socks5.connect(net.client, lan, server.getsockname())
    remote, _ = server.accept()
    data = servers.pattern(30_000_000)
    sender = threading.Thread(target=lambda: (remote.settimeout(30), remote.sendall(data), remote.close()))
    sender.start()
    sender.join(1)  # until it is stuck, too
    digest = hashlib.sha256()
    sock.settimeout(30)
    while more := sock.recv(1 << 20):
        digest.update(more)
    sender.join()
    assert digest.digest() == hashlib.sha256(data).digest()


def own_group(version):
    """The folder of this process's control group, None when that is not there."""
    found = None
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        number, names, path = line.split(":", 2)
        if version == 1 and "memory" in names.split(","):
            found = Path("/sys/fs/cgroup/memory", path.lstrip("/"))
        if version == 2 and number == "0":
            found = Path("/sys/fs/cgroup", path.lstrip("/"))
    return found if found and (found / "cgroup.procs").exists() else None


@pytest.fixture
def limited_group():
    """limited_group(version, limit) makes a control group that may hold `limit` bytes, or tells why that cannot be. A
    test asks for this before it asks for `start`: the group goes after the process."""
    made = []

    def make(version, limit):
        parent = own_group(version)
        if not parent:
            pytest.skip(f"this process is in no control group of version {version}")
        name = "memory.limit_in_bytes" if version == 1 else "memory.max"
        # Version 2 limits nothing below a group with processes of its own, as a unit's or a login's is: then beside it.
        for above in [parent] if version == 1 else [parent, parent.parent]:
            folder = above / f"conesocks-test-{os.getpid()}"
            try:
                folder.mkdir()
            except OSError as error:
                pytest.skip(f"no control group of version {version} can be made here: {error}")
            made.append(folder)
            with contextlib.suppress(OSError):
                if version == 2 and not (folder / name).exists():
                    (above / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
            if (folder / name).exists():
                (folder / name).write_text(str(limit), encoding="ascii")
                return folder
        pytest.skip(f"control groups of version {version} do not limit memory here")

    yield make
    for folder in made:
        wait_until(lambda: not (folder / "cgroup.procs").read_text(encoding="ascii"), "the group to be empty")
        folder.rmdir()


def killed_in(group):
    """How often the kernel killed for want of memory there."""
    text = "".join((group / name).read_text(encoding="ascii") for name in ("memory.oom_control", "memory.events")
                   if (group / name).exists())
    return int(re.search(r"^oom_kill (\d+)", text, re.MULTILINE)[1])


def a_thousand_clients(net, lan, flood, server, names):
    """Slow handshakes, idle associations, readers that never read, and datagrams to names that do not resolve. Those
    that are refused are among them. Returns what keeps them alive."""
    kept = []
    for number in range(250):
        with contextlib.suppress(*REFUSED):
            kept.append(net.client.connect(CLIENT_V4, lan))
            kept[-1].sendall(b"\5\1")
        with contextlib.suppress(*REFUSED):
            kept.append(Association(net.client, lan))
        with contextlib.suppress(*REFUSED):
            kept.append(never_read(net, lan, server, flood))
        with contextlib.suppress(*REFUSED):
            kept.append(Association(net.client, lan))
            for datagram in range(32):
                kept[-1].send((names[(number + datagram) % len(names)], 9), bytes(40_000))
    return kept


NAMES = [f"unanswered{number}.test" for number in range(16)]


@contextlib.contextmanager
def row45(net, start, lan, peer, dns, limits, **options):
    """A proxy under the load of a thousand clients; afterwards all must be as it was before."""
    proxy = start({"dns": {"servers": [dns.address], "timeout": "1s"},
                   "limits": {"lookups_per_client": 4096, "handshakes_per_client": 4096, **limits}}, leaves_lookups=True, **options)
    before = Association(net.client, lan)
    with Flood() as flood:
        server = net.inet1.listen(INET1_V4)
        kept = a_thousand_clients(net, lan, flood, server, NAMES)
        assert before.alive(peer)
        yield proxy
        assert before.alive(peer)
        for name in NAMES:
            dns.records[name] = [INET1_V4]  # so that the questions come to an end, too
    for one in kept:
        one.close()
    before.close()
    wait_until(proxy.is_idle, "the descriptors to come back", 30)
    if re.search(SHORT, proxy.log):
        proxy.wait_log("memory is no longer short")
    assert all(Association(net.client, lan).alive(peer, 1) for _ in range(50))


@pytest.fixture
def dns(net):
    with servers.Dns(net.inet2, INET2_V4, {name: None for name in NAMES}) as server:
        yield server


@pytest.mark.skipif(SANITIZED, reason="a sanitizer keeps for a while what was freed")
def test_row45_a_limit_of_64_mib(net, start, lan, peer, dns):
    """It sheds, stays below, and takes everybody again when it is over."""
    with row45(net, start, lan, peer, dns, {"memory": "64MiB"}) as proxy:
        proxy.wait_log(SHORT)
        wait_until(lambda: resident(proxy.pid) + in_sockets(net) < LIMIT, "memory to be given back")
        counters = proxy.counters()
        assert counters["limited_memory_total"] > 0 and counters["shed_streams_total"] > 0
        assert proxy.sessions(why="its reader did not read when memory ran out (limits.memory)")


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's memory is more than the limit")
@pytest.mark.parametrize("version, limit", [(1, 64), (1, 16), (2, 64), (2, 24)])
def test_row45_a_control_group(net, limited_group, start, lan, peer, dns, version, limit):
    """The limit is the kernel's, which kills whoever passes it. Version 1 does not count the buffers of sockets, so that
    there 64 MiB may be enough for all."""
    group = limited_group(version, limit << 20)
    with row45(net, start, lan, peer, dns, {}, group=group) as proxy:
        proxy.wait_log(f"memory: limit: {limit} MiB")
        if limit < 64:
            proxy.wait_log(SHORT)
            assert proxy.counters()["limited_memory_total"] > 0
    assert killed_in(group) == 0
