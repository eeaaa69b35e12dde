"""The limits of the simulated provider: which requests it refuses.

Owns the request and token buckets of each (key, model), and what limits become later; places in flight are counted in
`in_flight.py`.

GLM limits concurrency only and refuses at once, never queueing (BigModel FAQ, rate limits); OpenAI limits requests and
tokens per minute with buckets that refill continuously, and failed requests count (OpenAI guide, rate limits).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise

from batch.simulator.in_flight import InFlight, Place

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


@dataclass(frozen=True, slots=True)
class Change:
    """Limits that hold from some moment on; what it leaves None stays as it was.

    Attributes:
        after_s: seconds after the first chat or submit request.
        limit: the new limits.
        model: whose they are; None: those of every model without its own.
    """

    after_s: float
    limit: Limit
    model: str | None = None


class Bucket:
    """A bucket of `limit` per minute that holds `limit * burst_s / 60` and refills continuously.

    Args:
        limit: requests or tokens per minute.
        burst_s: what it holds when full, in seconds of its limit.
        now: monotonic seconds.
    """

    __slots__ = ("_level", "_seen", "capacity", "limit", "rate")

    def __init__(self, limit: int, burst_s: float, now: float) -> None:
        """Start full."""
        self._set(limit, burst_s)
        self._level = self.capacity
        self._seen = now

    def _set(self, limit: int, burst_s: float) -> None:
        self.limit = limit
        self.rate = limit / MINUTE
        self.capacity = max(self.rate * burst_s, 1.0)

    def change(self, limit: int, burst_s: float, now: float) -> None:
        """Continue with another limit; what is in the bucket stays, as far as it fits. Arguments as for a new one."""
        level = self.level(now)
        self._set(limit, burst_s)
        self._level = min(level, self.capacity)

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
    """All limits of the simulated provider, with the buckets and the places in flight of every (key, model).

    Changes are counted in seconds from the first chat or submit request since the start or the last reset, whether it
    was admitted or not; a reset puts the first limits back.
    """

    def __init__(
        self,
        default: Limit,
        models: dict[str, Limit],
        burst_s: float = MINUTE,
        *,
        changes: tuple[Change, ...] = (),
        time: Callable[[], float],
    ) -> None:
        """Remember the limits; buckets and places appear with the first request of a (key, model).

        Args:
            default: limits of models without their own.
            models: limits by model.
            burst_s: what buckets hold, in seconds of their limit.
            changes: what becomes of the limits later.
            time: tells monotonic seconds.
        """
        self._first = (default, {name.lower(): limit for name, limit in models.items()})
        self._default, self._models = default, dict(self._first[1])
        self._changes = changes
        self._coming = list(changes)
        self._time = time
        self.began: float | None = None
        self._burst_s = burst_s
        self._in_flight: dict[tuple[str, str], InFlight] = {}
        self._buckets: dict[tuple[str, str], tuple[Bucket | None, Bucket | None]] = {}
        self.all = InFlight(kept=False)

    def limit_of(self, model: str) -> Limit:
        """The limits that hold for a model."""
        return self._models.get(model.lower(), self._default)

    def begin(self, now: float) -> None:
        """Note that the first request has come at the monotonic `now`; later calls change nothing."""
        if self.began is None:
            self.began = now

    def _apply(self, now: float) -> None:
        while self._coming and self.began is not None and self._coming[0].after_s <= now - self.began:
            change = self._coming.pop(0)
            self._default, self._models = changed(self._default, self._models, change)
            for (key_id, model), (requests, tokens) in list(self._buckets.items()):
                limit = self.limit_of(model)
                at = self.began + change.after_s
                self._buckets[key_id, model] = self._moved(requests, limit.rpm, at), self._moved(tokens, limit.tpm, at)

    def _moved(self, bucket: Bucket | None, limit: int | None, now: float) -> Bucket | None:
        if limit is None:
            return None
        if bucket is None:
            return Bucket(limit, self._burst_s, now)
        if bucket.limit != limit:
            bucket.change(limit, self._burst_s, now)
        return bucket

    def allowed(self, model: str, begin: float, end: float) -> dict[str, float | None]:
        """What the limits of a model add up to in a stretch of time; None where nothing is limited.

        Args:
            model: whose limits.
            begin: monotonic seconds.
            end: monotonic seconds; not itself in the stretch.
        """
        began = begin if self.began is None else self.began
        moments = sorted({begin, end, *(at for c in self._changes if begin < (at := began + c.after_s) < end)})
        totals: dict[str, float | None] = {"in_flight": 0.0, "rpm": 0.0, "tpm": 0.0}
        for start, stop in pairwise(moments):
            default, models = self._first
            for change in self._changes:
                if began + change.after_s <= start:
                    default, models = changed(default, models, change)
            limit = models.get(model.lower(), default)
            for name, total in totals.items():
                value = getattr(limit, name)
                totals[name] = None if value is None or total is None else total + value * (stop - start)
        per_s = {name: None if total is None else total / MINUTE for name, total in totals.items()}
        return {
            "in_flight_seconds": totals["in_flight"],
            "requests": per_s["rpm"],
            "charged_tokens": per_s["tpm"],
        }

    def in_flight(self, key_id: str, model: str) -> InFlight:
        """The places in flight of a (key, model)."""
        in_flight = self._in_flight.get((key_id, model))
        if in_flight is None:
            in_flight = self._in_flight[key_id, model] = InFlight()
        return in_flight

    def enter(self, key_id: str, model: str, charge: int, now: float) -> Place | Refusal:
        """Admit a request and take a place in flight for it, or say why not.

        The request counts against the request bucket in any case where that has room, also when a place is missing.

        Args:
            key_id: whose request it is.
            model: the model asked for.
            charge: tokens the request counts for before it is answered.
            now: monotonic seconds.
        """
        if self._coming:
            self._apply(now)
        in_flight = self.in_flight(key_id, model)
        # What the caller has open is judged with refused requests in it: they were sent, and that is the question.
        in_flight.peak = max(in_flight.peak, in_flight.busy(now) + 1)
        self.all.peak = max(self.all.peak, self.all.busy(now) + 1)
        refusal = self._charge(key_id, model, charge, now)
        if refusal is not None:
            return refusal
        limit = self.limit_of(model).in_flight
        if limit is not None and in_flight.busy(now) >= limit:
            return Refusal("in_flight", limit, in_flight.busy(now), 1)
        in_flight.entered.append(now)
        in_flight.charges.append(charge)
        return Place(self._time, in_flight, self.all)

    def count_failed(self, key_id: str, model: str, now: float) -> None:
        """Count a request that failed before it was admitted: it uses up the request limit all the same.

        Args:
            key_id: whose request it was.
            model: the model asked for.
            now: monotonic seconds.
        """
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
        buckets = self._buckets.get((key_id, model))
        if buckets is None:
            limit = self.limit_of(model)
            buckets = (
                None if limit.rpm is None else Bucket(limit.rpm, self._burst_s, now),
                None if limit.tpm is None else Bucket(limit.tpm, self._burst_s, now),
            )
            self._buckets[key_id, model] = buckets
        return buckets

    def gauges(self, key_id: str, model: str, now: float) -> tuple[Gauge | None, Gauge | None]:
        """The gauges of requests and of tokens; None where no limit is set.

        Args:
            key_id: whose.
            model: of which model.
            now: monotonic seconds.
        """
        requests, tokens = (
            None
            if bucket is None
            else Gauge(bucket.limit, max(0, math.floor(bucket.level(now) + 1e-9)), bucket.until_full(now))
            for bucket in self._buckets_of(key_id, model, now)
        )
        return requests, tokens

    def start_anew(self) -> None:
        """Start judging anew, with the first limits: what is in flight now is the most that was ever seen."""
        now = self._time()
        for counter in (self.all, *self._in_flight.values()):
            counter.start_anew(now)
        if len(self._coming) < len(self._changes):
            self._buckets.clear()
        self._default, self._models = self._first[0], dict(self._first[1])
        self._coming = list(self._changes)
        self.began = None

    def lose_tasks(self) -> None:
        """Take back the places of all tasks: the server has forgotten them."""
        now = self._time()
        for counter in (self.all, *self._in_flight.values()):
            counter.lose_tasks(now)

    def peaks(self) -> dict[tuple[str, str], int]:
        """The most ever in flight, for each (key, model) that asked."""
        return {pair: counter.peak for pair, counter in self._in_flight.items()}


def changed(default: Limit, models: dict[str, Limit], change: Change) -> tuple[Limit, dict[str, Limit]]:
    """The limits after a change.

    Args:
        default: the limits before, of models without their own.
        models: the limits before, by model in lower case.
        change: what is changed.

    Returns:
        Both of them after it.
    """
    if change.model is None:
        return _merged(default, change.limit), models
    name = change.model.lower()
    return default, {**models, name: _merged(models.get(name, default), change.limit)}


def _merged(old: Limit, new: Limit) -> Limit:
    return Limit(*(getattr(old if getattr(new, f.name) is None else new, f.name) for f in fields(Limit)))
