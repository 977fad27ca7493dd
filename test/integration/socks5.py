"""A SOCKS5 client in plain bytes, written from RFC 1928 and 1929 alone, and for UDP in TCP from hev-socks5-core's
description and what its server does: it shares nothing with the code under test."""
import ipaddress
import socket
import struct
from typing import NamedTuple

CONNECT, BIND, ASSOCIATE, UDP_IN_TCP = 1, 2, 3, 5
V4, NAME, V6 = 1, 3, 4
ANY_V4 = ("0.0.0.0", 0)


class Reply(NamedTuple):
    code: int
    address: tuple  # (host, port)
    atyp: int


def encode_address(host, port, atyp=None):
    """ATYP, address, port. A literal goes as an address, unless atyp=NAME asks for its text."""
    if atyp is None:
        try:
            atyp = {4: V4, 6: V6}[ipaddress.ip_address(host).version]
        except ValueError:
            atyp = NAME
    if atyp == NAME:
        name = host if isinstance(host, bytes) else host.encode()
        raw = bytes([len(name)]) + name
    else:
        raw = ipaddress.ip_address(host).packed
    return bytes([atyp]) + raw + struct.pack("!H", port)


def decode_address(data):
    """((host, port), atyp, what follows) of bytes that begin with ATYP."""
    size = {V4: 4, V6: 16}[data[0]]  # a server answers with an address, never with a name
    host = str(ipaddress.ip_address(data[1:1 + size]))
    (port,) = struct.unpack_from("!H", data, 1 + size)
    return (host, port), data[0], data[3 + size:]


def wrap(destination, payload, atyp=None, frag=0, rsv=0):
    return struct.pack("!HB", rsv, frag) + encode_address(*destination, atyp) + payload


def unwrap(datagram):
    """(origin, payload) of a relayed datagram, whose RSV and FRAG must be 0."""
    assert datagram[:3] == b"\0\0\0", f"RSV or FRAG not 0: {datagram[:3].hex()}"
    origin, _, payload = decode_address(datagram[3:])
    return origin, payload


def frame(destination, payload, atyp=None, msglen=None, hdrlen=None):
    """A datagram in a byte stream. MSGLEN is the payload's length: hev-socks5-server takes no other."""
    address = encode_address(*destination, atyp)
    msglen = len(payload) if msglen is None else msglen
    hdrlen = 3 + len(address) if hdrlen is None else hdrlen
    return struct.pack("!HB", msglen, hdrlen) + address + payload


def recv_frame(sock):
    """(origin, payload) of the next datagram in a byte stream."""
    msglen, hdrlen = struct.unpack("!HB", recv_exact(sock, 3))
    origin, _, rest = decode_address(recv_exact(sock, hdrlen - 3))
    assert rest == b"", f"HDRLEN {hdrlen} for {origin}"
    return origin, recv_exact(sock, msglen)


