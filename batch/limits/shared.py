"""The part of this process in a budget that all jobs of one user share on one key and model.

Owns the slices that this process has, and when it visits the file of the budget for another: before a call leaves when
nothing is left, and every `VISIT_S` besides, so that others know of it. No call waits for a disk: a slice is good for
many, and where somebody else has the file just now, this one looks again in a moment. What a slice is, `pool` says.

Where the file cannot be had, a job goes on with its own limits alone, and says so once.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import msgspec

from batch.core.clock import MICROSECONDS, Clock
from batch.core.logs import logger
from batch.limits import poolfile
from batch.limits.pool import AHEAD_S, LATE_S, Member, Pool
from batch.limits.poolfile import PoolFile
from batch.limits.rates import RateLimits
from batch.limits.tokens import LIMIT_S, Grant

if TYPE_CHECKING:
    from batch.limits.model import ModelLimits

VISIT_S: Final = 0.5
AGAIN_S: Final = 0.02
"""Between two visits at the least, when somebody waits."""
SOON_S: Final = 0.002
LOCKED_S: Final = 5.0
"""Somebody has had the file for so long: a process that was stopped with it in its hands."""
MANY: Final = 1 << 30
_HUNGRY_S: Final = 1.0
_decode = msgspec.json.Decoder(Pool).decode
_encode = msgspec.json.Encoder().encode


class SharedLimits:
    """What one process has of one shared budget.

    Args:
        file: of the budget.
        clock: where time comes from; its monotonic seconds are those of the machine.
        limits: of the model, as this job has them; they are told what the others leave.
        job_rates: those of the whole job; None where they are not declared for this key.
        job: its name, for the others.
        concurrency: the calls in flight that the job declares for the model; None where it declares none.
        boot: the start of this machine.

    Attributes:
        others: how many other jobs share the budget now.
        alone: why it is not shared after all; None while it is.
    """

    def __init__(
        self,
        file: PoolFile,
        clock: Clock,
        limits: ModelLimits,
        *,
        job_rates: RateLimits | None,
        job: str,
        concurrency: int | None,
        boot: str | None = None,
    ) -> None:
        self._file = file
        self._clock = clock
        self._limits = limits
        self._job_rates = job_rates or RateLimits(None, None)
        self._job = job
        self._concurrency = concurrency
        self._boot = poolfile.boot_id() if boot is None else boot
        self.others = self.in_flight_elsewhere = 0
        self.alone: str | None = None
        self.requests: float | None = None
        self.tokens: float | None = None
        self._moments: deque[float] = deque()
        self._requests_at = self._tokens_at = 0.0
        """When it is worth looking for more, in monotonic seconds."""
        self._taken: deque[float] = deque()
        """When requests were granted within the last second."""
        self._left = 0.0
        """Tokens of the slice that are left, and until when it is good."""
        self._good_until = self._token_last = 0.0
        self._number, self._written = 0, False
        self._changes: dict[int, float] = {}
        self._last_at: dict[int, float] = {}
        self._visited_at = self._needed_at = float("-inf")
        self._busy_since: float | None = None
        self._cap_number, self._paused_until = 0, 0.0
        self._cap_told: int | None = None

    # -- granting -----------------------------------------------------------------------------------------------------

    def wait(self, amount: float | None, now: float) -> float:
        """The seconds until one request of `amount` tokens may be granted here; 0 when it may at once."""
        if self.alone is not None:
            return 0.0
        self._needed_at = now
        self._drop(now)
        wants_moment = self.requests is not None and not self._moments and now >= self._requests_at
        if wants_moment or (self._lacks(amount, now) and now >= self._tokens_at):
            self._visit(now, amount)
        wait_s = 0.0
        if self.requests is not None and not self.alone:
            wait_s = self._moments[0] - now if self._moments else max(SOON_S, self._requests_at - now)
        if self._lacks(amount, now):
            wait_s = max(wait_s, SOON_S, self._tokens_at - now)
        return wait_s if wait_s > 1e-6 else 0.0

    def take(self, amount: float | None, now: float) -> Grant | None:
        """Grant one request, and reserve its tokens; None where no tokens are counted."""
        if self._moments:
            self._moments.popleft()
        self._taken.append(now)
        if self.tokens is None or amount is None or self.alone is not None:
            return None
        reserved = min(amount, self._room)
        self._left -= reserved
        self._token_last = now
        return Grant(float(self._number), reserved)

    def settle(self, grant: Grant, amount: float) -> None:
        """Correct what a call counts for, in tokens; the others know of it with the next visit."""
        number = int(grant.at)
        self._changes[number] = self._changes.get(number, 0.0) + max(0.0, amount) - grant.amount
        grant.amount = max(0.0, amount)

    def slot_wait(self, now: float) -> float:
        """The seconds until it is worth looking for a slot that the others leave."""
        if now - self._visited_at >= AGAIN_S * 5:
            self._needed_at = now
            self._visit(now, None)
        return AGAIN_S * 5

    # -- what calls teach ---------------------------------------------------------------------------------------------

    def pause(self, until: float) -> None:
        """Have all that share the budget wait, because the provider said so; in monotonic seconds."""
        if until > self._paused_until + 0.01:
            self._paused_until = until
            self._visit(self._clock.monotonic(), None, asks=False)

    # -- visits -------------------------------------------------------------------------------------------------------

    def keep(self) -> None:
        """Let the others know of this process, and hear of them; called a few times a second."""
        now = self._clock.monotonic()
        if now - self._visited_at >= VISIT_S * 0.9:
            self._drop(now)
            self._visit(now, None, asks=False)

    def leave(self) -> None:
        """Give everything back: this process asks no more."""
        try:
            now = self._clock.monotonic()
            for _ in range(20):
                with self._file.locked() as ours:
                    if ours and (pool := self._read(now)) is not None:
                        self._hand_back(pool, now, everything=True)
                        pool.members.pop(self._file.member, None)
                        self._write(pool, now)
                if ours:
                    break
        except OSError:
            pass  # what it had expires by itself
        self.alone = "this job has ended"
        self._file.close()

    def binding(self, amount: float | None, now: float) -> str | None:
        """The name of the shared limit that holds a request back; None when none does."""
        if self.alone is not None:
            return None
        if self._limits.in_flight >= self._limits.most:
            return "calls in flight"
        if self._lacks(amount, now):
            return "tokens_per_minute"
        if self.requests is not None and not (self._moments and self._moments[0] <= now):
            return "requests_per_minute"
        return None

    @property
    def with_whom(self) -> str:
        """With how many it is shared, for people."""
        return f"shared with {self.others} other job{'s' if self.others != 1 else ''}"

    @property
    def in_force(self) -> bool:
        """Whether requests or tokens per minute are limited by it."""
        return self.alone is None and (self.requests is not None or self.tokens is not None)

    def _visit(self, now: float, amount: float | None, *, asks: bool = True) -> None:
        """Say how this process stands, and take what is free if somebody asks; never waits."""
        if self.alone is not None:
            return
        self._visited_at = now
        try:
            with self._file.locked() as ours:
                if not ours:
                    self._busy(now)
                    return
                self._busy_since = None
                pool = self._read(now)
                if pool is None:
                    return
                pool.keep(name for name in pool.members if self._file.is_alive(name))
                self._stand(pool, now)
                self._hand_back(pool, now, everything=now - self._needed_at >= _HUNGRY_S)
                self._draw(pool, now, amount, asks=asks)
                self._learn(pool, now)
                self._write(pool, now)
        except OSError as exc:
            self.go_alone(": ".join(str(part) for part in (exc.filename, exc.strerror or exc) if part))

    def _read(self, now: float) -> Pool | None:
        """The pool as it stands; None where its times are not of this machine, and others live by them."""
        data, wall_us = self._file.read(), self._clock.now_us()
        pool: Pool | None = None
        with suppress(msgspec.DecodeError, UnicodeDecodeError):
            pool = None if data is None else _decode(data)
        lost, self._file.taken_away = self._file.taken_away, False
        if pool is None:
            # Of a file that is damaged, or was there before, nothing is known, so its minute is taken for used.
            return self._anew(now, LIMIT_S if data is None and not (lost or self._written) else 0.0)
        if lost:
            pool.use_up(now, 0.0)  # who made it anew may not have known of the old one
        if pool.boot == self._boot and pool.seen <= now + 1.0:
            return pool
        if any(self._file.is_alive(name) for name in pool.members if name != self._file.member):
            self.go_alone("another machine uses this folder too")
            return None
        return self._anew(now, max(0.0, (wall_us - pool.wall_us) / MICROSECONDS))

    def _anew(self, now: float, since_s: float) -> Pool:
        """A new pool, `since_s` after the last use of the old one."""
        pool = Pool(self._boot, self._clock.now_us(), now)
        pool.use_up(now, since_s)
        return pool

    def _write(self, pool: Pool, now: float) -> None:
        pool.seen, pool.wall_us = now, self._clock.now_us()
        self._file.write(_encode(pool))
        self._written = True

    def _stand(self, pool: Pool, now: float) -> None:
        """Write down how this process stands."""
        limits, job = self._limits, self._job_rates
        mine = pool.members.setdefault(self._file.member, Member())
        mine.job, mine.seen, mine.in_flight = self._job, now, limits.in_flight
        mine.hungry = now - self._needed_at < _HUNGRY_S
        waiting = len(limits.queue) if mine.hungry else 0
        mine.wants = min(limits.slots.limit, limits.in_flight + max(1, waiting, limits.in_flight // 4))
        mine.concurrency = self._concurrency
        mine.requests = _least(limits.rates.requests.per_minute, job.requests.per_minute)
        of_model = None if limits.rates.tokens is None else limits.rates.tokens.per_minute
        mine.tokens = _least(of_model, None if job.tokens is None else job.tokens.per_minute)

    def _hand_back(self, pool: Pool, now: float, *, everything: bool) -> None:
        if everything:
            pool.give_back(self._moments)
            self._moments.clear()
            self._end_slice(now)
        if self._changes or self._last_at:
            pool.correct(self._file.member, self._changes, self._last_at)
            self._changes, self._last_at = {}, {}

    def _end_slice(self, now: float) -> None:
        if self._good_until > 0.0:
            self._changes[self._number] = self._changes.get(self._number, 0.0) - max(0.0, self._left)
            self._last_at[self._number] = self._token_last or now
        self._left = self._good_until = 0.0

    def _draw(self, pool: Pool, now: float, amount: float | None, *, asks: bool) -> None:
        name, limits = self._file.member, self._limits
        self.requests, self.tokens = pool.requests, pool.tokens
        if asks:
            while self._taken and self._taken[0] <= now - AHEAD_S:
                self._taken.popleft()
            wanted = max(1, len(limits.queue), len(self._taken) + len(self._taken) // 4)
            got = pool.take_requests(name, wanted, len(self._moments), now)
            self._moments.extend(got.requests)
            if len(self._moments) > len(got.requests):
                self._moments = deque(sorted(self._moments))
            self._requests_at = now + max(AGAIN_S, got.requests_in)
        if self.tokens is not None and amount is not None and self._lacks(amount, now):
            self._end_slice(now)
            self._hand_back(pool, now, everything=False)
            self._number += 1
            drawn = pool.take_tokens(name, self._number, amount, now)
            if drawn.tokens:
                self._left, self._good_until, self._token_last = drawn.tokens, now + AHEAD_S, now
            self._tokens_at = now + max(AGAIN_S, drawn.tokens_in)
        most = pool.share_slots(name, now)
        limits.most = MANY if most is None else most
        if self.in_force:
            limits.rates.in_force = True  # whoever asks looks at every limit from now on

    def _learn(self, pool: Pool, now: float) -> None:
        """Hear what the others learned from the provider, and tell them what this process did."""
        name, limits = self._file.member, self._limits
        self.others = pool.others(name)
        self.in_flight_elsewhere = sum(one.in_flight for other, one in pool.members.items() if other != name)
        pool.paused_until = max(pool.paused_until, self._paused_until)
        if pool.paused_until > now and pool.paused_until > self._paused_until:
            self._paused_until = pool.paused_until
            limits.hold_until(pool.paused_until)
        slots = limits.slots
        if pool.cap is not None and pool.cap_number != self._cap_number:
            slots.adopt(pool.cap)
        elif not slots.starting and slots.limit != self._cap_told and (slots.limit < slots.concurrency or pool.cap):
            pool.cap = slots.limit
            pool.cap_number += 1
        self._cap_number, self._cap_told = pool.cap_number, slots.limit

    def _busy(self, now: float) -> None:
        self._busy_since = now if self._busy_since is None else self._busy_since
        self._requests_at = self._tokens_at = now + AGAIN_S
        if now - self._busy_since > LOCKED_S:
            self._busy_since = None
            self._file.take_over()

    def go_alone(self, why: str) -> None:
        """Go on with the limits of this job alone, and say so once."""
        self.alone = why
        self.others = 0
        self._limits.most = MANY
        logger().warning("limits_not_shared", reason=why, **({"model": self._limits.name} if self._limits.name else {}))

    # -- slices -------------------------------------------------------------------------------------------------------

    @property
    def _room(self) -> float:
        return (self.tokens or 0.0) * 0.99

    def _lacks(self, amount: float | None, now: float) -> bool:
        if self.tokens is None or amount is None:
            return False
        return now > self._good_until or self._left + 1e-6 < min(amount, self._room)

    def _drop(self, now: float) -> None:
        moments = self._moments
        while moments and moments[0] + LATE_S < now:
            moments.popleft()


def _least(one: float | None, other: float | None) -> float | None:
    return min((limit for limit in (one, other) if limit is not None), default=None)
