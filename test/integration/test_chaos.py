"""Everything at once, under whatever sanitizer the program was built with: random clients that end at every point, hostile
upstreams, destinations and name servers, while reloads or upgrades follow each other, or reloads with too few descriptors. What fails is said by the program itself: a
sanitizer's report, a wrong exit, an account or a session that stays.

CONESOCKS_CHAOS_SECONDS (test/run --chaos SECONDS) lets it run longer, and then with another seed each time;
CONESOCKS_CHAOS_SEED names one. The seed does not fix how threads meet, so one that has failed may pass."""
import contextlib
import json
import os
import random
import re
import signal
import socket
import time

import pytest
import socks5
from chaos import ADMIN, ECHO, HOME, OPEN, Chaos, Names, Upstream, configuration
from daemon import PROGRAM, SANITIZER, wait_until

SECONDS = float(os.environ.get("CONESOCKS_CHAOS_SECONDS", 5))
SEED = int(os.environ.get("CONESOCKS_CHAOS_SEED", random.randrange(1 << 30) if "CONESOCKS_CHAOS_SECONDS" in os.environ else 11))
PATIENCE = 20
DESCRIPTORS = 200  # in the shortage: fewer than its clients would take
SERVERS_MAX = 4  # of one upgrade after the other, those whose sessions go on


class Servers:
    """The processes that serve, or have served."""

    def __init__(self, host, folder, nofile=None):
        self.host, self.folder, self.running, self.ended, self.number = host, folder, [], [], 0
        self.prefix = ["prlimit", f"--nofile={nofile}:{nofile}"] if nofile else []
        self.path = folder / "chaos.yaml"

    def configure(self):
        """The next configuration, in place of the one before at once."""
        self.number += 1
        fresh = self.folder / "fresh.yaml"
        fresh.write_text(json.dumps(configuration(self.number, self.folder)), encoding="ascii")
        fresh.rename(self.path)

    def start(self):
        log = self.folder / f"chaos-{len(self.running) + len(self.ended)}.log"
        with open(log, "wb") as file:
            self.running.append((self.host.start(*self.prefix, PROGRAM, "-c", str(self.path), "--take-over", stdout=file, stderr=file), log))

    def is_serving(self, one):
        return "listening on" in one[1].read_text(encoding="utf-8", errors="replace")

    def reap(self):
        self.ended += [one for one in self.running if one[0].poll() is not None]
        self.running = [one for one in self.running if one[0].poll() is None]

    def reload(self):
        """Sent to the old ones as well, which it is not for."""
        for one in self.running:
            if self.is_serving(one):
                one[0].send_signal(signal.SIGHUP)

    def settle(self):
        """Each that begins serves, or has given up."""
        def settled():
            self.reap()
            return all(self.is_serving(one) for one in self.running)

        wait_until(settled, "all that begin", PATIENCE)

    def take_over(self):
        """Now and then a second one while the first is about to; the oldest end, gently or not."""
        self.start()
        if self.number % 4 == 0:
            self.start()
        self.reap()
        if len(self.running) > SERVERS_MAX:
            self.settle()
            for process, _ in self.running[:-SERVERS_MAX]:
                process.send_signal(signal.SIGTERM)

    def complaints(self):
        """What no process may say, and ends that are none of theirs."""
        wrong = []
        for process, log in self.ended:
            text = log.read_text(encoding="utf-8", errors="replace")
            lines = text.splitlines()
            at = next((number for number, line in enumerate(lines) if SANITIZER.search(line) or "an error in this program" in line), None)
            if at is not None:
                wrong.append("\n".join(lines[at:at + 60]))
            at_its_end = process.returncode == -signal.SIGTERM and "counters:" in text  # SIGTERM came when it had ended by itself
            gave_up = process.returncode == 1 and re.search("error: handover: .*(refuses|this one ends)", text)
            if process.returncode != 0 and not gave_up and not at_its_end:
                wrong.append(f"{log.name}: status {process.returncode}\n" + "\n".join(lines[-5:]))
        return wrong

    def stop(self):
        for process, _ in self.running:
            process.send_signal(signal.SIGTERM)
        with contextlib.suppress(AssertionError):
            wait_until(lambda: self.reap() or not self.running, "their ends", PATIENCE)
        for process, log in self.running:
            process.kill()
            process.wait()
            self.ended.append((process, log))
        self.running = []


def metrics(host):
    with host.enter():
        sock = socket.create_connection((HOME, ADMIN), 5)
    with sock:
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        text = socks5.recv_all(sock).decode()
    return {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("conesocks_")}


def nothing_left(host):
    with contextlib.suppress(OSError):
        seen = metrics(host)
        return seen["conesocks_sessions"] == 0 and seen["conesocks_associations"] == 0
    return False


def rage(chaos, servers, storm):
    """Until the time is over, or nobody serves any more."""
    end, reload_at, upgrade_at = time.monotonic() + SECONDS, 0.0, 0.0
    while time.monotonic() < end and servers.running:
        chaos.step()
        servers.reap()
        now = time.monotonic()
        if now > reload_at:
            reload_at = now + chaos.random.choice((0.01, 0.05, 0.2, 0.5))
            servers.configure()
            servers.reload()
        if storm == "upgrades" and now > upgrade_at:
            upgrade_at = now + chaos.random.choice((0.2, 0.5, 1.0))
            servers.take_over()
    chaos.end()


@pytest.mark.parametrize("storm", ["reloads", "upgrades", "shortage"])
def test_row58_chaos(net, folder, storm):
    """Rows 58 and 62."""
    host = net.proxy
    servers, chaos = Servers(host, folder, DESCRIPTORS if storm == "shortage" else None), Chaos(host, SEED)
    missing = None
    with Names(chaos), Upstream(chaos):
        servers.configure()
        servers.start()
        servers.settle()
        try:
            rage(chaos, servers, storm)
            servers.settle()
            wait_until(lambda: not servers.running or nothing_left(host), "the sessions to end", PATIENCE)
            sock, reply = socks5.connect(host, (HOME, OPEN), (HOME, ECHO), "127.0.0.9")
            assert reply.code <= 8  # as the last configuration has it
            sock.close()
        except (AssertionError, OSError, EOFError) as error:  # what a process says comes first
            missing = error
        finally:
            chaos.end()
            servers.stop()
            net.close_sockets()
    complaints = servers.complaints()
    assert not complaints, f"seed {SEED}, {chaos.made} connections:\n" + "\n\n".join(complaints)
    assert not missing, f"seed {SEED}: {missing}"
    assert chaos.made > 50 and servers.number > 5
