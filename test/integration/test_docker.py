"""The entrypoint of the docker image, run for real without docker: in the proxy's namespace, with folders of its own."""
import re
import stat
from pathlib import Path

import pytest
from daemon import PROGRAM, wait_until
from netns import INET1_V4, PROXY_V4
from socks5 import Association

FOLDER = Path(__file__).resolve().parents[2] / "config/docker"
ENTRYPOINT = str(FOLDER / "entrypoint")
USER = {"CONESOCKS_USER": "alice", "CONESOCKS_PASSWORD": "wonder'land \"1\""}


@pytest.fixture
def container(net, folder):
    """container(argument, ..., variables, input): the result; container.start(variables): a process that serves."""
    bin_folder, run_folder = folder / "bin", folder / "run"
    bin_folder.mkdir()
    run_folder.mkdir()
    (bin_folder / "conesocks").symlink_to(PROGRAM)
    running = []

    def environment(variables):
        return {"PATH": f"{bin_folder}:/usr/bin:/bin", "RUNTIME_DIRECTORY": str(run_folder),
                "CONESOCKS_CONFIG": str(folder / "conesocks.yaml")} | variables

    def run(*arguments, variables=(), **options):
        return net.proxy.run(ENTRYPOINT, *arguments, env=environment(dict(variables)), timeout=30, **options)

    def start(variables):
        log = (folder / "log").open("w")
        running.append(net.proxy.start(ENTRYPOINT, env=environment(dict(variables)), stdout=log, stderr=log))
        wait_until(lambda: "listening on" in (folder / "log").read_text(), "the server")
        return running[-1]

    run.start, run.folder, run.log = start, run_folder, lambda: (folder / "log").read_text()
    yield run
    net.close_sockets()
    for process in running:
        process.terminate()
        assert process.wait(10) == 0


@pytest.fixture
def public_peer(net):
    """A UDP socket at an address that is not private: the default policy lets a remote client send there."""
    net.inet1.ip("addr add 198.41.0.11/32 dev lo")
    net.proxy.ip(f"route add 198.41.0.11 via {INET1_V4}")
    yield net.inet1.udp("198.41.0.11")
    net.proxy.ip("route del 198.41.0.11")
    net.inet1.ip("addr del 198.41.0.11/32 dev lo")


def test_one_user_from_the_environment(net, container, public_peer):
    """The user has UDP, others have nothing. The password is neither in the file nor in the environment."""
    process = container.start(USER | {"CONESOCKS_ADVERTISE": PROXY_V4})
    at = (PROXY_V4, 1080)
    association = Association(net.client, at, user="alice", password=USER["CONESOCKS_PASSWORD"])
    assert association.alive(public_peer, 5) and 30000 <= association.relay[1] <= 30099
    assert net.client.connect(None, at).send(b"\5\1\0") == 3
    with pytest.raises((AssertionError, OSError)):
        Association(net.client, at)
    with pytest.raises((AssertionError, OSError)):
        Association(net.client, at, user="alice", password="wonderland")
    file = container.folder / "conesocks.yaml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 and "wonder" not in file.read_text(encoding="utf-8")
    assert b"wonder" not in Path(f"/proc/{process.pid}/environ").read_bytes()
    assert b"conesocks" in Path(f"/proc/{process.pid}/cmdline").read_bytes()  # no shell in between
    assert container("is-healthy").returncode == 0
    status = container("status", "--socket", str(container.folder / "admin.socket"))
    assert status.returncode == 0 and "1 association" in status.stdout


def test_the_password_from_a_secret(net, container, folder):
    (folder / "secret").write_text("from a file\n", encoding="ascii")
    container.start({"CONESOCKS_USER": "bob", "CONESOCKS_PASSWORD_FILE": str(folder / "secret")})
    Association(net.client, (PROXY_V4, 1080), user="bob", password="from a file").close()
    assert "CONESOCKS_ADVERTISE is not set" in container.log()


def test_a_mounted_file_goes_first(net, container, folder):
    (folder / "conesocks.yaml").write_text(f"listen: [{{address: {PROXY_V4}, auth: none, open: true}}]", encoding="ascii")
    container.start(USER)
    Association(net.client, (PROXY_V4, 1080)).close()
    assert "CONESOCKS_USER is ignored" in container.log() and not (container.folder / "conesocks.yaml").exists()
    assert container("is-healthy").returncode == 0


@pytest.mark.parametrize("variables, why", [
    ({}, "CONESOCKS_USER and CONESOCKS_PASSWORD"),
    ({"CONESOCKS_USER": "alice"}, "needs CONESOCKS_PASSWORD"),
    ({"CONESOCKS_USER": "alice", "CONESOCKS_PASSWORD": ""}, "needs CONESOCKS_PASSWORD"),
    ({"CONESOCKS_USER": "alice", "CONESOCKS_PASSWORD_FILE": "/nonexistent"}, "cannot read /nonexistent"),
    ({"CONESOCKS_PASSWORD": "wonderland"}, "CONESOCKS_USER"),
    (USER | {"CONESOCKS_USER": 'a", password: "'}, "letters, digits"),
    (USER | {"CONESOCKS_ADVERTISE": '1.2.3.4"'}, "an address or a host name"),
    (USER | {"RUNTIME_DIRECTORY": "/nonexistent"}, "--tmpfs"),
])
def test_it_does_not_serve_without_a_login(container, variables, why):
    result = container(variables=variables)
    assert result.returncode == 1 and why in result.stdout and "wonder" not in result.stdout


def test_commands(container):
    result = container("hash-password", input="wonderland\n")
    assert result.returncode == 0 and result.stdout.startswith("$y$")
    assert container("-V").stdout.startswith("conesocks ")
    assert container("check", "--help").stdout.startswith("Usage: conesocks check")
    assert container("is-healthy").returncode == 1
    (container.folder.parent / "conesocks.yaml").write_text("workers: 1", encoding="ascii")
    assert "workers: 1\n" in container("--dump").stdout and container("-t").returncode == 0


def test_the_image_publishes_what_the_file_uses():
    text, file = ((FOLDER / name).read_text(encoding="utf-8") for name in ("Dockerfile", "conesocks.yaml"))
    exposed = re.search(r"^EXPOSE (.*)", text, re.MULTILINE)[1].split()
    options = dict(re.findall(r"^  (ports|external_ports): (\S+)", file, re.MULTILINE))
    assert exposed == ["1080/tcp", f"{options['ports']}/udp", f"{options['external_ports']}/udp"]
    made = Path(ENTRYPOINT).read_text(encoding="utf-8")
    assert f"ports: {options['ports']}, external_ports: {options['external_ports']}" in made
