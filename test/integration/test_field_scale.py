"""Row 70 of the attacks, as a host with very many addresses, rules or associations meets it: what they cost stays the same.
What a single datagram or association costs among many is counted by unit tests: test_shared_port_table, test_rules."""
import errno
import time
from pathlib import Path

import pytest

import socks5
from daemon import SANITIZED, wait_until
from faults import Faults
from netns import CLIENT_V4

MANY = 10000


def code(net, lan, destination):
    sock, reply = socks5.connect(net.client, lan, destination, CLIENT_V4)
    sock.close()
    return reply.code


def address(number):
    return f"10.200.{number // 250}.{1 + number % 250}"


@pytest.fixture
def interface(net):
    """Of the proxy host, for addresses without number."""
    net.proxy.ip("link add many type bridge", "link set many up")
    yield "many"
    net.proxy.ip("link del many")


def add(net, interface, count):
    net.proxy.ip(*[f"address add {address(i)}/32 dev {interface}" for i in range(count)])


def cpu_ms(proxy):
    return sum(int((task / "schedstat").read_text(encoding="ascii").split()[0]) / 1e6
               for task in Path(f"/proc/{proxy.pid}/task").iterdir())


def cpu_ms_in_a_second(proxy):
    begun = cpu_ms(proxy)
    time.sleep(1)
    return cpu_ms(proxy) - begun


def wait_refused(net, lan, destination):
    wait_until(lambda: code(net, lan, (destination, 8080)) == 2, f"{destination} to be refused as this host's own")


def test_row70_ten_thousand_addresses_cost_nothing_while_idle(net, proxy, lan, interface):
    """Each worker read them all again each second: 5 % of a core, and 5 ms in which no datagram was relayed."""
    add(net, interface, MANY)
    wait_refused(net, lan, address(MANY - 1))
    wait_until(lambda: cpu_ms_in_a_second(proxy) < 5, "a second in which it does nothing")
    assert code(net, lan, (address(17), 8080)) == 2


def test_row22_row70_more_changes_than_the_kernel_can_tell(net, proxy, lan, interface):
    """Netlink drops what it has no room for, and says so once (ENOBUFS): all are read again."""
    with proxy.stopped():
        add(net, interface, 3000)
    wait_refused(net, lan, address(2999))
    with proxy.stopped():
        net.proxy.ip(*[f"address del {address(i)}/32 dev {interface}" for i in range(3000)])
    wait_until(lambda: code(net, lan, (address(2999), 8080)) != 2, "the address to be gone")


@pytest.mark.skipif(SANITIZED, reason="the sanitizers insist on being the first library themselves")
def test_row22_a_system_that_does_not_tell_of_changes(net, start, lan, tmp_path, interface):
    """As some containers' kernels (gVisor): the addresses are read every two seconds, and the log says so."""
    faults = Faults(tmp_path)
    faults.set("bind_netlink", errno.EPERM)
    proxy = start(environment=faults.environment)
    assert faults.hits("bind_netlink") == 1
    proxy.wait_log(r"warning: host: reading this host's addresses every 2 s: .*\(netlink: Operation not permitted\)")
    add(net, interface, 1)
    wait_refused(net, lan, address(0))
