"""A listener at an interface: listen: [{address: eth0}]."""
import pytest
import socks5
from conftest import USERS, lan_config
from daemon import wait_until
from netns import CLIENT_V4, CLIENT_V6, INET1_V4, INET1_V6, PROXY_V4, PROXY_V6, PROXY_WAN_V4, PROXY_WAN_V6
from socks5 import Association

LAN_SIDE = {"address": "eth0", "port": 1080, "name": "lan"}
LATER_V4 = "10.77.0.99"


@pytest.fixture
def later(net):
    """later() gives the interface another address."""
    yield lambda: net.proxy.ip(f"address add {LATER_V4}/24 dev eth0")
    net.proxy.run("ip", "address", "del", f"{LATER_V4}/24", "dev", "eth0")


def test_all_addresses_of_an_interface_are_served(net, serve, later, peer):
    """Both families, also an address that comes later; not those of other interfaces."""
    proxy = serve({"listen": [LAN_SIDE], "workers": 2})
    proxy.wait_log("listening on eth0:1080$")
    assert "anybody who can reach eth0 can use this proxy" in proxy.log
    for address, source in (PROXY_V4, CLIENT_V4), (PROXY_V6, CLIENT_V6):
        association = Association(net.client, (address, 1080), source)
        assert association.relay[0] == address and association.alive(peer)
        sock, reply = socks5.connect(net.client, (address, 1080), net.inet1.listen(INET1_V6).getsockname()[:2], source)
        assert reply.code == 0
        sock.close()
    later()
    association = Association(net.client, (LATER_V4, 1080))
    assert association.relay[0] == LATER_V4 and association.alive(peer)
    association.close()  # as long as its address exists
    proxy.wait_log("command=udp .*client closed")
    for source, address in (INET1_V4, PROXY_WAN_V4), (INET1_V6, PROXY_WAN_V6):
        with pytest.raises(ConnectionRefusedError):
            net.inet1.connect(source, (address, 1080))


def test_a_reload_finds_the_listener_again(net, serve, peer):
    """Its name for rules, and its login, are those of the listener at that interface, which a reload can open, too."""
    proxy = serve({"listen": [{"address": "127.0.0.1", "port": 1080}]})
    assert proxy.reload(lan_config({"listen": [LAN_SIDE]}))
    association, other = Association(net.client, (PROXY_V4, 1080)), Association(net.client, (PROXY_V6, 1080), CLIENT_V6)
    assert association.alive(peer) and other.alive(peer)
    rules = [{"action": "deny", "listener": ["lan"], "command": ["udp"], "from": [CLIENT_V4]}]
    assert proxy.reload(lan_config({"listen": [LAN_SIDE], "rules": rules}))
    assert association.control.recv(1) == b""
    assert other.alive(peer)
    assert proxy.reload(lan_config({"listen": [LAN_SIDE], "users": USERS}))
    assert other.control.recv(1) == b""
    assert "this listener asks for a login" in proxy.session(command="udp", client=f"[{CLIENT_V6}]:" + str(
        other.control.getsockname()[1]))["why"]


def test_it_is_taken_over(net, serve, folder, peer):
    config = {"listen": [LAN_SIDE], "workers": 2, "run": {"handover": str(folder / "handover")}}
    old = serve(config)
    kept = Association(net.client, (PROXY_V4, 1080))
    new = serve(config, arguments=("--take-over",))
    old.wait_log(f"process {new.pid} serves now")
    assert Association(net.client, (PROXY_V4, 1080)).alive(peer) and kept.alive(peer)
    kept.control.close()
    wait_until(lambda: old.process.poll() is not None, "the old process to end")
    assert new.sessions(command="udp") == []
    with pytest.raises(ConnectionRefusedError):
        net.inet1.connect(INET1_V4, (PROXY_WAN_V4, 1080))
