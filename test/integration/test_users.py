"""What users may have: a last day, a volume per month, client addresses at once; and clients that need no login."""
import datetime
import json
import re
from types import SimpleNamespace

import pytest
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import wait_until
from netns import BALANCER_V4, CLIENT_V4, CLIENT_V6, INET1_V4, NEIGHBOUR_V4, PROXY_V4, PROXY_V6, STRANGER_V4, STRANGER_V6
from socks5 import ASSOCIATE, CONNECT, Association, OverTcp
from test_admin import ask

WITH_LOGIN = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
ADMIN = {"port": 1081}
TODAY = datetime.datetime.now(datetime.timezone.utc).date()
YESTERDAY = (TODAY - datetime.timedelta(days=1)).isoformat()
MIB = 1 << 20


def alice(**terms):
    return [{**USERS[0], **terms}]


def config(user, **more):
    return {"listen": WITH_LOGIN, "admin": ADMIN, "users": [user] if isinstance(user, dict) else user, **more}


def ended(sock):
    """Whether this happens within a few seconds."""
    sock.settimeout(5)
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def status(net):
    return json.loads(ask(SimpleNamespace(proxy=net.proxy), "/status")[2])


def row(net):
    """alice, as /status lists her."""
    users = status(net)["users"]
    assert users["total"] == len(users["list"]) == 1 and users["list"][0]["name"] == "alice"
    return users["list"][0]


def log_in(host, lan, kind=Association, **options):
    return kind(host, lan, user=ALICE[0], password=ALICE[1], **options)


def refused(host, lan, command=ASSOCIATE):
    """The reply code of a new request."""
    with host.connect(None, lan) as sock:
        socks5.negotiate(sock, *ALICE)
        return socks5.request(sock, command, (INET1_V4, 9)).code


def flood(association, peer, count):
    """Sends `count` datagrams of 1,200 bytes, as far as the association lives."""
    destination = peer.getsockname()[:2]
    for number in range(count):
        try:
            association.send(destination, bytes(1200))
        except OSError:
            return
        if number % 20 == 19:  # so that none is lost
            for _ in range(20):
                peer.recv(65536)


# ---- volume ----

@pytest.mark.parametrize("kind, more", [(Association, {}), (Association, {"udp": {"ports": 1080}}), (OverTcp, {}),
                                        (Association, {"udp": {"kernel_path": "auto"}})])
def test_a_volume_ends_associations(net, serve, lan, peer, kind, more):
    proxy = serve(config(alice(volume="1MiB"), **more))
    association = log_in(net.client, lan, kind)
    assert association.alive(peer, 20)  # the kernel relays what has been answered
    probes = sum(len(b"probe %d" % number) + len(b"re: probe %d" % number) for number in range(20))
    flood(association, peer, 400)
    wait_until(lambda: row(net)["volume_bytes"] == probes + 400 * 1200, "the volume")
    assert row(net)["associations"] == 1 and row(net)["volume_limit"] == MIB and row(net)["near"] is None
    assert refused(net.client, lan) == 0
    if status(net)["kernel_path"]["active"]:  # it counts what the kernel has relayed
        assert status(net)["totals"]["udp_kernel_up_datagrams_total"] > 300
    flood(association, peer, 500)
    assert ended(association.control)
    assert refused(net.client, lan) == 2 and refused(net.client, lan, CONNECT) == 2
    assert row(net)["near"] == "volume" and row(net)["month"] == TODAY.strftime("%Y-%m")
    assert proxy.counters()["limited_volume_per_user_total"] == 3
    assert len(re.findall("ending the sessions of user alice: the user's volume of this month is used up", proxy.log)) == 1
    assert "volume of this month is used up (users[].volume): client=10.77.0.2 user=alice" in proxy.log


def test_a_volume_ends_streams_and_a_reload_keeps_it(net, serve, lan, web):
    proxy = serve(config(USERS, limits={"volume_per_user": "1MiB"}))
    sock, reply = socks5.connect(net.client, lan, web, user=ALICE[0], password=ALICE[1])
    assert reply.code == 0
    sock.sendall(b"GET /3000000 HTTP/1.0\r\n\r\n")
    assert ended(sock)
    wait_until(lambda: refused(net.client, lan, CONNECT) == 2, "the volume to be used up")
    assert row(net)["down_bytes"] > MIB
    assert proxy.reload(lan_config(config(alice(volume="100MiB"))))
    assert refused(net.client, lan) == 0 and row(net)["volume_bytes"] > MIB
    association = log_in(net.client, lan)
    assert proxy.reload(lan_config(config(alice(volume="1MiB"))))
    assert ended(association.control)


