"""`scripts/bench`: measure what is asked for, print a table, write JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmark import crew, pace, rivals, size, speed
from benchmark.figures import Figure, Value
from benchmark.machine import ROOT, Machine

FIGURES = {figure.name: figure for figure in (*speed.FIGURES, *size.FIGURES, *pace.FIGURES, *crew.FIGURES)}
QUICK = ("rows", "tasks", "start", "limit", "kill")
"""What a quick run measures where nothing is named: under two minutes on an idle machine."""


def main() -> int:
    """Measure; 1 where a goal was missed."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measure promptmill beside other programs.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure; by default all that is short")
    parser.add_argument("--list", action="store_true", help="say which names there are")
    parser.add_argument("--long", action="store_true", help="measure what takes longer than a minute, too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, one round: to see that it works")
    parser.add_argument("--scale", type=float, help="this share of the rows; --quick is 0.1")
    parser.add_argument("--peers", action="store_true", help="beside lm-deluge and the SDKs, which are installed first")
    parser.add_argument("--rounds", type=int, default=5, help="of what takes less than a minute")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there, too")
    parser.add_argument("--folder", type=Path, help="for what is written meanwhile; by default a temporary one")
    asked = parser.parse_args()
    if asked.list:
        print("\n".join(f"{one.name:10} {one.what}{' (long)' if one.is_long else ''}" for one in FIGURES.values()))
        return 0
    if unknown := [name for name in asked.names if name not in FIGURES]:
        parser.error(f"{', '.join(unknown)}: no such figure; there are {', '.join(FIGURES)}")
    asked.scale = asked.scale or (0.1 if asked.quick else 1.0)
    peers = rivals.environments(ROOT / ".cache" / "bench") if asked.peers else {}
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-", dir=asked.folder) as name:
        rounds = 1 if asked.quick else asked.rounds
        machine = Machine(Path(name), rounds=rounds, scale=asked.scale, peers=peers)
        found = {one.name: _measured(one, machine) for one in _chosen(asked)}
    if asked.json:
        asked.json.write_text(json.dumps(_public(found, asked), indent=1), encoding="utf-8")
    missed = sum(value.verdict == "MISSED" for values in found.values() for value in values)
    whole = asked.scale >= 1
    print(f"{missed} missed" if whole else f"{asked.scale:g} of the rows: no figure counts")
    return int(bool(missed) and whole)


def _chosen(asked: argparse.Namespace) -> list[Figure]:
    names = asked.names or (QUICK if asked.quick else FIGURES)
    return [FIGURES[name] for name in names if asked.names or asked.long or asked.quick or not FIGURES[name].is_long]


def _measured(figure: Figure, machine: Machine) -> list[Value]:
    """Measure one figure and print its lines."""
    began = time.monotonic()
    values = figure.measure(machine)
    print(f"{figure.name} ({time.monotonic() - began:.0f} s)")
    for value in values:
        spread = f"  [{min(value.all):.4g} to {max(value.all):.4g}]" if len(value.all) > 1 else ""
        goal = f"  {value.goal}: {value.verdict}" if value.goal else ""
        beside = f"  ({value.beside})" if value.beside else ""
        print(f"  {value.what:52} {value.value:10.4g} {value.unit:7}{goal}{beside}{spread}", flush=True)
    return values


def _public(found: dict[str, list[Value]], asked: argparse.Namespace) -> dict[str, object]:
    """All of it, for programs."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "python": platform.python_version(),
        "scale": asked.scale,
        "rounds": asked.rounds,
        "figures": {
            name: [{**asdict(value), "verdict": value.verdict} for value in values] for name, values in found.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
