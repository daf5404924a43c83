#!/usr/bin/env python3
"""Runs the pooler beside PgBouncer on this machine and prints what each costs, and the ratio.

Both get the same pgbouncer.ini, the same PostgreSQL and the same pgbench, in turns, round after round; a figure is the
median of its rounds. Only the ratios travel between machines. Clients log in with SCRAM unless said.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.dont_write_bytecode = True  # no __pycache__ in the checkout

from machine import Cpu, Failure, allow_many_files, cpu_of, free_port, resident_kib, stop, text_of, wait_for_port

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
POOL = 50
LOGIN_CLIENTS = 16
PASSWORD = "secret"  # the lab's
PARTS = ("transactions", "logins", "idle")

Figures = dict[str, float]


@dataclass
class Peer:
    """One of the two poolers: its program, and the process while it runs."""

    name: str
    program: str
    version: str
    process: subprocess.Popen | None = None
    port: int = 0
    # cell → figure → one value a round
    results: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def record(self, cell: str, figures: Figures) -> None:
        for name, value in figures.items():
            self.results.setdefault(cell, {}).setdefault(name, []).append(value)


class Bench:
    """The running set-up: a scratch directory, PostgreSQL, and the poolers that are up."""

    def __init__(self, options: argparse.Namespace, scratch: Path):
        self.options = options
        self.scratch = scratch
        self.lab: subprocess.Popen | None = None
        self.server: dict[str, str] = {}
        self.running: list[subprocess.Popen] = []

    def start_postgres(self) -> None:
        command = [self.options.lab, "postgres", "--max-connections", str(2 * POOL + 50)]
        self.lab = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        self.running.append(self.lab)
        for line in self.lab.stdout:
            key, _, value = line.strip().partition(" ")
            self.server[key] = value
            if key == "ready":
                break
        else:
            raise Failure("lab postgres did not start")
        command = [self.tool("pgbench"), "-i", "-q", "-s", str(self.options.scale), "-h", "127.0.0.1"]
        command += ["-p", self.server_port, "-U", "app", "app"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)

    @property
    def server_port(self) -> str:
        return self.server["ready"].split()[1]

    def tool(self, name: str) -> str:
        beside = Path(self.server["bin"]) / name
        found = str(beside) if beside.exists() else shutil.which(name)
        if not found:
            raise Failure(f"{name} is not installed")
        return found

    def start(self, peer: Peer, auth_type: str) -> None:
        home = self.scratch / f"{peer.name}-{auth_type}"
        home.mkdir(exist_ok=True)
        peer.port = free_port()
        (home / "userlist.txt").write_text(f'"app_scram" "{PASSWORD}"\n"app" ""\n')
        (home / "pgbouncer.ini").write_text(self.settings(peer.port, auth_type, home))
        log = home / "log"
        with log.open("w") as output:
            command = [peer.program, str(home / "pgbouncer.ini")]
            peer.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        self.running.append(peer.process)
        wait_for_port(peer.port, peer.process, log)

    def settings(self, port: int, auth_type: str, home: Path) -> str:
        # Both refuse to stay root.
        user = "user = postgres\n" if os.geteuid() == 0 else ""
        return f"""[databases]