def test_what_upstreams_relay_counts(net, serve, lan, peer, tmp_path):
    from test_upstream import BY_FAR, Conesocks  # pylint: disable=import-outside-toplevel
    from netns import INET2_V4  # pylint: disable=import-outside-toplevel
    folder = tmp_path / "far"
    folder.mkdir()
    far = Conesocks(net.inet2, folder, {"listen": [{"address": INET2_V4, "auth": "none", "open": True}], "workers": 1,
                                        "reach": "all"})
    serve(config(alice(volume="1MiB"), **BY_FAR))
    association = log_in(net.client, lan)
    flood(association, peer, 1000)
    assert ended(association.control)
    net.close_sockets()
    far.kill()


# ---- the last day ----

def test_an_expired_user_cannot_log_in(net, serve, lan, peer):
    proxy = serve(config(alice(expires=YESTERDAY)))
    with pytest.raises(AssertionError, match="login refused"):
        log_in(net.client, lan)
    assert "the user's access has expired" in proxy.session(user="alice")["why"]
    assert proxy.reload(lan_config(config(alice(expires=TODAY.isoformat()))))  # the last day is valid
    association = log_in(net.client, lan)
    assert association.alive(peer, 3) and row(net)["near"] == "expires"
    assert proxy.reload(lan_config(config(alice(expires=YESTERDAY))))
    assert ended(association.control)
    assert proxy.counters()["auth_expired_total"] == 2
    assert "auth_failed_total" not in proxy.counters()


# ---- addresses ----

def test_addresses_at_once(net, serve, lan, peer):
    proxy = serve(config(alice(addresses=1)))
    first, second = log_in(net.client, lan), log_in(net.client, lan)
    assert refused(net.neighbour, lan) == 2
    assert "too many client addresses of this user at once: users[].addresses (1): client=10.77.0.3" in proxy.log
    assert row(net)["addresses"] == 1 and row(net)["near"] == "addresses"
    first.close()
    assert second.alive(peer, 3) and refused(net.neighbour, lan) == 2
    second.close()
    wait_until(lambda: refused(net.neighbour, lan) == 0, "the address to be free")


# ---- clients that need no login ----

TRUSTING = [{**entry, "trusted": [CLIENT_V4, CLIENT_V6 + "/128"]} for entry in WITH_LOGIN]
NO_LOGIN, LOGIN, BOTH = b"\5\1\0", b"\5\1\2", b"\5\2\2\0"


def chosen(host, proxy, greeting, source=None):
    """The method that the proxy chooses."""
    with host.connect(source, proxy) as sock:
        sock.sendall(greeting)
        return socks5.recv_exact(sock, 2)[1]


def test_trusted_clients_need_no_login(net, serve, lan, peer):
    proxy = serve({"listen": TRUSTING, "users": USERS})
    for address, client, stranger in ((lan, CLIENT_V4, STRANGER_V4), ((PROXY_V6, 1080), CLIENT_V6, STRANGER_V6)):
        assert [chosen(net.client, address, each, client) for each in (NO_LOGIN, LOGIN, BOTH)] == [0, 2, 0]
        assert [chosen(net.stranger, address, each, stranger) for each in (NO_LOGIN, LOGIN, BOTH)] == [0xff, 2, 2]
    association, user = Association(net.client, lan), log_in(net.client, lan)
    assert association.alive(peer, 3) and user.alive(peer, 3)
    with pytest.raises(AssertionError, match="login refused"):
        Association(net.client, lan, user="alice", password="wrong")
    assert proxy.reload(lan_config({"listen": TRUSTING, "users": USERS, "udp": {"port_rest": "1m"}}))
    assert association.alive(peer, 3)
    assert proxy.reload(lan_config({"listen": WITH_LOGIN, "users": USERS}))
    assert ended(association.control) and user.alive(peer, 3)
    assert chosen(net.client, lan, NO_LOGIN) == 0xff


def test_a_header_names_trusted_clients(net, serve):
    """The balancer itself is no client, even if it is in such a network."""
    listener = {"address": PROXY_V4, "port": 1080, "proxy_protocol": "required", "proxy_from": [BALANCER_V4],
                "trusted": ["10.77.0.0/16"]}
    serve({"listen": [listener], "users": USERS})
    for header, methods in ((f"PROXY TCP4 {NEIGHBOUR_V4} {BALANCER_V4} 4000 1080\r\n", [0, 2, 0]),
                            ("PROXY TCP4 198.51.100.7 10.77.0.8 4000 1080\r\n", [0xff, 2, 2]),
                            ("PROXY UNKNOWN\r\n", [0xff, 2, 2])):
        for greeting, method in zip((NO_LOGIN, LOGIN, BOTH), methods):
            with net.balancer.connect(BALANCER_V4, (PROXY_V4, 1080)) as sock:
                sock.sendall(header.encode() + greeting)
                assert socks5.recv_exact(sock, 2)[1] == method, (header, greeting)
    with net.stranger.connect(STRANGER_V4, (PROXY_V4, 1080)) as sock:  # nobody else is believed
        assert ended(sock)
