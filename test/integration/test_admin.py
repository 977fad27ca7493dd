"""The admin listener: what it tells, to whom, and that whoever is slow there holds up nobody."""
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import stat
import time
from pathlib import Path

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS
from daemon import PROGRAM, SANITIZED, wait_until
from netns import CLIENT_V4, INET1_V4, PROXY_V4
from socks5 import Association

ADMIN = ("127.0.0.1", 1081)
NOBODY = 65534


@pytest.fixture
def watched(serve):
    """A conesocks that shows how it goes on its own host."""
    return serve({"admin": {"port": ADMIN[1]}})


def ask(net, target, method="GET", host=None, to=ADMIN, version="HTTP/1.1"):
    """(status, headers, body)"""
    with net.proxy.connect(to[0], to) as sock:
        name = host or f"{to[0]}:{to[1]}"
        sock.sendall(f"{method} {target} {version}\r\nHost: {name}\r\n\r\n".encode())
        response = http.client.HTTPResponse(sock, method=method)
        response.begin()
        return response.status, dict(response.getheaders()), response.read().decode()


def samples(net):
    """What /metrics says: {"name{labels}": value}."""
    status, _, text = ask(net, "/metrics")
    assert status == 200
    return {name: float(value) for name, value in re.findall(r"^([a-z_]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)}


# ---- what it tells ----

def test_promtool_has_nothing_to_say(net, watched, lan, peer):
    assert Association(net.client, lan).alive(peer)
    _, headers, text = ask(net, "/metrics")
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    result = net.proxy.run("promtool", "check", "metrics", input=text)
    assert (result.returncode, result.stdout) == (0, "")


def test_metrics_are_the_counters_of_the_log(net, watched, lan, peer):
    association = Association(net.client, lan)
    assert association.alive(peer)
    association.udp.sendto(b"no header", association.relay)
    web = net.inet1.listen(INET1_V4)
    stream, reply = socks5.connect(net.client, lan, web.getsockname())
    assert reply.code == 0
    wait_until(lambda: samples(net)['conesocks_udp_dropped_total{reason="bad_header"}'] == 1, "the drop")
    seen = samples(net)
    assert (seen["conesocks_sessions"], seen["conesocks_associations"]) == (2, 1)
    counters = watched.counters()
    for name, value in seen.items():
        name = re.sub(r'conesocks_udp_dropped_total\{reason="(\w+)"\}', r"udp_dropped_\1", name)
        name = name.removeprefix("conesocks_")
        if name.endswith("_total") and not name.startswith(("process_", "reloads_")) or name.startswith("udp_dropped_"):
            assert value == counters.pop(name, 0), name
    assert not counters
    association.close()
    stream.close()
    web.close()
    wait_until(lambda: samples(net)["conesocks_sessions"] == 0, "the end of both")
    seen = samples(net)
    assert (seen["conesocks_associations"], seen["conesocks_associations_ended_total"]) == (0, 1)
    assert seen["process_start_time_seconds"] == pytest.approx(time.time(), abs=120)
    assert 2**20 < seen["process_resident_memory_bytes"] < 2**40
    assert seen["process_max_fds"] >= 1024
    watched.reload()
    watched.reload("listen: nonsense")
    seen = samples(net)
    assert (seen["conesocks_reloads_total"], seen["conesocks_reloads_failed_total"]) == (1, 1)


def test_lookup_times(net, start, lan):
    """A name that a server knows, one that another does not answer for."""
    with servers.Dns(net.inet1, INET1_V4, {"known.example": [INET1_V4], "lost.example": None}):
        start({"admin": {"port": ADMIN[1]}, "dns": {"servers": [INET1_V4], "timeout": "1s"},
               "outbound": {"prefer": "ipv4-only"}}, leaves_lookups=True)
        web = net.inet1.listen(INET1_V4)
        assert socks5.connect(net.client, lan, ("known.example", web.getsockname()[1]))[1].code == 0
        assert socks5.connect(net.client, lan, ("lost.example", 80))[1].code == 6
    seen = samples(net)
    name = "conesocks_lookup_duration_seconds"
    assert (seen[name + "_count"], seen[name + '_bucket{le="0.5"}'], seen[name + '_bucket{le="+Inf"}']) == (2, 1, 2)
    assert 0.5 < seen[name + "_sum"]


def test_health(net, watched):
    for path in "/healthz", "/readyz":
        status, headers, text = ask(net, path)
        assert (status, text) == (200, "ok\n")
        assert headers["Content-Length"] == "3"


def test_proxy_pac(net, start):
    """It names the listener that the asker can reach."""
    start({"admin": {"address": "0.0.0.0", "port": 1081, "open": True},
           "listen": [{"address": "0.0.0.0", "port": 1080, "auth": "none", "open": True}]})
    _, headers, text = ask(net, "/proxy.pac", to=(PROXY_V4, 1081))
    assert headers["Content-Type"] == "application/x-ns-proxy-autoconfig"
    assert f'return "SOCKS5 {PROXY_V4}:1080; SOCKS {PROXY_V4}:1080";' in text
    assert 'return "SOCKS5 127.0.0.1:1080; SOCKS 127.0.0.1:1080";' in ask(net, "/proxy.pac")[2]


def test_head_and_unknown_paths(net, watched):
    status, headers, text = ask(net, "/healthz", method="HEAD")
    assert (status, headers["Content-Length"], text) == (200, "3", "")
    assert ask(net, "/nothing")[0] == 404
    for method in "POST", "PUT", "DELETE", "OPTIONS":
        status, headers, _ = ask(net, "/", method=method)
        assert (status, headers["Allow"]) == (405, "GET, HEAD")


def test_curl_by_a_unix_socket(net, serve, folder):
    """One that nobody listens on any more is replaced; it is the process's and its group's."""
    path = folder / "admin.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    serve({"admin": {"socket": str(path)}})
    status = path.stat()
    assert stat.S_IMODE(status.st_mode) == 0o660
    assert status.st_uid == status.st_gid == NOBODY
    result = net.proxy.run("curl", "--silent", "--show-error", "--unix-socket", str(path), "http://any.name/healthz")
    assert (result.returncode, result.stdout) == (0, "ok\n")


def test_a_second_one_leaves_the_socket_alone(net, serve, folder):
    path = folder / "admin.sock"
    serve({"admin": {"socket": str(path)}})
    config = folder / "second.yaml"
    config.write_text(json.dumps({"listen": [{"port": 1999}], "admin": {"socket": str(path)}}), encoding="utf-8")
    result = net.proxy.run(PROGRAM, "-c", str(config))
    assert result.returncode == 1
    assert f"cannot listen on {path}: Address already in use. Is conesocks running already?" in result.stdout
    assert net.proxy.run("curl", "--silent", "--unix-socket", str(path), "http://x/healthz").stdout == "ok\n"


# ---- at a terminal ----

def at_a_terminal(net, log, *arguments):
    """Without a configuration file, its log on a terminal."""
    return net.proxy.start("script", "--quiet", "--flush", "--command", " ".join(["exec", PROGRAM, *arguments]), str(log),
                           stdout=-3, stderr=-3)


@contextlib.contextmanager
def terminal(net, log):
    process = at_a_terminal(net, log)
    try:
        wait_until(lambda: log.exists() and "listening on 127.0.0.1:1080" in log.read_text(), "the listener")
        yield process
    finally:
        process.terminate()
        process.wait()


def test_without_a_file_a_terminal_gets_a_status_page(net, tmp_path):
    with terminal(net, tmp_path / "log"):
        assert "admin: status page: http://127.0.0.1:1081/" in (tmp_path / "log").read_text()
        assert ask(net, "/healthz")[0] == 200


def test_without_a_file_a_port_in_use_is_a_warning(net, tmp_path):
    taken = net.proxy.listen(*ADMIN)
    with terminal(net, tmp_path / "log"):
        text = (tmp_path / "log").read_text()
        assert "warning: admin: no status page: cannot listen on 127.0.0.1:1081: Address already in use" in text
    taken.close()


def test_a_terminal_that_is_closed_ends_it(net, tmp_path):
    """As the window of it would be; while the terminal is there SIGHUP means what it does to a daemon."""
    with terminal(net, tmp_path / "log") as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        os.kill(int(children[0]), signal.SIGHUP)
        wait_until(lambda: "SIGHUP: there is no configuration file" in (tmp_path / "log").read_text(), "an answer")
        assert ask(net, "/healthz")[0] == 200
        process.kill()  # whoever has the other end of the terminal
        wait_until(lambda: not Path(f"/proc/{children[0]}").exists(), "its end")


def test_a_configured_port_in_use_is_an_error(net, folder):
    taken = net.proxy.listen(*ADMIN)
    config = folder / "taken.yaml"
    config.write_text(json.dumps({"admin": {"port": ADMIN[1]}}), encoding="utf-8")
    result = net.proxy.run(PROGRAM, "-c", str(config))
    assert result.returncode == 1 and "cannot listen on 127.0.0.1:1081: Address already in use" in result.stdout
    taken.close()


def test_off_by_default(net, proxy):
    with pytest.raises(ConnectionRefusedError):
        net.proxy.connect("127.0.0.1", ADMIN)
    assert "status" not in proxy.log


# ---- who may see it ----

def test_row54_for_this_host_alone_by_default(net, watched):
    with pytest.raises(ConnectionRefusedError):
        net.client.connect(CLIENT_V4, (PROXY_V4, ADMIN[1]))
    for host in "evil.example", "evil.example:1081", "127.0.0.1.evil.example":
        status, _, text = ask(net, "/status", host=host)
        assert (status, text) == (403, "use the address instead of a name, or set admin.open\n")
    for host in "localhost", "LOCALHOST:1081", "[::1]:1081", "127.0.0.1":
        assert ask(net, "/healthz", host=host)[0] == 200


def test_row50_no_secret_is_shown(net, serve, lan):
    listen = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]
    serve({"listen": listen, "users": USERS, "admin": {"port": ADMIN[1]},
           "upstreams": [{"name": "far", "address": "192.0.2.9", "user": "me", "password": "hidden-from-all"}],
           "rules": [{"action": "allow", "to": ["192.0.2.1"], "command": ["connect"], "upstream": "far"}]})
    association = Association(net.client, lan, user=ALICE[0], password=ALICE[1])
    for path in "/", "/status", "/history", "/metrics", "/proxy.pac", "/healthz", "/readyz", "/nothing":
        _, headers, text = ask(net, path)
        for secret in ALICE[1], USERS[0]["password"], "$6$", "hidden-from-all":
            assert secret not in text and secret not in str(headers), path
    association.close()


# ---- Row 54: who is slow, or many ----

def half_requests(net, count):
    for _ in range(count):
        sock = net.proxy.connect(ADMIN[0], ADMIN)
        with contextlib.suppress(OSError):  # the oldest have to go
            sock.sendall(b"GET /status HTTP/1.1\r\nHost: 127")


def slow_readers(net, count):
    """They ask, and read a byte."""
    for _ in range(count):
        sock = net.proxy.socket(socket.SOCK_STREAM, None)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.connect(ADMIN)
        sock.sendall(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with contextlib.suppress(OSError):
            sock.recv(1)


def huge_heads(net, count):
    for _ in range(count):
        sock = net.proxy.connect(ADMIN[0], ADMIN)
        with contextlib.suppress(OSError):
            sock.sendall(b"GET / HTTP/1.1\r\nCookie: " + 200_000 * b"a")
            assert sock.recv(12) == b"HTTP/1.1 431"


@pytest.mark.parametrize("crowd", [half_requests, slow_readers, huge_heads])
def test_row54_many_clients_block_nobody(net, watched, lan, peer, crowd):
    """A relay goes on losing nothing, who asks is answered, memory and descriptors stay."""
    association = Association(net.client, lan)
    assert association.alive(peer)
    before, descriptors = watched.memory(), len(watched.descriptors())
    for _ in range(10):
        crowd(net, 50)
        assert association.alive(peer)
        assert ask(net, "/healthz")[0] == 200
        assert len(watched.descriptors()) <= descriptors + 32
    assert SANITIZED or watched.memory() - before < 4096
    net.close_sockets()


def test_row54_a_thousand_at_once(net, watched, lan, peer):
    association = Association(net.client, lan)
    descriptors = len(watched.descriptors())
    crowd = [net.proxy.connect(ADMIN[0], ADMIN) for _ in range(1000)]
    assert association.alive(peer)
    assert ask(net, "/healthz")[0] == 200
    wait_until(lambda: len(watched.descriptors()) <= descriptors + 32, "the others to be closed")
    for sock in crowd:
        sock.close()


def test_row39_descriptors_run_out(net, serve):
    proxy = serve({"workers": 1, "admin": {"port": ADMIN[1]}}, nofile=48)
    idle = [net.proxy.connect(ADMIN[0], ADMIN) for _ in range(60)]
    before = proxy.cpu_seconds()
    time.sleep(2)
    assert proxy.cpu_seconds() - before < (0.2 if SANITIZED else 0.1)  # of 2 s: 5 %
    for sock in idle:
        sock.close()
    assert ask(net, "/healthz")[0] == 200
