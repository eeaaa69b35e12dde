"""What the provider refuses. Owns places in flight and the request and token buckets, for each (key, model).

GLM limits concurrency only and refuses at once, never queueing (BigModel FAQ, rate limits); OpenAI limits requests and
tokens per minute with buckets that refill continuously, and failed requests count (OpenAI guide, rate limits).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Limit:
    """Limits of one (key, model); None means unlimited.

    Attributes:
        in_flight: requests under work at one time, unfinished tasks included.
        rpm: requests per minute.
        tpm: tokens per minute.
    """

    in_flight: int | None = None
    rpm: int | None = None
    tpm: int | None = None


class Bucket:
    """A bucket of `limit` per minute that holds `limit * burst_s / 60` and refills continuously."""

    __slots__ = ("_level", "_seen", "capacity", "limit", "rate")

    def __init__(self, limit: int, burst_s: float, now: float) -> None:
        """Start full."""
        self.limit = limit
        self.rate = limit / MINUTE
        self.capacity = max(self.rate * burst_s, 1.0)
        self._level = self.capacity
        self._seen = now

    def level(self, now: float) -> float:
        """What could be taken at `now`."""
        self._level = min(self.capacity, self._level + max(0.0, now - self._seen) * self.rate)
        self._seen = max(self._seen, now)
        return self._level

    def wait(self, amount: float, now: float) -> float:
        """Seconds until `amount` could be taken; infinity when the bucket can never hold it."""
        if amount > self.capacity:
            return math.inf
        # Refilling in floats may stop a hair below a whole number; a billionth of a request is not a refusal.
        return max(0.0, amount - self.level(now) - 1e-9) / self.rate

    def take(self, amount: float, now: float) -> None:
        """Take `amount`; the caller has asked `wait` first."""
        self._level = max(0.0, self.level(now) - amount)

    def until_full(self, now: float) -> float:
        """Seconds until the bucket is full again."""
        return (self.capacity - self.level(now)) / self.rate


@dataclass(slots=True)
class Lane:
    """What is in flight of one (key, model), or of all together, and the most that ever was.

    A task's place ends by itself at a known time, so nothing has to run in the background to free it.
    """

    live: int = 0
    peak: int = 0
    ends: list[float] = field(default_factory=list)

    def busy(self, now: float) -> int:
        """Places taken at `now`."""
        while self.ends and self.ends[0] <= now:
            heapq.heappop(self.ends)
        return self.live + len(self.ends)


class Place:
    """One request's place in flight; given back once, however often that is asked."""

    __slots__ = ("_lanes",)

    def __init__(self, *lanes: Lane) -> None:
        """Take a place in every lane."""
        self._lanes = lanes
        for lane in lanes:
            lane.live += 1

    def free(self) -> None:
        """Give the place back."""
        for lane in self._lanes:
            lane.live -= 1
        self._lanes = ()

    def keep_until(self, end: float) -> None:
        """Hand the place to a task that ends at the monotonic time `end` (infinity: never)."""
        for lane in self._lanes:
            heapq.heappush(lane.ends, end)
        self.free()


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request was not admitted.

    Attributes:
        kind: `in_flight`, `rpm` or `tpm`.
        limit: the limit that was met.
        used: what was used of it at that moment.
        requested: what this request asked for.
        wait_s: seconds until it would fit; infinity when it never does; None when that is not known.
    """

    kind: str
    limit: int
    used: int
    requested: int
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Gauge:
    """The state of one bucket, as the rate-limit headers tell it."""

    limit: int
    remaining: int
    reset_s: float


class Limits:
    """All lanes and buckets of the simulated provider."""

    def __init__(self, default: Limit, models: dict[str, Limit], burst_s: float = MINUTE) -> None:
        """Remember the limits; lanes and buckets appear with the first request of a (key, model)."""
        self._default = default
        self._models = {name.lower(): limit for name, limit in models.items()}
        self._burst_s = burst_s
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._buckets: dict[tuple[str, str], tuple[Bucket | None, Bucket | None]] = {}
        self.all = Lane()

    def limit_of(self, model: str) -> Limit:
        """The limits that hold for a model."""
        return self._models.get(model.lower(), self._default)

    def lane(self, key_id: str, model: str) -> Lane:
        """The lane of a (key, model)."""
        lane = self._lanes.get((key_id, model))
        if lane is None:
            lane = self._lanes[key_id, model] = Lane()
        return lane

    def enter(self, key_id: str, model: str, charge: int, now: float) -> Place | Refusal:
        """Admit a request and take its place, or say why not.

        The request counts against the request bucket in any case where that has room, also when a place is missing.

        Args:
            key_id: whose request it is.
            model: the model asked for.
            charge: tokens the request counts for before it is answered.
            now: monotonic seconds.
        """
        lane = self.lane(key_id, model)
        # What the caller has open is judged with refused requests in it: they were sent, and that is the question.
        lane.peak = max(lane.peak, lane.busy(now) + 1)
        self.all.peak = max(self.all.peak, self.all.busy(now) + 1)
        refusal = self._charge(key_id, model, charge, now)
        if refusal is not None:
            return refusal
        limit = self.limit_of(model).in_flight
        if limit is not None and lane.busy(now) >= limit:
            return Refusal("in_flight", limit, lane.busy(now), 1)
        return Place(lane, self.all)

    def count_failed(self, key_id: str, model: str, now: float) -> None:
        """Count a request that failed before it was admitted: it uses up the request limit all the same."""
        requests, _ = self._buckets_of(key_id, model, now)
        if requests is not None:
            requests.take(1, now)

    def _charge(self, key_id: str, model: str, charge: int, now: float) -> Refusal | None:
        requests, tokens = self._buckets_of(key_id, model, now)
        if requests is not None:
            wait = requests.wait(1, now)
            if wait > 0:
                return Refusal("rpm", requests.limit, round(requests.capacity - requests.level(now)), 1, wait)
            requests.take(1, now)
        if tokens is not None:
            wait = tokens.wait(charge, now)
            if wait > 0:
                return Refusal("tpm", tokens.limit, round(tokens.capacity - tokens.level(now)), charge, wait)
            tokens.take(charge, now)
        return None

    def _buckets_of(self, key_id: str, model: str, now: float) -> tuple[Bucket | None, Bucket | None]:
        found = self._buckets.get((key_id, model))
        if found is None:
            limit = self.limit_of(model)
            found = (
                None if limit.rpm is None else Bucket(limit.rpm, self._burst_s, now),
                None if limit.tpm is None else Bucket(limit.tpm, self._burst_s, now),
            )
            self._buckets[key_id, model] = found
        return found

    def gauges(self, key_id: str, model: str, now: float) -> tuple[Gauge | None, Gauge | None]:
        """Request and token gauges of a (key, model); None where no limit is set."""
        requests, tokens = (
            None
            if bucket is None
            else Gauge(bucket.limit, max(0, math.floor(bucket.level(now) + 1e-9)), bucket.until_full(now))
            for bucket in self._buckets_of(key_id, model, now)
        )
        return requests, tokens

    def forget_peaks(self) -> None:
        """Start judging anew: what is in flight now is the most that was ever seen."""
        self.all.peak = 0
        for lane in self._lanes.values():
            lane.peak = 0

    def peaks(self) -> dict[tuple[str, str], int]:
        """The most ever in flight, for each (key, model) that asked."""
        return {pair: lane.peak for pair, lane in self._lanes.items()}
