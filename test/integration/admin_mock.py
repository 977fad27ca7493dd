"""A stand-in for the admin listener: the page as it is built, and a /status that says what a test wants to be shown.

Run as a program it shows a busy proxy on 127.0.0.1:8081, to look at while the page is worked on; with --idle one that
has just been started; with --picture FILE.png it takes the picture that README shows.
"""
import copy
import importlib.util
import itertools
import json
import math
import random
import socket
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

PAGE = Path(__file__).resolve().parents[2] / "src/admin/page"
FIELDS = ["stream_up_bytes", "stream_down_bytes", "udp_up_bytes", "udp_down_bytes", "udp_up_datagrams",
          "udp_down_datagrams", "dropped", "lookups", "lookups_failed"]
TOTALS = ["associations_total", "connects_total", "binds_total", "stream_up_bytes_total", "stream_down_bytes_total",
          "udp_up_bytes_total", "udp_down_bytes_total", "udp_up_datagrams_total", "udp_down_datagrams_total",
          "auth_failed_total"]


def build():
    """(HTML, policy), joined as meson has it done."""
    spec = importlib.util.spec_from_file_location("join", PAGE / "join.py")
    join = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(join)
    return join.join()


def session(number, **changes):
    """An association, made up."""
    host = f"10.77.{number // 250 % 250}.{number % 250}"
    return {"id": number, "kind": "udp", "client": f"{host}:{20000 + number}",
            "user": None, "age_seconds": 7 * number % 86400, "upstream": None, "idle_seconds": number % 90,
            "relay": f"10.77.0.1:{30000 + number % 30000}", "client_udp": f"{host}:{40000 + number % 20000}",
            "external": [f"10.88.0.1:{31000 + number % 30000}"], "mapping": "endpoint-independent",
            "filtering": "endpoint-independent", "destinations": number % 40, "up_datagrams": 10 * number,
            "up_bytes": 1200 * number, "down_datagrams": 20 * number, "down_bytes": 12_000 * number,
            "dropped": {}} | changes


def stream(number, **changes):
    return {"id": number, "kind": "connect", "client": f"10.77.0.2:{20000 + number}", "user": None, "age_seconds": number,
            "upstream": None, "destination": "www.debian.org:443", "remote": "130.89.148.77:443", "up_bytes": 900 * number,
            "down_bytes": 52000 * number} | changes


def negotiation(number):
    """A connection that has not asked for anything yet."""
    return {"id": number, "kind": "negotiation", "client": "192.168.1.44:51022", "user": None,
            "age_seconds": 1, "upstream": None}


def status():
    """That of a proxy which has just been started."""
    return {
        "version": "0.2.0", "pid": 4711, "started": "2026-03-01T08:30:00Z", "uptime_seconds": 5, "state": "running",
        "configuration": {"file": "/etc/conesocks.yaml", "loaded": "2026-03-01T08:30:00Z", "reloads": 0,
                          "reloads_failed": 0, "last_error": None},
        "listeners": [{"address": "10.77.0.1:1080", "login": True, "proxy_protocol": False},
                      {"address": "[fd77::1]:1080", "login": True, "proxy_protocol": False}],
        "udp": {"enabled": True, "mapping": "endpoint-independent", "filtering": "endpoint-independent",
                "ports": "30000-30999", "external_ports": "31000-31999", "advertise_v4": "198.51.100.7",
                "advertise_v6": None, "idle_seconds": 0},
        "workers": [{"sessions": 0}] * 2,
        "open": {"sessions": 0, "associations": 0, "streams": 0, "negotiating": 0},
        "totals": {name: 0 for name in TOTALS}, "drops": [],
        "resolver": {"servers": ["192.168.1.1:53"], "lookups": 0, "failed": 0, "waiting": 0},
        "limits": [{"name": "sessions", "limit": 10000, "used": 0, "refused": 0},
                   {"name": "associations", "limit": 4000, "used": 0, "refused": 0},
                   {"name": "sessions_per_client", "limit": None, "used": 0, "refused": 0}],
        "memory": {"used_bytes": 9 << 20, "limit_bytes": 64 << 20, "level": "ample"},
        "users": {"total": 0, "list": []},
    }


def user(name, **changes):
    """A user, as /status lists those who are connected or have used volume this month."""
    limits = {"sessions": None, "associations": None, "addresses": None, "bandwidth": None} | changes.pop("limits", {})
    return {"name": name, "sessions": 1, "associations": 1, "addresses": 1, "up_bytes": 1000, "down_bytes": 2000,
            "up_bytes_per_second": 0, "down_bytes_per_second": 0, "volume_bytes": 3000, "volume_limit": None,
            "month": "2026-03", "expires": None, "limits": limits, "near": None} | changes


