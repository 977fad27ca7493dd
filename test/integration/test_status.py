"""/status and /history: what they say is so, all of it, whatever happens meanwhile."""
import contextlib
import errno
import http.client
import json
import os
import re
import resource
import signal
import socket
import struct
import threading
from collections import Counter
from pathlib import Path

import pytest
import servers
import socks5
from conftest import ALICE, LISTEN, USERS, lan_config
from daemon import SANITIZED, wait_until
from faults import LIBRARY, Faults
from netns import CLIENT_V4, INET1_OTHER_V4, INET1_V4, INET1_V6, INET2_V4, PROXY_V4, PROXY_V6, PROXY_WAN_V4
from socks5 import Association, OverTcp
from test_admin import ADMIN, ask
from test_reload import BROKEN, OTHER_USERS, Load

WATCHED = {"admin": {"port": ADMIN[1]}}
ABOUT_TWO = (1, 2)  # one time in 64 the sketch takes them for one
WITH_LOGIN = [{"address": entry["address"], "port": entry["port"]} for entry in LISTEN]


@pytest.fixture
def watched(serve):
    """A conesocks that shows how it goes on its own host."""
    return serve(WATCHED)


def status(net, after=0, limit=100):
    code, headers, text = ask(net, f"/status?after={after}&limit={limit}")
    assert (code, headers["Content-Type"]) == (200, "application/json"), text
    return json.loads(text)


def rows(net, limit=1000):
    """All sessions, page by page."""
    found, after = [], 0
    while after is not None:
        page = status(net, after, limit)
        assert len(page["sessions"]) <= limit
        found += page["sessions"]
        after = page["next"]
    return found


def text_of(address):
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def row_of(net, sock):
    """The session of a client's control connection, once the server has accepted that."""
    (row,) = wait_until(lambda: [row for row in rows(net) if row["client"] == text_of(sock.getsockname())], "the session")
    return row


# ---- what it says ----

def test_an_association(net, watched, lan, peer):
    association = Association(net.client, lan)
    before = row_of(net, association.control)
    assert (before["client_udp"], before["destinations"], before["dropped"]) == (None, 0, {})
    external = association.external(peer)
    peer.sendto(b"four" * 10, external)
    peer.sendto(b"more", external)
    assert [association.recv()[1] for _ in range(2)] == [b"four" * 10, b"more"]
    association.send((INET1_OTHER_V4, 9), b"another")
    association.udp.sendto(b"no header", association.relay)
    row = wait_until(lambda: (row := row_of(net, association.control)) and row["dropped"] and row, "the drop")
    assert 0 <= row.pop("age_seconds") < 60 and 0 <= row.pop("idle_seconds") < 60
    assert row.pop("destinations") in ABOUT_TWO
    assert row == {
        "id": before["id"], "kind": "udp", "client": text_of(association.control.getsockname()), "user": None,
        "upstream": None, "relay": text_of(association.relay), "client_udp": text_of(association.udp.getsockname()),
        "external": [f"0.0.0.0:{external[1]}"], "mapping": "endpoint-independent", "filtering": "endpoint-independent",
        "up_datagrams": 2, "up_bytes": len("who am I?another"), "down_datagrams": 2,
        "down_bytes": 44, "dropped": {"bad_header": 1},
        "kernel_path": {"active": False, "why_not": "inactive", "up_datagrams": 0, "down_datagrams": 0}}
    (drop,) = status(net)["drops"]
    assert (drop["reason"], drop["count"]) == ("bad_header", 1)
    assert "SOCKS5 UDP header" in drop["means"] and "SOCKS5" in drop["advice"]


