"""Established flows of associations with rate limits: the kernel relays them, and no more passes than without it."""
import socket
import time
from pathlib import Path

import pytest
import yaml
from conftest import ALICE, USERS
from kernel_path import FAMILIES, V4, Sequence
from netns import INET1_V4
from socks5 import Association
from test_rates import LOGIN, Flow, flood, within

VPS = Path(__file__).resolve().parents[2] / "config/vps.yaml"
LIMITS = [{"datagrams_per_association": "200/s"}, {"bandwidth_per_session": "20KiB/s"}]


def of_alice(net, family=V4):
    return Association(net.client, family.listener, user=ALICE[0], password=ALICE[1])


@pytest.mark.parametrize("up", [True, False], ids=["up", "down"])
@pytest.mark.parametrize("limits", LIMITS, ids=["datagrams", "bandwidth"])
def test_rate_limits_hold(net, relay, peer, up, limits):
    """Ten times as much as may pass. Afterwards the flow recovers, and a reload removes the limit."""
    proxy = relay.start({"limits": limits})
    association = Association(net.client, V4.listener)
    relay.establish(association, peer, pause=0.05)
    flow = Flow(association, peer, up, 100)
    seconds = flood(flow, per_second=2000, seconds=1)
    assert within(flow.received, 200, seconds, 700)
    assert proxy.dropped("rate") > 100
    time.sleep(1)
    relay.establish(association, peer, pause=0.05)
    assert relay.reload()
    relay.establish(Association(net.client, V4.listener), peer)


def test_a_user_has_one_limit(net, relay):
    """However many associations he has, each with credit of its own."""
    proxy = relay.start({"limits": {"datagrams_per_user": "1000/s"}, "users": USERS, "listen": LOGIN})
    flows = []
    for _ in range(8):
        association, peer = of_alice(net), net.inet1.udp(INET1_V4)
        relay.establish(association, peer, pause=0.02)
        flows.append(Flow(association, peer, True, 10))
    seconds = flood(*flows, per_second=400, seconds=3)
    assert within(sum(flow.received for flow in flows), 1000, seconds, 400)
    assert proxy.dropped("rate") > 1000


@FAMILIES
@pytest.mark.parametrize("limits", [{"datagrams_per_association": "1000/s"}, {"bandwidth_per_session": "1MiB/s"}],
                         ids=["datagrams", "bandwidth"])
def test_below_the_limit_nothing_is_lost(net, relay, limits, family):
    """A third of the limit, for longer than credit is valid, with pauses. The kernel relays nearly all."""
    proxy = relay.start({"limits": limits})
    association, peer = Association(net.client, family.listener), net.inet1.udp(family.peer)
    relay.establish(association, peer)
    flow, before = Sequence(association), sum(relay.carried())
    flow.add(peer)
    for pause in (0, 0, 0.5, 0, 0, 2.2, 0, 0, 0, 0):
        time.sleep(pause)
        for _ in range(30):
            flow.send_up(peer)
            flow.send_down(peer)
            flow.receive(leave=4)
            time.sleep(0.003)
    flow.receive()
    assert association.silent(0.1) and proxy.dropped("rate") == 0
    if relay.by_kernel:
        assert sum(relay.carried()) - before > 0.8 * flow.number
        assert relay.status()["kernel_path"]["passed"]["rate"] > 0


def test_the_example_for_a_server(net, relay, peer):
    """The limits of vps.yaml: one line switches the kernel path on."""
    example = yaml.safe_load(VPS.read_text(encoding="utf-8"))
    assert "bandwidth_per_user" in example["limits"] and "datagrams_per_user" in example["limits"]
    proxy = relay.start({"limits": example["limits"], "users": USERS, "listen": LOGIN})
    association = of_alice(net)
    relay.establish(association, peer)
    for sock in (association.udp, peer):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    flow, before = Sequence(association), sum(relay.carried())
    flow.add(peer)
    for _ in range(200):
        flow.burst(40)
    flow.receive()
    assert proxy.dropped("rate") == 0
    if relay.by_kernel:
        assert sum(relay.carried()) - before > 0.95 * flow.number
