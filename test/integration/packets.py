"""Packets as bytes: frames that no socket sends, and what a host's interface really gets."""
import contextlib
import ctypes
import fcntl
import ipaddress
import socket
import struct
from typing import NamedTuple

ETH_P_ALL, IPV4, IPV6, VLAN, UDP = 3, 0x0800, 0x86dd, 0x8100, 17
PACKET_OUTGOING = 4
PACKET_AUXDATA = 8
CHECKSUM_NOT_READY = 1 << 3  # TP_STATUS_CSUMNOTREADY: only the pseudo header is summed up yet
SIOCETHTOOL = 0x8946
ETHTOOL_SET = {"tx": 0x17, "rx": 0x15, "gso": 0x24, "gro": 0x2c}
DONT_FRAGMENT, MORE_FRAGMENTS = 0x4000, 0x2000


def sum16(data):
    """The folded sum of RFC 1071, not inverted."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return total


def packed(address):
    return ipaddress.ip_address(address).packed


def pseudo_header(source, to, length):
    return packed(source) + packed(to) + struct.pack("!II", length, UDP)


def udp(source, to, payload, checksum=None, length=None):
    """A UDP header and its payload, between (address, port) pairs."""
    length = 8 + len(payload) if length is None else length
    datagram = struct.pack("!HHHH", source[1], to[1], length, 0) + payload
    if checksum is None:
        checksum = 0xffff - sum16(pseudo_header(source[0], to[0], length) + datagram) or 0xffff
    return datagram[:6] + struct.pack("!H", checksum) + payload


def ipv4(source, to, body, tos=0, ttl=64, flags=DONT_FRAGMENT, options=b"", number=0, protocol=UDP):
    head = struct.pack("!BBHHHBBH4s4s", 0x45 + len(options) // 4, tos, 20 + len(options) + len(body), number, flags, ttl,
                       protocol, 0, packed(source), packed(to)) + options
    return head[:10] + struct.pack("!H", 0xffff - sum16(head)) + head[12:] + body


def ipv6(source, to, body, tos=0, hop_limit=64, next_header=UDP, flow=0):
    return struct.pack("!IHBB", 6 << 28 | tos << 20 | flow, len(body), next_header, hop_limit) + packed(source) + packed(to) + body


def datagram(source, to, payload, **options):
    """A whole packet; `checksum` and `length` are those of UDP, other options of IP."""
    of_udp = {name: options.pop(name) for name in ("checksum", "length") if name in options}
    version = ipv6 if ":" in source[0] else ipv4
    return version(source[0], to[0], udp(source, to, payload, **of_udp), **options)


class Packet(NamedTuple):
    """A UDP datagram in one packet, as it came."""
    source: tuple
    to: tuple
    payload: bytes
    tos: int
    ttl: int
    df: bool
    checksum: str  # "right", "partial" (right, and left to the interface), "none", "wrong"


def checksum_state(source, to, body, not_ready):
    (field,) = struct.unpack_from("!H", body, 6)
    pseudo = pseudo_header(source, to, len(body))
    if not_ready:
        return "partial" if field == sum16(pseudo) else "wrong"
    if field == 0:
        return "none"
    return "right" if sum16(pseudo + body) == 0xffff else "wrong"


def parse(packet, not_ready):
    """A Packet, or None for what is something else, or a fragment."""
    if packet[0] >> 4 == 4:
        head, (total, _, fragment, ttl, protocol) = (packet[0] & 15) * 4, struct.unpack_from("!HHHBB", packet, 2)
        if protocol != UDP or fragment & 0x3fff:
            return None
        assert sum16(packet[:head]) == 0xffff, "a wrong checksum of the IP header"
        assert len(packet) == total, f"{len(packet)} bytes for an IP packet of {total}"
        source, to = (str(ipaddress.ip_address(packet[at:at + 4])) for at in (12, 16))
        tos, df = packet[1], bool(fragment & DONT_FRAGMENT)
    else:
        length, protocol, ttl = struct.unpack_from("!HBB", packet, 4)
        if protocol != UDP:
            return None
        assert len(packet) == 40 + length, f"{len(packet)} bytes for an IPv6 packet of {40 + length}"
        head, source, to = 40, *(str(ipaddress.ip_address(packet[at:at + 16])) for at in (8, 24))
        tos, df = struct.unpack_from("!H", packet)[0] >> 4 & 0xff, True
    body = packet[head:]
    from_port, to_port, length = struct.unpack_from("!HHH", body)
    if length != len(body):  # several that travel joined
        return None
    state = checksum_state(source, to, body, not_ready)
    return Packet((source, from_port), (to, to_port), body[8:], tos, ttl, df, state)


class Wire:
    """An interface of a host: sends frames as they are, and reads what comes."""

    def __init__(self, host, interface="eth0"):
        with host.enter():
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        host.opened.append(self.sock)
        self.sock.setsockopt(263, PACKET_AUXDATA, 1)  # SOL_PACKET
        self.sock.bind((interface, ETH_P_ALL))
        self.sock.settimeout(5)
        self.mac = self.sock.getsockname()[4]

    def send(self, to, packet, source=None, vlan=None, padding=b""):
        """`to` and `source`: MAC addresses."""
        kind = IPV6 if packet[0] >> 4 == 6 else IPV4
        tag = b"" if vlan is None else struct.pack("!HH", VLAN, vlan)
        self.sock.send(to + (source or self.mac) + tag + struct.pack("!H", kind) + packet + padding)

    def datagrams(self, timeout=0.2):
        """The Packets that have come, until none has for `timeout`."""
        self.sock.settimeout(timeout)
        found = []
        with contextlib.suppress(TimeoutError, BlockingIOError):
            while True:
                frame, control, _, address = self.sock.recvmsg(70_000, 128)
                status = struct.unpack_from("=I", control[0][2])[0] if control else 0
                kind = struct.unpack_from("!H", frame, 12)[0]
                if address[2] != PACKET_OUTGOING and kind in (IPV4, IPV6):
                    found.append(parse(frame[14:], status & CHECKSUM_NOT_READY))
        return [packet for packet in found if packet]


def mac(host, interface="eth0"):
    with host.enter(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sock:
        sock.bind((interface, 0))
        return sock.getsockname()[4]


def set_offload(host, interface, **features):
    """As `ethtool -K` does: set_offload(host, "eth0", tx=False)."""
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name, on in features.items():
            value = (ctypes.c_uint32 * 2)(ETHTOOL_SET[name], on)
            fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), ctypes.addressof(value)))
