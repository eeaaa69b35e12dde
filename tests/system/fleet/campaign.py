"""Runs on a Ray cluster that are disturbed in every way a cluster disturbs one; `scripts/fleet` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from batch.run.fleet.crew import LOOK_S, SILENT_S
from batch.run.ray.cluster import folder_of
from tests.system.fleet.stage import SECRET, Log, Nodes, RayStage, cluster, files_with, holders, until
from tests.system.kills.stage import CONCURRENCY, expected_answers, simulator

ROWS = 700
WORKERS = 3
TAKEOVER_S = 2.0
"""What may come on top of the silence until the rows of a worker are somebody else's."""
SLOW = "[latency]\nchat_ms = [150, 350]\ntask_ms = [200, 500]\n"
LIMIT_S = 75.0


def main() -> None:
    """Disturb runs, hold one that is not disturbed against its limit, and end a Ray of a run's own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="per lane: each way to disturb a run once, in any order")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", default="sync,task")
    parser.add_argument("--only", default="rounds,limit,own")
    asked = parser.parse_args()
    parts = asked.only.split(",")
    # The sockets of Ray lie deep below, and their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="pmr-", dir="/tmp") as name:
        root = Path(name)
        if "own" in parts:
            print(own(root / "own"), flush=True)
        if {"rounds", "limit"} & set(parts):
            with cluster(root / "c") as nodes:
                for lane in asked.lanes.split(",") if "rounds" in parts else ():
                    print(rounds(root, nodes, lane, asked.rounds, asked.seed), flush=True)
                if "limit" in parts:
                    print(limit(root, nodes), flush=True)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def judged(url: str, **asked: float) -> dict[str, Any]:
    words = "&".join(f"{name.strip('_')}={value}" for name, value in asked.items())
    with urllib.request.urlopen(f"{url}/_sim/judge?{words}") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


# -- runs that are disturbed ----------------------------------------------------------------------------------------------


def rounds(root: Path, nodes: Nodes, lane: str, count: int, seed: int) -> str:
    """So many jobs in one lane, each disturbed in every way, in an order that the seed decides."""
    with simulator(made(root / f"calm-{lane}")) as url:
        answers = expected_answers(root / f"calm-{lane}" / "job", url, lane, ROWS)
    figures, slowest, chance = Counter[str](), 0.0, random.Random(seed)
    for number in range(count):
        with simulator(made(root / f"{lane}-{number}"), SLOW) as url:
            stage = RayStage(
                root / f"{lane}-{number}" / "job", url, lane, rows=ROWS, rows_per_part=100, workers=WORKERS
            )
            stage.on = f"ray:{nodes.address}"
            disturbance = Disturbance(stage, nodes, chance)
            disturbance.all()
            figures.update(stage.verify(answers))
            verdict = judged(url)
            assert verdict["max_requests"] <= stage.limit, verdict
            assert verdict["max_in_flight"] <= CONCURRENCY, verdict
            slowest = max(slowest, disturbance.slowest)
            figures["disturbed"] += len(disturbance.ways)
            assert not files_with(nodes.folder, SECRET), "the key is in a file of Ray's"
            figures["looked_at"] = max(figures["looked_at"], len(nodes.servers()))
    return (
        f"{lane}: {count} jobs of {ROWS} rows on 3 nodes, disturbed {figures['disturbed']} times (worker killed, node "
        f"killed, worker stopped, core killed): 0 rows lost, 0 doubled, no task bought twice, never above "
        f"{RayStage.limit} requests in a minute or {CONCURRENCY} in flight; {figures['calls']} calls in the book, "
        f"{figures['billed']} billed; {figures['unknown']} unknown ({CONCURRENCY} each time allowed), {figures['late']} "
        f"answers late; rows taken over {slowest:.1f} s after their worker at most; no key in the files of Ray or in the "
        f"memory of its {figures['looked_at']} processes"
    )


class Disturbance:
    """Everything that happens to one job."""

    def __init__(self, stage: RayStage, nodes: Nodes, chance: random.Random) -> None:
        self.stage = stage
        self.nodes = nodes
        self.chance = chance
        self.slowest = 0.0
        self.log: Log
        self.stopped: list[psutil.Process] = []
        self.ways: list[Callable[[], None]] = [self.kill_worker, self.kill_node, self.stop_worker, self.kill_core]
        chance.shuffle(self.ways)

    def all(self) -> None:
        """One after the other, and then to the end."""
        self.begin()
        for way in self.ways:
            self.work_goes_on()
            assert self.log.core.poll() is None, "the job was done before it was disturbed: give it more rows"
            secret = f"{self.stage.key_id}.{SECRET}"
            assert holders(self.workers(), secret), "who has the key is not found, so who has it not is not known"
            assert not (found := holders(self.nodes.servers(), secret)), f"the key is in the memory of {found}"
            way()
            self.stage.kills += 1
        for process in self.stopped:
            if process.is_running():
                process.send_signal(signal.SIGCONT)
        if self.log.ended() != 0:
            raise AssertionError((self.log.rest, self.log.events[-3:]))

    def begin(self) -> None:
        self.log = self.stage.begin()
        self.work_goes_on()

    def work_goes_on(self) -> None:
        """Wait until all workers have had something to do."""
        until(lambda: len(self.workers()) == WORKERS or self.log.core.poll() is not None)
        first = self.stage.requests()
        wanted = first + self.chance.randint(60, 100)
        until(lambda: self.stage.requests() >= wanted or self.log.core.poll() is not None)

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.nodes.workers() if process not in self.stopped]

    def kill_worker(self) -> None:
        self.chance.choice(self.workers()).kill()
        self.taken_over("worker_ended")

    def kill_node(self) -> None:
        if not self.nodes.kill():
            self.kill_worker()
            return
        self.taken_over("worker_ended", "worker_silent")
        self.nodes.add()

    def stop_worker(self) -> None:
        process = self.chance.choice(self.workers())
        process.send_signal(signal.SIGSTOP)
        self.stopped.append(process)
        self.taken_over("worker_silent")
        time.sleep(1.0)
        process.send_signal(signal.SIGCONT)

    def kill_core(self) -> None:
        self.log.core.kill()
        self.log.ended()
        until(lambda: not self.workers())
        self.begin()

    def taken_over(self, *names: str) -> None:
        began = time.monotonic()
        until(lambda: self.log.after(began, *names), SILENT_S + LOOK_S + TAKEOVER_S + 10)
        at, _ = self.log.after(began, *names) or (0.0, {})
        self.slowest = max(self.slowest, at - began)
        assert at - began <= SILENT_S + TAKEOVER_S, f"taken over after {at - began:.1f} s"


# -- the limit ------------------------------------------------------------------------------------------------------------


def limit(root: Path, nodes: Nodes) -> str:
    """A run that nobody disturbs: never above its limit, and next to all of it used."""
    with simulator(made(root / "limit"), f"[latency]\nchat_ms = [100, 200]\n[limits]\nrpm = {RayStage.limit}\n") as url:
        stage = RayStage(root / "limit" / "job", url, "sync", rows=5_000, rows_per_part=1_000, workers=WORKERS)
        stage.on = f"ray:{nodes.address}"
        log = stage.begin()
        until(stage.requests)
        time.sleep(LIMIT_S)
        verdict = judged(url, window=60, from_=10, to=70)
        log.core.send_signal(signal.SIGINT)
        assert log.ended() == 4, log.rest
        assert verdict["max_requests"] <= stage.limit, verdict
        assert not verdict["refused"], verdict["refused"]
        (use,) = verdict["use"]
        share = use["requests"] / use["allowed"]["requests"]
        said = [event for _, event in log.events if event["event"].startswith(("worker", "answer", "limit"))]
        assert share >= 0.95, f"only {share:.1%} of the limit used: {said}"
    return (
        f"limit: {WORKERS} workers, {verdict['max_requests']} requests in the fullest minute of {stage.limit} allowed, "
        f"none refused; {share:.1%} of the limit used from the 10th to the 70th second"
    )


# -- a Ray of the run's own -----------------------------------------------------------------------------------------------


def own(root: Path) -> str:
    """A run with a Ray of its own, killed: what is left of it ends by itself, and the same command goes on."""
    home = made(root / "home")
    for name in ("RAY_TMPDIR", "RAY_AUTH_MODE", "RAY_ADDRESS"):
        os.environ.pop(name, None)
    os.environ["HOME"] = str(home)
    with simulator(made(root / "sim"), SLOW) as url:
        answers = expected_answers(root / "calm", url, "sync", 200)
        stage = RayStage(root / "job", url, "sync", rows=200, rows_per_part=100, workers=2)
        first = stage.requests()
        log = stage.begin()
        until(lambda: stage.requests() > first + 60)
        mine = psutil.Process(log.core.pid).children(recursive=True)
        servers = [process for process in mine if "gcs_server" in process.name()]
        assert [process.environ().get("RAY_USAGE_STATS_ENABLED") for process in servers] == ["0"]
        log.core.kill()
        log.ended()
        stage.kills += 1
        began = time.monotonic()
        _, alive = psutil.wait_procs(mine, timeout=90)
        assert not alive, alive
        gone_s = time.monotonic() - began
        log = stage.begin()
        until(lambda: log.core.poll() is not None or log.after(0.0, "ray_joined"))
        mine = psutil.Process(log.core.pid).children(recursive=True) if log.core.poll() is None else []
        assert log.ended() == 0, log.rest
        assert not [process for process in mine if process.is_running()], "a process of Ray outlives its run"
        figures = stage.verify(answers)
        assert not (home / ".ray").exists(), "something is left in the home folder"
        assert not files_with(stage.out, SECRET)
        assert not folder_of(stage.out).exists(), "the files of Ray are left"
    return (
        f"own: a run with a Ray of its own, killed; its {len(servers)} server and all else of it were gone {gone_s:.0f} s "
        f"later, and the same command went on: 0 of 200 rows lost, {figures['unknown']} calls unknown; after a clean end "
        "nothing is left"
    )


if __name__ == "__main__":
    main()