def test_both_families_and_the_modes_of_filtering(net, serve, lan):
    serve(WATCHED | {"udp": {"filtering": "address-dependent"}})
    association = Association(net.client, lan)
    peers = [net.inet1.udp(address) for address in (INET1_V4, INET1_V6)]
    externals = [association.external(peer) for peer in peers]
    peers[0].sendto(b"welcome", externals[0])
    assert association.recv()[1] == b"welcome"
    net.inet2.udp(INET2_V4).sendto(b"not asked", externals[0])
    row = wait_until(lambda: (row := row_of(net, association.control)) and row["dropped"] and row, "the drop")
    assert row["external"] == [f"0.0.0.0:{externals[0][1]}", f"[::]:{externals[1][1]}"]
    assert row["destinations"] in ABOUT_TWO
    assert (row["filtering"], row["dropped"]) == ("address-dependent", {"filtered": 1})
    assert status(net)["udp"]["filtering"] == "address-dependent"


def test_over_tcp(net, serve, lan, peer):
    serve(WATCHED | {"udp": {"over_tcp": True}})
    association = OverTcp(net.client, lan)
    association.external(peer)
    association.send(("game.invalid", 9), b"nobody")
    row = wait_until(lambda: (row := row_of(net, association.control)) and row["dropped"] and row, "the drop")
    assert (row["kind"], row["client_udp"]) == ("udp-over-tcp", text_of(association.control.getsockname()))
    assert (row["destinations"], row["up_datagrams"], row["dropped"]) == (1, 1, {"unresolved": 1})


def test_streams_and_handshakes(net, serve, lan):
    serve(WATCHED | {"bind": {"enabled": True}})
    web = net.inet1.listen(INET1_V4)
    destination = web.getsockname()
    connect, reply = socks5.connect(net.client, lan, destination)
    remote = web.accept()[0]
    connect.sendall(b"up" * 50)
    assert len(socks5.recv_exact(remote, 100)) == 100
    remote.sendall(b"down")
    socks5.recv_exact(connect, 4)
    bind = net.client.connect(CLIENT_V4, lan)
    socks5.negotiate(bind)
    assert socks5.request(bind, socks5.BIND, (INET1_V4, 80)).code == 0
    silent = net.client.connect(CLIENT_V4, lan)
    row = wait_until(lambda: (row := row_of(net, connect))["down_bytes"] == 4 and row, "the bytes")
    row.pop("age_seconds")
    assert row == {"id": row["id"], "kind": "connect", "client": text_of(connect.getsockname()), "user": None,
                   "upstream": None, "destination": text_of(destination), "remote": text_of(destination),
                   "up_bytes": 100, "down_bytes": 4}
    assert (row_of(net, bind)["kind"], row_of(net, bind)["remote"]) == ("bind", None)
    assert row_of(net, silent)["kind"] == "negotiation"
    said = status(net)
    assert said["open"] == {"sessions": 3, "associations": 0, "streams": 2, "negotiating": 1}
    assert {name: sum(worker[name] for worker in said["workers"]) for name in said["open"]} == said["open"]
    for sock in connect, remote, bind, silent, web:
        sock.close()
    wait_until(lambda: status(net)["open"]["sessions"] == 0, "the end of all")
    assert rows(net) == []
    assert reply.code == 0


def test_hidden_destinations(net, serve, lan, web):
    serve(WATCHED | {"log": {"destinations": False}})
    stream, _ = socks5.connect(net.client, lan, web)
    row = row_of(net, stream)
    assert (row["kind"], row["destination"], row["remote"]) == ("connect", None, None)
    assert INET1_V4 not in ask(net, "/status")[2]
    stream.close()


def test_an_upstream_decides(net, serve, start, lan, peer):
    start({"listen": [{"address": "10.88.0.9", "port": 1080, "auth": "none", "open": True}]}, host=net.second)
    serve(WATCHED | {"upstreams": [{"name": "second", "address": "10.88.0.9"}], "outbound": {"upstream": "second"}})
    association = Association(net.client, lan)
    association.external(peer)
    row = row_of(net, association.control)
    assert (row["upstream"], row["mapping"], row["filtering"]) == ("second", "upstream", "upstream")
    assert (row["external"][0].startswith(PROXY_WAN_V4), row["destinations"]) == (True, 1)


