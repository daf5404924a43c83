"""The loads of the load bench: pgbench, the lab's logins and its idle clients, and what they report."""

import os
import re
import subprocess
import time
from pathlib import Path

from machine import Cpu, Failure, cpu_of, killed_after, percentile, resident_kib
from setup import PASSWORD, Bench, Figures, Peer

MARGIN = 60  # seconds that a load may take longer than it was told
SETTLE = 0.3  # seconds until a peer has seen the last Terminate, or given back what it borrowed


def pgbench(bench: Bench, peer: Peer, arguments: list[str], tls: bool = False) -> subprocess.Popen:
    """Starts pgbench through a peer; it is on the list of what is running."""
    command = [bench.tool("pgbench"), "-n", "-h", "127.0.0.1", "-p", str(peer.port), "-U", "app_scram"]
    environment = {
        "PATH": os.environ["PATH"], "LC_ALL": "C", "PGPASSWORD": PASSWORD,
        "PGSSLMODE": "require" if tls else "disable", "PGCHANNELBINDING": "disable",
    }
    run = subprocess.Popen(
        command + arguments + ["app"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
    )
    bench.running.append(run)
    return run


def check_pgbench(run: subprocess.Popen, text: str, peer: Peer) -> None:
    failed = re.search(r"number of failed transactions: (\d+)", text)
    if run.wait(MARGIN) != 0 or (failed and failed[1] != "0") or "aborted" in text:
        raise Failure(f"pgbench through {peer.name} failed:\n{text[-2000:]}")


def watched_pgbench(bench: Bench, peer: Peer, arguments: list[str]) -> Figures:
    """Takes the peer's CPU time whenever pgbench reports a second, so both speak of the same interval. The first second
    (logins, opening of the pool) is not measured."""
    seconds = bench.options.seconds
    run = pgbench(bench, peer, ["-j", "2", "-P", "1", "-T", str(seconds + 2)] + arguments)
    output: list[str] = []
    samples: list[tuple[float, float, Cpu]] = []
    memory = 0
    try:
        with killed_after(seconds + MARGIN, run):
            for line in run.stdout:
                output.append(line)
                progress = re.match(r"progress: ([\d.]+) s, ([\d.]+) tps", line)
                if progress and len(samples) <= seconds:
                    samples.append((float(progress[1]), float(progress[2]), cpu_of(peer.process.pid)))
                    memory = resident_kib(peer.process.pid)
        check_pgbench(run, "".join(output), peer)
    finally:
        bench.stop(run)
    if len(samples) < 2:
        raise Failure(f"pgbench through {peer.name} reported nothing:\n{''.join(output)[-2000:]}")
    transactions = sum(tps * (now - before) for (before, _, _), (now, tps, _) in zip(samples, samples[1:]))
    elapsed = samples[-1][0] - samples[0][0]
    figures = cpu_figures(peer, samples[-1][2] - samples[0][2], transactions)
    return figures | {"per second": transactions / elapsed, "resident, MiB": memory / 1024}


def cpu_figures(peer: Peer, cpu: Cpu, count: float) -> Figures:
    if cpu.user_ticks + cpu.system_ticks == 0:
        raise Failure(f"{peer.name} used no CPU time: its wrapper must exec the program")
    each = cpu.total * 1e6 / count
    return {
        "CPU, µs": each,
        "  user, µs": each * cpu.user_share,
        "  system, µs": each * (1 - cpu.user_share),
    }


def logins(bench: Bench, peer: Peer, seconds: float, arguments: list[str]) -> dict[str, float]:
    """Runs the lab's logins to their end; not one may fail. libpq is no such load: it derives the password's key anew
    for each login, and is busier with that than the peer with the rest."""
    command = [bench.options.lab, "logins", "--port", str(peer.port), "--database", "app", "--user", "app_scram"]
    command += ["--password", PASSWORD, "--seconds", str(seconds)] + arguments
    run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + MARGIN)
    seen = {key: float(value) for key, value in (line.split() for line in run.stdout.splitlines())}
    if run.returncode or seen["failed"] or not seen["succeeded"]:
        raise Failure(f"logins to {peer.name} failed: {run.stderr.strip()[-2000:]}")
    return seen


def measured_logins(bench: Bench, peer: Peer, arguments: list[str]) -> Figures:
    """First at a rate that is the same for all, since a peer that never rests wakes up less often and so spends less on
    each login; then as many as come through."""
    rate = bench.options.login_rate
    logins(bench, peer, 1, arguments)  # the pool's servers are open then
    cpu, paced = logins_and_cpu(bench, peer, arguments + ["--rate", str(rate), "--clients", "64"])
    if paced["missed"] > rate * bench.options.seconds / 20:
        raise Failure(f"{peer.name} cannot serve {rate} logins a second here: choose a lower --login-rate")
    figures = cpu_figures(peer, cpu, paced["succeeded"])
    figures |= {"p50, ms": paced["p50_us"] / 1000, "p99, ms": paced["p99_us"] / 1000}
    cpu, most = logins_and_cpu(bench, peer, arguments)
    figures["per second, as many as can be"] = most["succeeded"] / most["seconds"]
    figures["  CPU then, µs"] = cpu.total * 1e6 / most["succeeded"]
    return figures


def logins_and_cpu(bench: Bench, peer: Peer, arguments: list[str]) -> tuple[Cpu, dict[str, float]]:
    """The CPU time from before the first login until after the last Terminate, and exactly the logins in between."""
    time.sleep(SETTLE)
    before = cpu_of(peer.process.pid)
    seen = logins(bench, peer, bench.options.seconds, arguments)
    time.sleep(SETTLE)
    return cpu_of(peer.process.pid) - before, seen


def resident_with_clients(bench: Bench, peer: Peer, count: int, arguments: list[str]) -> int:
    command = [bench.options.lab, "idle-clients", "127.0.0.1", str(peer.port), "app", "app", str(count)] + arguments
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        with killed_after(MARGIN + count / 50, clients):
            if clients.stdout.readline().strip() != "READY":
                raise Failure(f"cannot open {count} clients on {peer.name}")
            time.sleep(1)
            resident = resident_kib(peer.process.pid)
            clients.stdin.close()
            clients.wait()
    return resident


def logged_latencies(logs: Path) -> list[tuple[float, int]]:
    """When each transaction that pgbench logged in `logs` ended (epoch), and what it took, in µs, its wait for a turn
    included."""
    entries = []
    for log in logs.iterdir():
        for line in log.read_text().splitlines():
            _, _, latency, _, epoch, micros = line.split()[:6]
            entries.append((int(epoch) + int(micros) / 1e6, int(latency)))
    return entries


def percentile_ms(entries: list[tuple[float, int]], share: float, begin: float, end: float = float("inf")) -> float:
    kept = sorted(latency for moment, latency in entries if begin <= moment < end)
    if not kept:
        raise Failure("pgbench logged no transaction")
    return percentile(kept, share) / 1000