app = host=127.0.0.1 port={self.server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
{user}auth_type = {auth_type}
auth_file = {home}/userlist.txt
admin_users = app
pool_mode = transaction
default_pool_size = {POOL}
max_client_conn = {self.options.idle + 1000}
max_prepared_statements = 200
log_connections = 0
log_disconnections = 0
"""

    def stop(self, process: subprocess.Popen) -> None:
        stop(process)
        self.running.remove(process)

    def stop_all(self) -> None:
        for process in reversed(self.running.copy()):
            self.stop(process)

    def pgbench(self, peer: Peer, arguments: list[str], log: Path | None = None) -> Figures:
        """Runs pgbench through a pooler; the first second (logins, opening of the pool) is not measured."""
        seconds = self.options.seconds
        command = [self.tool("pgbench"), "-n", "-h", "127.0.0.1", "-p", str(peer.port), "-U", "app_scram", "-j", "2"]
        command += ["-P", "1", "-T", str(seconds + 2)] + arguments
        if log:
            command += ["-l", f"--log-prefix={log}", "--sampling-rate=0.25"]
        environment = {"PATH": os.environ["PATH"], "PGPASSWORD": PASSWORD, "LC_ALL": "C", "PGSSLMODE": "disable"}
        run = subprocess.Popen(
            command + ["app"], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )
        self.running.append(run)
        try:
            return self.watch(peer, run, seconds)
        finally:
            self.stop(run)

    def watch(self, peer: Peer, run: subprocess.Popen, seconds: int) -> Figures:
        """Takes the pooler's CPU time whenever pgbench reports a second, so both speak of the same interval."""
        output: list[str] = []
        samples: list[tuple[float, float, Cpu]] = []
        memory = 0
        for line in run.stdout:
            output.append(line)
            progress = re.match(r"progress: ([\d.]+) s, ([\d.]+) tps", line)
            if progress and len(samples) <= seconds:
                samples.append((float(progress[1]), float(progress[2]), cpu_of(peer.process.pid)))
                memory = resident_kib(peer.process.pid)
        text = "".join(output)
        failed = re.search(r"number of failed transactions: (\d+)", text)
        if run.wait() != 0 or (failed and failed[1] != "0") or "aborted" in text or len(samples) < 2:
            raise Failure(f"pgbench through {peer.name} failed:\n{text[-2000:]}")
        transactions = sum(tps * (now - before) for (before, _, _), (now, tps, _) in zip(samples, samples[1:]))
        cpu = samples[-1][2] - samples[0][2]
        if cpu.user + cpu.system == 0:
            raise Failure(f"{peer.name} used no CPU time: its wrapper must exec the program")
        return {
            "CPU, µs": (cpu.user + cpu.system) * 1e6 / transactions,
            "  user, µs": cpu.user * 1e6 / transactions,
            "  system, µs": cpu.system * 1e6 / transactions,
            "per second": transactions / (samples[-1][0] - samples[0][0]),
            "resident, MiB": memory / 1024,
        }

    def transactions(self, peer: Peer, protocol: str, clients: int) -> None:
        logs = Path(tempfile.mkdtemp(dir=self.scratch))
        figures = self.pgbench(peer, ["-S", "-M", protocol, "-c", str(clients)], logs / "log")
        figures |= latencies(logs)
        shutil.rmtree(logs)
        peer.record(f"transaction: {protocol}, {clients} clients", figures)

    def logins(self, peer: Peer) -> None:
        script = self.scratch / "login.sql"
        script.write_text("select 1;\n")
        figures = self.pgbench(peer, ["-C", "-f", str(script), "-c", str(LOGIN_CLIENTS)])
        peer.record("login: SCRAM, no TLS, and one query", figures)

    def idle(self, peer: Peer) -> None:
        """Memory of an idle client, in a fresh process: the growth between one client and many."""
        self.start(peer, "trust")
        try:
            before = self.resident_with_clients(peer, 1)
            after = self.resident_with_clients(peer, self.options.idle)
            figures = {"bytes per client": (after - before) * 1024 / (self.options.idle - 1)}
            peer.record(f"idle client: {self.options.idle} connections, trust, no TLS", figures)
        finally:
            self.stop(peer.process)

    def resident_with_clients(self, peer: Peer, count: int) -> int:
        command = [self.options.lab, "idle-clients", "127.0.0.1", str(peer.port), "app", "app", str(count)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
            if clients.stdout.readline().strip() != "READY":
                raise Failure(f"cannot open {count} clients on {peer.name}")
            time.sleep(1)
            resident = resident_kib(peer.process.pid)
            clients.stdin.close()
        return resident


def latencies(logs: Path) -> Figures:
    """Percentiles over all sampled transactions but those of the first second; pgbench's own log, in µs."""
    entries = []
    for log in logs.iterdir():
        for line in log.read_text().splitlines():
            _, _, latency, _, epoch, micros = line.split()[:6]
            entries.append((int(epoch) + int(micros) / 1e6, int(latency)))
    if not entries:
        raise Failure("pgbench logged no transaction")
    start = min(entries)[0] + 1
    kept = sorted(latency for moment, latency in entries if moment >= start)
    return {"p50, ms": percentile(kept, 0.50) / 1000, "p99, ms": percentile(kept, 0.99) / 1000}


def percentile(ordered: list[int], share: float) -> int:
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(bench: Bench, peers: list[Peer]) -> None:
    options = bench.options
    for number in range(options.rounds):
        # Who goes first changes, so that neither always meets the warmer machine.
        order = peers if number % 2 == 0 else peers[::-1]
        for peer in order:
            bench.start(peer, "scram-sha-256")
        for part in options.only:
            cells = [(p, c) for p in options.protocol for c in options.clients] if part == "transactions" else [part]
            for cell in cells:
                for peer in order:
                    print(f"round {number + 1}/{options.rounds}: {cell} {peer.name}", file=sys.stderr)
                    match cell:
                        case "logins":
                            bench.logins(peer)
                        case "idle":
                            # Needs the fresh process, not the one at hand.
                            bench.idle(Peer(peer.name, peer.program, peer.version, results=peer.results))
                        case (protocol, clients):
                            bench.transactions(peer, protocol, clients)
        for peer in order:
            bench.stop(peer.process)


def report(bench: Bench, pgbouncer: Peer, pooler: Peer) -> str:
    options = bench.options
    postgres = text_of(str(Path(bench.server["bin"]) / "postgres"), "--version")
    lines = [
        f"{pgbouncer.version} beside {pooler.version}; {postgres}; {os.cpu_count()} cores, loopback, no TLS;",
        f"pgbench -S, scale {options.scale}, {POOL} server connections, transaction mode;",
        f"medians of {options.rounds} rounds of {options.seconds} s, and the range of the ratio over the rounds.",
    ]
    for cell, figures in pgbouncer.results.items():
        lines += ["", f"{cell:<44}{'PgBouncer':>12}{pooler.name:>12}{'ratio':>8}{'range':>16}"]
        for name, theirs in figures.items():
            ours = pooler.results[cell][name]
            ratios = sorted(own / other for own, other in zip(ours, theirs) if other)
            ratio = f"{statistics.median(ratios):8.2f}{ratios[0]:9.2f} –{ratios[-1]:5.2f}" if ratios else ""
            lines.append(f"  {name:<42}{statistics.median(theirs):12.2f}{statistics.median(ours):12.2f}{ratio}")
    return "\n".join(lines)


def words(text: str) -> list[str]:
    return text.split(",")


def numbers(text: str) -> list[int]:
    return [int(word) for word in words(text)]


def arguments() -> argparse.Namespace:
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pooler", default=str(target / "release/pooler"), help="the program to compare")
    parser.add_argument("--lab", default=str(target / "release/lab"))
    parser.add_argument("--only", type=words, default=list(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--protocol", type=words, default=["simple", "extended", "prepared"])
    parser.add_argument("--clients", type=numbers, default=[32, 500])
    parser.add_argument("--rounds", type=int, default=int(os.environ.get("ROUNDS", 5)))
    parser.add_argument("--seconds", type=int, default=5, help="measured time of each run")
    parser.add_argument("--scale", type=int, default=10, help="pgbench's")
    parser.add_argument("--idle", type=int, default=5000, help="how many idle clients")
    parser.add_argument("--json", type=Path, help="also write every round's figures here")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"unknown part {unknown.pop()}")
    return options


def pgbouncer_peer() -> Peer:
    program = os.environ.get("PGBOUNCER") or text_of(str(HERE / "get-pgbouncer"))
    version = text_of(program, "--version").splitlines()[0]
    found = re.search(r"(\d+)\.(\d+)", version)
    if not found or (int(found[1]), int(found[2])) < (1, 24):
        raise Failure(f"{version} is no fair peer: PGBOUNCER must be at least 1.24")
    return Peer("pgbouncer", program, version)


def main() -> None:
    options = arguments()
    files = allow_many_files()
    if options.idle + 200 > files:
        options.idle = files - 200
        print(f"only {files} open files are allowed: measuring {options.idle} idle clients", file=sys.stderr)
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda *_: sys.exit(1))
    pooler = Peer("pooler", options.pooler, text_of(options.pooler, "--version").splitlines()[0])
    pgbouncer = pgbouncer_peer()
    with tempfile.TemporaryDirectory(prefix="pooler-bench-") as scratch:
        bench = Bench(options, Path(scratch))
        try:
            bench.start_postgres()
            measure(bench, [pgbouncer, pooler])
            print(report(bench, pgbouncer, pooler))
            if options.json:
                results = {f"{peer.name}: {peer.version}": peer.results for peer in (pgbouncer, pooler)}
                options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False))
        finally:
            bench.stop_all()


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
