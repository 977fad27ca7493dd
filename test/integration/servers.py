"""Servers that the tests' own clients and the real ones talk to. Each runs in a thread; its sockets are on a host."""
import contextlib
import http.server
import select
import socket
import struct
import threading

import socks5


@contextlib.contextmanager
def serving(loop, *sockets):
    """Runs loop() in a thread until the block ends; the sockets are shut to wake it."""
    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield
    finally:
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)  # wakes a blocked thread, which close() would not
            sock.close()
        thread.join(5)


class Server:
    """Runs self.loop() in a thread until the block ends; self.sockets are shut to wake it."""

    def __enter__(self):
        self.context = serving(self.loop, *self.sockets)
        self.context.__enter__()
        return self

    def __exit__(self, *details):
        self.context.__exit__(*details)


def answer_datagrams(sock, answer):
    """Sends back answer(datagram, sender) of each, unless that is None, until the socket is shut."""
    while True:
        try:
            datagram, sender = sock.recvfrom(4096)
        except OSError:
            return
        if not datagram:
            return
        reply = answer(datagram, sender)
        if reply:
            with contextlib.suppress(OSError):
                sock.sendto(reply, sender)


class Dns(Server):
    """Answers A and AAAA from `records` ({"name": ["10.88.0.11", "fd88::11"]}); other names do not exist. A name whose
    records are None gets no answer at all, nor does a question in `unanswered` ({("name", "AAAA")}). The TTL is 0: who
    asks again hears of changes."""

    def __init__(self, host, address, records):
        self.records = records
        self.unanswered = set()
        self.asked = []
        self.sock = host.udp(address, 53, timeout=None)
        self.sockets = [self.sock]
        self.address = address

    def loop(self):
        answer_datagrams(self.sock, lambda query, _: self.answer(query))

    def answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]])
            at += 1 + query[at]
        (kind,) = struct.unpack_from("!H", query, at + 1)
        question = query[12:at + 5]  # as it came: the case of its letters must come back (0x20)
        name = b".".join(labels).decode().lower()
        self.asked.append((name, {1: "A", 28: "AAAA"}.get(kind, kind)))
        if name in self.records and self.records[name] is None or self.asked[-1] in self.unanswered:
            return None
        family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
        found = [socket.inet_pton(family, text) for text in self.records.get(name, [])
                 if family and (":" in text) == (family == socket.AF_INET6)]
        code = 0 if name in self.records else 3
        head = query[:2] + struct.pack("!HHHHH", 0x8580 | code, 1, len(found), 0, 0)
        rows = b"".join(b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 0, len(raw)) + raw for raw in found)
        return head + question + rows


class Web(http.server.ThreadingHTTPServer):
    """HTTP: GET /N gives N bytes of a pattern, POST gives back what came."""
    request_queue_size = 512
    daemon_threads = True

    def __init__(self, host, address, port=80):
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, port), Answers, bind_and_activate=False)
        self.socket.close()
        self.socket = host.listen(address, port, timeout=None)

    def __enter__(self):
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Answers(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.give(pattern(int(self.path[1:] or 2)))

    def do_POST(self):
        self.give(self.rfile.read(int(self.headers["Content-Length"])))

    def give(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def pattern(size, seed=1):
    """`size` bytes that do not repeat soon, the same for the same seed."""
    block = b"".join(struct.pack("!II", seed, number * 2654435761 % 2**32) for number in range(min(size // 8 + 1, 8192)))
    return b"".join(struct.pack("!I", at) + block for at in range(size // (len(block) + 4) + 1))[:size]


def coturn(folder, address, other_address):
    """The command of a STUN server for NAT discovery (RFC 5780): two addresses with two ports each, 3478 and 3479."""
    return ("turnserver", "-n", "--stun-only", "--listening-ip", address, "--listening-ip", other_address, "--no-tls",
            "--no-dtls", "--no-cli", "--log-file", "stdout", "--pidfile", str(folder / "turnserver.pid"),
            "--userdb", str(folder / "turn.db"))


class Gateway:
    """A router that takes its clients' UDP to a proxy, as tun bridges and consoles' gateways do: redirected datagrams
    (TPROXY, to `address` and `port`) go through an association of their sender's, and answers come back to it from
    whoever sent them."""
    TRANSPARENT, ORIGINAL_DESTINATION = 19, 20  # IP_TRANSPARENT, IP_RECVORIGDSTADDR

    def __init__(self, host, address, port, proxy):
        self.host, self.address, self.proxy = host, address, proxy
        self.sock = self.transparent(address, port)
        self.sock.setsockopt(socket.IPPROTO_IP, self.ORIGINAL_DESTINATION, 1)
        self.associations = {}  # of each client's address and port
        self.over = threading.Event()

    def __enter__(self):
        self.thread = threading.Thread(target=self.loop, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(5)

    def transparent(self, address, port):
        with self.host.enter():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setsockopt(socket.IPPROTO_IP, self.TRANSPARENT, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        return sock

    def loop(self):
        while not self.over.is_set():
            clients = {association.udp: client for client, association in self.associations.items()}
            for sock in select.select([self.sock, *clients], [], [], 0.05)[0]:
                if sock is self.sock:
                    self.take_from_client()
                else:
                    self.take_from_proxy(clients[sock])

    def take_from_client(self):
        payload, control, _, client = self.sock.recvmsg(65536, 128)
        port, host = struct.unpack_from("!2xH4s", control[0][2])
        if client not in self.associations:
            self.associations[client] = socks5.Association(self.host, self.proxy, source=self.address)
        self.associations[client].send((socket.inet_ntoa(host), port), payload)

    def take_from_proxy(self, client):
        origin, payload = self.associations[client].recv()
        with self.transparent(*origin) as sock:
            sock.sendto(payload, client)