class Admin:
    """`status` and `history` are what it answers, `sessions` what it pages through; or with 503 and a `refusal`. `asked`
    counts requests by path."""

    def __init__(self, listener):
        self.url = "http://%s:%d/" % listener.getsockname()
        self.refusal = None
        self.status, self.sessions = status(), []
        self.history = {"period_seconds": 5, "fields": FIELDS, "samples": []}
        self.asked = {}
        self.page, self.policy = build()
        admin = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                url = urlsplit(self.path)
                admin.asked[url.path] = admin.asked.get(url.path, 0) + 1
                kind, body = admin.answer(url.path, parse_qs(url.query))
                self.send_response(503 if admin.refusal else 200 if body else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Security-Policy", admin.policy)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(listener.getsockname()[:2], Handler, bind_and_activate=False)
        self.server.socket.close()
        self.server.socket = listener
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path, query):
        """(content type, body) of what stands there."""
        if self.refusal:
            return "text/plain", self.refusal.encode()
        if path == "/":
            return "text/html; charset=utf-8", self.page.encode()
        if path == "/status":
            return "application/json", json.dumps(self.part(query)).encode()
        if path == "/history":
            return "application/json", json.dumps(self.history).encode()
        return "text/plain", b""

    def part(self, query):
        after, limit = int(query.get("after", ["0"])[0]), int(query.get("limit", ["100"])[0])
        rest = [each for each in self.sessions if each["id"] > after]
        page = rest[:limit]
        streams = sum(each["kind"] in ("connect", "bind") for each in self.sessions)
        negotiating = sum(each["kind"] == "negotiation" for each in self.sessions)
        return self.status | {"sessions": page, "next": page[-1]["id"] if len(rest) > limit else None, "open": {
            "sessions": len(self.sessions), "associations": len(self.sessions) - streams - negotiating,
            "streams": streams, "negotiating": negotiating}}

    def stop(self):
        """Returns the port that is free again."""
        port = self.server.server_address[1]
        self.server.shutdown()
        self.server.server_close()
        return port


def crowd(admin, seed=6):
    """Makes `admin` look like a proxy with work to do."""
    dice = random.Random(seed)
    now = admin.status
    now["uptime_seconds"] = 1_234_567
    now["totals"].update(associations_total=18_204, connects_total=72_311, stream_up_bytes_total=41_000_000_000,
                         stream_down_bytes_total=902_000_000_000, udp_up_bytes_total=210_000_000_000,
                         udp_down_bytes_total=640_000_000_000, udp_up_datagrams_total=402_000_000,
                         udp_down_datagrams_total=733_000_000)
    now["configuration"].update(reloads=12, reloads_failed=1)
    now["resolver"].update(lookups=48_211, failed=310)
    now["workers"] = [{"sessions": 30}, {"sessions": 32}]
    now["limits"][0].update(used=62)
    now["limits"][1].update(limit=40, used=33, refused=3)
    now["drops"] = [
        {"reason": "refused", "count": 1_822, "means": "to a destination that the policy denies",
         "advice": "if it should be allowed, conesocks explain shows what denies it (rules, reach); a firewall on this "
                   "host may do so, too"},
        {"reason": "stranger", "count": 311, "means": "to a relay port, from an address that is not the client's",
         "advice": "nothing, unless there are many: somebody scans this host, or a client sends from another address "
                   "than it connects from"},
        {"reason": "send_full", "count": 97, "means": "because the send buffer was full",
         "advice": "if there are many, the network card or the line is slower than what comes in; a burst now and "
                   "then does no harm"}]
    admin.sessions = [member(dice, number) for number in range(1, 63)]
    add_users(admin)
    admin.history["samples"] = [sample(dice, tick) for tick in range(120)]


GIB = 1 << 30
# Name, GiB of this month, GiB allowed, sessions and addresses allowed, expiry.
FRIENDS = [("jonas", 93, 100, 20, 3, None), ("maria", 41, 100, 20, 3, None), ("li", 12, 100, 20, 4, None),
           ("guest", 10.4, 10, 8, 3, "2026-12-31"), ("omar", 7, 100, 20, 3, None), ("anna", 3.2, 100, 20, 3, None),
           ("peter", 0.15, None, None, None, "2026-12-03")]


