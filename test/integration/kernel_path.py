"""What the tests of the kernel path share. Each of them runs twice: with user space alone, where it says what must hold,
and with the kernel path, where nothing may differ but who relays."""
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import socks5
from conftest import lan_config
from daemon import PROGRAM, wait_until
from netns import (CLIENT_V4, CLIENT_V6, INET1_V4, INET1_V6, INET2_V4, INET2_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6)
from test_admin import ADMIN, ask

CAPABILITIES = {"CAP_NET_ADMIN": 12, "CAP_PERFMON": 38, "CAP_BPF": 39}
OLDEST_KERNEL = (6, 6)


class Family(NamedTuple):
    """Addresses of one IP version."""
    client: str
    listener: tuple
    peer: str
    other: str
    wan: str  # the proxy's


V4 = Family(CLIENT_V4, (PROXY_V4, 1080), INET1_V4, INET2_V4, PROXY_WAN_V4)
V6 = Family(CLIENT_V6, (PROXY_V6, 1080), INET1_V6, INET2_V6, PROXY_WAN_V6)
FAMILIES = pytest.mark.parametrize("family", [V4, V6], ids=["v4", "v6"])


def hears_nothing(peer, seconds=0.1):
    """True when nothing arrives at a peer's socket."""
    patience = peer.gettimeout()
    peer.settimeout(seconds)
    try:
        peer.recv(100)
    except TimeoutError:
        return True
    finally:
        peer.settimeout(patience)
    return False


def why_impossible():
    """Why this machine or build has no kernel path, found without asking the program whether it works; "" if it has."""
    if "kernel path: built in" not in subprocess.run([PROGRAM, "-V"], check=True, capture_output=True, text=True).stdout:
        return "built without the kernel path"
    release = os.uname().release
    if tuple(map(int, re.findall(r"\d+", release)[:2])) < OLDEST_KERNEL:
        return f"Linux {release} is too old"
    effective = int(re.search(r"CapEff:\s*(\w+)", Path("/proc/self/status").read_text(encoding="ascii"))[1], 16)
    missing = [name for name, bit in CAPABILITIES.items() if not effective >> bit & 1]
    if missing:
        return f"no {', '.join(missing)}"
    if Path("/proc/self/uid_map").read_text(encoding="ascii").split() != ["0", "0", "4294967295"]:
        return "a user namespace may not load programs into the kernel"
    return ""


class Tally(socks5.Association):
    """An association that counts what it has sent and received."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.sums = {"up_datagrams": 0, "up_bytes": 0, "down_datagrams": 0, "down_bytes": 0}

    def count(self, way, size):
        self.sums[f"{way}_datagrams"] += 1
        self.sums[f"{way}_bytes"] += size

    def send(self, destination, payload, **options):
        super().send(destination, payload, **options)
        self.count("up", len(payload))

    def recv(self, timeout=5.0):
        origin, payload = super().recv(timeout)
        self.count("down", len(payload))
        return origin, payload


class Relay:
    """The proxy of a test, and whether the kernel has to relay what is established."""

    def __init__(self, mode, net, serve):
        self.by_kernel = mode == "auto"
        self.mode, self.net, self.serve = mode, net, serve
        self.proxy, self.host = None, net.proxy

    def config(self, config=()):
        config = {"admin": {"port": ADMIN[1]}, **dict(config)}
        return config | {"udp": {"kernel_path": self.mode, **config.get("udp", {})}}

    def reload(self, config=()):
        """True when the new configuration is active."""
        return self.proxy.reload(lan_config(self.config(config)))

    def start(self, config=(), **options):
        """Skips the test where the machine or the build has no kernel path."""
        self.host = options.get("host", self.host)
        self.proxy = self.serve(self.config(config), **options)
        if self.by_kernel:
            if reason := why_impossible():
                pytest.skip(f"no kernel path here: {reason}")
            assert self.status()["kernel_path"]["active"], self.proxy.log
            # Each change of an address has user space decide about all flows once more.
            wait_until(lambda: not self.host.run("ip", "-6", "address", "show", "tentative").stdout, "the host's addresses")
        return self.proxy

    def status(self):
        return json.loads(ask(SimpleNamespace(proxy=self.host), "/status?limit=1000")[2])

    def row(self, association):
        """The association as /status shows it."""
        address = association.control.getsockname()
        name = f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        return wait_until(lambda: [row for row in self.status()["sessions"] if row["client"] == name], "the session")[0]

    def carried(self):
        """Datagrams that the kernel has relayed: [up, down]."""
        totals = self.status()["totals"]
        return [totals[f"udp_kernel_{way}_datagrams_total"] for way in ("up", "down")]

    def establish(self, association, *peers, pause=0.0):
        """Exchanges datagrams with each peer until the kernel relays both ways. With user space alone: a few. Nothing
        else may be under way. `pause`: before each four, for associations with a rate limit."""
        def is_established(peer):
            time.sleep(pause)
            before = self.by_kernel and self.carried()
            assert association.alive(peer, 4)
            return not self.by_kernel or self.carried() == [count + 4 for count in before]

        for peer in peers:
            wait_until(lambda peer=peer: is_established(peer), f"the kernel to relay to {peer.getsockname()}")

    @contextlib.contextmanager
    def alone(self):
        """Without the process: who relays meanwhile is the kernel. With user space alone the process continues."""
        if not self.by_kernel:
            yield
            return
        self.proxy.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{self.proxy.pid}/stat").read_text().rpartition(") ")[2][0] == "T", "the stop")
        try:
            yield
        finally:
            self.proxy.process.send_signal(signal.SIGCONT)
            print("left to user space until now:", self.status()["kernel_path"]["passed"])


def check(received, expected, way):
    """Is it the first of what is under way?"""
    assert received in expected, f"{way}: {received} was not sent, or arrived before"
    late = expected.index(received)
    assert late == 0, f"{way}: overtook {late} others, {expected[:3]} ..."
    expected.pop(0)


class Sequence:
    """Numbered datagrams both ways between an association and peers, of which a few are under way at any time. Each end
    must get exactly what was sent, in order."""
    WINDOW = 60

    def __init__(self, association, seed=1):
        self.association = association
        self.random = random.Random(seed)
        self.up, self.down, self.number = {}, [], 0  # what is under way
        self.externals = {}

    def add(self, peer):
        self.externals[peer] = self.association.external(peer)
        self.up[peer] = []

    def next(self):
        self.number += 1
        return b"%d " % self.number + bytes(self.random.randrange(200))

    def send_up(self, peer):
        payload = self.next()
        self.association.send(peer.getsockname()[:2], payload)
        self.up[peer].append(payload)

    def send_down(self, peer):
        payload = self.next()
        peer.sendto(payload, self.externals[peer])
        self.down.append((peer.getsockname()[:2], payload))

    def burst(self, count):
        """To and from peers at random, then receives until only a window is under way."""
        for _ in range(count):
            self.send_up(self.random.choice(list(self.up)))
            self.send_down(self.random.choice(list(self.up)))
        self.receive(self.random.randrange(self.WINDOW))

    def receive(self, leave=0):
        for peer, expected in self.up.items():
            while len(expected) > leave // len(self.up):
                check(peer.recv(2000), expected, "up")
        while len(self.down) > leave:
            check(self.association.recv(), self.down, "down")