def test_the_server_itself(net, serve, lan):
    with servers.Dns(net.inet1, INET1_V4, {"known.example": [INET1_OTHER_V4]}):
        proxy = serve(WATCHED | {
            "dns": {"servers": [INET1_V4]}, "limits": {"associations": 2, "memory": "1GiB"},
            "udp": {"idle": "5m", "ports": "30000-30999", "advertise_v4": "192.0.2.1"}})
        kept = [Association(net.client, lan, bind=False) for _ in range(2)]
        with pytest.raises(AssertionError, match="ASSOCIATE refused"):
            Association(net.client, lan, bind=False)
        for name in "known.example", "unknown.example":
            socks5.connect(net.client, lan, (name, 9))[0].close()
        said = wait_until(lambda: (said := status(net))["open"]["sessions"] == len(kept) and said, "the others' end")
    assert (said["pid"], said["state"]) == (proxy.pid, "running")
    assert said["configuration"]["file"] == str(proxy.config_path)
    assert [each["address"] for each in said["listeners"]] == [f"{PROXY_V4}:1080", f"[{PROXY_V6}]:1080"]
    assert said["udp"] == {"enabled": True, "mapping": "endpoint-independent", "filtering": "endpoint-independent",
                           "ports": "30000-30999", "external_ports": "any", "advertise_v4": "192.0.2.1",
                           "advertise_v6": None, "idle_seconds": 300}
    assert said["resolver"] == {"servers": [f"{INET1_V4}:53"], "lookups": 2, "failed": 1, "waiting": 0}
    limits = {each.pop("name"): each for each in said["limits"]}
    assert limits["associations"] == {"limit": 2, "used": 2, "refused": 1}
    assert limits["sessions"]["used"] == said["open"]["sessions"]
    assert said["memory"]["limit_bytes"] == 2**30 and 2**20 < said["memory"]["used_bytes"] < 2**30
    assert said["memory"]["level"] == "ample"
    counters = {name.removeprefix("udp_dropped_"): value for name, value in proxy.counters().items()}
    assert {name: value for name, value in said["totals"].items() if value} == {
        name: value for name, value in counters.items() if name.endswith("_total")}
    for each in kept:
        each.close()


def test_history(net, watched, lan, peer):
    association = Association(net.client, lan)
    assert association.alive(peer, 20)

    def told():
        said = json.loads(ask(net, "/history")[2])
        return [dict(zip(said["fields"], sample)) for sample in said["samples"]]

    wait_until(lambda: any(sample["udp_up_datagrams"] for sample in told()), "the next sample", 30)
    assert sum(sample["udp_up_datagrams"] for sample in told()) == 20
    assert sum(sample["udp_down_bytes"] for sample in told()) == sum(len(b"re: probe %d" % n) for n in range(20))
    assert sum(sample["stream_up_bytes"] for sample in told()) == 0


def names_of_members(value):
    """All names in JSON, but for those that are data: counters and reasons."""
    if isinstance(value, list):
        return set().union(*map(names_of_members, value))
    if not isinstance(value, dict):
        return set()
    below = (each for name, each in value.items() if name not in ("totals", "dropped"))
    return set(value).union(*map(names_of_members, below))


def test_the_manual_names_every_member(net, watched, lan, web):
    association, (stream, _) = Association(net.client, lan), socks5.connect(net.client, lan, web)
    association.udp.sendto(b"no header", association.relay)
    wait_until(lambda: status(net)["drops"], "the drop")
    manual = (Path(__file__).resolve().parents[2] / "man/conesocks.8").read_text(encoding="utf-8")
    section = manual.partition(".Sh STATUS AND HISTORY")[2].partition(".Sh ")[0]
    told = set(re.findall(r"^\.(?:It |Pq )?Cm (.*)", section, re.MULTILINE))
    words = {word for line in told for word in line.replace(",", " ").split()}
    for target in "/status", "/history":
        assert names_of_members(json.loads(ask(net, target)[2])) - words == set()
    stream.close()
    association.close()


# ---- Rows 50 and 51: what clients chose ----

