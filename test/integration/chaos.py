"""Clients, destinations, a name server and an upstream that do anything at any moment, as a seed has it. On one host, loopback."""
import contextlib
import os
import random
import socket
import struct
import threading
import time

import servers
import socks5
from conftest import ALICE, USERS

HOME = "127.0.0.1"
OPEN, LOGIN, BALANCED, ADMIN, UPSTREAM, NAMES = 1080, 1081, 1082, 1083, 1180, 53
ECHO = 7  # TCP and UDP, at every address of 127.0.0.0/8
CLIENTS = ("127.0.0.4", "127.0.0.5", "127.0.0.6", "127.0.0.8")
HOSTS = (HOME, HOME, "127.0.0.2", "127.0.0.77", "::1", "a.test", "b.test", "silent.test", "fails.test", "x.denied.test", "localhost",
         "255.255.255.255", "0.0.0.0", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "A" * 63 + ".test", "9.9.9.9")
MANY = 200  # clients at once


def configuration(number, folder):
    """One of many: each number differs from the one before in several ways."""
    def one_of(*values):
        return values[number % len(values)]

    bob = [{**USERS[0], "name": "bob", "upstream": "far"}] if number % 7 != 3 else []
    deny = [{"action": "deny", "from": [CLIENTS[3]], "to": [HOME]}] if number % 2 else []
    return {
        "listen": [{"address": HOME, "port": OPEN, "auth": "none", "open": True},
                   {"address": HOME, "port": LOGIN, "auth": "password"},
                   {"address": HOME, "port": BALANCED, "auth": "none", "open": True, "proxy_protocol": "required",
                    "proxy_from": ["127.0.0.0/8"]}],
        "users": [{**USERS[0], "sessions": 40, "associations": 5 + number % 20, "datagrams": "500/s",
                   "bandwidth": one_of("100KiB/s", "10MiB/s", "1Gbit/s")}, *bob],
        "reach": "all",
        "rules": [*deny, {"action": "allow", "from": [CLIENTS[2]], "upstream": "far"},
                  {"action": "allow", "from": [CLIENTS[1]], "filtering": "address-and-port-dependent"},
                  {"action": "deny", "to": [".denied.test", "127.0.0.77"]}],
        "upstreams": [{"name": "far", "address": HOME, "port": UPSTREAM if number % 6 else 9}],
        "outbound": {"upstream": one_of("none", "far", "none", "none", "far")},
        "udp": {"enabled": number % 9 != 5, "ports": one_of("random", str(OPEN), "21100-21163"), "rebind_after": "1s",
                "external_ports": one_of("random", "21200-21263"), "over_tcp": number % 11 != 7, "port_rest": one_of("off", "1s"),
                "filtering": one_of("endpoint-independent", "address-dependent", "address-and-port-dependent")},
        "bind": {"enabled": number % 13 != 4, "timeout": one_of("1s", "2s"), "ports": one_of("random", "21300-21303")},
        "dns": {"servers": [HOME], "timeout": one_of("300ms", "1s", "5s")},
        "limits": {"associations_per_client": 40 + number % 20, "handshakes_per_client": 64, "failed_logins": one_of(10, 1000)},
        "timeouts": {"handshake": "1s", "connect": "1s", "login_cache": "1s", "drain": one_of("1s", "2s")},
        "workers": 3,
        "admin": {"port": ADMIN},
        "run": {"handover": str(folder / "handover")},
    }


