"""A SOCKS5 server and a STUN server that do what they are told to, right or wrong: what others out there do."""
import contextlib
import ipaddress
import select
import struct
import threading

import servers
import socks5
from netns import PROXY_WAN_V6


class Socks5(servers.Server):
    """Serves CONNECT (always "connection refused", but see grants_early) and UDP ASSOCIATE at `address`, on `host`; datagrams leave from
    `outside`. What is wrong with it:

    grants_early  a CONNECT is granted before it is tried, and ended when nobody listens there
    method        what it chooses of the ways to log in
    refuses       the code that a UDP ASSOCIATE is answered with
    bound         (host, port) in place of the relay's; a port of None is the relay's; a text is a name
    says          bytes in place of all that it would say
    drops         datagrams are not relayed
    wants_hint    datagrams are only taken from the address and port that the request names
    follows       answers go to whoever sent last, else to whoever sent first
    silenced      a datagram from another port than the first ends all answers
    dies_of_v6    so does one to an IPv6 address
    serves_all    every port of the client's address gets its own answers
    answers_from  another socket than the relay's
    origin        what every answer names as its origin
    symmetric     another port for each destination
    first_only    only the first destination's address can answer (as with dante over IPv6)
    one_socket    one for both IP versions: a datagram to the other one replaces it (as with 3proxy)
    names_asked   each answer names where its socket has first sent to as its origin (as with v2ray)
    loses_first   so it does with the first datagram of each association
    slow          every datagram to the client is late by so many seconds"""

    def __init__(self, host, address, outside, port=1080, **wrong):
        self.host, self.outside = host, outside
        self.method = wrong.pop("method", 0)
        self.refuses, self.bound, self.says = wrong.pop("refuses", 0), wrong.pop("bound", None), wrong.pop("says", None)
        self.origin, self.slow = wrong.pop("origin", None), wrong.pop("slow", 0)
        self.wrong = set(wrong)
        assert self.wrong <= {"drops", "wants_hint", "follows", "silenced", "dies_of_v6", "serves_all", "answers_from",
                              "symmetric", "loses_first", "grants_early", "first_only", "one_socket", "names_asked"}
        self.address = address
        self.listener = host.listen(address, port, timeout=None)
        self.sockets = [self.listener]

    def loop(self):
        while True:
            try:
                control, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(control,), daemon=True).start()

    def serve(self, control):
        with control, contextlib.suppress(OSError, EOFError):
            _, count = socks5.recv_exact(control, 2)
            socks5.recv_exact(control, count)
            if self.says is not None:
                control.sendall(self.says)
                return
            control.sendall(bytes([5, self.method]))
            if self.method:
                return
            _, command, _, atyp = socks5.recv_exact(control, 4)
            hint, _, _ = socks5.decode_address(bytes([atyp]) + socks5.recv_exact(control, {1: 6, 4: 18}[atyp]))
            if command == socks5.CONNECT and "grants_early" in self.wrong:
                control.sendall(bytes([5, 0, 0]) + socks5.encode_address(*socks5.ANY_V4))
                self.stream(control, hint)
                return
            if command != socks5.ASSOCIATE:
                code = 5 if command == socks5.CONNECT else 7
                control.sendall(bytes([5, code, 0]) + socks5.encode_address(*socks5.ANY_V4))
                return
            self.associate(control, hint)

    def stream(self, control, destination):
        far = self.host.connect(self.outside, destination)
        ways = {control: far, far: control}
        while True:
            for sock in select.select(list(ways), [], [])[0]:
                data = sock.recv(65536)
                if not data:
                    far.close()
                    return
                ways[sock].sendall(data)

    def associate(self, control, hint):
        refused = self.refuses and not ("wants_hint" in self.wrong and hint[1])
        relay = self.host.udp(self.address, timeout=None)
        host, port = self.bound if isinstance(self.bound, tuple) else (self.bound or self.address, None)
        bound = (host, relay.getsockname()[1] if port is None else port)
        control.sendall(bytes([5, self.refuses if refused else 0, 0]) + socks5.encode_address(*bound))
        if not refused:
            Relay(self, relay, hint).run(control)


