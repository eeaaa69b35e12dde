"""Keeps what a run learns of tokens: now and then while it is at work, and at its end.

Owns when the state folder is written, in a thread, and that a run never fails by it. Where the environment names no
place for state (no home folder, none of our own), nothing is kept.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Final

from anyio import to_thread

from batch.core.clock import MICROSECONDS, Clock
from batch.core.errors import StorageError
from batch.core.logs import logger
from batch.core.statefolder import StateFile
from batch.plan.preflight import CheckedJob
from batch.plan.sizes import Sizer
from batch.tokens.calibration import FILE, Calibration, Notes
from batch.tokens.learner import Learner

_PATIENCE_S: Final = 5.0
"""What was learned is not worth a longer wait."""
OFTEN: Final = 1_000
"""Answers after which what they taught is written, in the middle of a run."""


class Learning:
    """What one run learns of tokens, and where that is kept.

    Args:
        checked: the job.
        clock: tells the day.

    Attributes:
        learner: is told of requests and answers; None where nothing is kept.
    """

    def __init__(self, checked: CheckedJob, clock: Clock) -> None:
        sizer = Sizer(checked)
        self.learner: Learner | None = None
        if checked.state is not None:
            self._file = StateFile(checked.state / FILE, patience_s=_PATIENCE_S)
            self.learner = Learner(sizer.name, sizer.carried, sizer.shape)
        self._clock = clock
        self._told = False

    async def save(self, *, at_least: int = 1) -> None:
        """Write what was learned, if that is from so many answers."""
        if self.learner is not None and self.learner.answers >= at_least:
            await to_thread.run_sync(partial(self._write, self.learner.take()))

    def _write(self, learned: dict[str, Notes]) -> None:
        try:
            kept = Calibration(self._file)
            trouble = kept.trouble
            kept.add(learned, datetime.fromtimestamp(self._clock.now_us() / MICROSECONDS, UTC).date())
        except StorageError as exc:
            trouble = str(exc)
        if trouble is not None and not self._told:
            self._told = True
            logger().warning("learned_tokens_lost", why=trouble)
