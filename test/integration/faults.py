"""The daemon's system calls, allocations, clock and peers fail as a test wants: test/support/faults.c does it from within."""
import mmap
import struct
from pathlib import Path

from daemon import PROGRAM

LIBRARY = Path(PROGRAM).resolve().parents[2] / "test/support/faults.so"
CALLS = ("accept4", "socket", "bind", "bind_netlink", "connect", "sendmmsg", "sendmsg", "recvmmsg", "recvmsg", "splice",
         "pipe2", "allocation", "any")  # in the order of faults.c; "any": of these calls, but no allocation
FAULT = struct.Struct("=4i")  # errno, calls to let pass, calls to fail, calls failed


class Faults:
    def __init__(self, folder):
        path = folder / "faults"
        path.write_bytes(bytes(FAULT.size * len(CALLS) + 8))
        with open(path, "r+b") as file:
            self.shared = mmap.mmap(file.fileno(), 0)
        self.environment = {"LD_PRELOAD": str(LIBRARY), "FAULTS": str(path)}

    def set(self, call, error, skip=0, count=1):
        """`call` fails with `error`, `count` times after `skip` that succeed."""
        at = FAULT.size * CALLS.index(call)
        self.shared[at:at + 4] = bytes(4)  # not while the rest is being written
        self.shared[at + 4:at + FAULT.size] = struct.pack("=3i", skip, count, 0)
        self.shared[at:at + 4] = struct.pack("=i", error)

    def clear(self):
        """Nothing fails any more; how often each call has."""
        hits = {call: self.hits(call) for call in CALLS}
        self.shared[:] = bytes(len(self.shared))
        return hits

    def set_clock_ahead(self, seconds):
        """The wall clock, by so much ahead of the true one."""
        self.shared[-8:-4] = struct.pack("=i", seconds)

    def set_silence_ahead(self, seconds):
        """TCP peers seem to have been silent for so much longer than they have."""
        self.shared[-4:] = struct.pack("=i", 1000 * seconds)

    def hits(self, call):
        return FAULT.unpack_from(self.shared, FAULT.size * CALLS.index(call))[3]
