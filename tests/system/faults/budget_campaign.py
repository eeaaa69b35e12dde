"""Budgets in real time: seeded trials of two jobs at a time, until all rows are answered, judged by the provider's books.

`scripts/budget` runs it and it prints a line for each trial; each has two simulators of its own, with faults that bill
calls and lose their answers. Some trials run at the same time, each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import traceback
import urllib.request
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tests.support import budgets
from tests.system.faults.limits_campaign import simulator
from tests.system.runs.conftest import Mill


def books(port: int) -> list[dict[str, Any]]:
    """What a simulator says it was asked, polls left out."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_sim/books") as answer:
        return [record for record in json.load(answer) if record["route"] in ("chat", "submit", "line")]


def trial(seed: int) -> str:
    """One trial: what came of it in a line; a line that begins with FAILED where something did not hold."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folders = [Path(name) / str(place) for place in range(2)]
        ports = []
        for place, folder in enumerate(folders):
            folder.mkdir()
            ports.append(stack.enter_context(simulator(folder, budgets.SCENARIO.format(seed=2 * seed + place))))
        mills = [Mill(folder / "job", f"http://127.0.0.1:{port}") for folder, port in zip(folders, ports, strict=True)]
        try:
            return budgets.hold(mills, [partial(books, port) for port in ports], seed, Path(name) / "state", kills=True)
        except Exception:  # noqa: BLE001 - one trial says nothing of the others
            return f"FAILED seed {seed}: {traceback.format_exc()}"


def main() -> int:
    """Run all trials; the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="5 with --first 5: those in batches alone")
    parser.add_argument("--at-once", type=int, default=2)
    asked = parser.parse_args()
    failed = 0
    with ProcessPoolExecutor(asked.at_once) as pool:
        for line in pool.map(trial, range(asked.first, asked.first + asked.every * asked.trials, asked.every)):
            failed += line.startswith("FAILED")
            print(line, flush=True)
    print(f"{asked.trials} trials, {failed} failed")
    return min(failed, 100)


if __name__ == "__main__":
    sys.exit(main())