class Client:
    """One connection: what it says, in pieces, and what else it does until it has lived long enough."""

    def __init__(self, chaos):
        self.chaos, self.random, self.received, self.others, self.udp = chaos, chaos.random, b"", [], None
        self.until = time.monotonic() + self.random.choice((0, 0.01, 0.05, 0.2, 1, 3))
        self.piece = self.random.choice((1 << 20, 1 << 20, 1, 3, 7, 40))
        self.command = self.random.choice((1, 1, 1, 2, 2, 3, 3, 3, 5, 5, 5, 9))
        port = self.random.choice((OPEN, OPEN, OPEN, LOGIN, LOGIN, BALANCED))
        self.says = self.opening(port)
        self.sock = chaos.socket(socket.SOCK_STREAM, self.random.choice((HOME, *CLIENTS)))
        self.sock.connect_ex((HOME, port))

    def address(self):
        port = self.random.choice((ECHO, ECHO, ECHO, ECHO, 0, OPEN, LOGIN, self.random.randrange(21100, 21310)))
        return self.random.choice(HOSTS), port

    def maybe_broken(self, data, chance=0.04):
        """A byte changed, or the end cut off."""
        if data and self.random.random() < chance:
            at = self.random.randrange(len(data))
            data = data[:at] + bytes([self.random.randrange(256)]) + data[at + 1:]
        if data and self.random.random() < chance:
            data = data[:self.random.randrange(len(data))]
        return data

    def payload(self):
        return os.urandom(self.random.choice((0, 1, 10, 100, 1400, 9000, 60000)))

    def opening(self, port):
        says = b""
        if port == BALANCED:
            says = self.random.choice((b"PROXY TCP4 127.0.0.%d 127.0.0.1 %d 80\r\n" % (self.random.randrange(1, 30), 1000),
                                       b"PROXY UNKNOWN\r\n", b"PROXY TCP6 ::1 ::1 5 6\r\n", os.urandom(20)))
        says += self.random.choice((b"\5\1\0", b"\5\1\2", b"\5\2\0\2", b"\5\0", b"\4\1", b"\5\xff" + bytes(range(255))))
        if port == LOGIN:
            says += socks5.login_message(self.random.choice((ALICE[0], "bob", "eve")), self.random.choice((ALICE[1], ALICE[1], "x")))
        where = self.address()
        if self.command == socks5.ASSOCIATE and self.random.random() < 0.7:
            where = ("0.0.0.0", self.random.choice((0, self.random.randrange(1024, 65535))))
        elif self.command == socks5.BIND:
            where = self.random.choice((HOME, "0.0.0.0", "127.0.0.2", "127.0.0.77", "::", "a.test")), self.random.choice((0, 1))
        says += socks5.request_message(self.command, where)
        if self.command == socks5.UDP_IN_TCP:
            says += b"".join(self.frame() for _ in range(self.random.randrange(6)))
        elif self.random.random() < 0.2:
            says += os.urandom(self.random.randrange(3000))
        return self.maybe_broken(says, 0.05)

    def frame(self):
        return self.maybe_broken(socks5.frame(self.address(), self.payload()))

    def bound_port(self):
        """Of the first answer, if it has come; else 0."""
        at = self.received.find(b"\5\0\0\1")
        return struct.unpack_from("!H", self.received, at + 8)[0] if 0 <= at <= len(self.received) - 10 else 0

    def send_datagrams(self):
        if not self.udp:
            self.udp = self.chaos.socket(socket.SOCK_DGRAM, self.sock.getsockname()[0])
            self.others.append(self.udp)
        relay = (HOME, self.bound_port())
        for _ in range(self.random.randrange(4)):
            self.udp.sendto(self.maybe_broken(socks5.wrap(self.address(), self.payload())), relay)
        if self.random.random() < 0.02:  # a stranger, or the client from another port
            with self.chaos.socket(socket.SOCK_DGRAM, self.random.choice((HOME, self.sock.getsockname()[0]))) as other:
                other.sendto(socks5.wrap(self.address(), b"?"), relay)
        self.udp.recv(65536)

    def be_the_peer(self):
        peer = self.chaos.socket(socket.SOCK_STREAM, self.random.choice((HOME, "127.0.0.2", "127.0.0.77")))
        peer.connect_ex((HOME, self.bound_port()))
        self.others.append(peer)

    def step(self):
        """False: it is over."""
        if time.monotonic() > self.until:
            return False
        try:
            if self.says:
                self.says = self.says[self.sock.send(self.says[:self.piece]):]
            elif self.random.random() < 0.2:
                self.says = self.frame() if self.command == socks5.UDP_IN_TCP else os.urandom(self.random.choice((1, 1000, 50000)))
            if self.random.random() < 0.8:
                more = self.sock.recv(self.random.choice((1, 100, 65536)))
                if not more and self.random.random() < 0.5:
                    return False
                self.received = (self.received + more)[:400]
        except BlockingIOError:
            pass
        except OSError:
            return False
        with contextlib.suppress(OSError):
            if self.command == socks5.ASSOCIATE and self.bound_port():
                self.send_datagrams()
            elif self.command == socks5.BIND and self.bound_port() and not self.others:
                self.be_the_peer()
        return True

    def end(self):
        with contextlib.suppress(OSError):
            how = self.random.random()
            if how < 0.3:
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            elif how < 0.4:
                self.sock.shutdown(self.random.choice((socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR)))
        for sock in (self.sock, *self.others):
            sock.close()


