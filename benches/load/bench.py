#!/usr/bin/env python3
"""Runs the pooler beside PgBouncer on this machine and prints what each costs, and the ratio.

Both get the same pgbouncer.ini, the same PostgreSQL and the same load, in turns, round after round; a figure is the
median of its rounds. Only the ratios travel between machines. Clients log in with SCRAM, and without TLS, unless the
cell says otherwise.

The parts (--only): transactions, with pgbench; logins, each a login and nothing more unless said; idle, the memory of
idle clients; storm, what new logins do to clients at work; floor, the least a login can cost, beside the logins.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # no __pycache__ in the checkout

from cells import PARTS, Cell, calibrate, cells
from machine import Failure, allow_many_files, text_of
from report import report
from setup import HERE, Bench, Peer, pgbouncer_peer

ROOT = HERE.parents[1]


def measure(bench: Bench, wanted: list[Cell]) -> None:
    rounds = bench.options.rounds
    for number in range(rounds):
        for cell in wanted:
            # Who goes first changes, so that neither always meets the warmer machine.
            for peer in cell.peers if number % 2 == 0 else reversed(cell.peers):
                if cell.title in peer.failures:
                    continue
                print(f"round {number + 1}/{rounds}: {cell.title}: {peer.name}", file=sys.stderr)
                try:
                    with bench.serving(peer, cell.setup):
                        peer.record(cell.title, cell.measure(bench, peer))
                except (Failure, OSError, subprocess.SubprocessError) as failure:
                    # The other cells are still worth something.
                    peer.fail(cell.title, str(failure).strip())
                    print(f"  {failure}", file=sys.stderr)


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
    parser.add_argument("--idle", type=int, default=5000, help="how many idle clients without TLS")
    parser.add_argument("--idle-tls", type=int, default=3000, help="and with it")
    parser.add_argument("--login-rate", type=int, default=500, help="logins a second where their CPU is measured")
    parser.add_argument("--storm-rate", type=int, help="logins a second; by default 500, or 0.7 of PgBouncer's most")
    parser.add_argument("--steady-rate", type=int, default=2000, help="transactions a second beside the storm")
    parser.add_argument("--json", type=Path, help="also write every round's figures here")
    options = parser.parse_args()
    if unknown := set(options.only) - set(PARTS):
        parser.error(f"unknown part {unknown.pop()}")
    return options


def limit_idle_clients(options: argparse.Namespace) -> None:
    files = allow_many_files()
    if max(options.idle, options.idle_tls) + 200 > files:
        options.idle, options.idle_tls = min(options.idle, files - 200), min(options.idle_tls, files - 200)
        print(f"only {files} open files are allowed: measuring fewer idle clients", file=sys.stderr)


def main() -> None:
    options = arguments()
    limit_idle_clients(options)
    for end in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(end, lambda *_: sys.exit(1))
    pooler = Peer("pooler", options.pooler, text_of(options.pooler, "--version").splitlines()[0])
    pgbouncer, floor = pgbouncer_peer(), Peer("floor", options.lab, "lab")
    poolers = [pgbouncer, pooler]
    with tempfile.TemporaryDirectory(prefix="pooler-bench-") as scratch:
        bench = Bench(options, Path(scratch))
        try:
            bench.start_postgres()
            if "storm" in options.only:
                calibrate(bench, pgbouncer)
            measure(bench, cells(options, poolers, floor))
            print(report(bench, poolers, floor))
            if options.json:
                results = {f"{peer.name}: {peer.version}": peer.results for peer in [*poolers, floor]}
                options.json.write_text(json.dumps(results, indent=1, ensure_ascii=False))
        finally:
            bench.stop_all()
    if any(peer.failures for peer in [*poolers, floor]):
        sys.exit(1)


if __name__ == "__main__":
    try:
        main()
    except (Failure, OSError, subprocess.SubprocessError) as failure:
        sys.exit(f"bench: {failure}")
    except KeyboardInterrupt:
        sys.exit(130)
