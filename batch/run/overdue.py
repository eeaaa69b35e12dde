"""Batches that take too long: the provider is told to cancel them, and what they have not done leaves them.

Owns when a batch is over its time by `[bulk] deadline`, or because lane `auto` takes it back, and how it is cancelled.
It is waited for like any other batch until the provider says that nothing of it will change any more: only then is
known which lines were done, and are paid for. What becomes of a row whose line was not is `conclusion`'s.
"""

from __future__ import annotations

import math
import random
from typing import Final

from batch.core import failpoints
from batch.core.clock import MICROSECONDS, Clock, describe
from batch.core.logs import logger
from batch.core.records import Failure, Reply
from batch.ledger.waves import WaveRow
from batch.providers.batch_files import UNDONE, Batch
from batch.run.auto import Auto
from batch.submit import retry
from batch.submit.bulk import OVERDUE, BatchExchange

_UNDER_WAY: Final = frozenset({"cancelling", "finalizing"})
"""Statuses of a batch that ends by itself soon."""
CANCELLED_WITHIN_S: Final = 1_800.0
"""For so long a run waits for a cancelled batch to end: OpenAI says that takes 10 minutes at most, this is longer."""
LEFT_AFTER_S: Final = 10.0
"""For so long a command does that does not wait for batches: one that ends at once is collected by it all the same."""
FIRST_POLL_S: Final = 1.0
LONGEST_POLL_S: Final = 30.0


class BatchDeadline:
    """For how long the batches of one run may take.

    Args:
        exchange: tells the provider to cancel.
        clock: the wall counts, for a batch is older than a process.
        deadline_s: how old a batch may become; None for as old as it likes.
        auto: decides which batches are taken back; None where the lane is no such.
    """

    def __init__(
        self, exchange: BatchExchange, clock: Clock, deadline_s: float | None, auto: Auto | None = None
    ) -> None:
        self._exchange = exchange
        self._clock = clock
        self._deadline_s = math.inf if deadline_s is None else deadline_s
        self._auto = auto
        self._chance = random.Random()
        self._tries: dict[int, int] = {}
        self._since: dict[int, float] = {}
        self._taken: set[int] = set()
        """Those that the provider took it of that they are to be cancelled."""
        self._learned: set[int] = set()

    def left_s(self, wave: WaveRow) -> float:
        """Seconds until a batch is over its time; none or fewer when it is."""
        left_s = self._deadline_s - (self._clock.now_us() - wave.made_at_us) / MICROSECONDS
        return left_s if self._auto is None else min(left_s, self._auto.left_s(wave))

    def over(self, wave: WaveRow) -> bool:
        """Whether a batch is over its time."""
        return self.left_s(wave) <= 0

    def unsent(self, wave: WaveRow) -> Failure:
        """What the lines of a file come to that was not sent in time."""
        within = self._within(wave, "within")
        message = f"its file of {wave.lines:,} requests could not be sent {within}; nothing was bought"
        return Failure(kind="task", verdict="retry", code=OVERDUE, message=message, sent=False)

    def renamed(self, wave: WaveRow, result: Reply | Failure) -> Reply | Failure:
        """What a line came to; one that its batch did not come to says that it was given no more time."""
        if not isinstance(result, Failure) or result.code not in UNDONE or not self.over(wave):
            return result
        after = self._within(wave, "after")
        message = f"batch {wave.batch_id} had not come to this line {after}; nothing was bought"
        return Failure(kind="task", verdict="retry", code=OVERDUE, message=message)

    async def cancel(self, wave: WaveRow, batch: Batch) -> float | Failure:
        """Have a batch cancelled that is over its time; seconds until it is to be asked for again.

        Args:
            wave: whose batch it is.
            batch: as the provider told of it just now.

        Returns:
            A failure where the provider refused the key, or the like; any other refusal is tried again.
        """
        number, now = wave.wave, self._clock.monotonic()
        since = self._since.setdefault(number, now)
        if batch.status not in _UNDER_WAY:
            told = await self._exchange.cancel(wave)
            failpoints.hit("bulk.cancelled")
            if isinstance(told, Failure):
                logger().warning("batch_not_cancelled", wave=number, kind=told.kind, code=told.code)
                if told.verdict in ("stop", "row_or_key"):
                    return told
                tries = self._tries[number] = self._tries.get(number, 0) + 1
                return max(FIRST_POLL_S, retry.backoff(tries, self._chance), told.retry_after_s or 0.0)
            if number not in self._taken:  # else it was told before, and its status does not say so yet
                self._taken.add(number)
                logger().info("batch_cancelled", wave=number, batch=wave.batch_id)
                self._since[number] = since = now
        return min(LONGEST_POLL_S, max(FIRST_POLL_S / 2, (now - since) / 10))

    def lingers(self, wave: WaveRow) -> bool:
        """Whether a batch that is to be cancelled has not ended at once; perhaps the provider refuses to cancel it."""
        return self._clock.monotonic() - self._since.get(wave.wave, math.inf) >= LEFT_AFTER_S

    def stays(self, wave: WaveRow) -> float | None:
        """For how many seconds a batch has been cancelled, once that is longer than a cancellation takes; else None."""
        since = self._since.get(wave.wave)
        gone_s = 0.0 if since is None else self._clock.monotonic() - since
        return gone_s if gone_s > CANCELLED_WITHIN_S else None

    def learn(self, wave: WaveRow, batch: Batch) -> None:
        """A batch has ended: how long it took is known, and how long it took to cancel it if it was."""
        if self._auto is None or wave.wave in self._learned:
            return
        self._learned.add(wave.wave)
        if batch.completed and batch.created_s is not None and batch.ended_s is not None:
            self._auto.experience.learn_batch(wave.model, max(0.0, batch.ended_s - batch.created_s))
        if (since := self._since.pop(wave.wave, None)) is not None:
            self._auto.experience.learn_cancel(self._clock.monotonic() - since)

    def _within(self, wave: WaveRow, word: str) -> str:
        """The time that a batch had, for people, behind the word that fits."""
        age_s = (self._clock.now_us() - wave.made_at_us) / MICROSECONDS
        if self._auto is not None and age_s < self._deadline_s:
            return f"before it was taken back after {describe(age_s)}, so that all is done {self._auto.due}"
        return f"{word} {describe(self._deadline_s)}, the time that [bulk] deadline gives"
