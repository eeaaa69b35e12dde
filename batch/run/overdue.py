"""Batches that take too long: the provider is told to cancel them, and what they have not done leaves them.

Owns when a batch is over its time by `[bulk] deadline`, and how it is cancelled. It is waited for like any other batch
until the provider says that nothing of it will change any more: only then is known which lines were done, and are paid
for. What becomes of a row whose line was not is `conclusion`'s.
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
from batch.submit import retry
from batch.submit.bulk import OVERDUE, BatchExchange

_UNDER_WAY: Final = frozenset({"cancelling", "finalizing"})
"""Statuses of a batch that ends by itself soon."""
FIRST_POLL_S: Final = 1.0
LONGEST_POLL_S: Final = 30.0


class BatchDeadline:
    """For how long the batches of one run may take.

    Args:
        exchange: tells the provider to cancel.
        clock: the wall counts, for a batch is older than a process.
        deadline_s: how old a batch may become; None for as old as it likes.
    """

    def __init__(self, exchange: BatchExchange, clock: Clock, deadline_s: float | None) -> None:
        self._exchange = exchange
        self._clock = clock
        self._deadline_s = math.inf if deadline_s is None else deadline_s
        self._chance = random.Random()
        self._tries: dict[int, int] = {}
        self._since: dict[int, float] = {}

    def left_s(self, wave: WaveRow) -> float:
        """Seconds until a batch is over its time; none or fewer when it is."""
        return self._deadline_s - (self._clock.now_us() - wave.made_at_us) / MICROSECONDS

    def over(self, wave: WaveRow) -> bool:
        """Whether a batch is over its time."""
        return self.left_s(wave) <= 0

    def unsent(self, wave: WaveRow) -> Failure:
        """What the lines of a file come to that was not sent in time."""
        message = (
            f"its file of {wave.lines:,} requests could not be sent within {self._said}, the time that [bulk] deadline "
            "gives; nothing was bought"
        )
        return Failure(kind="task", verdict="retry", code=OVERDUE, message=message, sent=False)

    def renamed(self, wave: WaveRow, result: Reply | Failure) -> Reply | Failure:
        """What a line came to; one that its batch did not come to says that it was given no more time."""
        if not isinstance(result, Failure) or result.code not in UNDONE or not self.over(wave):
            return result
        message = (
            f"batch {wave.batch_id} had not come to this line after {self._said}, the time that [bulk] deadline gives; "
            "nothing was bought"
        )
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
            logger().info("batch_cancelled", wave=number, batch=wave.batch_id)
            self._since[number] = since = now
            return FIRST_POLL_S / 2
        return min(LONGEST_POLL_S, max(FIRST_POLL_S / 2, (now - since) / 10))

    @property
    def _said(self) -> str:
        return describe(self._deadline_s)
