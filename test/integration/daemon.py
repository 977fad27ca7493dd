"""conesocks as the tests run it: started with a configuration, its log read, its end checked."""
import contextlib
import json
import os
import re
import resource
import shlex
import signal
import subprocess
import time
from pathlib import Path

PROGRAM = os.environ.get("CONESOCKS") or str(Path(__file__).resolve().parents[2] / "build/src/command/conesocks")
SANITIZED = b"__sanitizer" in Path(PROGRAM).read_bytes() if os.path.exists(PROGRAM) else False
SANITIZER = re.compile(r"(ERROR|WARNING): \w+Sanitizer|runtime error:")
# Sanitizers slow everything down, and take descriptors and memory of their own.
PATIENCE = 10.0


LOG_PAUSE = 0.015  # a line may wait for 10 ms, so that the thread that writes need not be woken for each


def wait_until(condition, what, timeout=PATIENCE):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {timeout} s for {what}"
        time.sleep(0.01)


class Conesocks:
    def __init__(self, host, folder, config, arguments=(), nofile=None, leaves_lookups=False, killed=False, files=(),
                 group=None, environment=None, sockets=(), log_file=None, mounts=(), wrapper=()):
        """`config`: a dict, YAML text, or None for the built-in default. `leaves_lookups`: name servers that do not answer
        are part of the test; a question to them keeps its socket until dns.timeout, even if nobody wants the answer. `group`: the folder of the
        control group to run in. `sockets` are passed as systemd does it. `log_file`: where `config` has it log to, with
        {pid} for its process id. `mounts`: what the shell mounts for it alone. `wrapper`: a command that becomes it."""
        self.leaves_lookups = leaves_lookups
        self.killed = killed  # by the test itself
        # Files of the system that this process sees in place of the real ones: (content, path).
        swaps = [*mounts, *(f"mount --bind {ours} {theirs}" for ours, theirs in files)]
        prefix = ["unshare", "--mount", "sh", "-c", " && ".join([*swaps, 'exec "$@"']), "sh"] if swaps else []
        if sockets:
            prefix = ["sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *prefix]
            environment = {"LISTEN_FDS": str(len(sockets)), **(environment or {})}
        self.log_path = folder / f"conesocks-{len(list(folder.glob('conesocks-*.log')))}.log"
        command = [*prefix, *wrapper, PROGRAM, *arguments]
        self.config_path = self.log_path.with_suffix(".yaml")
        if config is not None:
            self.configure(config)
            command += ["-c", str(self.config_path)]

        def prepare():
            for number, sock in enumerate(sockets):
                os.dup2(sock.fileno(), 3 + number)
            if nofile:
                resource.setrlimit(resource.RLIMIT_NOFILE, (nofile, nofile))
            if group:
                (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")

        with open(self.log_path, "wb") as log:
            self.process = host.start(*command, stdout=log, stderr=log, preexec_fn=prepare,
                                      pass_fds=range(3, 3 + len(sockets)),
                                      env=os.environ | (environment or {}))
        if log_file:
            self.log_path = Path(str(log_file).format(pid=self.pid))
        expected = len(config.get("listen", "1")) if isinstance(config, dict) else 1
        wait_until(lambda: len(self.listening()) >= expected or self.process.poll() is not None, "the listeners")
        assert self.process.poll() is None, f"conesocks did not start:\n{self.log}"
        self.baseline = len(self.descriptors())

    def configure(self, config):
        # JSON is YAML, so a dict needs no library.
        text = config if isinstance(config, str) else json.dumps(config, indent=1)
        self.config_path.write_text(text, encoding="utf-8")

    @property
    def log(self):
        time.sleep(LOG_PAUSE)
        return self.log_path.read_text(encoding="utf-8", errors="backslashreplace") if self.log_path.exists() else ""

    @property
    def pid(self):
        return self.process.pid

    def listening(self):
        return re.findall(r'(?:server: |"server","message":")listening on ([^\s"]+)', self.log)

    def descriptors(self):
        """What its descriptors stand for. Pipes are left out: idle ones are kept for the next stream."""
        names = []
        for entry in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                names.append(os.readlink(entry))
        return [name for name in names if not name.startswith("pipe:")]

    def is_idle(self):
        """Has it given back what its sessions held?"""
        return len(self.descriptors()) <= self.baseline

    def cpu_seconds(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory(self):
        """KiB of its own: neither files nor what it shares."""
        lines = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

    def sessions(self, **wanted):
        """The session lines of the log as dicts, those that hold `wanted`."""
        lines = re.findall(r"^(?:\S+Z )?conesocks(?:\[\d+\])?: info: session: (.*)", self.log, re.MULTILINE)
        rows = [dict(word.partition("=")[::2] for word in shlex.split(line)) for line in lines]
        return [row for row in rows if wanted.items() <= row.items()]

    def objects(self, **wanted):
        """The lines of a log in JSON, those that hold `wanted`."""
        rows = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [row for row in rows if wanted.items() <= row.items()]

    def session(self, **wanted):
        """The one session that holds `wanted`, once it has ended."""
        return wait_until(lambda: self.sessions(**wanted), f"the end of session {wanted}")[-1]

    def wait_log(self, pattern):
        return wait_until(lambda: re.search(pattern, self.log, re.MULTILINE), f"{pattern!r} in the log")

    def counters(self):
        """The sum of all counters, asked for by SIGUSR1; a counter that is missing is 0."""
        pattern = r"^conesocks: info: server: counters:(.*)\n"
        before = len(re.findall(pattern, self.log, re.MULTILINE))
        self.process.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(re.findall(pattern, self.log, re.MULTILINE)) > before, "the counters")
        words = re.findall(pattern, self.log, re.MULTILINE)[-1].replace("all zero", "").split()
        return dict(zip(words[::2], map(int, words[1::2])))

    def dropped(self, reason):
        return self.counters().get(f"udp_dropped_{reason}", 0)

    def reload(self, config=None):
        """SIGHUP, after `config` was written to its file; True when that is in force, False when the old one stays."""
        if config is not None:
            self.configure(config)
        with open(self.log_path, encoding="utf-8", errors="backslashreplace") as log:
            log.seek(0, os.SEEK_END)
            said = []
            self.process.send_signal(signal.SIGHUP)
            wait_until(lambda: said.append(log.read()) or "reload: configuration " in "".join(said), "the reload")
        return "reload: configuration reloaded" in "".join(said)

    @contextlib.contextmanager
    def stopped(self):
        """The process stands still meanwhile, so that what is sent waits in its sockets."""
        self.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: Path(f"/proc/{self.pid}/stat").read_text().rsplit(") ", 1)[1][0] == "T", "the stop")
        yield
        self.process.send_signal(signal.SIGCONT)

    def stop(self):
        """SIGTERM must end it well: all sessions closed, nothing left open, nothing to report."""
        if self.killed:
            return
        if self.process.poll() is None:
            wait_until(lambda: self.leaves_lookups or self.is_idle(), f"descriptors to return to {self.baseline}")
            self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("SIGTERM did not end it") from None
        assert status != -signal.SIGSYS, "a system call that is missing in src/daemon/sandbox_calls.c: see dmesg"
        assert status == 0, f"exit status {status}"
        assert not SANITIZER.search(self.log), "a sanitizer reported"
        assert "an error in this program" not in self.log

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