def test_rows_50_and_51_names_and_passwords(net, serve, lan):
    """User names and host names of any bytes are text in JSON; what is no user's name yet is not shown, for it may be a
    password in the wrong place."""
    names = ['quo"ted', "back\\slash", "</script><b>", "J\u00fcrgen \U0001f3ae", '"}],"state":"owned']
    users = [{"name": name, "password": USERS[0]["password"]} for name in names]
    config = lan_config(WATCHED | {"listen": WITH_LOGIN, "users": users, "timeouts": {"login_cache": "off"}})
    serve(json.dumps(config, ensure_ascii=False))
    streams = []
    with servers.Dns(net.inet1, INET1_V4, {}):
        for name in names:
            streams.append(net.client.connect(CLIENT_V4, lan))
            socks5.negotiate(streams[-1], name, ALICE[1])
            assert socks5.request(streams[-1], socks5.ASSOCIATE, socks5.ANY_V4).code == 0
            assert row_of(net, streams[-1])["user"] == name.replace("\\", "\\x5c")
        for user, password in (b"\xff\xfe\0\x1b[2J", b"%s%n"), (b"sesame", b"\n\n"), (b"a" * 255, b"sesame" * 42):
            sock = net.client.connect(CLIENT_V4, lan)
            streams.append(sock)
            sock.sendall(b"\5\1\2\1" + bytes([len(user)]) + user + bytes([len(password)]) + password)
            assert row_of(net, sock)["user"] is None  # whether it is still being checked, or was found wrong
            assert socks5.recv_all(sock)[:2] == b"\5\2"
            text = ask(net, "/status")[2]
            assert "sesame" not in text and "aaaa" not in text and ALICE[1] not in text and "$6$" not in text
        for host in b'"}\n', b"\xc3(\xff.example", b"a\0b", b"\x1b]0;x\7", b"%n" * 100:
            sock = net.client.connect(CLIENT_V4, lan)
            streams.append(sock)
            socks5.negotiate(sock, names[0], ALICE[1])
            sock.sendall(socks5.request_message(socks5.CONNECT, (host, 80), socks5.NAME))
            assert row_of(net, sock)["kind"] in ("connect", "negotiation")
    assert {row["user"] for row in rows(net) if row["kind"] == "udp"} == {
        name.replace("\\", "\\x5c") for name in names}
    for sock in streams:
        sock.close()


def test_row50_the_last_error_has_no_secret(net, serve, folder):
    """Whatever stands in the wrong place may be a password."""
    proxy = serve(WATCHED)
    wrong = ["users: [{name: alice, password: sesame}]\n", "users: {alice: sesame}\n", "users: [{alice: sesame}]\n",
             "upstreams: [{name: far, address: 192.0.2.1, password: sesame}]\n", "users: alice:sesame\n",
             "upstreams: [{name: far, address: 192.0.2.1, user: me, password: [sesame]}]\n",
             "users:\n  - name: alice\n   password: sesame\n", "users: [{name: alice, password: 'sesame}]\n"]
    users_file = folder / "users"
    users_file.write_text("alice:sesame\n", encoding="ascii")
    users_file.chmod(0o640)
    if OTHER_USERS:
        os.chown(users_file, 0, 65534)
    wrong.append(f"users_file: {users_file}\n")
    for count, text in enumerate(wrong):
        assert not proxy.reload(text)
        said = status(net)["configuration"]
        assert (said["reloads"], said["reloads_failed"]) == (0, count + 1)
        assert str(folder) in said["last_error"] and "\n" not in said["last_error"]
        assert "sesame" not in json.dumps(status(net))
    loaded = said["loaded"]
    assert proxy.reload(lan_config(WATCHED | {"udp": {"idle": "10m"}}))
    said = status(net)
    assert said["configuration"] | {"loaded": loaded} == {
        "file": str(proxy.config_path), "loaded": loaded, "reloads": 1, "reloads_failed": len(wrong),
        "last_error": None, "waiting_for_start": None}
    assert said["udp"]["idle_seconds"] == 600
    nowhere = {"address": "192.0.2.1", "port": 1090, "auth": "none", "open": True}
    assert not proxy.reload(lan_config(WATCHED | {"listen": [*LISTEN, nowhere]}))
    assert "192.0.2.1:1090" in status(net)["configuration"]["last_error"]


