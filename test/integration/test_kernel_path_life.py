"""Established flows when rules, associations and processes change: the program in the kernel knows what user space
decides, at once, and nothing stays behind."""
import contextlib
import ctypes
import os
import socket
import threading
import time

import pytest
from daemon import wait_until
from kernel_path import V4, Sequence, hears_nothing, why_impossible
from netns import CLIENT_V4, INET1_V4, INET2_V4, NEIGHBOUR_V4
from socks5 import Association, OverTcp
from test_reload import NO_INET2, OTHER_USERS, Load
from test_sandbox import threads
from test_upgrade import config, has_ended, upgrade  # pylint: disable=unused-import

FIXTURES = config, upgrade  # used by their names


class Stream(threading.Thread):
    """Sends numbered datagrams up until the block ends. `sent` is the last one that may be under way."""

    def __init__(self, association, *peers):
        super().__init__(daemon=True)
        self.association, self.to = association, [peer.getsockname()[:2] for peer in peers]
        self.sent, self.over = 0, threading.Event()

    def run(self):
        while not self.over.is_set():
            self.sent += 1
            for to in self.to:
                self.association.send(to, b"%d" % self.sent)
            time.sleep(0.0005)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.join(5)


def received(sock):
    """The numbers that have come, until none does."""
    sock.settimeout(0.2)
    numbers = []
    with contextlib.suppress(TimeoutError):
        while True:
            numbers.append(int(sock.recv(100)))
    sock.settimeout(5)
    return numbers


# ---- rules ----

def test_row27_not_one_datagram_after_the_reload(net, relay):
    """Traffic to two peers without a pause; a reload denies one. The other one loses nothing."""
    relay.start()
    association, allowed, denied = Association(net.client, V4.listener), net.inet1.udp(INET1_V4), net.inet2.udp(INET2_V4)
    for peer in (allowed, denied):
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    relay.establish(association, allowed, denied)
    with Stream(association, allowed, denied) as stream:
        wait_until(lambda: stream.sent > 200, "traffic")
        assert relay.reload(NO_INET2)
        last = stream.sent
        wait_until(lambda: stream.sent > last + 200, "more traffic")
    assert received(denied)[-1] <= last
    assert received(allowed) == list(range(1, stream.sent + 1))
    with pytest.raises(TimeoutError):
        association.send(denied.getsockname(), b"no more")
        denied.settimeout(0.1)
        denied.recv(10)
    assert relay.reload()
    denied.settimeout(5)
    relay.establish(association, denied, allowed)


def test_row27_not_one_datagram_of_an_association_that_a_reload_ends(net, relay, peer):
    relay.start()
    association = Association(net.client, V4.listener)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    relay.establish(association, peer)
    external = association.external(peer)
    with Stream(association, peer) as stream:
        wait_until(lambda: stream.sent > 200, "traffic")
        assert relay.reload({"rules": [{"action": "deny", "from": [CLIENT_V4], "command": ["udp"]}]})
        assert association.control.recv(1) == b""
        last = stream.sent
        wait_until(lambda: stream.sent > last + 200, "more traffic")
    assert received(peer)[-1] <= last
    peer.sendto(b"anybody?", external)
    assert association.silent(0.2)


def test_reloads_lose_nothing(net, relay):
    """One after the other, each with other rules, while flows begin and continue; addresses come and go, too."""
    relay.start()
    association = Association(net.client, V4.listener)
    flow = Sequence(association)
    configs = [{"rules": [{"action": "deny", "to": ["192.0.2.0/24"]}]}, {}]

    def change():
        configs.reverse()
        net.proxy.ip("address add 10.88.0.99/32 dev lo", "address del 10.88.0.99/32 dev lo")
        return relay.reload(configs[0])

    with Load(change) as reloads:
        while reloads.steps < 20:
            if len(flow.up) < 20:
                flow.receive()
                flow.add(net.inet1.udp(INET1_V4))
            flow.burst(20)
    flow.receive()
    relay.establish(association, *list(flow.up)[:2])


# ---- associations ----

NO_REST = {"udp": {"ports": "40000-40001", "external_ports": "41000-41001", "port_rest": "off",
                   "filtering": "address-and-port-dependent"}}


