"""conesocks check, run and read, and the fixtures that its tests share."""
import json
import os
import re

import pytest
import servers
from crooked import Socks5
from daemon import PROGRAM, wait_until
from netns import INET1_OTHER_V4, INET1_V4, PROXY_V4, PROXY_WAN_V4
from test_upstream import DANTED

OK, WRONG, USAGE, UNKNOWN = 0, 1, 2, 3
BY_V4 = f"socks5://{PROXY_V4}:1080"


class Found:
    """What a check has printed, in either form."""

    def __init__(self, result):
        self.status, self.text = result.returncode, result.stdout
        print(self.text)

    @property
    def json(self):
        return json.loads(self.text)

    def step(self, name):
        """Its status, found, means, cause, owner, user and data."""
        (step,) = [step for step in self.json["steps"] if step["id"] == name]
        return step

    def statuses(self):
        return {step["id"]: step["status"] for step in self.json["steps"]}

    def blames(self, name, cause, owner="", user="", means=""):
        """The step has failed or is worth a warning, and these patterns are in its cause, in what its owner and its user
        should do, and in what it means to a player."""
        step = self.step(name)
        assert step["status"] in ("failed", "warning"), step
        assert re.search(cause, step["cause"]) and re.search(owner, step["owner"] or ""), step
        assert re.search(user, step["user"] or "") and re.search(means, step["means"] or ""), step
        assert self.status == self.json["exit_status"] == 1
        return True


def run_check(host, *arguments, proxy=None, form="--json", **environment):
    """With `form` None: for people. What is named besides goes into the environment."""
    options = [*(("--proxy", proxy) if proxy else ()), *((form,) if form else ()), *arguments]
    return Found(host.run(PROGRAM, "check", *options, timeout=100, env=os.environ | environment))


@pytest.fixture
def stun(net, running, tmp_path):
    """A STUN server with two addresses (RFC 5780) on the internet."""
    running(net.inet1, *servers.coturn(tmp_path, INET1_V4, INET1_OTHER_V4), udp=(INET1_OTHER_V4, 3479))
    return INET1_V4


@pytest.fixture
def check(net):
    """check(argument ...) on the client, or on `host`: see run_check()."""
    return lambda *arguments, host=net.client, proxy=BY_V4, **options: run_check(host, *arguments, proxy=proxy, **options)


@pytest.fixture
def crooked(net):
    """crooked(what is wrong) is a server on the proxy's host."""
    running = []

    def run(**wrong):
        running.append(Socks5(net.proxy, PROXY_V4, PROXY_WAN_V4, **wrong).__enter__())
        return running[-1]
    yield run
    for server in running:
        server.__exit__(None, None, None)


@pytest.fixture
def dante(net, tmp_path):
    """dante(inside, outside) runs danted on the proxy's host, between these addresses."""
    running = []

    def run(inside, outside):
        anywhere = "::/0" if ":" in inside else "0.0.0.0/0"
        config = DANTED.format(address=inside, log=tmp_path / "danted.out").replace("0.0.0.0/0", anywhere)
        (tmp_path / "danted.conf").write_text(config.replace(f"external: {inside}", f"external: {outside}"), encoding="ascii")
        with open(tmp_path / "danted.log", "w", encoding="ascii") as log:
            running.append(net.proxy.start("danted", "-f", str(tmp_path / "danted.conf"), stdout=log, stderr=log))
        wait_until(lambda: ":1080 " in net.proxy.run("ss", "-ltn").stdout, "danted")
    yield run
    for process in running:
        process.terminate()
        process.wait(10)


@pytest.fixture
def packet_filter(net):
    """packet_filter(host, rules) puts them into a table of their own, until the test is over."""
    hosts = []

    def run(host, rules):
        host.nft(f"table inet check {{\n{rules}\n}}")
        hosts.append(host)
    yield run
    for host in hosts:
        host.nft("delete table inet check")


@pytest.fixture
def knowing(tmp_path):
    """knowing(host, addresses, argument ...) checks on that host, where the name both.test has those addresses."""
    def run(host, addresses, *arguments):
        if host.run("unshare", "--mount", "true").returncode != 0:
            pytest.skip("cannot put a file in place of the system's here (a chroot?)")
        hosts = tmp_path / "hosts"
        hosts.write_text("".join(f"{address} both.test\n" for address in addresses), encoding="ascii")
        return Found(host.run("unshare", "--mount", "sh", "-c", f'mount --bind {hosts} /etc/hosts && exec "$@"', "sh",
                              PROGRAM, "check", "--json", *arguments))
    return run
