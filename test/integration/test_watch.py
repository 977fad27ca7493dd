"""conesocks status --watch: at a terminal, which it gives back, and without one."""
import contextlib
import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading

import pytest
from admin_mock import user
from answers import EVIL, Answers, association, paged, status, stream
from daemon import PROGRAM, wait_until


class Screen:
    """A program at a terminal of its own."""

    def __init__(self, host, *command, lines=24, columns=80):
        self.fd, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        with host.enter():
            self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs,
                                            env=os.environ | {"LC_ALL": "C.UTF-8"}, start_new_session=True)
        os.close(theirs)
        self.bytes = b""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(OSError):  # the other side is closed
            while data := os.read(self.fd, 65536):
                self.bytes += data

    @property
    def written(self):
        return self.bytes.decode(errors="replace")

    def frames(self):
        """What was drawn, whole frames only, each a list of lines without what steers the terminal."""
        drawn = re.findall(r"\x1b\[H(.*?)\x1b\[J", self.written, re.DOTALL)
        return [frame.replace("\x1b[K", "").split("\r\n") for frame in drawn]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.reader.join()
        os.close(self.fd)


ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_watch_gives_the_terminal_back(net, number):
    asked = []

    def answer(path):
        asked.append(path)
        return paged(status([association(1, up_bytes=len(asked) << 20)]), path)

    with Answers(net.proxy, answer), Screen(net.proxy, PROGRAM, "status", "--watch", "1") as screen:
        wait_until(lambda: len(screen.frames()) >= 3, "three frames")
        assert screen.written.startswith(ENTER) and LEAVE not in screen.written
        screen.process.send_signal(number)
        assert screen.process.wait(10) == -number
        screen.reader.join()
        assert screen.written.endswith(LEAVE)
    first, second = screen.frames()[0], screen.frames()[1]
    assert any("bit/s" in line for line in second) and not any("bit/s" in line for line in first)


def test_watch_is_stopped_and_goes_on(net):
    with Answers(net.proxy, lambda path: paged(status(), path)), \
            Screen(net.proxy, PROGRAM, "status", "--watch", "1") as screen:
        wait_until(screen.frames, "a frame")
        screen.process.send_signal(signal.SIGTSTP)
        wait_until(lambda: screen.written.endswith(LEAVE), "the terminal")
        screen.process.send_signal(signal.SIGCONT)
        wait_until(lambda: screen.written.count(ENTER) == 2, "the screen")
        before = len(screen.frames())
        wait_until(lambda: len(screen.frames()) > before, "another frame")


@pytest.mark.parametrize("lines, columns", [(24, 80), (10, 30), (60, 200), (3, 10), (1, 1)])
def test_watch_fits_the_terminal(net, lines, columns):
    """Row 51: with names that are long and wide, too."""
    long = "日本" * 60 + EVIL
    sessions = [association(number, user=long) for number in range(1, 200)]
    sessions += [stream(number, destination=long) for number in range(200, 300)]
    shown = status(sessions, open={"sessions": 299, "associations": 199, "streams": 100, "negotiating": 0})
    with Answers(net.proxy, lambda path: paged(shown, path)), \
            Screen(net.proxy, PROGRAM, "status", "--watch", "1", lines=lines, columns=columns) as screen:
        wait_until(lambda: len(screen.frames()) >= 2, "two frames")
        for frame in screen.frames():
            assert len(frame) <= lines
            for line in frame:
                width = sum(2 if char in "日本" else 1 for char in line)
                assert width <= columns and not re.search("[\x00-\x1f\x7f-\x9f\u202e]", line), line
        if lines >= 24:
            assert any("199 associations, 100 streams" in line for line in frame)
            assert sum("日本" in line for line in frame) >= lines - 10  # sessions fill the screen