@pytest.mark.parametrize("who", ["the same client", "another client"])
def test_row11_ports_of_an_association_that_has_ended(net, relay, peer, who):
    """The next one gets its ports at once: it gets neither its peers' datagrams, nor does its client send through it."""
    proxy = relay.start(NO_REST)
    first = Association(net.client, V4.listener)
    relay.establish(first, peer)
    external, source = first.external(peer), first.udp.getsockname()
    for turn in range(5):
        first.close()
        wait_until(lambda n=turn: len(proxy.sessions(command="udp")) == 2 * n + 1, "its end")
        peer.sendto(b"too late", external)
        first.send(peer.getsockname(), b"too late")
        if who == "the same client":
            first.udp.close()
            second = Association(net.client, V4.listener, port=source[1])
        else:
            second = Association(net.neighbour, V4.listener, source=NEIGHBOUR_V4)
        other = net.inet2.udp(INET2_V4)
        relay.establish(second, other)
        for _ in range(3):
            peer.sendto(b"not yours", external)
            if who == "another client":
                first.send(peer.getsockname(), b"not mine any more")
        assert second.silent(0.1)
        assert hears_nothing(peer)
        relay.establish(second, peer)
        second.close()
        wait_until(lambda n=turn: len(proxy.sessions(command="udp")) == 2 * n + 2, "its end")
        second.udp.close()
        first.udp.close()
        first = Association(net.client, V4.listener, port=source[1])
        relay.establish(first, peer)
        external = first.external(peer)


USER_SPACE = {"df": {"udp": {"df": "probe"}}, "one port": {"udp": {"ports": 1080}}}


@pytest.mark.parametrize("extra", USER_SPACE)
def test_what_the_kernel_cannot_honour_stays_in_user_space(net, relay, peer, extra):
    relay.start(USER_SPACE[extra])
    association = Association(net.client, V4.listener)
    assert association.alive(peer)
    if relay.by_kernel:
        assert relay.carried() == [0, 0]
    association.close()


def test_datagrams_over_tcp(net, relay, peer):
    relay.start({"udp": {"over_tcp": True}})
    assert OverTcp(net.client, V4.listener).alive(peer)


def test_an_upstream(net, relay, start, peer):
    start({"listen": [{"address": "10.88.0.9", "port": 1080, "auth": "none", "open": True}]}, host=net.second)
    relay.start({"upstreams": [{"name": "second", "address": "10.88.0.9"}], "outbound": {"upstream": "second"}})
    assert Association(net.client, V4.listener).alive(peer)


def test_associations_come_and_go(net, relay):
    """Slots are used again, while others continue; nothing arrives at the wrong end."""
    relay.start()
    stays, peers = Association(net.client, V4.listener), [net.inet1.udp(INET1_V4) for _ in range(3)]
    relay.establish(stays, peers[0])
    for turn in range(60):
        goes = [Association(net.client, V4.listener) for _ in range(4)]
        for each in goes:
            assert each.alive(peers[1 + turn % 2], 8)
        assert stays.alive(peers[0], 2)
        for each in goes:
            each.close()
            each.udp.close()
    with relay.alone():
        assert stays.alive(peers[0])


# ---- processes ----