def add_users(admin, before=()):
    """The users of the sessions in `admin`, with the rates since the sessions of a second ago."""
    then = {each["id"]: each for each in before}
    found = []
    for name, used, volume, sessions, addresses, expires in FRIENDS:
        own = [each for each in admin.sessions if each["user"] == name]
        def rate(way):
            return sum(each[way] - then[each["id"]][way] for each in own if each["id"] in then)
        hosts = len({each["client"].rpartition(":")[0] for each in own})
        near = ("volume" if volume and used > 0.9 * volume else "expires" if expires else
                "addresses" if addresses and hosts >= addresses else None)
        found.append(user(
            name, sessions=len(own), associations=sum(each["kind"].startswith("udp") for each in own), addresses=hosts,
            up_bytes_per_second=rate("up_bytes"), down_bytes_per_second=rate("down_bytes"), near=near, expires=expires,
            volume_bytes=int(used * GIB), volume_limit=volume and volume * GIB,
            limits={"sessions": sessions, "addresses": addresses}))
    admin.status["users"] = {"total": len(FRIENDS) + 3, "list": found}


def member(dice, number):
    """One of the crowd."""
    friend = dice.choice([0, 0, 0, 1, 1, 1, 2, 2, 3, 4, 6])
    host = f"192.168.1.{20 + 4 * friend + dice.randrange(min(friend + 1, 3))}"
    common = {"client": f"{host}:{dice.randrange(20000, 60000)}", "user": FRIENDS[friend][0],
              "age_seconds": dice.randrange(4, 20000)}
    if number == 62:
        return negotiation(number)
    if number > 33:
        names = ["www.debian.org:443", "deb.debian.org:80", "example.org:443", "mail.example.net:993"]
        return stream(number, destination=dice.choice(names), **common)
    relay = {"kind": "udp-over-tcp", "relay": None, "client_udp": None} if number == 5 else {
        "relay": f"192.168.1.1:{dice.randrange(30000, 30999)}", "client_udp": f"{host}:{dice.randrange(20000, 60000)}"}
    external = [f"198.51.100.7:{dice.randrange(31000, 31999)}", "[2001:db8::7]:31044"][:1 + (number % 7 == 0)]
    return session(number, external=external,
                   idle_seconds=dice.choice([0, 0, 0, 0, 0, 4, 31]), destinations=dice.choice([1, 1, 2, 5, 48]),
                   dropped={"refused": 12} if number % 9 == 0 else {}, **common, **relay)


def sample(dice, tick):
    """Five seconds' worth of FIELDS."""
    wave = 1 + 0.45 * math.sin(tick / 9) + 0.2 * math.sin(tick / 2.3) + dice.random() * 0.25
    streams, udp = (5e7 if 40 < tick % 120 < 58 else 4e6) * wave, 9e6 * wave
    return [int(value) for value in (streams * 0.04, streams * 0.8, udp * 0.35, udp, udp * 0.35 / 300, udp / 700,
                                     300 if tick % 37 == 0 else 4, 20, tick % 4 == 0)]


def move(admin, seconds, dice=random.Random(7)):
    """Another second passes."""
    before = admin.sessions
    admin.sessions = copy.deepcopy(admin.sessions)
    for each in admin.sessions:
        each["age_seconds"] += 1
        if each["kind"].startswith("udp") and each["idle_seconds"] == 0:
            each["up_bytes"] += 900 * each["id"] + dice.randrange(500)
            each["down_bytes"] += 20_000 * (each["id"] % 7 + 1) + dice.randrange(10_000)
            each["up_datagrams"] += 5 * each["id"]
            each["down_datagrams"] += 40 * (each["id"] % 7 + 1)
        elif each["kind"] == "connect" and each["id"] % 4 == 0:
            each["down_bytes"] += dice.randrange(5_000, 2_000_000)
    add_users(admin, before)
    for each, old in zip(admin.sessions, before):
        kind = "udp" if each["kind"].startswith("udp") else "stream"
        for way in "up_bytes", "down_bytes":
            admin.status["totals"][f"{kind}_{way}_total"] += each.get(way, 0) - old.get(way, 0)
    admin.status["uptime_seconds"] += 1
    admin.status["drops"][0]["count"] += 3
    if seconds % 5 == 0:
        admin.history["samples"] = admin.history["samples"][1:] + [sample(dice, 119 + seconds // 5)]


def main():
    shown = Admin(socket.create_server(("127.0.0.1", 8081)))
    print(shown.url, flush=True)
    if "--idle" not in sys.argv:
        crowd(shown)
        threading.Thread(target=live, args=(shown,), daemon=True).start()
    if "--picture" in sys.argv:
        picture(shown, sys.argv[-1])
    else:
        threading.Event().wait()


def live(admin):
    for seconds in itertools.count(1):
        time.sleep(1)
        move(admin, seconds)


def picture(admin, file):
    """What README shows."""
    import browser
    chromium = browser.Browser()
    chromium.open(admin.url, size=(1280, 1250))
    time.sleep(5)
    chromium.driver.save_screenshot(file)
    chromium.quit()


if __name__ == "__main__":
    main()
