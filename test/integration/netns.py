"""The hosts of the tests: network namespaces that live exactly as long as this process holds them open.

    client     10.77.0.2   fd77::2      |                        | inet1  10.88.0.11  10.88.0.12  fd88::11
    neighbour  10.77.0.3   fd77::3      +-- lan -- proxy -- wan --+
    stranger   10.77.0.66  fd77::66     |  .1  ::1    .1  ::1    | inet2  10.88.0.21  10.88.0.22  fd88::21
    balancer   10.77.0.8   fd77::8      +-- lan -- second -- wan -+
                                           .9  ::9    .9  ::9

Nothing forwards between the two sides but the proxy under test. The namespaces have no names in the file system, so runs
side by side do not meet, and nothing stays behind, even after a kill. A socket keeps the namespace that it was made in:
tests make sockets with host.udp() and host.tcp() and use them from anywhere.
"""
import contextlib
import ctypes
import os
import socket
import subprocess

CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)

PROXY_V4, PROXY_V6 = "10.77.0.1", "fd77::1"
PROXY_WAN_V4, PROXY_WAN_V6 = "10.88.0.1", "fd88::1"
CLIENT_V4, CLIENT_V6 = "10.77.0.2", "fd77::2"
BALANCER_V4 = "10.77.0.8"
SECOND_V4, SECOND_WAN_V4 = "10.77.0.9", "10.88.0.9"
NEIGHBOUR_V4, STRANGER_V4, STRANGER_V6 = "10.77.0.3", "10.77.0.66", "fd77::66"
INET1_V4, INET1_OTHER_V4, INET1_V6 = "10.88.0.11", "10.88.0.12", "fd88::11"
INET2_V4, INET2_OTHER_V4, INET2_V6 = "10.88.0.21", "10.88.0.22", "fd88::21"


def checked(result):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class Process(subprocess.Popen):
    """`with` waits for its end, which a test that fails in there would never bring about."""

    def __exit__(self, kind, value, traceback):
        if kind:
            self.kill()
        super().__exit__(kind, value, traceback)


class Host:
    """One network namespace."""

    all = []

    def __init__(self, name):
        self.name = name
        self.opened = []
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        checked(libc.unshare(CLONE_NEWNET))
        self.fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        checked(libc.setns(before, CLONE_NEWNET))
        os.close(before)
        self.all.append(self)
        self.ip("link set lo up")

    @property
    def path(self):
        return f"/proc/{os.getpid()}/fd/{self.fd}"

    @contextlib.contextmanager
    def enter(self):
        """What this thread does meanwhile (sockets, processes, /proc/sys/net) happens on this host."""
        before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        try:
            checked(libc.setns(self.fd, CLONE_NEWNET))
            yield self
        finally:
            checked(libc.setns(before, CLONE_NEWNET))
            os.close(before)

    def ip(self, *commands):
        with self.enter():
            subprocess.run(["ip", "-force", "-batch", "-"], input="\n".join(commands), text=True, check=True)

    def nft(self, rules):
        with self.enter():
            subprocess.run(["nft", "-f", "-"], input=rules, text=True, check=True)

    def sysctl(self, name, value):
        with self.enter(), open("/proc/sys/net/" + name, "w", encoding="ascii") as file:
            file.write(str(value))

    def run(self, *command, **options):
        """A program on this host; its output is text in .stdout."""
        options = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "timeout": 60} | options
        with self.enter():
            return subprocess.run(command, **options)

    def start(self, *command, **options):
        """A program that runs on; it dies with this process."""
        with self.enter():
            return Process(["setpriv", "--pdeathsig", "KILL", *command], stdin=subprocess.DEVNULL, **options)

    def processes(self):
        """The processes on this host: the id of each, and its parent's."""
        inode = os.fstat(self.fd).st_ino
        for entry in os.scandir("/proc"):
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):  # ended meanwhile, or nobody's business
                    if os.stat(f"/proc/{entry.name}/ns/net").st_ino == inode:
                        with open(f"/proc/{entry.name}/stat", encoding="utf-8", errors="replace") as stat:
                            yield int(entry.name), int(stat.read().rpartition(") ")[2].split()[1])

    def socket(self, kind, address, port=0, timeout=5.0):
        """A bound socket; None as address leaves it unbound, and "::" as an IPv6 wildcard also takes IPv4."""
        family = socket.AF_INET6 if address and ":" in address else socket.AF_INET
        with self.enter():
            sock = socket.socket(family, kind)
        self.opened.append(sock)
        sock.settimeout(timeout)
        if kind == socket.SOCK_STREAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address == "::":
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if address:
            sock.bind((address, port))
        return sock

    def udp(self, address, port=0, timeout=5.0):
        return self.socket(socket.SOCK_DGRAM, address, port, timeout)

    def listen(self, address, port=0, backlog=512, timeout=5.0):
        sock = self.socket(socket.SOCK_STREAM, address, port, timeout)
        sock.listen(backlog)
        return sock

    def connect(self, address, to, timeout=5.0):
        """A TCP connection from `address` (with a port of the system's choice, or (address, port)) to `to`."""
        address, port = address if isinstance(address, tuple) else (address, 0)
        sock = self.socket(socket.SOCK_STREAM, address, port, timeout)
        sock.connect(to)
        return sock

    def close_sockets(self):
        for sock in self.opened:
            # A thread that is blocked in accept() or recv() keeps a closed socket, and its port, alive.
            if sock.fileno() >= 0 and (sock.type == socket.SOCK_DGRAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)):
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self.opened.clear()


