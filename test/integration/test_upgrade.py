"""A new process takes the place of the one that runs: no connection is refused, no association is cut, no byte is lost."""
import os
import signal
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
import servers
import socks5
from conftest import lan_config
from daemon import PROGRAM, wait_until
from netns import INET1_V4, INET2_V4, NEIGHBOUR_V4, PROXY_V4
from socks5 import Association
from test_reload import OTHER_USERS, Load, echo, talk  # pylint: disable=unused-import

ECHO = echo  # a fixture, used by its name
ADMIN_PORT = 1081


@pytest.fixture
def config(folder):
    """config(...) with what an upgrade needs."""
    def make(extra=()):
        extra = dict(extra)
        run = {"handover": str(folder / "handover"), "pid_file": str(folder / "pid"), **extra.pop("run", {})}
        return {"workers": 2, "run": run, **extra}

    return make


@pytest.fixture
def upgrade(serve, config, folder):
    """upgrade(...) starts a process that takes over, and waits until the pid file names it."""
    def run(extra=(), **options):
        proxy = serve(config(extra), arguments=("--take-over",), **options)
        wait_until(lambda: (folder / "pid").read_text(encoding="ascii") == f"{proxy.pid}\n", "the pid file")
        return proxy

    return run


def has_ended(proxy):
    wait_until(lambda: proxy.process.poll() is not None, "the old process to end")
    assert proxy.process.returncode == 0
    return True


@pytest.mark.parametrize("extra", [{}, {"udp": {"ports": "40000-40999", "external_ports": "41000-41999"}}])
def test_upgrades_under_load(net, serve, config, upgrade, lan, echo, folder, extra):
    """Five in a row, with another number of threads each, while clients come, play, load and stay."""
    proxies = [serve(config(extra))]
    peer, other_peer = net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)
    stays = [Association(net.client, lan) for _ in range(4)]
    external = [each.external(peer) for each in stays]
    streams = [socks5.connect(net.client, lan, echo)[0] for _ in range(3)]
    data = servers.pattern(100000)

    def come():
        association = Association(net.neighbour, lan, source=NEIGHBOUR_V4)
        alive = association.alive(other_peer, 2)
        association.close()
        association.udp.close()
        return alive

    def knock():
        with net.stranger.connect(None, lan) as sock:
            socks5.negotiate(sock)
        return True

    with Load(come) as comers, Load(knock) as knocks, Load(lambda: all(each.alive(peer, 1) for each in stays)) as plays, \
            Load(lambda: all(talk(sock, data) for sock in streams)) as loads:
        for workers in (1, 4, 2, 3, 2):
            before = [load.steps for load in (comers, knocks, plays, loads)]
            proxies.append(upgrade({**extra, "workers": workers}))
            proxies[-2].wait_log(f"process {proxies[-1].pid} serves now")
            wait_until(lambda b=before: all(load.steps > n + 3 for load, n in zip((comers, knocks, plays, loads), b)),
                       "all of them to go on")
    assert all(has_ended(proxy) for proxy in proxies[1:-1])
    assert proxies[0].process.poll() is None and [each.external(peer) for each in stays] == external
    for sock in (*streams, *(each.control for each in stays)):
        sock.close()
    assert has_ended(proxies[0])
    assert not [row for proxy in proxies for row in proxy.sessions(why="server stops")]
    assert (folder / "pid").read_text(encoding="ascii") == f"{proxies[-1].pid}\n"
