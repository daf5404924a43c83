"""The load bench's table: medians side by side, and the ratio of the two poolers."""

import os
import statistics
from pathlib import Path

from machine import text_of
from setup import POOL, Bench, Peer


def report(bench: Bench, poolers: list[Peer], floor: Peer) -> str:
    options = bench.options
    postgres = text_of(str(Path(bench.server["bin"]) / "postgres"), "--version")
    lines = [
        f"{poolers[0].version} beside {poolers[1].version}; {postgres}; {os.cpu_count()} cores, loopback;",
        f"pgbench -S, scale {options.scale}, {POOL} server connections, transaction mode; TLS: ECDSA P-256, X25519;",
        f"medians of {options.rounds} rounds of {options.seconds} s, and the range of the ratio over the rounds.",
    ]
    if {"logins", "floor"} & set(options.only):
        lines.append(f"logins: CPU and percentiles at {options.login_rate} logins a second, the same for all.")
    if "storm" in options.only:
        lines.append(f"storm: {options.storm_rate} logins a second beside {options.steady_rate} transactions.")
    titles = dict.fromkeys(title for peer in [*poolers, floor] for title in [*peer.results, *peer.failures])
    for title in titles:
        peers = [*poolers, floor] if title in floor.results else poolers
        lines += ["", *table(title, [peer for peer in peers if title in peer.results], poolers)]
        lines += [f"  {peer.name} has no figures: {peer.failures[title]}" for peer in [*poolers, floor]
                  if title in peer.failures]
    return "\n".join(lines)


def table(title: str, peers: list[Peer], poolers: list[Peer]) -> list[str]:
    both = all(peer in peers for peer in poolers)
    columns = "".join(f"{peer.name:>12}" for peer in peers)
    lines = [f"{title:<44}{columns}" + (f"{'ratio':>8}{'range':>16}" if both else "")]
    names = peers[0].results[title] if peers else []
    for name in names:
        medians = "".join(f"{statistics.median(values):12.2f}" for values in values_of(title, name, peers))
        lines.append(f"  {name:<42}{medians}" + (ratio(*values_of(title, name, poolers)) if both else ""))
    return lines


def values_of(title: str, name: str, peers: list[Peer]) -> list[list[float]]:
    return [peer.results[title].get(name, [float("nan")]) for peer in peers]


def ratio(theirs: list[float], ours: list[float]) -> str:
    """A difference that is not above zero has no ratio."""
    ratios = sorted(own / other for own, other in zip(ours, theirs) if other > 0)
    return f"{statistics.median(ratios):8.2f}{ratios[0]:9.2f} –{ratios[-1]:5.2f}" if ratios else ""