def recv_exact(sock, size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError(f"connection ended after {len(data)} of {size} bytes: {data.hex()}")
        data += more
    return data


def recv_all(sock):
    """Everything until the other side ends, also when it ends by a reset."""
    data = b""
    try:
        while more := sock.recv(65536):
            data += more
    except ConnectionResetError:
        pass
    return data


def recv_reply(sock):
    head = recv_exact(sock, 4)
    assert head[0] == 5 and head[2] == 0, f"bad reply: {head.hex()}"
    rest = recv_exact(sock, {V4: 4, V6: 16}[head[3]] + 2)
    address, atyp, _ = decode_address(head[3:] + rest)
    return Reply(head[1], address, atyp)


def login_message(user, password):
    user, password = user.encode(), password.encode()
    return bytes([1, len(user)]) + user + bytes([len(password)]) + password


def negotiate(sock, user=None, password=None):
    """Greeting, and the login when a user is named."""
    method = 0 if user is None else 2
    sock.sendall(bytes([5, 1, method]))
    answer = recv_exact(sock, 2)
    assert answer == bytes([5, method]), f"method refused: {answer.hex()}"
    if user is not None:
        sock.sendall(login_message(user, password))
        assert recv_exact(sock, 2) == b"\1\0", "login refused"


def request_message(command, destination, atyp=None):
    return bytes([5, command, 0]) + encode_address(*destination, atyp)


def request(sock, command, destination, atyp=None):
    sock.sendall(request_message(command, destination, atyp))
    return recv_reply(sock)


def connect(host, proxy, destination, source=None, user=None, password=None, atyp=None, timeout=5.0):
    """A CONNECT through `proxy`: (socket, reply)."""
    sock = host.connect(source, proxy, timeout)
    negotiate(sock, user, password)
    return sock, request(sock, CONNECT, destination, atyp)


class Association:
    """A UDP ASSOCIATE: the control connection, the relay's address, and a socket to talk to it."""

    def __init__(self, host, proxy, source=None, port=0, hint=ANY_V4, user=None, password=None, atyp=None, bind=True,
                 control=None):
        """`source`: the client's address. `hint` is what goes into DST; "own" stands for the true address and port.
        `control`: the control connection, where somebody else has made it."""
        source = source or ("fd77::2" if ":" in proxy[0] else "10.77.0.2")
        self.host, self.source = host, source
        self.udp = host.udp(source, port) if bind else None
        if hint == "own":
            hint = self.udp.getsockname()[:2]
        self.control = control or host.connect(source, proxy)
        negotiate(self.control, user, password)
        self.reply = request(self.control, ASSOCIATE, hint, atyp)
        assert self.reply.code == 0, f"ASSOCIATE refused: {self.reply}"
        self.relay = self.reply.address

    def send(self, destination, payload, **options):
        self.send_raw(wrap(destination, payload, **options))

    def send_raw(self, datagram):
        self.udp.sendto(datagram, self.relay)

    def recv(self, timeout=5.0):
        """(origin, payload) of the next datagram, which must come from the relay's address."""
        self.udp.settimeout(timeout)
        datagram, sender = self.udp.recvfrom(65536)
        assert sender[:2] == self.relay, f"from {sender}, not from the relay {self.relay}"
        return unwrap(datagram)

    def silent(self, timeout=0.3):
        """True when nothing arrives."""
        try:
            self.recv(timeout)
        except socket.timeout:
            return True
        return False

    def external(self, peer, to=None):
        """The address that `peer` (a UDP socket) sees this client's datagrams come from."""
        self.send(to or peer.getsockname()[:2], b"who am I?")
        payload, address = peer.recvfrom(65536)
        assert payload == b"who am I?"
        return address[:2]

    def alive(self, peer, count=100):
        """Does it relay `count` of `count` probes, there and back? Paced one by one: nothing may be lost."""
        destination = peer.getsockname()[:2]
        for number in range(count):
            probe = b"probe %d" % number
            self.send(destination, probe)
            payload, external = peer.recvfrom(65536)
            assert payload == probe, f"{peer.getsockname()} got {payload!r} instead of {probe!r}"
            peer.sendto(b"re: " + probe, external)
            origin, answer = self.recv()
            assert (origin, answer) == (destination, b"re: " + probe)
        return True

    def close(self):
        self.control.close()


class ClientSocket:
    """A further socket of an association's client."""

    def __init__(self, association, port=0):
        self.relay = association.relay
        self.udp = association.host.udp(association.source, port)

    def send(self, destination, payload):
        self.udp.sendto(wrap(destination, payload), self.relay)

    def recv(self):
        datagram, sender = self.udp.recvfrom(65536)
        assert sender[:2] == self.relay
        return unwrap(datagram)

    def external(self, peer):
        self.send(peer.getsockname()[:2], b"who am I?")
        payload, address = peer.recvfrom(65536)
        assert payload == b"who am I?"
        return address[:2]


class OverTcp(Association):
    """An association whose datagrams are frames on its control connection."""

    def __init__(self, host, proxy, source=None, hint=ANY_V4, user=None, password=None, atyp=None, header=b""):
        """`header`: what a balancer says first."""
        source = source or ("fd77::2" if ":" in proxy[0] else "10.77.0.2")
        self.control = host.connect(source, proxy)
        self.control.sendall(header)
        negotiate(self.control, user, password)
        self.reply = request(self.control, UDP_IN_TCP, hint, atyp)
        assert self.reply.code == 0, f"command 5 refused: {self.reply}"

    def send(self, destination, payload, **options):
        self.send_raw(frame(destination, payload, **options))

    def send_raw(self, datagram):
        self.control.sendall(datagram)

    def recv(self, timeout=5.0):
        self.control.settimeout(timeout)
        return recv_frame(self.control)
