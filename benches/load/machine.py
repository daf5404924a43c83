"""What the load bench needs from the operating system: processes, their CPU time and memory, files and ports."""

import os
import resource
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
START_LIMIT = 20.0  # seconds
STOP_LIMIT = 10.0


class Failure(Exception):
    """Something that makes the figures worthless; ends the bench with its text."""


@dataclass(frozen=True)
class Cpu:
    """CPU time of one process with all its threads, in seconds."""

    user: float
    system: float

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        return Cpu(self.user - earlier.user, self.system - earlier.system)


def cpu_of(pid: int) -> Cpu:
    # The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of proc(5)'s stat.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return Cpu(int(fields[11]) / TICK, int(fields[12]) / TICK)


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise Failure(f"process {pid} has no resident memory: it has ended")


def allow_many_files() -> int:
    """Raises the limit on open files, for us and for what we start, and returns it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def free_port() -> int:
    """A free port below Linux' ephemeral range, where no outgoing connection can take it first."""
    for port in range(20000 + os.getpid() % 5000, 32000):
        with socket.socket() as candidate:
            try:
                candidate.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failure("no free port on 127.0.0.1")


def text_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()


def wait_for_port(port: int, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise Failure(f"{process.args[0]} does not listen; its log:\n{log.read_text()[-3000:]}")


def stop(process: subprocess.Popen) -> None:
    """Ends one process we started, and waits for it."""
    # SIGINT is PgBouncer's and the lab's "end when the work under way is done".
    for attempt in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        if process.poll() is None:
            process.send_signal(attempt)
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                continue
