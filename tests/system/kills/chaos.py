"""A longer campaign of kills than the suite has time for; `scripts/chaos` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import random
import tempfile
from collections import Counter
from pathlib import Path

from batch.core import failpoints
from tests.system.kills.crews import Crews
from tests.system.kills.effects import POINTS, Agents
from tests.system.kills.stage import CHUNKS, CONCURRENCY, Stage, expected_answers, moments, simulator
from tests.system.kills.votes import SCENARIO, Votes

ROWS = 1_500
CREW_ROWS = 900
KILLS_A_RUN = 4
AGENTS = 200
TICKETS = 360
BULK_ROWS = 120
KILLS_A_FOLDER = 5
BATCHES = "[latency]\nbatch_ms = [100, 900]\nchat_ms = [5, 20]\n"
OTHERWISE = frozenset({"bulk.cancelled", "bulk.found"})
"""Steps of a run that cancels its batches, or has lost its ledger: other tests kill there."""
POLICIES = ("fail", "ask_model", "rerun")


def main() -> None:
    """Kill each lane so many times, over as many output folders as that takes, and verify every one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=40, help="per lane")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", default="sync,stream,task")
    parser.add_argument("--batches", type=int, default=40, help="kills of a run in batches, half of them at its steps")
    parser.add_argument("--effects", type=int, default=30, help="kills of an agent that writes files, per policy")
    parser.add_argument(
        "--samples", type=int, default=20, help="kills of a job that asks each row three, then five times"
    )
    parser.add_argument("--workers", type=int, default=12, help="kills of a run with two workers, per lane")
    asked = parser.parse_args()
    for lane in asked.lanes.split(",") if asked.kills else ():
        with tempfile.TemporaryDirectory(prefix="promptmill-chaos-") as name, simulator(Path(name), CHUNKS) as url:
            answers = expected_answers(Path(name) / "calm", url, lane, ROWS)
            when = iter(moments(asked.seed, 100 * asked.kills, 400))
            figures: Counter[str] = Counter()
            folders = 0
            while figures["kills"] < asked.kills:
                stage = Stage(Path(name) / f"job-{folders}", url, lane, rows=ROWS, rows_per_part=200)
                folders += 1
                while figures["kills"] + stage.kills < asked.kills and stage.run_and_kill(next(when)) is None:
                    pass
                stage.finish()
                figures.update(stage.verify(answers))
            print(
                f"{lane}: {figures['kills']} kills over {folders} folders of {ROWS} rows; 0 rows lost, 0 doubled; "
                f"{figures['calls']} calls in the book, {figures['billed']} billed; {figures['unknown']} unknown, "
                f"at most {CONCURRENCY} a kill allowed"
            )
    for lane in asked.lanes.split(",") if asked.workers else ():
        of_workers(lane, asked.workers, asked.seed)
    if asked.batches:
        in_batches(asked.batches, asked.seed)
    for policy in POLICIES if asked.effects else ():
        agents(policy, asked.effects, asked.seed)
    if asked.samples:
        votes(asked.samples, asked.seed)


def of_workers(lane: str, kills: int, seed: int) -> None:
    """Kill the workers of runs that have two of them, and each second run as a whole, and verify every folder."""
    with tempfile.TemporaryDirectory(prefix="promptmill-workers-") as name, simulator(Path(name), CHUNKS) as url:
        answers = expected_answers(Path(name) / "calm", url, lane, CREW_ROWS)
        when = iter(moments(seed, 100 * kills, 150))
        figures: Counter[str] = Counter()
        folders = 0
        while figures["kills"] < kills:
            stage = Crews(Path(name) / f"job-{folders}", url, lane, rows=CREW_ROWS, rows_per_part=100)
            folders += 1
            left = min(KILLS_A_RUN, kills - figures["kills"])
            while stage.run_and_kill_workers(when, left, core=folders % 2 == 0 and stage.kills < left) is None:
                left = 0
            figures.update(stage.verify(answers))
        print(
            f"{lane} with two workers: {figures['kills']} kills, of workers and of each second run, over {folders} "
            f"folders of {CREW_ROWS} rows; 0 rows lost, 0 doubled; {figures['calls']} calls in the book, "
            f"{figures['billed']} billed; {figures['unknown']} unknown, at most {CONCURRENCY} a kill allowed"
        )


