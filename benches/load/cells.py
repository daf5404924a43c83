"""What the load bench measures: cells, each with a title, a set-up, and a way to its figures."""

import sys
import tempfile
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loads import (
    MARGIN, check_pgbench, logged_latencies, logins, measured_logins, percentile_ms, pgbench, resident_with_clients,
    watched_pgbench,
)
from machine import killed_after
from setup import Bench, Figures, Peer, Setup

PARTS = ("transactions", "logins", "idle", "storm", "floor")
STEADY_CLIENTS = 16
STORM_CLIENTS = 64  # logins under way at a time, at most
STORM_WARMUP = 2  # seconds
STORM_RATE = 500  # logins a second, unless PgBouncer can do less
PLAIN = Setup()
TLS = Setup(tls=True)


@dataclass(frozen=True)
class Cell:
    title: str
    setup: Setup
    measure: Callable[[Bench, Peer], Figures]
    peers: list[Peer]


def cells(options: Namespace, poolers: list[Peer], floor: Peer) -> list[Cell]:
    found: list[Cell] = []
    for part in options.only:
        match part:
            case "transactions":
                for protocol in options.protocol:
                    found += [transactions(protocol, clients, poolers) for clients in options.clients]
            case "logins":
                found += bare_logins(poolers)
                found.append(login("login: SCRAM, and one query", PLAIN, ["--query"], poolers))
                found.append(login("login: SCRAM, TLS 1.3, auth_query", Setup(tls=True, auth_query=True), [], poolers))
            case "floor":
                found += bare_logins([floor])
            case "idle":
                found.append(idle(options.idle, False, poolers))
                found.append(idle(options.idle_tls, True, poolers))
            case "storm":
                found.append(Cell("storm of logins: SCRAM, TLS 1.3", TLS, storm, poolers))
    return found


def transactions(protocol: str, clients: int, peers: list[Peer]) -> Cell:
    def measure(bench: Bench, peer: Peer) -> Figures:
        with tempfile.TemporaryDirectory(dir=bench.scratch) as logs:
            arguments = ["-S", "-M", protocol, "-c", str(clients), "-l", "--sampling-rate=0.25"]
            figures = watched_pgbench(bench, peer, arguments + [f"--log-prefix={logs}/log"])
            entries = logged_latencies(Path(logs))
        begin = min(entries)[0] + 1 if entries else 0
        for share in (0.50, 0.99):
            figures[f"p{share * 100:.0f}, ms"] = percentile_ms(entries, share, begin)
        return figures

    return Cell(f"transaction: {protocol}, {clients} clients", PLAIN, measure, peers)


def bare_logins(peers: list[Peer]) -> list[Cell]:
    return [login("login: SCRAM", PLAIN, [], peers), login("login: SCRAM, TLS 1.3", TLS, [], peers)]


def login(title: str, setup: Setup, arguments: list[str], peers: list[Peer]) -> Cell:
    arguments = arguments + (["--tls"] if setup.tls else [])
    return Cell(title, setup, lambda bench, peer: measured_logins(bench, peer, arguments), peers)


def idle(count: int, tls: bool, peers: list[Peer]) -> Cell:
    """Memory of an idle client: the growth between one client and many."""
    arguments = ["--tls"] if tls else []

    def measure(bench: Bench, peer: Peer) -> Figures:
        before = resident_with_clients(bench, peer, 1, arguments)
        after = resident_with_clients(bench, peer, count, arguments)
        return {"bytes per client": (after - before) * 1024 / (count - 1)}

    title = f"idle client: {count} connections, {'TLS 1.3' if tls else 'no TLS'}"
    return Cell(title, Setup(auth_type="trust", tls=tls), measure, peers)


def storm(bench: Bench, peer: Peer) -> Figures:
    """Clients at steady work, far from saturation: in calm, with new logins at a fixed rate, and with as many new
    logins as come through. All of them use TLS."""
    seconds = bench.options.seconds
    whole = STORM_WARMUP + 3 * seconds + 3
    with tempfile.TemporaryDirectory(dir=bench.scratch) as logs:
        arguments = ["-S", "-c", str(STEADY_CLIENTS), "-R", str(bench.options.steady_rate), "-T", str(whole), "-l"]
        work = pgbench(bench, peer, arguments + [f"--log-prefix={logs}/log"], tls=True)
        try:
            with killed_after(whole + MARGIN, work):
                time.sleep(STORM_WARMUP + seconds)
                stormy = logins(bench, peer, seconds, storm_arguments(bench.options.storm_rate))
                flooded = logins(bench, peer, seconds, ["--tls", "--clients", str(STORM_CLIENTS)])
                check_pgbench(work, work.communicate()[0], peer)
        finally:
            bench.stop(work)
        entries = logged_latencies(Path(logs))
    calm = percentile_ms(entries, 0.99, stormy["began"] - seconds, stormy["began"])
    in_storm = percentile_ms(entries, 0.99, stormy["began"], stormy["began"] + seconds)
    in_flood = percentile_ms(entries, 0.99, flooded["began"], flooded["began"] + seconds)
    return {
        "p99 of the work in calm, ms": calm,
        "p99 of the work in the storm, ms": in_storm,
        "  difference, ms": in_storm - calm,
        "p99 of a login in the storm, ms": stormy["p99_us"] / 1000,
        "logins per second, storm": stormy["succeeded"] / stormy["seconds"],
        "logins per second, as many as can be": flooded["succeeded"] / flooded["seconds"],
        "p99 of the work beside them, ms": in_flood,
    }


def storm_arguments(rate: float) -> list[str]:
    return ["--tls", "--rate", str(rate), "--clients", str(STORM_CLIENTS)]


def calibrate(bench: Bench, pgbouncer: Peer) -> None:
    """Chooses the storm's rate, unless it was given: what leaves PgBouncer room for its work on this machine."""
    if bench.options.storm_rate is None:
        with bench.serving(pgbouncer, TLS):
            seen = logins(bench, pgbouncer, 3, ["--tls"])
        served = seen["succeeded"] / seen["seconds"]
        bench.options.storm_rate = min(STORM_RATE, round(served * 0.7))
        print(f"storm: PgBouncer serves {served:.0f} logins a second; {bench.options.storm_rate} will come",
              file=sys.stderr)
