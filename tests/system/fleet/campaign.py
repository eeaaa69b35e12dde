"""Runs on a Ray cluster that are disturbed in every way a cluster disturbs one; `scripts/fleet` runs it and it prints its figures."""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from batch.run.fleet.crew import SILENT_S
from batch.run.ray.cluster import folder_of
from tests.system.fleet.disturbance import TAKEOVER_S, Disturbance
from tests.system.fleet.stage import SECRET, Nodes, RayStage, cluster, files_with, holders, until
from tests.system.kills.stage import CONCURRENCY, ROOT, expected_answers, simulator

ROWS = 1_000
WORKERS = 3
SLOW = "[latency]\nchat_ms = [700, 1300]\nsubmit_ms = [700, 1300]\ntask_ms = [100, 300]\n"
"""A worker that is stopped has calls under way, and all wait for the limit."""
QUICK = "[latency]\nchat_ms = [150, 350]\n"
RPM = 1_800
SLOTS = 64
"""More than the limit needs, however slow the way there and back is."""
LIMIT_S = 75.0
TRIES = 3
PRESSED = 0.4
"""The share of the time in which something on this machine waited for a processor; a run alone brings it to a fifth."""


def main() -> None:
    """Disturb runs, hold one that is not disturbed against its limit, end a Ray of a run's own, and ask two stores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="per lane: each way to disturb a run once, in any order")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--lanes", default="sync,task")
    parser.add_argument("--stop", type=float, default=60.0, help="seconds for which a worker is stopped")
    parser.add_argument("--only", default="rounds,limit,own,addresses,stores")
    asked = parser.parse_args()
    parts = asked.only.split(",")
    # The sockets of Ray lie deep below, and their paths may not be long.
    with tempfile.TemporaryDirectory(prefix="pmr-", dir="/tmp") as name:
        root = Path(name)
        if "own" in parts:
            print(own(root / "own"), flush=True)
        if {"rounds", "limit", "addresses"} & set(parts):
            with cluster(root / "c") as nodes:
                if "addresses" in parts:
                    print(addresses(root / "addresses", nodes), flush=True)
                if "limit" in parts:
                    print(limit(root, nodes), flush=True)
                for lane in asked.lanes.split(",") if "rounds" in parts else ():
                    print(Rounds(root, nodes, lane, stop_s=asked.stop).play(asked.rounds, asked.seed), flush=True)
    if "stores" in parts:
        stores(asked.seed)


def made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def judged(url: str, **asked: float) -> dict[str, Any]:
    words = "&".join(f"{name.strip('_')}={value}" for name, value in asked.items())
    with urllib.request.urlopen(f"{url}/_sim/judge?{words}") as answer:
        found: dict[str, Any] = json.load(answer)
    return found


# -- runs that are disturbed ----------------------------------------------------------------------------------------------


class Rounds:
    """Jobs in one lane, each disturbed in every way, in an order that the seed decides."""

    def __init__(self, root: Path, nodes: Nodes, lane: str, *, stop_s: float) -> None:
        self.root = root
        self.nodes = nodes
        self.lane = lane
        self.stop_s = stop_s
        self.figures = Counter[str]()
        self.slowest = 0.0

    def play(self, count: int, seed: int) -> str:
        """So many jobs; returns what came of them."""
        with simulator(made(self.root / f"calm-{self.lane}")) as url:
            answers = expected_answers(self.root / f"calm-{self.lane}" / "job", url, self.lane, ROWS)
        chance = random.Random(seed)
        for number in range(count):
            self.round(made(self.root / f"{self.lane}-{number}"), answers, chance, with_node=number % 2 == 0)
            print(f"{self.lane}, {number + 1} of {count}: {dict(self.figures)}", file=sys.stderr, flush=True)
        return self.told(count)

    def round(self, folder: Path, answers: dict[int, str], chance: random.Random, *, with_node: bool) -> None:
        """One job, and all that must hold of it."""
        figures = self.figures
        with simulator(folder, SLOW) as url:
            stage = RayStage(
                folder / "job",
                url,
                self.lane,
                rows=ROWS,
                rows_per_part=100,
                workers=WORKERS,
                on=f"ray:{self.nodes.address}",
            )
            disturbance = Disturbance(stage, self.nodes, chance, stop_s=self.stop_s, with_node=with_node)
            disturbance.all()
            found = stage.verify(answers)
            disturbance.lost_with_core(found["unknown"])
            zombies = stage.rows_of_late_answers()
            assert not zombies, f"what came late is in rows: {zombies}"
            verdict = judged(url)
            assert verdict["max_requests"] <= stage.limit, verdict
            assert verdict["max_in_flight"] <= CONCURRENCY, verdict
        assert not files_with(self.nodes.folder, SECRET), "the key is in a file of Ray's"
        figures.update(found)
        figures["disturbed"] += len(disturbance.ways)
        figures["brought"] += disturbance.late
        figures["missed"] += disturbance.missed
        for name, value in (
            ("at_risk", disturbance.at_risk),
            ("fullest", verdict["max_requests"]),
            ("in_flight", verdict["max_in_flight"]),
            ("looked_at", len(self.nodes.servers())),
        ):
            figures[name] = max(figures[name], value)
        self.slowest = max(self.slowest, disturbance.slowest)

    def told(self, count: int) -> str:
        """What came of so many jobs."""
        figures = self.figures
        return (
            f"{self.lane}: {count} jobs of {ROWS} rows on 3 nodes, disturbed {figures['disturbed']} times (worker killed, "
            f"node killed, worker stopped for {self.stop_s:.0f} s, core killed, and {figures['missed']} "
            "times started again while Ray still listed a node that had been killed): 0 rows lost, 0 doubled, 0 tasks bought "
            f"twice; never above the limit ({figures['fullest']} of {RayStage.limit} requests in the fullest minute, "
            f"{figures['in_flight']} of {CONCURRENCY} in flight); {figures['calls']} calls in the book, "
            f"{figures['billed']} billed; {figures['unknown']} unknown, {figures['at_risk']} at once at most of "
            f"{CONCURRENCY} allowed; {figures['late']} answers booked late ({figures['brought']} of them by workers that "
            f"woke), 0 of them in a row; rows taken over {self.slowest:.1f} s after their worker at most of "
            f"{SILENT_S + TAKEOVER_S:.1f} allowed; no key in the files of Ray or in the memory of its "
            f"{figures['looked_at']} processes"
        )


# -- the limit ------------------------------------------------------------------------------------------------------------


def limit(root: Path, nodes: Nodes) -> str:
    """A run that nobody disturbs: never above its limit, and next to all of it used.

    Where other work takes the processors, errands come too late and little is used, whoever is to blame: then it says
    nothing, and is made again.
    """
    for number in range(TRIES):
        verdict, pressed = undisturbed(root / f"limit-{number}", nodes)
        assert verdict["max_requests"] <= RPM, verdict
        assert not verdict["refused"], verdict["refused"]
        (use,) = verdict["use"]
        share = use["requests"] / use["allowed"]["requests"]
        said = f"{share:.1%} of the limit used from the 10th to the 70th second"
        if share >= 0.95:
            return (
                f"limit: {WORKERS} workers, {verdict['max_requests']} requests in the fullest minute of {RPM} allowed, "
                f"none refused; {said}"
            )
        assert pressed >= PRESSED, f"only {said}, and the processors were free"
        print(
            f"limit: {said}, but {pressed:.0%} of the time somebody waited for a processor", file=sys.stderr, flush=True
        )
    raise AssertionError(f"{TRIES} times other work had the processors: run --only limit when there is none")


def undisturbed(folder: Path, nodes: Nodes) -> tuple[dict[str, Any], float]:
    """What the simulator says of such a run, and for which share of it somebody waited for a processor."""
    with simulator(made(folder), f"{QUICK}[limits]\nrpm = {RPM}\n") as url:
        stage = RayStage(
            folder / "job",
            url,
            "sync",
            rows=5_000,
            rows_per_part=1_000,
            workers=WORKERS,
            on=f"ray:{nodes.address}",
            limit=RPM,
            concurrency=SLOTS,
        )
        log = stage.begin()
        until(stage.requests)
        waited = waited_s()
        time.sleep(LIMIT_S)
        pressed = (waited_s() - waited) / LIMIT_S
        verdict = judged(url, window=60, from_=10, to=70)
        log.core.send_signal(signal.SIGINT)
        assert log.ended() == 4, log.rest
    return verdict, pressed


def waited_s() -> float:
    """For how many seconds something on this machine has waited for a processor; 0 where the system does not say."""
    try:
        first = Path("/proc/pressure/cpu").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return 0.0
    return int(first.rpartition("total=")[2]) / 1e6


# -- several addresses ----------------------------------------------------------------------------------------------------


def addresses(root: Path, nodes: Nodes) -> str:
    """A job with two keys of one service: each call goes out with the key of its address, which only workers find."""
    with simulator(made(root), QUICK) as url:
        answers = expected_answers(root / "calm", url, "sync", 400)
        stage = RayStage(
            root / "job",
            url,
            "sync",
            rows=400,
            rows_per_part=100,
            workers=WORKERS,
            on=f"ray:{nodes.address}",
            limit=RPM,
            keys=2,
        )
        wanted = stage.requests() + 200
        log = stage.begin()
        until(lambda: stage.requests() > wanted or log.core.poll() is not None)
        assert holders(nodes.workers(), SECRET), "who has a key is not found, so who has it not is not known"
        assert not (found := holders(nodes.servers(), SECRET)), f"a key is in the memory of {found}"
        assert log.ended() == 0, log.rest
        stage.verify(answers)
        calls = dict(stage.query(f"SELECT client_call_id, endpoint FROM {stage.calls_table}"))
        paid = Counter(record["key_id"].removeprefix(stage.key_id) for record in stage.books())
        for record in stage.books():
            assert record["key_id"] == stage.key_id + calls[record["client_call_id"]], record
    assert not files_with(nodes.folder, SECRET), "a key is in a file of Ray's"
    assert min(paid[name] for name in stage.names) > 100, paid
    return (
        f"addresses: two keys of one service, {sum(paid.values())} calls with the one or the other ({dict(paid)}), each as "
        "the book says; no key in the files of Ray or in the memory of its processes"
    )


# -- a Ray of the run's own -----------------------------------------------------------------------------------------------


def own(root: Path) -> str:
    """A run with a Ray of its own, killed: what is left of it ends by itself, and the same command goes on."""
    home = made(root / "home")
    with variables(HOME=str(home)), simulator(made(root / "sim"), QUICK) as url:
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


@contextmanager
def variables(**those: str) -> Iterator[None]:
    """Other variables for the processes that are started meanwhile, and none of Ray's."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith("RAY_")]:
        del os.environ[name]
    os.environ.update(those)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


# -- other stores ---------------------------------------------------------------------------------------------------------


def stores(seed: int) -> None:
    """A run in lane sync over each of two servers that are not the project's: what `scripts/stores` prints of them."""
    command = [str(ROOT / "scripts" / "stores"), "--server", "moto", "--server", "gcs", "--lanes", "sync"]
    subprocess.run([*command, "--kills", "3", "--seed", str(seed)], check=True)


if __name__ == "__main__":
    main()