def in_batches(kills: int, seed: int) -> None:
    """Kill a run in lane bulk at each of its durable steps in turn and at random moments, and verify every folder."""
    with tempfile.TemporaryDirectory(prefix="promptmill-batches-") as name, simulator(Path(name), BATCHES) as url:
        answers = expected_answers(Path(name) / "calm", url, "bulk", BULK_ROWS)
        steps = [point for point in failpoints.NAMES if point.startswith("bulk.") and point not in OTHERWISE]
        when, chance = iter(moments(seed, 100 * kills, 40)), random.Random(seed)
        figures: Counter[str] = Counter()
        folders = place = 0
        while figures["kills"] < kills:
            lane = ("bulk", "bulk,sync")[folders % 2]
            stage = Stage(Path(name) / f"job-{folders}", url, lane, rows=BULK_ROWS, rows_per_part=60)
            folders += 1
            for _ in range(KILLS_A_FOLDER):
                if figures["kills"] + stage.kills >= kills:
                    break
                step, place = steps[place // 2 % len(steps)], place + 1
                at_step = place % 2 == 0
                code = stage.run(f"{step}:{chance.randint(1, 6)}") if at_step else stage.run_and_kill(next(when))
                if code not in (None, -9):
                    break
            stage.finish()
            found = stage.verify(answers)
            assert found["unknown"] == 0, "a batch that was made is always found again"
            figures.update(found)
        print(
            f"bulk: {figures['kills']} kills over {folders} folders of {BULK_ROWS} rows in batches of 10, at "
            f"{len(steps)} steps in turn and at random; 0 rows lost, 0 doubled; {figures['calls']} calls in the book, "
            f"{figures['billed']} billed, each once; {figures['unknown']} unknown"
        )


def votes(kills: int, seed: int) -> None:
    """Kill a job with samples half of the times while it asks three, half while it asks the two that are missing."""
    with tempfile.TemporaryDirectory(prefix="promptmill-votes-") as name, simulator(Path(name), SCENARIO) as url:
        stage = Votes(Path(name) / "job", url, "sync", rows=TICKETS)
        when = iter(moments(seed, kills, 50))
        figures: dict[str, int] = {}
        for samples in (3, 5):
            stage.ask(samples)
            for _ in range(kills // 2):
                stage.run_and_kill(next(when))
            assert stage.run() in (0, 1), stage.said
            figures = stage.verify_votes(samples)
        print(
            f"samples: {stage.kills} kills over {TICKETS} rows, three samples and then five; {figures['calls']} calls in "
            f"the book, {figures['billed']} billed, {figures['unknown']} unknown; {figures['invalid']} samples without a "
            "valid label; every vote counted once"
        )


def agents(policy: str, kills: int, seed: int) -> None:
    """Kill an agent at every step of a tool, at each a number of times, and verify what it wrote."""
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="promptmill-agents-") as name,
        simulator(Path(name), "time_factor = 0.2") as url,
    ):
        stage, place = Agents(Path(name) / "job", url, "sync", rows=AGENTS, policy=policy), 0
        folders = rows = interrupted = doubted = twice = killed = 0
        when = iter(moments(seed, 100 * kills, 200))
        while killed < kills:
            # Every step of a tool in turn, and then a moment that nobody chose: inside a function, for instance.
            point = (*POINTS, None)[place % (len(POINTS) + 1)]
            code = stage.run_and_kill(next(when)) if point is None else stage.run(f"{point}:{chance.randint(1, 20)}")
            if code in (None, -9):
                place, killed = place + 1, killed + 1
                if killed < kills:
                    continue
            assert stage.kills, f"{point} was never passed: {stage.said}"
            assert stage.run() in (0, 1), stage.said
            figures = stage.verify_effects()
            folders, rows = folders + 1, rows + AGENTS
            interrupted, doubted = interrupted + figures["interrupted"], doubted + figures["doubted"]
            twice += figures["twice"]
            stage = Agents(Path(name) / f"job-{folders}", url, "sync", rows=AGENTS, policy=policy)
        print(
            f"effects, policy {policy}: {killed} kills over {folders} folders, {rows} rows; {interrupted} failed as "
            f"interrupted, {doubted} flagged as in doubt; {twice} files written twice"
        )


if __name__ == "__main__":
    main()
