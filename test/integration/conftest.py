import contextlib
import os
import random
import resource
import shutil
import signal
import tempfile
from pathlib import Path

import pytest

import daemon
import netns
import servers
from netns import INET1_V4, PROXY_V4, PROXY_V6

# A LAN's listener in both families, open to the clients there.
LISTEN = [{"address": PROXY_V4, "port": 1080, "auth": "none", "open": True},
          {"address": PROXY_V6, "port": 1080, "auth": "none", "open": True}]
# Both ways of moving datagrams must pass: test/run --offload off.
OFFLOAD = os.environ.get("CONESOCKS_OFFLOAD", "auto")
# The whole suite can run with the kernel path, too: test/run --kernel-path auto.
KERNEL_PATH = os.environ.get("CONESOCKS_KERNEL_PATH", "off")
ALICE = ("alice", "wonderland")
# SHA-512 with few rounds: a real hash costs 16 ms on purpose.
USERS = [{"name": "alice", "password": "$6$rounds=1000$conesocks$vl8hNS3U5BdcaYgEGyG6eINmGt7WF9MSD7MfPEomWXvR6R/"
                                       "tjFbpLERk8CdlhglZUj5uGeBjcaGJnyODPBYb.."}]


def lan_config(config=()):
    """A dict without "listen" gets the LAN's listener."""
    config = {"listen": LISTEN, "workers": 2, **dict(config)}
    return config | {"udp": {"offload": OFFLOAD, "kernel_path": KERNEL_PATH, **config.get("udp", {})}}


def pytest_configure():
    if not os.access(daemon.PROGRAM, os.X_OK):
        raise pytest.UsageError(f"no conesocks at {daemon.PROGRAM}: build it, or say where by CONESOCKS=")
    # Some hold more sockets than the 1,024 of an ordinary login.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """Slow ones come in families: spread, so that no processor gets a whole family while the others have no more to do.
    The order is always the same. What shares a fixture of its module, a browser or a site, stays together."""
    families = {}
    for item in items:
        shares = {"browser", "site"} & set(item.fixturenames)
        name = (item.path.name, getattr(item, "callspec", None) and item.callspec.params.get("site")) if shares else item.nodeid
        families.setdefault(name, []).append(item)
    order = list(families.values())
    random.Random(len(order)).shuffle(order)
    items[:] = [item for family in order for item in family]


@pytest.fixture(scope="session")
def network():
    try:
        return netns.Network()
    except PermissionError:
        pytest.exit("the tests need network namespaces: run as root, or under unshare --user --map-root-user --net", 2)


def on_the_hosts(known=frozenset()):
    """The processes there, less those that are `known` and what comes of them (a browser has ever new ones)."""
    found = {process: parent for host in netns.Host.all for process, parent in host.processes()}

    def is_known(process):
        return process in known or process in found and is_known(found[process])

    return {process for process in found if not is_known(process)}


@pytest.fixture(autouse=True)
def nothing_stays_behind():
    """A process that outlives its test holds ports that the next one wants: it ends here, and its test has failed."""
    known = on_the_hosts()
    yield
    try:
        daemon.wait_until(lambda: not on_the_hosts(known), "the processes of the test to end", 3)
    except AssertionError:
        names = []
        for process in on_the_hosts(known):
            with contextlib.suppress(OSError):
                names.append(Path(f"/proc/{process}/cmdline").read_text(encoding="utf-8").replace("\0", " "))
                os.kill(process, signal.SIGKILL)
        pytest.fail(f"still running after the test: {names}")


@pytest.fixture
def net(network):
    """The hosts; sockets that a test made on them are closed after it."""
    yield network
    network.close_sockets()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    report = (yield).get_result()
    setattr(item, "report_" + report.when, report)


@pytest.fixture
def start(net, tmp_path, request):
    """start(config, ...) runs a conesocks on the proxy host, or on `host`; a dict without "listen" gets the LAN's
    listener. Each must end well after the test. When the test failed, its log is shown."""
    started = []

    def run(config=(), **options):
        mounts = options.get("files") or options.get("mounts")
        if mounts and net.proxy.run("unshare", "--mount", "true").returncode != 0:
            pytest.skip("cannot mount anything for one process here (a chroot?)")
        if not isinstance(config, (str, type(None))):
            config = lan_config(config)
        host, folder = options.pop("host", net.proxy), options.pop("folder", tmp_path)
        started.append(daemon.Conesocks(host, folder, config, **options))
        return started[-1]

    yield run
    net.close_sockets()
    passed = getattr(request.node, "report_call", None) and request.node.report_call.passed
    try:
        for proxy in started if passed else ():
            proxy.stop()
    finally:
        for proxy in started:
            proxy.kill()
            lines = proxy.log.splitlines()
            print(f"--- log of {proxy.log_path.name}, {len(lines)} lines", *lines[-60:], sep="\n")


@pytest.fixture
def folder():
    """One that the user whom root becomes can read, unlike pytest's."""
    path = Path(tempfile.mkdtemp(prefix="conesocks-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def serve(folder, start):
    """start(), with its files in that folder."""
    return lambda config=(), **options: start(config, folder=folder, **options)


@pytest.fixture(params=["off", "auto"])
def relay(request, net, serve):
    """A Relay, whose start() runs a conesocks with and without the kernel path (udp.kernel_path)."""
    import kernel_path  # pylint: disable=import-outside-toplevel
    return kernel_path.Relay(request.param, net, serve)


@pytest.fixture
def proxy(start):
    """A conesocks with the default configuration on the LAN."""
    return start()


@pytest.fixture
def peer(net):
    """A UDP socket on the internet."""
    return net.inet1.udp(INET1_V4)


@pytest.fixture
def web(net):
    """The address of a web server on the internet."""
    with servers.Web(net.inet1, INET1_V4) as server:
        yield server.socket.getsockname()


@pytest.fixture
def lan():
    """Where the proxy listens for the LAN's clients."""
    return (PROXY_V4, 1080)


@pytest.fixture
def running(tmp_path):
    """running(host, program ..., udp=(address, port)) starts a server and waits for its port; it ends with the test."""
    processes = []

    def run(host, *command, udp):
        with open(tmp_path / f"{command[0]}.log", "w", encoding="utf-8") as log:
            processes.append(host.start(*command, stdout=log, stderr=log))
        listening = "%s:%d " % udp
        daemon.wait_until(lambda: listening in host.run("ss", "--udp", "--all", "--numeric").stdout, command[0])

    yield run
    for process in processes:
        process.kill()
        process.wait()
