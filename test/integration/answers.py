"""What stands in for a server at the admin port: answers that a real one gives only after hours, or never."""
import contextlib
import json
import socket
import threading
import urllib.parse

PORT = 1081
URL = f"http://127.0.0.1:{PORT}"
EVIL = 'x"\n\x1b[31mred\x1b]0;title\x07\u202e\u009b\\'


class Answers:
    """Listens at the admin port of a host and answers each connection with what answer(path) returns: bytes, or what to
    send piece by piece. It stands in for servers that are out of their mind."""

    def __init__(self, host, answer):
        self.answer = answer
        self.socket = host.listen("127.0.0.1", PORT)
        self.socket.settimeout(None)
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                path = connection.recv(4096).split(b" ")[1].decode()
                answer = self.answer(path)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    connection.sendall(piece)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self.thread.join()


def http(body, status="200 OK", length=None):
    body = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"HTTP/1.0 {status}\r\nContent-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body


def association(number, **members):
    return {"id": number, "kind": "udp", "client": f"10.77.0.2:{10000 + number}", "user": "alice",
            "age_seconds": 3700, "idle_seconds": 1, "relay": "10.77.0.1:30000", "client_udp": "10.77.0.2:5000",
            "external": ["203.0.113.7:31000"], "destinations": 3, "up_datagrams": 1, "up_bytes": 1000 * number,
            "down_datagrams": 1, "down_bytes": 10, "dropped": {"stranger": 2}, "upstream": None} | members


def stream(number, **members):
    return {"id": number, "kind": "connect", "client": "10.77.0.2:40000", "user": None, "age_seconds": 9,
            "destination": "www.example.org:443", "remote": "203.0.113.9:443", "up_bytes": 10, "down_bytes": 3 << 20,
            "upstream": None} | members


def status(sessions=(), **members):
    return {"version": "0.2.0", "pid": 4711, "started": "2026-11-22T19:00:00Z", "uptime_seconds": 100, "state": "running",
            "configuration": {"file": "/etc/conesocks.yaml", "loaded": "2026-11-22T19:00:00Z", "reloads": 1,
                              "reloads_failed": 0, "last_error": None},
            "listeners": [{"address": "10.77.0.1:1080", "login": True, "proxy_protocol": False}],
            "udp": {"enabled": True, "mapping": "endpoint-independent", "filtering": "endpoint-independent",
                    "ports": "any", "external_ports": "any", "advertise_v4": None, "advertise_v6": None},
            "open": {"sessions": 2, "associations": 1, "streams": 1, "negotiating": 0}, "totals": {}, "drops": [],
            "resolver": {"servers": ["10.77.0.1:53"], "lookups": 5, "failed": 1, "waiting": 0}, "limits": [],
            "memory": {"used_bytes": 1 << 20, "limit_bytes": None, "level": "ample"},
            "sessions": list(sessions), "next": None} | members


def paged(whole, path):
    """That part of all sessions that is asked for."""
    query = urllib.parse.parse_qs(urllib.parse.urlparse(path).query)
    after, limit = int(query["after"][0]), int(query["limit"][0])
    sessions = [session for session in whole["sessions"] if session["id"] > after]
    return http(whole | {"sessions": sessions[:limit], "next": sessions[limit - 1]["id"] if sessions[limit:] else None})
