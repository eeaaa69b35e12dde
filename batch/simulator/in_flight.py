"""What is in flight at the simulated provider: places, and the callers' ids.

Owns when each request in work began and ended, and what that adds up to over any stretch of time.
"""

from __future__ import annotations

import heapq
import math
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class InFlight:
    """The places in flight of one (key, model), or of all together, and the most there ever were.

    A task's place ends by itself at a known time, so nothing has to run in the background to free it.

    Attributes:
        kept: whether it remembers when places were taken and given back, for `use`.
        live: places of requests.
        peak: the most places ever wanted at one time.
        ends: when the places of tasks end; a heap.
        entered: monotonic seconds at which places were taken.
        charges: tokens charged to each of them.
        left: monotonic seconds at which places were given back.
    """

    kept: bool = True
    live: int = 0
    peak: int = 0
    ends: list[float] = field(default_factory=list)
    entered: array[float] = field(default_factory=lambda: array("d"))
    left: array[float] = field(default_factory=lambda: array("d"))
    charges: array[int] = field(default_factory=lambda: array("Q"))

    def busy(self, now: float) -> int:
        """Places taken at `now`."""
        while self.ends and self.ends[0] <= now:
            end = heapq.heappop(self.ends)
            if self.kept:
                self.left.append(end)
        return self.live + len(self.ends)

    def lose_tasks(self, now: float) -> None:
        """Take back the places of all tasks."""
        self.busy(now)
        if self.kept:
            self.left.extend([now] * len(self.ends))
        self.ends.clear()

    def start_anew(self, now: float) -> None:
        """Start judging anew: places taken now count from now on, as entered before anything else."""
        self.peak = 0
        places = self.busy(now) if self.kept else 0
        self.entered, self.left = array("d", [now] * places), array("d")
        self.charges = array("Q", [0] * len(self.entered))

    def use(self, begin: float, end: float, now: float) -> dict[str, Any]:
        """What was used in a stretch of time.

        Args:
            begin: monotonic seconds.
            end: monotonic seconds; not itself in the stretch.
            now: monotonic seconds; nothing after it counts.

        Returns:
            Places times seconds, requests admitted and tokens charged to them.
        """
        self.busy(now)
        stop = min(end, now)
        # A place taken at t counts from t to the end of the window, less what follows the moment it was given back.
        places = _after(self.entered, begin, stop) - _after(self.left, begin, stop)
        inside = [charge for at, charge in zip(self.entered, self.charges, strict=True) if begin <= at < end and charge]
        return {"in_flight_seconds": places, "requests": len(inside), "charged_tokens": sum(inside)}


def _after(times: Sequence[float], begin: float, end: float) -> float:
    return math.fsum(end - max(time, begin) for time in times if time < end)


class Place:
    """One request's place in flight; given back once, however often that is asked."""

    __slots__ = ("_counters", "_time")

    def __init__(self, time: Callable[[], float], *counters: InFlight) -> None:
        """Count a place in each of the counters; `time` tells the monotonic seconds at which it is given back."""
        self._time = time
        self._counters = counters
        for counter in counters:
            counter.live += 1

    def free(self) -> None:
        """Give the place back."""
        if self._counters:
            now = self._time()
            for counter in self._counters:
                counter.live -= 1
                if counter.kept:
                    counter.left.append(now)
            self._counters = ()

    def keep_until(self, end: float) -> None:
        """Hand the place to a task that ends at the monotonic time `end` (infinity: never)."""
        for counter in self._counters:
            heapq.heappush(counter.ends, end)
            counter.live -= 1
        self._counters = ()


class IdsInWork:
    """The callers' ids of the requests that are being worked on, for a provider that refuses duplicates."""

    def __init__(self, time: Callable[[], float]) -> None:
        """Start with none; `time` tells monotonic seconds."""
        self._time = time
        self._ends: dict[tuple[str, str], float | None] = {}

    def begin(self, key_id: str, call_id: str, until: float | None) -> None:
        """Note that a request is in work.

        Args:
            key_id: whose it is.
            call_id: the caller's id of it.
            until: monotonic seconds at which it ends by itself; None: when `end` is called.
        """
        self._ends[key_id, call_id] = until

    def end(self, key_id: str, call_id: str) -> None:
        """Note that a request is no longer in work."""
        self._ends.pop((key_id, call_id), None)

    def has(self, key_id: str, call_id: str) -> bool:
        """Whether a request of this key with this id is being worked on."""
        if (key_id, call_id) not in self._ends:
            return False
        until = self._ends[key_id, call_id]
        if until is not None and until <= self._time():
            del self._ends[key_id, call_id]
            return False
        return True