class Network:
    """All hosts, wired as in the picture above."""

    def __init__(self):
        self.lan, self.wan = Host("lan"), Host("wan")
        for switch in (self.lan, self.wan):
            switch.ip("link add br0 type bridge stp_state 0 mcast_snooping 0", "link set br0 up")
        self.client = self.host("client", self.lan, CLIENT_V4, CLIENT_V6)
        self.neighbour = self.host("neighbour", self.lan, NEIGHBOUR_V4, "fd77::3")
        self.stranger = self.host("stranger", self.lan, STRANGER_V4, STRANGER_V6)
        self.inet1 = self.host("inet1", self.wan, INET1_V4, INET1_OTHER_V4, INET1_V6)
        self.inet2 = self.host("inet2", self.wan, INET2_V4, INET2_OTHER_V4, INET2_V6)
        self.proxy = self.host("proxy", self.lan, PROXY_V4, PROXY_V6)
        self.plug(self.proxy, "eth1", self.wan, PROXY_WAN_V4, PROXY_WAN_V6)
        self.balancer = self.host("balancer", self.lan, BALANCER_V4, "fd77::8")
        self.second = self.host("second", self.lan, SECOND_V4, "fd77::9")  # another proxy
        self.plug(self.second, "eth1", self.wan, SECOND_WAN_V4, "fd88::9")
        self.hosts = (self.client, self.neighbour, self.stranger, self.inet1, self.inet2, self.proxy, self.balancer,
                      self.second)

    def host(self, name, switch, *addresses):
        host = Host(name)
        self.plug(host, "eth0", switch, *addresses)
        return host

    @staticmethod
    def plug(host, interface, switch, *addresses):
        """A cable from the host to the switch. Duplicate address detection would only make the tests wait."""
        host.ip(f"link add {interface} type veth peer name {host.name} netns {switch.path}")
        switch.ip(f"link set {host.name} master br0 up")
        for address in addresses:
            bits, flag = (64, "nodad") if ":" in address else (24, "")
            host.ip(f"address add {address}/{bits} dev {interface} {flag}")
        host.ip(f"link set {interface} up")
        for version in ("ipv4", "ipv6"):  # an address that nobody has is known to be unreachable in 0.3 s, not 3
            host.sysctl(f"{version}/neigh/{interface}/retrans_time_ms", 100)

    def close_sockets(self):
        for host in self.hosts:
            host.close_sockets()