class Relay:
    def __init__(self, server, relay, hint):
        self.server, self.relay, self.hint = server, relay, hint
        self.wrong = set(server.wrong)  # and what becomes so
        self.answering = server.host.udp(server.address, timeout=None) if "answers_from" in server.wrong else relay
        self.externals, self.clients = {}, {}  # by the destination, or by the client where each has its own
        self.first = {}  # where each external socket has first sent to

    def run(self, control):
        while True:
            ready, _, _ = select.select([control, self.relay, *self.externals.values()], [], [])
            for sock in ready:
                if sock is control:
                    return
                if sock is self.relay:
                    self.up()
                else:
                    self.down(sock)

    def up(self):
        datagram, client = self.relay.recvfrom(65536)
        wrong = self.wrong
        if "drops" in wrong or ("wants_hint" in wrong and client[1] != self.hint[1]):
            return
        if "loses_first" in wrong:
            wrong.remove("loses_first")
            return
        destination, payload = socks5.unwrap(datagram)
        if ("dies_of_v6" in wrong and ":" in destination[0]) or ("silenced" in wrong and self.is_another(client)):
            wrong.add("drops")
            return
        outside = PROXY_WAN_V6 if ":" in destination[0] else self.server.outside
        if ":" in destination[0] and not wrong & {"first_only", "one_socket"}:
            return
        if "one_socket" in wrong:
            for sock in [one for one in self.externals.values() if (":" in one.getsockname()[0]) != (":" in outside)]:
                sock.close()
                self.externals.clear()
        key = (client if "serves_all" in wrong else None, destination if "symmetric" in wrong else None)
        if key not in self.externals:
            self.externals[key] = self.server.host.udp(outside, timeout=None)
            self.first[self.externals[key]] = destination
            self.clients[self.externals[key]] = client
        if "follows" in wrong:
            self.clients[self.externals[key]] = client
        if "follows" in wrong or client == self.clients[self.externals[key]]:
            self.externals[key].sendto(payload, destination)

    def is_another(self, client):
        return self.clients and client not in self.clients.values()

    def down(self, sock):
        payload, origin = sock.recvfrom(65536)
        origin = origin[:2]
        if "first_only" in self.wrong and origin[0] != self.first[sock][0]:
            return
        if "names_asked" in self.wrong:
            origin = self.first[sock]
        answer = socks5.wrap(self.server.origin or origin, payload), self.clients[sock]
        if self.server.slow:
            threading.Timer(self.server.slow, self.answering.sendto, answer).start()
        else:
            self.answering.sendto(*answer)


class Stun(servers.Server):
    """A STUN server with two addresses and two ports (RFC 5780). `elsewhere` is what it does when it shall answer from
    another place: "answers" from there, "stays" where it was asked, or is "silent"."""
    COOKIE = 0x2112a442
    XOR_MAPPED, CHANGE_REQUEST, RESPONSE_ORIGIN, OTHER_ADDRESS = 0x0020, 0x0003, 0x802b, 0x802c

    def __init__(self, host, addresses, elsewhere="answers", ports=(3478, 3479)):
        places = [(address, port) for address in addresses for port in ports]
        self.places = {place: host.udp(*place, timeout=None) for place in places}
        self.sockets = list(self.places.values())
        self.addresses, self.ports, self.elsewhere = addresses, ports, elsewhere

    def loop(self):
        with contextlib.suppress(OSError, ValueError):
            while True:
                for sock in select.select(list(self.places.values()), [], [])[0]:
                    question, client = sock.recvfrom(2048)
                    if not question:
                        return
                    self.answer(sock.getsockname(), question, client)

    def answer(self, place, question, client):
        kind, size = struct.unpack_from("!HH", question, 20) if len(question) > 24 else (0, 0)
        change = question[27] if (kind, size) == (self.CHANGE_REQUEST, 4) else 0
        if change and self.elsewhere == "silent":
            return
        other = tuple(pair[1 - pair.index(own)] for pair, own in zip((self.addresses, self.ports), place))
        here = place
        if self.elsewhere == "answers":
            here = (other[0] if change & 4 else place[0], other[1] if change & 2 else place[1])
        key = struct.pack("!HI", self.COOKIE >> 16, self.COOKIE)
        xor = bytes(byte ^ mask for byte, mask in zip(self.packed(client), key))
        body = (struct.pack("!HHH", self.XOR_MAPPED, 8, 1) + xor + struct.pack("!HHH", self.RESPONSE_ORIGIN, 8, 1) +
                self.packed(here) + struct.pack("!HHH", self.OTHER_ADDRESS, 8, 1) + self.packed(other))
        self.places[here].sendto(struct.pack("!HH", 0x0101, len(body)) + question[4:20] + body, client)

    @staticmethod
    def packed(address):
        return struct.pack("!H", address[1]) + bytes(map(int, address[0].split(".")))


class PlainStun(servers.Server):
    """A public STUN server as most are: one address of a family, and it knows of no other. What may be wrong with it:

    lies          the address and port that it claims to see
    slow          its answers are late by so many seconds
    fails         it answers with an error"""

    def __init__(self, host, *addresses, port=3478, lies=None, slow=0, fails=False):
        self.sockets = [host.udp(address, port, timeout=None) for address in addresses]
        self.lies, self.slow, self.fails = lies, slow, fails
        self.asked = []  # the senders

    def loop(self):
        with contextlib.suppress(OSError, ValueError):
            while True:
                for sock in select.select(self.sockets, [], [])[0]:
                    question, client = sock.recvfrom(2048)
                    if not question:
                        return
                    self.asked.append(client[:2])
                    timer = threading.Timer(self.slow, self.answer, (sock, question, client))
                    timer.daemon = True
                    timer.start()

    def answer(self, sock, question, client):
        host, port = self.lies or client[:2]
        packed = ipaddress.ip_address(host).packed
        key = question[4:20]
        value = bytes(byte ^ mask for byte, mask in zip(packed, key))
        port ^= struct.unpack("!H", key[:2])[0]
        body = struct.pack("!HHBBH", 0x0020, 4 + len(value), 0, 1 if len(packed) == 4 else 2, port) + value
        if self.fails:
            body = struct.pack("!HHHBB", 0x0009, 4, 0, 5, 0)
        with contextlib.suppress(OSError):
            sock.sendto(struct.pack("!HH", 0x0111 if self.fails else 0x0101, len(body)) + question[4:20] + body, client)