def test_watch_switches_views(net):
    """A low screen shows users and sessions first; each other view is one key away."""
    users = {"total": 1, "list": [user("alice", volume_bytes=95 << 30, volume_limit=100 << 30, near="volume")]}
    shown = status([association(1, user="alice")], users=users)
    with Answers(net.proxy, lambda path: paged(shown, path)), \
            Screen(net.proxy, PROGRAM, "status", "--watch", "60") as screen:
        wait_until(screen.frames, "a frame")
        for key, has, lacks in [("o", ["95 % of the volume", "CLIENT"], ["listens on"]),
                                ("u", ["95 % of the volume"], ["CLIENT"]),
                                ("s", ["CLIENT"], ["95 % of the volume"]),
                                ("d", ["listens on"], ["CLIENT"])]:
            before = len(screen.frames())
            os.write(screen.fd, key.encode())
            wait_until(lambda: len(screen.frames()) > before, "another frame")
            text = "\n".join(screen.frames()[-1])
            assert all(each in text for each in has) and not any(each in text for each in lacks), (key, text)
        os.write(screen.fd, b"q")
        assert screen.process.wait(10) == 0
        screen.reader.join()
        assert screen.written.endswith(LEAVE)


def test_watch_follows_the_size(net):
    with Answers(net.proxy, lambda path: paged(status([association(1)]), path)), \
            Screen(net.proxy, PROGRAM, "status", "--watch", "60") as screen:
        wait_until(lambda: len(screen.frames()) >= 2, "the frame with rates")
        before = len(screen.frames())
        fcntl.ioctl(screen.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 40, 0, 0))
        screen.process.send_signal(signal.SIGWINCH)
        wait_until(lambda: len(screen.frames()) > before, "a smaller frame")
        frame = screen.frames()[-1]
        assert len(frame) == 12 and all(len(line) <= 40 for line in frame)


def test_several_ports_and_upstreams_of_an_association(net):
    ports = [{"client_udp": f"10.77.0.2:{port}", "external": [f"203.0.113.7:{31000 + port}"]} for port in (5000, 5001, 5002)]
    shown = status([association(1, client_ports=ports), association(2, upstream="office", other_upstreams="vpn, none")])
    with Answers(net.proxy, lambda path: paged(shown, path)):
        lines = net.proxy.run(PROGRAM, "status").stdout.splitlines()
    assert any("203.0.113.7:31000, 2 more" in line for line in lines)
    assert any("office, vpn, none" in line for line in lines)


def test_watch_outlives_the_server(net):
    """It says that nobody answers, and goes on when somebody does, with another process's counters."""
    with Answers(net.proxy, lambda path: paged(status(totals={"udp_up_bytes_total": 1}), path)):
        screen = Screen(net.proxy, PROGRAM, "status", "--watch", "1")
        wait_until(screen.frames, "a frame")
    with screen:
        wait_until(lambda: any("nothing listens there" in line for line in screen.frames()[-1]), "what is wrong")
        assert any("process 4711" in line for line in screen.frames()[-1])
        with Answers(net.proxy, lambda path: paged(status(pid=4712, totals={"udp_up_bytes_total": 1 << 30}), path)):
            wait_until(lambda: any("process 4712" in line for line in screen.frames()[-1]), "the next one")
        first = next(frame for frame in screen.frames() if any("process 4712" in line for line in frame))
        assert not any("nobody listens" in line or "bit/s" in line for line in first), first


def test_watch_without_a_terminal(net):
    """Block after block, and it ends when nobody reads on."""
    with Answers(net.proxy, lambda path: paged(status(), path)):
        result = net.proxy.run("sh", "-c", f"{PROGRAM} status --watch 1 | head -n 25; echo ended")
    assert result.stdout.count("process 4711") >= 2 and "\x1b" not in result.stdout and "ended" in result.stdout


def test_watch_that_cannot_begin(net):
    result = net.proxy.run(PROGRAM, "status", "--watch")
    assert result.returncode == 1 and "nothing listens there" in result.stdout