# ---- pages, while sessions come and go ----

def test_pages_contain_each_session_once(net, serve, lan):
    """Hundreds of sessions come and go between the pages and among those who stay, on several workers."""
    serve(WATCHED | {"workers": 3})
    staying, passing = [], []
    for number in range(200):
        sock = net.client.connect(CLIENT_V4, lan)
        (passing if number % 3 == 0 else staying).append(sock)

    def come_and_go():
        passing.append(net.client.connect(CLIENT_V4, lan))
        passing.pop(0).close()
        return True

    names = {text_of(sock.getsockname()) for sock in staying}
    with Load(come_and_go) as load:
        pages = 0
        while pages < 5 or load.steps <= 100 and pages < 100:
            pages += 1
            before, seen = load.steps, rows(net, 7)
            wait_until(lambda: load.steps > before, "others that come and go")
            assert [row["id"] for row in seen] == sorted({row["id"] for row in seen})
            counts = Counter(row["client"] for row in seen)
            assert {name: counts[name] for name in names} == dict.fromkeys(names, 1)
        assert load.steps > 100
    for sock in staying + passing:
        sock.close()


@pytest.fixture
def descriptors():
    """How many one process may have meanwhile."""
    needed, before = 20000, resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, max(needed, before[1])))
    except (PermissionError, ValueError):
        pytest.skip(f"needs {needed} descriptors")
    yield needed
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.skipif(SANITIZED, reason="takes too many descriptors and minutes")
def test_row54_six_thousand_associations(net, serve, lan, peer, descriptors):
    """All are listed, in answers of bounded size; meanwhile a relay loses nothing, and readers that do not read have no
    effect."""
    count = 6000
    request = b"\5\1\0" + socks5.request_message(socks5.ASSOCIATE, socks5.ANY_V4)
    serve(WATCHED, nofile=descriptors)
    relayed = Association(net.client, lan)
    controls = []
    for _ in range(count):
        controls.append(net.client.connect(CLIENT_V4, lan))
        controls[-1].sendall(request)
    for sock in controls:
        assert socks5.recv_exact(sock, 12)[3] == 0
    stalled = [net.proxy.connect(ADMIN[0], ADMIN) for _ in range(8)]
    with Load(lambda: relayed.alive(peer, 1)) as load:
        for sock in stalled:
            sock.sendall(b"GET /status?limit=1000 HTTP/1.0\r\n\r\n")
        before, seen = load.steps, rows(net)
        assert len(ask(net, "/status?limit=1000")[2]) < 1000 * 1024
        assert len(ask(net, "/status?limit=10")[2]) < 100 * 1024
        wait_until(lambda: load.steps > before + 10, "the relay")
    assert {row["client"] for row in seen} >= {text_of(sock.getsockname()) for sock in controls}
    assert len(seen) == count + 1 and status(net)["open"]["associations"] == count + 1
    for sock in controls + stalled:
        sock.close()
    wait_until(lambda: status(net)["open"]["associations"] == 1, "their end", 30)
    assert relayed.alive(peer)


def test_bad_queries(net, watched, lan):
    """Any number is a place in the list; what is none is refused, or is the default."""
    Association(net.client, lan, bind=False)
    last = status(net)["sessions"][0]["id"]
    assert status(net, last)["sessions"] == [] and status(net, 2**64 - 1)["sessions"] == []
    assert len(status(net, last - 1)["sessions"]) == 1
    for target in ("/status?limit=0", "/status?limit=-1", "/status?limit=1001", "/status?limit=x", "/status?after=-1",
                   "/status?after=99999999999999999999", "/status?", "/status?limit", "/status?unknown=1"):
        code, _, text = ask(net, target)
        assert code in (200, 400), target
        assert code == 400 or len(json.loads(text)["sessions"]) <= 1000


# ---- while all else changes ----

