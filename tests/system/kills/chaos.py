"""A longer campaign of kills than the suite has time for; `scripts/chaos` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.system.kills.stage import CHUNKS, CONCURRENCY, Stage, expected_answers, moments, simulator

ROWS = 1_500


def main() -> None:
    """Kill each lane so many times, over as many output folders as that takes, and verify every one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40, help="per lane")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", default="sync,stream,task")
    asked = parser.parse_args()
    for lane in asked.lanes.split(","):
        with tempfile.TemporaryDirectory(prefix="promptmill-chaos-") as name, simulator(Path(name), CHUNKS) as url:
            answers = expected_answers(Path(name) / "calm", url, lane, ROWS)
            when = iter(moments(asked.seed, 100 * asked.kills, 400))
            figures = {"kills": 0, "unknown": 0, "calls": 0, "billed": 0}
            folders = 0
            while figures["kills"] < asked.kills:
                stage = Stage(Path(name) / f"job-{folders}", url, lane, rows=ROWS, rows_per_part=200)
                folders += 1
                while figures["kills"] + stage.kills < asked.kills and stage.run_and_kill(next(when)) is None:
                    pass
                stage.finish()
                for figure, count in stage.verify(answers).items():
                    figures[figure] += count
            print(
                f"{lane}: {figures['kills']} kills over {folders} folders of {ROWS} rows; 0 rows lost, 0 doubled; "
                f"{figures['calls']} calls in the book, {figures['billed']} billed; {figures['unknown']} unknown, "
                f"at most {CONCURRENCY} a kill allowed"
            )


if __name__ == "__main__":
    main()
