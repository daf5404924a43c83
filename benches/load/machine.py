"""What the load bench needs from the operating system: processes, their CPU time and memory, files and ports."""

import os
import resource
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_LIMIT = 20.0  # seconds
STOP_LIMIT = 10.0


class Failure(Exception):
    """Something that makes the figures worthless; ends its cell with its text."""


@dataclass(frozen=True)
class Cpu:
    """CPU time of one process with all its threads, in seconds: exact in total, by the clock's ticks for its parts."""

    total: float
    user_ticks: int
    system_ticks: int

    def __sub__(self, earlier: "Cpu") -> "Cpu":
        ticks = self.user_ticks - earlier.user_ticks, self.system_ticks - earlier.system_ticks
        return Cpu(self.total - earlier.total, *ticks)

    @property
    def user_share(self) -> float:
        return self.user_ticks / max(1, self.user_ticks + self.system_ticks)


def cpu_of(pid: int) -> Cpu:
    # The name in parentheses may hold spaces; utime and stime are fields 14 and 15 of proc(5)'s stat.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # clock_getcpuclockid(3), which Python has for threads only: the process' clock in nanoseconds, where a tick of
    # stat is a hundredth of a second.
    clock = ~pid << 3 | 2
    return Cpu(time.clock_gettime(clock), int(fields[11]), int(fields[12]))


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


def text_of(*command: str, limit: float = 60) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=limit).stdout.strip()


@contextmanager
def killed_after(seconds: float, process: subprocess.Popen) -> Iterator[None]:
    """Within it, the process ends in time, so that waiting for what it writes is bounded."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def percentile(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


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
