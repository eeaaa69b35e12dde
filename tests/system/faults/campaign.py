"""A longer campaign of disk faults than the suite has time for; `scripts/storage` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import faulthandler
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, settings

from tests.support.histories import SCENARIO, Step, cuts, go_on, histories, lanes, recorded
from tests.system.faults.points import points
from tests.system.faults.stage import SIMULATOR, Broken, scenes, strike
from tests.system.kills.stage import simulator

STUCK_S = 120


def main() -> int:
    """Strike every chosen point once, in an output folder of its own, and tell what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=800, help="at most so many, spread over all there are; 0 is all")
    parser.add_argument("--scenes", default="sync,rewrite,task")
    parser.add_argument("--histories", type=int, default=20, help="histories to cut after any of their commits")
    parser.add_argument("--shift", type=int, default=0, help="another number, other faults at the same points")
    asked = parser.parse_args()
    found: Counter[tuple[str, str]] = Counter()
    struck: Counter[str] = Counter()
    broken = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="promptmill-storage-") as name, simulator(Path(name), SIMULATOR) as url:
        chosen = list(points(scenes(Path(name), url, asked.scenes.split(",")), asked.points, asked.shift))
        for number, (scene, fault) in enumerate(chosen):
            # Every fourth is followed by another one, half-way through what was left to do.
            second = chosen[(number * 7 + 3) % len(chosen)][1]
            more = [replace(second, at=1 + second.at // 2)] if number % 4 == 3 else []
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            try:
                outcome = strike(scene, fault, *more)
            except Broken as exc:
                outcome = "BROKEN"
                broken.append(str(exc))
                print(exc, flush=True)
            found[fault.kind, outcome] += 1
            struck[fault.how] += outcome != "missed"
            if number % 100 == 99:
                print(f"{number + 1} of {len(chosen)} after {time.monotonic() - began:.0f} s", file=sys.stderr)
        faulthandler.cancel_dump_traceback_later()
    for (kind, outcome), number in sorted(found.items()):
        print(f"{kind:17}  {outcome:9}{number:5}")
    listed = ", ".join(f"{number} {how}" for how, number in sorted(struck.items()))
    print(
        f"{sum(struck.values())} faults ({listed}) in {time.monotonic() - began:.0f} s; {len(broken)} broke a promise"
    )
    if asked.histories:
        print(f"{asked.histories} histories, {_histories(asked.histories)} cuts: each went on to the same table")
    return 1 if broken else 0


def _histories(number: int) -> int:
    """Play so many histories; how often one was cut and went on is returned."""
    made = 0
    with tempfile.TemporaryDirectory(prefix="promptmill-histories-") as name, simulator(Path(name), SCENARIO) as url:

        @settings(
            max_examples=number,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate,),
        )
        @given(histories(), lanes, cuts)
        def play(steps: tuple[Step, ...], lane: str, places: list[tuple[float, bool]]) -> None:
            nonlocal made
            with tempfile.TemporaryDirectory(dir=name) as folder:
                history, expected = recorded(Path(folder), url, lane, steps)
                for share, skip in places:
                    go_on(history, expected, history.cuts[int(share * len(history.cuts))], skip=skip)
                    made += 1

        play()
    return made


if __name__ == "__main__":
    raise SystemExit(main())
