"""Everything that happens to one job on a Ray cluster: a worker killed, a node killed, a worker stopped, the core killed.

Owns the order of that, and how long each takes until the rows of whoever is gone are somebody else's. What must hold in
the end is the stage's; what is printed is the campaign's.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import psutil

from batch.run.fleet.crew import SILENT_S
from tests.system.fleet.stage import SECRET, Log, Nodes, RayStage, holders, until
from tests.system.kills.stage import CONCURRENCY

TAKEOVER_S = 2.0
"""What may come on top of the silence until the rows of a worker are somebody else's."""
STOPS = 3
"""How often a worker is stopped, should it have had nothing under way."""
OVER = ("worker_ended", "worker_silent")


class Disturbance:
    """One job, disturbed in every way once, in any order.

    Args:
        stage: the job.
        nodes: the cluster that its workers are on.
        chance: decides the order, the moments and whom it meets.
        stop_s: for how long a worker is stopped.
        with_node: kill a node together with the core.

    Attributes:
        slowest: the longest time, in seconds, until rows were taken over from a worker that was gone.
        at_risk: the most calls that one disturbance left unknown.
        late: answers that a stopped worker brought when it woke, and that were booked then.
        missed: nodes that had died, and were listed nevertheless when the command started again.
    """

    def __init__(self, stage: RayStage, nodes: Nodes, chance: random.Random, *, stop_s: float, with_node: bool) -> None:
        self.stage = stage
        self.nodes = nodes
        self.chance = chance
        self.stop_s = stop_s
        self.with_node = with_node
        self.slowest = 0.0
        self.at_risk = self.told = self.late = self.missed = 0
        """`told` counts the calls that workers were said to be lost with."""
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
        if self.log.ended() != 0:
            raise AssertionError((self.log.rest, self.log.events[-3:]))

    def lost_with_core(self, unknown: int) -> None:
        """Once the books are looked at: what no worker was lost with was at risk when the core was killed."""
        self._count(unknown - self.told)

    def begin(self) -> None:
        self.log = self.stage.begin()
        self.work_goes_on()

    def work_goes_on(self) -> None:
        """Wait until all workers have had something to do."""
        until(lambda: len(self.workers()) == self.stage.workers or self.log.core.poll() is not None)
        first = self.stage.requests()
        wanted = first + self.chance.randint(30, 60)
        until(lambda: self.stage.requests() >= wanted or self.log.core.poll() is not None)

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.nodes.workers() if process not in self.stopped]

    # -- the ways -----------------------------------------------------------------------------------------------------

    def kill_worker(self) -> None:
        began = time.monotonic()
        self.chance.choice(self.workers()).kill()
        self.taken_over(began, 1)

    def kill_node(self) -> None:
        began = time.monotonic()
        if not (gone := self.nodes.kill()):
            self.kill_worker()
            return
        self.taken_over(began, gone)
        self.nodes.add()

    def stop_worker(self) -> None:
        """Until it has brought something late; what it had under way was sent, so that comes, however long it sleeps."""
        for _ in range(STOPS):
            process = self.chance.choice(self.workers())
            began = time.monotonic()
            process.send_signal(signal.SIGSTOP)
            self.stopped.append(process)
            self.taken_over(began, 1)
            time.sleep(max(0.0, began + self.stop_s - time.monotonic()))
            assert self.log.core.poll() is None, "the job was done before the worker woke: give it more rows"
            woke = time.monotonic()
            process.send_signal(signal.SIGCONT)
            psutil.wait_procs([process], timeout=60)
            if self.brought_late(woke):
                return
            self.stage.kills += 1
        raise AssertionError(f"{STOPS} stopped workers brought nothing late")

    def brought_late(self, woke: float) -> bool:
        """Whether something came late; then all of it is waited for, as far as that takes no longer than a task."""
        came: list[object] = []
        deadline = woke + 15.0
        while time.monotonic() < deadline and (not came or len(came) < len(self.log.since(woke, "task_came_late"))):
            time.sleep(0.1)
            came = [event for _, event in self.log.since(woke, "answer_came_late")]
        self.late += len(came)
        return bool(came)

    def kill_core(self) -> None:
        """With a node at the same time, where that is wanted: Ray still lists it when the command starts again."""
        self.log.core.kill()
        self.log.ended()
        until(lambda: not self.workers())
        if self.with_node:
            self.nodes.kill(idle=True)
        self.begin()
        if self.with_node:
            self.missed += len(self.log.since(0.0, "ray_node_gone"))
            self.nodes.add()

    def taken_over(self, began: float, workers: int) -> None:
        """Wait until so many workers were told to be over, and their rows to be somebody else's."""
        until(lambda: len(self.log.since(began, *OVER)) >= workers, SILENT_S + TAKEOVER_S + 10)
        over = self.log.since(began, *OVER)
        self._count(sum(int(event["calls"]) for _, event in over))
        self.told += sum(int(event["calls"]) for _, event in over)
        took_s = max(at for at, _ in over) - began
        self.slowest = max(self.slowest, took_s)
        assert took_s <= SILENT_S + TAKEOVER_S, f"taken over after {took_s:.1f} s"

    def _count(self, calls: int) -> None:
        self.at_risk = max(self.at_risk, calls)
        assert calls <= CONCURRENCY, f"{calls} calls at risk"
