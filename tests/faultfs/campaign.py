"""A longer campaign of disk faults than the suite has time for; `scripts/storage` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import faulthandler
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faultfs.points import points
from tests.faultfs.stage import SIMULATOR, Broken, scenes, strike
from tests.kills.stage import simulator

STUCK_S = 120


def main() -> int:
    """Strike every chosen point once, in an output folder of its own, and tell what became of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=800, help="at most so many, spread over all there are; 0 is all")
    parser.add_argument("--scenes", default="sync,rewrite,task")
    parser.add_argument("--shift", type=int, default=0, help="another number, other faults at the same points")
    asked = parser.parse_args()
    found: Counter[tuple[str, str]] = Counter()
    struck: Counter[str] = Counter()
    broken = []
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="promptmill-storage-") as name, simulator(Path(name), SIMULATOR) as url:
        for scene, fault in points(scenes(Path(name), url, asked.scenes.split(",")), asked.points, asked.shift):
            faulthandler.dump_traceback_later(STUCK_S, exit=True)
            try:
                outcome = strike(scene, fault)
            except Broken as exc:
                outcome = "BROKEN"
                broken.append(str(exc))
                print(exc, flush=True)
            found[fault.kind, outcome] += 1
            struck[fault.how] += outcome != "missed"
        faulthandler.cancel_dump_traceback_later()
    for (kind, outcome), number in sorted(found.items()):
        print(f"{kind:17}  {outcome:9}{number:5}")
    listed = ", ".join(f"{number} {how}" for how, number in sorted(struck.items()))
    print(f"{sum(struck.values())} faults ({listed}) in {time.monotonic() - began:.0f} s; {len(broken)} broke a promise")
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