@contextlib.contextmanager
def asking(net, count=3):
    """Several ask all the time, for the same and for different pages, and always get an answer."""
    def step(number):
        return lambda: "sessions" in status(net, number, 50) and "samples" in json.loads(ask(net, "/history")[2])

    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Load(step(number // 2))) for number in range(count)]


def test_a_hundred_reloads_meanwhile(net, serve, lan, peer):
    configs = [lan_config(WATCHED | {"udp": {"idle": idle}}) for idle in ("5m", "10m")]
    proxy = serve(configs[0])
    associations = [Association(net.client, lan) for _ in range(4)]
    with asking(net) as load:
        for number in range(100):
            good = number % 4 > 0
            assert proxy.reload(configs[number % 2] if good else BROKEN) == good
    assert all(each.steps > 0 for each in load)
    said = status(net)
    assert (said["configuration"]["reloads"], said["configuration"]["reloads_failed"]) == (75, 25)
    assert said["configuration"]["last_error"] is None and said["udp"]["idle_seconds"] == 600
    for each in associations:
        assert each.alive(peer, 5)
        each.close()


@pytest.mark.skipif(not LIBRARY.exists(), reason="sanitizers cannot be preloaded over")
@pytest.mark.parametrize("target", ["/", "/status", "/history", "/metrics", "/proxy.pac"])
def test_row46_each_nth_allocation_of_an_answer(net, serve, lan, tmp_path, target):
    """An answer is whole, or says that there is none."""
    faults = Faults(tmp_path)
    proxy = serve(WATCHED | {"workers": 1}, environment=faults.environment)
    kept = [Association(net.client, lan, bind=False) for _ in range(3)]

    def shape(text):
        """What is the same each time, and tells half an answer from a whole one."""
        said = json.loads(text) if target in ("/status", "/history") else {}
        return names_of_members(said), len(said.get("sessions", [])), text.count("\n")

    whole = shape(ask(net, target)[2])
    outcomes = Counter()
    for skip in range(5000):
        faults.set("allocation", errno.ENOMEM, skip)
        try:
            code, _, text = ask(net, target)
        except (OSError, http.client.HTTPException):
            code = None  # there was none even to say so
        assert code != 200 or shape(text) == whole
        outcomes[code] += 1
        assert proxy.process.poll() is None, f"allocation {skip} ended it"
        if not faults.clear()["allocation"]:
            break
    assert sum(outcomes.values()) > 3 and set(outcomes) <= {None, 200, 503}, outcomes
    for each in kept:
        each.close()


def test_while_it_drains(net, serve, lan, peer):
    proxy = serve(WATCHED | {"timeouts": {"drain": "1h"}})
    association = Association(net.client, lan)
    assert status(net)["state"] == "running"
    proxy.process.send_signal(signal.SIGTERM)
    wait_until(lambda: status(net)["state"] == "draining", "the drain")
    with asking(net):
        assert association.alive(peer, 20)
    assert row_of(net, association.control)["up_datagrams"] == 20
    association.close()
    assert wait_until(lambda: proxy.process.poll() is not None, "the end") and proxy.process.returncode == 0


def test_a_stop_while_they_ask(net, serve, lan):
    """Whoever waits for an answer gets it, or the end of the connection."""
    def ask_on(over):
        while not over.is_set():
            with contextlib.suppress(OSError, EOFError, ValueError), net.proxy.connect(ADMIN[0], ADMIN) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.sendall(b"GET /status?limit=1000 HTTP/1.0\r\n\r\n")
                socks5.recv_all(sock)

    for _ in range(5):
        proxy = serve(WATCHED | {"workers": 3})
        controls = [net.client.connect(CLIENT_V4, lan) for _ in range(50)]
        over = threading.Event()
        askers = [threading.Thread(target=ask_on, args=(over,)) for _ in range(6)]
        for each in askers:
            each.start()
        wait_until(lambda: len(rows(net)) >= 50, "the sessions")
        proxy.process.send_signal(signal.SIGTERM)
        wait_until(lambda: proxy.process.poll() is not None, "the end")
        over.set()
        for each in askers:
            each.join()
        for sock in controls:
            sock.close()
        proxy.stop()