class Names(servers.Dns):
    """Silent, failing, late in answering, and well."""

    def __init__(self, chaos):
        super().__init__(chaos.host, HOME, {f"{name}.test": [HOME, "127.0.0.2", "::1"] for name in ("a", "b", "x.denied")})
        self.records["silent.test"] = None
        self.random = random.Random(chaos.seed)

    def answer(self, query):
        answer = super().answer(query)
        if answer and self.random.random() < 0.1:
            return None
        if answer and b"fails" in query:
            return answer[:3] + bytes([answer[3] & 0xf0 | 2]) + answer[4:]
        return answer


class Upstream(servers.Server):
    """A SOCKS5 server with moods. What it grants leads to the echo."""

    def __init__(self, chaos):
        self.random = random.Random(chaos.seed)
        self.listener = chaos.host.listen(HOME, UPSTREAM, timeout=None)
        self.sockets = [self.listener]

    def loop(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.serve, args=(self.listener.accept()[0],), daemon=True).start()

    def serve(self, control):
        with control, contextlib.suppress(OSError):
            control.settimeout(3)
            for answer in (self.random.choice((b"\5\0", b"\5\0", b"\5\0", b"\5\2", b"\5\xff", b"HTTP/1.1 400", b"\5")), self.grant()):
                control.recv(600)
                time.sleep(self.random.choice((0, 0, 0.05, 0.2, 0.6, 1.2)))
                if self.random.random() < 0.1:
                    return
                control.sendall(answer)
            control.settimeout(self.random.choice((0.01, 0.1, 1, 3)))
            control.recv(100)

    def grant(self):
        code = self.random.choice((0, 0, 0, 0, 1, 5, 99))
        where = self.random.choice(((HOME, ECHO), (HOME, ECHO), ("0.0.0.0", ECHO), ("a.test", ECHO), ("::1", ECHO), (HOME, 0)))
        return (bytes([5, code, 0]) + socks5.encode_address(*where))[:self.random.choice((100, 100, 100, 3))]


class Chaos:
    """All of them, in steps."""

    def __init__(self, host, seed):
        self.host, self.seed, self.random = host, seed, random.Random(seed)
        self.clients, self.accepted, self.made = [], [], 0
        self.destinations = [host.listen(address, ECHO, timeout=0) for address in (HOME, "127.0.0.2", "::1")]
        self.echoes = [host.udp(address, ECHO, timeout=0) for address in (HOME, "127.0.0.2", "::1")]

    def socket(self, kind, address):
        with self.host.enter():
            sock = socket.socket(socket.AF_INET, kind)
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            sock.bind((address, 0))
        return sock

    def accept(self):
        for listener in self.destinations:
            with contextlib.suppress(BlockingIOError):
                while True:
                    sock = listener.accept()[0]
                    sock.setblocking(False)
                    self.accepted.append((sock, time.monotonic() + self.random.choice((0, 0.01, 0.3, 2)), self.random.random()))

    def talk(self):
        going = []
        for sock, until, mood in self.accepted:
            over = time.monotonic() > until
            try:
                if mood < 0.4:
                    sock.recv(65536)
                if mood > 0.7:
                    sock.send(os.urandom(self.random.choice((1, 20000))))
            except BlockingIOError:
                pass
            except OSError:
                over = True
            if not over:
                going.append((sock, until, mood))
                continue
            if mood < 0.2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.accepted = going

    def echo(self):
        """Of an upstream's relay too: then what comes back has its header, or a part of it."""
        for sock in self.echoes:
            with contextlib.suppress(OSError):
                for _ in range(100):
                    data, peer = sock.recvfrom(65536)
                    sock.sendto(data[:self.random.choice((5, 100, 65536, 65536))], peer)

    def ask_admin(self):
        what = self.random.choice((b"/status?limit=1000", b"/metrics", b"/history", b"/", b"/readyz", b"/proxy.pac", os.urandom(20)))
        with self.socket(socket.SOCK_STREAM, HOME) as sock, contextlib.suppress(OSError):
            sock.settimeout(0.5)
            sock.connect((HOME, ADMIN))
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % what)
            sock.recv(self.random.choice((1, 100000)))

    def step(self):
        for _ in range(min(self.random.randrange(12), MANY - len(self.clients))):
            self.clients.append(Client(self))
            self.made += 1
        going = []
        for client in self.clients:
            if client.step():
                going.append(client)
            else:
                client.end()
        self.clients = going
        self.accept()
        self.talk()
        self.echo()
        if self.random.random() < 0.05:
            self.ask_admin()

    def end(self):
        for client in self.clients:
            client.end()
        for sock, _, _ in self.accepted:
            sock.close()
        self.clients, self.accepted = [], []
