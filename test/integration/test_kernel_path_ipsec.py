"""IPsec policies (xfrm): only the kernel's own stack encrypts, so the kernel path relays nothing while there are any. The
policies here are about hosts that do not exist: what counts is that there is one."""
import contextlib
import json
import socket

import pytest
from daemon import wait_until
from kernel_path import V4, hears_nothing, why_impossible
from socks5 import Association
from test_admin import ADMIN, ask
from test_kernel_path_life import Stream, received

WHY = "IPsec policies exist (ip xfrm policy), which the kernel path would not apply"


@contextlib.contextmanager
def policy(host, direction="out"):
    added = host.run(*f"ip xfrm policy add src 198.18.0.0/24 dst 198.18.1.0/24 dir {direction}".split())
    if added.returncode:
        pytest.skip(f"this kernel has no IPsec policies: {added.stdout}")
    try:
        yield
    finally:
        host.run("ip", "xfrm", "policy", "flush")


def shown(net):
    path = json.loads(ask(net, "/status")[2])["kernel_path"]
    return path["active"], path["why_not"]


def test_policies_before_the_start(net, serve, peer):
    """User space serves; the log and the status tell why."""
    if reason := why_impossible():
        pytest.skip(f"no kernel path here: {reason}")
    with policy(net.proxy):
        proxy = serve({"udp": {"kernel_path": "auto"}, "admin": {"port": ADMIN[1]}})
        assert Association(net.client, V4.listener).alive(peer, 20)
        assert f"no kernel path (udp.kernel_path): {WHY}." in proxy.log
        assert shown(net) == (False, WHY)


def test_not_one_datagram_after_a_policy(net, relay, peer):
    """Even if the process has no time to hear of it: it is stopped. What comes meanwhile waits in its sockets."""
    proxy = relay.start()
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    external = association.external(peer)
    with proxy.stopped(), policy(net.proxy):
        for _ in range(20):
            association.send(peer.getsockname(), b"up")
            peer.sendto(b"down", external)
        assert association.silent(0.2)
        assert hears_nothing(peer)
    assert [peer.recv(10) for _ in range(20)] == [b"up"] * 20
    assert [association.recv()[1] for _ in range(20)] == [b"down"] * 20


@pytest.mark.parametrize("direction", ["in", "out", "fwd"])
def test_policies_that_come_and_go_under_traffic(net, relay, peer, direction):
    """Nothing is lost or overtaken, and the operator is told."""
    proxy, association = relay.start(), Association(net.client, V4.listener)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    relay.establish(association, peer)
    with Stream(association, peer) as stream:
        wait_until(lambda: stream.sent > 200, "traffic")
        with policy(net.proxy, direction):
            wait_until(lambda last=stream.sent: stream.sent > last + 200, "more traffic")
            if relay.by_kernel:
                wait_until(lambda: f"the kernel path pauses: {WHY}." in proxy.log, "the log line")
                assert shown(net) == (False, WHY)
                assert relay.row(association)["kernel_path"]["why_not"] == "inactive"
                assert relay.status()["kernel_path"]["passed"]["ipsec"] >= 100
    assert received(peer) == list(range(1, stream.sent + 1))
    relay.establish(association, peer)
    if relay.by_kernel:
        proxy.wait_log("the kernel path is active again")
        assert shown(net) == (True, None)
