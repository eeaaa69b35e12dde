"""Tasks that are polled by the book, in time moved by hand; and the best that anybody could do who knew their lengths."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

from batch.core.clock import HandClock
from batch.submit.polls import Polls

LIKELY, SPREAD = math.sqrt(10 * 30), math.log(3) / 2 / 1.645
"""Of the lengths of tasks of which nine in ten take 10 to 30 s."""


def usual(chance: random.Random) -> float:
    """One such length, in seconds."""
    return chance.lognormvariate(math.log(LIKELY), SPREAD)


def usual_by(seconds: float) -> float:
    """The part of such tasks that is done by then."""
    return 0.5 * (1 + math.erf(math.log(seconds / LIKELY) / SPREAD / math.sqrt(2))) if seconds > 0 else 0.0


@dataclass
class Seen:
    """What came of some tasks."""

    polls: int = 0
    tasks: int = 0
    took_s: float = 0.0
    late_s: float = 0.0
    at: list[float] | None = None
    """When each poll was made, in monotonic seconds."""

    @property
    def each(self) -> float:
        """Polls a task."""
        return self.polls / self.tasks

    @property
    def extra(self) -> float:
        """Seconds that results lay there before they were asked for, as a part of what the tasks took."""
        return self.late_s / self.took_s


class Field:
    """Some slots, each with one task after another.

    Args:
        polls: decides when a task is polled.
        clock: its clock, which is moved here.
        length: draws the length of a task, in seconds.
        slots: tasks at one time.
        answer_s: how long the answer to a poll takes.
    """

    def __init__(
        self,
        polls: Polls,
        clock: HandClock,
        length: Callable[[random.Random], float],
        *,
        slots: int = 50,
        answer_s: float = 0.05,
        text: str = "a question",
    ) -> None:
        self._polls = polls
        self._clock = clock
        self._length = length
        self._slots = slots
        self._answer_s = answer_s
        self._messages = [{"role": "user", "content": text}]
        self._chance = random.Random(7)
        self._order = 0
        self.model = "glm-4"

    def run(self, tasks: int, *, skip: int = 0) -> Seen:
        """What came of so many tasks, the first `skip` of them not counted."""
        seen = Seen(at=[])
        heap: list[tuple[float, int, Any]] = []
        for _ in range(min(self._slots, tasks)):
            self._submit(heap)
        begun, ended = len(heap), 0
        while heap:
            due, _, call = heapq.heappop(heap)
            self._clock.advance(max(0.0, due - self._clock.monotonic()))
            if (early_s := self._polls.early(call)) > 0:
                self._push(heap, call, early_s)
                continue
            call.polls += 1
            call.exchange_began = self._clock.monotonic()
            assert seen.at is not None
            seen.at.append(call.exchange_began)
            self._clock.advance(self._answer_s / self._slots)
            age_s = call.exchange_began - call.started
            if age_s < call.length_s:
                self._push(heap, call, self._polls.next(call, least_s=0.0, most_s=86_400.0))
                continue
            if self._polls.finished(call):
                now = self._clock.monotonic()
                heap = [(now if self._polls.blind(one) else due, order, one) for due, order, one in heap]
                heapq.heapify(heap)
            ended += 1
            if ended > skip:
                seen.polls += call.polls
                seen.tasks += 1
                seen.took_s += call.length_s
                seen.late_s += age_s - call.length_s
            if begun < tasks:
                begun += 1
                self._submit(heap)
        return seen

    def _submit(self, heap: list[tuple[float, int, Any]]) -> None:
        call: Any = SimpleNamespace(
            model=self.model, started=self._clock.monotonic(), earlier_s=0.0, exchange_began=0.0, watch=None, polls=0
        )
        call.length_s = self._length(self._chance)
        self._push(heap, call, self._polls.first(cast("Any", call), cast("Any", self._messages), most_s=86_400.0))

    def _push(self, heap: list[tuple[float, int, Any]], call: Any, wait_s: float) -> None:
        self._order += 1
        heapq.heappush(heap, (self._clock.monotonic() + wait_s, self._order, call))


def least_extra(done_by: Callable[[float], float], *, polls: float, longest_s: float, step_s: float = 0.1) -> float:
    """The least extra time with so many polls a task, for whoever knows the distribution; no part of the product.

    Args:
        done_by: the part of the tasks that is done by a time in seconds.
        polls: a task may take on average.
        longest_s: no task takes longer.
        step_s: polls are made at multiples of it.
    """
    times = [step_s * n for n in range(round(longest_s / step_s) + 1)]
    done = [done_by(at) / done_by(times[-1]) for at in times]
    took = [0.0]
    for n in range(1, len(times)):
        took.append(took[-1] + (done[n] - done[n - 1]) * (times[n] + times[n - 1]) / 2)
    found: list[tuple[float, float]] = []
    low, high = 1e-3, longest_s
    for _ in range(16):
        price = math.sqrt(low * high)
        count, late = _course(times, done, took, price)
        found.append((count, late / took[-1]))
        low, high = (price, high) if count > polls else (low, price)
    found.sort()
    place = min(max(1, bisect_left(found, (polls, 0.0))), len(found) - 1)
    (few, more), (many, less) = found[place - 1], found[place]
    return more if many == few else more + (less - more) * (polls - few) / (many - few)


def _course(times: list[float], done: list[float], took: list[float], price: float) -> tuple[float, float]:
    """Polls a task and seconds late, of the best course at a price of a poll in seconds."""
    last = len(times) - 1
    costs, nexts = [0.0] * (last + 1), [last] * (last + 1)
    for here in range(last - 1, -1, -1):
        best, there = math.inf, here + 1
        while there <= last:
            late = times[there] * (done[there] - done[here]) - (took[there] - took[here]) + price * (1 - done[here])
            if late >= best:
                break
            if late + costs[there] < best:
                best, nexts[here] = late + costs[there], there
            there += 1
        costs[here] = best
    here, count, sum_late = 0, 0.0, 0.0
    while here < last:
        there = nexts[here]
        count += 1 - done[here]
        sum_late += times[there] * (done[there] - done[here]) - (took[there] - took[here])
        here = there
    return count, sum_late
