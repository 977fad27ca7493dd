"""What an operator is told about the kernel path: status, session log, explain."""
import subprocess

import pytest
from daemon import PROGRAM
from kernel_path import V4
from socks5 import Association


def test_an_association_of_the_kernel(net, relay):
    """The status tells who relays, and the log line how many datagrams the kernel has relayed."""
    proxy, peer = relay.start(), net.inet1.udp(V4.peer)
    association = Association(net.client, V4.listener)
    relay.establish(association, peer)
    with relay.alone():
        assert association.alive(peer, 20)
    shown, totals = relay.row(association)["kernel_path"], relay.carried()
    assert [shown["up_datagrams"], shown["down_datagrams"]] == totals
    assert (shown["active"], shown["why_not"]) == ((True, None) if relay.by_kernel else (False, "inactive"))
    association.close()
    assert int(proxy.session(command="udp").get("kernel", 0)) == sum(totals)
    if relay.by_kernel:
        assert sum(totals) >= 40


@pytest.mark.parametrize("options, reason", [
    ({"udp": {"ports": 1080}}, "shared port"), ({"udp": {"df": "probe"}}, "df probe"),
    ({"udp": {"client_ports": 2}}, "client ports")])
def test_why_user_space_relays(net, relay, options, reason):
    relay.start(options)
    association, peer = Association(net.client, V4.listener), net.inet1.udp(V4.peer)
    assert association.alive(peer, 20)
    shown = relay.row(association)["kernel_path"]
    assert (shown["active"], shown["why_not"]) == (False, reason if relay.by_kernel else "inactive")
    assert relay.carried() == [0, 0]


@pytest.mark.parametrize("mode, option, told", [
    ("off", "", None), ("auto", "", "the kernel may relay its established flows"),
    ("auto", "df: probe", "user space relays all datagrams: udp.df is set to probe")])
def test_explain(tmp_path, mode, option, told):
    config = tmp_path / "conesocks.yaml"
    config.write_text(f"udp:\n  kernel_path: {mode}\n  {option}\n", encoding="utf-8")
    request = ["--from", "198.41.0.9", "--to", "9.9.9.9:53"]

    def explain(command):
        asked = [PROGRAM, "explain", "-c", str(config), *request, "--command", command]
        return subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True).stdout

    assert ("udp.kernel_path" in explain("udp")) == (told is not None)
    assert told is None or f"udp.kernel_path: {told}\n" in explain("udp")
    assert "udp.kernel_path" not in explain("connect")