def programs(host):
    """How many are attached to a host's interfaces, where packets come in (tcx)."""
    number, prog_query, tcx_ingress, size = {"x86_64": 321, "aarch64": 280}[os.uname().machine], 16, 46, 64
    found = 0
    with host.enter():
        for index, _ in socket.if_nameindex():
            query = (ctypes.c_uint32 * (size // 4))(index, tcx_ingress)
            if ctypes.CDLL(None).syscall(number, prog_query, query, size) == 0:
                found += query[6]  # prog_cnt
    return found


def test_a_killed_process_leaves_nothing(net, relay, peer):
    proxy = relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external = association.external(peer)
    assert programs(net.proxy) == (2 if relay.by_kernel else 0)
    proxy.killed = True
    proxy.kill()
    wait_until(lambda: programs(net.proxy) == 0, "the end of its programs")
    for _ in range(3):
        association.send(peer.getsockname(), b"anybody?")
        peer.sendto(b"anybody?", external)
    assert association.silent(0.1)
    assert hears_nothing(peer)
    relay.start()
    relay.establish(Association(net.client, V4.listener), peer)


def test_two_processes(net, relay, config, upgrade, peer):
    """After an upgrade each relays for its own associations, both by the kernel; the old one's end is not felt."""
    options = config(relay.config())
    old = relay.start(options)
    stays = Association(net.client, V4.listener)
    relay.establish(stays, peer)
    new = upgrade({**relay.config(), "workers": 1})
    old.wait_log("serves now")
    assert stays.alive(peer)
    with relay.alone():
        assert stays.alive(peer)
    relay.proxy = new
    comes = Association(net.client, V4.listener)
    relay.establish(comes, peer)
    with old.stopped(), new.stopped() if relay.by_kernel else contextlib.nullcontext():
        if relay.by_kernel:
            assert stays.alive(peer) and comes.alive(peer)
    assert stays.alive(peer) and comes.alive(peer)
    stays.close()
    assert has_ended(old)
    with relay.alone():
        assert comes.alive(peer)


def test_upgrades_lose_nothing(net, relay, config, upgrade):
    """Traffic both ways while flows begin and one process after the other takes over."""
    processes = [relay.start(config(relay.config()))]
    association = Association(net.client, V4.listener)
    flow = Sequence(association)

    def step():
        flow.receive()
        if len(flow.up) < 50:
            flow.add(net.inet1.udp(INET1_V4))
        flow.burst(20)
        flow.burst(20)
        return True

    with Load(step) as traffic:
        for _ in range(3):
            before = traffic.steps
            processes.append(upgrade(relay.config()))
            processes[-2].wait_log(f"process {processes[-1].pid} serves now")
            wait_until(lambda n=before: traffic.steps > n + 10, "traffic")
    flow.receive()
    association.close()
    assert all(has_ended(process) for process in processes[:-1])


@pytest.mark.parametrize("run", [{}, {"user": "daemon", "group": "sys"}, {"sandbox": "off"}], ids=["nobody", "daemon", "off"])
def test_row52_without_capabilities(net, relay, peer, run):
    """What is needed to begin is given up before the first client is served; new flows begin without it."""
    if run and not OTHER_USERS:
        pytest.skip("a user namespace with a single user")
    proxy = relay.start({"run": run})
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    for status in threads(proxy):
        assert status["CapPrm"] == ["0" * 16] and status["NoNewPrivs"] == ["1"]
    assert relay.reload(NO_INET2)
    relay.establish(association, peer, net.inet1.udp(INET1_V4))


# ---- machines that have no kernel path ----

@pytest.mark.parametrize("capability", ["bpf", "net_admin", "perfmon"])
def test_auto_without_the_right_capability(net, serve, peer, capability):
    """It serves, one line of the log tells why flows stay in user space, and status as well."""
    if os.getuid() != 0 or not OTHER_USERS:
        pytest.skip("needs root")
    proxy = serve({"udp": {"kernel_path": "auto"}, "admin": {"port": 1081}}, wrapper=("setpriv", "--bounding-set", f"-sys_admin,-{capability}"))
    assert Association(net.client, V4.listener).alive(peer, 20)
    lines = [line for line in proxy.log.splitlines() if ": kernel: " in line]
    assert len(lines) == 1, lines
    if not why_impossible():
        assert f"CAP_{capability.upper()}" in lines[0]


def test_a_setting_for_all_is_warned_of(serve):
    """Otherwise somebody who switches it on would wonder why nothing changes."""
    if reason := why_impossible():
        pytest.skip(f"no kernel path here: {reason}")
    proxy = serve({"udp": {"kernel_path": "auto"}, "outbound": {"mark": 7}})
    assert "stays in user space" in proxy.log and "a mark is set for its datagrams" in proxy.log


def test_auto_on_this_machine(net, serve, peer):
    """Whatever it can: the log says which, once."""
    proxy = serve({"udp": {"kernel_path": "auto"}})
    assert Association(net.client, V4.listener).alive(peer, 20)
    lines = [line for line in proxy.log.splitlines() if ": kernel: " in line]
    assert len(lines) == 1, lines
    print(lines, why_impossible())
