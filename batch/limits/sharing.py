"""Which budgets a run shares with other jobs of the same user, and for how long.

Owns the joining of them, the visits that let the others know of this run, and the leaving. What a budget gives is
`shared`'s matter. Where the state folder cannot be used, the run goes on with its own limits, and says so once.
"""

from __future__ import annotations

import os
from pathlib import Path

from batch.core.clock import Clock
from batch.core.logs import logger
from batch.limits import poolfile
from batch.limits.model import ModelLimits
from batch.limits.poolfile import PoolFile
from batch.limits.rates import RateLimits
from batch.limits.shared import VISIT_S, SharedLimits


class Sharing:
    """All shared budgets of one run: joined before it sends, kept up while it does, left at its end.

    Args:
        folder: the state folder; None where there is none.
        clock: where time comes from.
        job: its name.
    """

    def __init__(self, folder: Path | None, clock: Clock, *, job: str) -> None:
        self._folder = None if folder is None else folder / poolfile.FOLDER
        self._clock = clock
        self._job = job
        self._member = f"{os.getpid():x}-{os.urandom(6).hex()}"
        self._told = False
        self.budgets: list[SharedLimits] = []

    def join(
        self, limits: ModelLimits, parts: tuple[str, ...], *, job_rates: RateLimits, concurrency: int | None
    ) -> None:
        """Have the limits of one model be shared with all jobs that ask the same.

        Args:
            limits: of the model.
            parts: the address, a hash of the key, and the model: who has the same shares the budget.
            job_rates: those of the whole job.
            concurrency: the calls in flight that the job declares for the model; None where it declares none.
        """
        if self._folder is None:
            self._alone("the environment names no place for it")
            return
        if (kind := poolfile.remote(self._folder)) is not None:
            self._alone(f"{self._folder} lies on another machine ({kind})")
            return
        try:
            file = PoolFile(self._folder, parts, self._member, now_us=self._clock.now_us())
        except OSError as exc:
            self._alone(f"{self._folder}: {exc.strerror or exc}")
            return
        shared = SharedLimits(file, self._clock, limits, job_rates=job_rates, job=self._job, concurrency=concurrency)
        self.budgets.append(shared)
        limits.shared = shared
        shared.keep()

    def _alone(self, why: str) -> None:
        if not self._told:
            self._told = True
            logger().warning("limits_not_shared", reason=why)

    @property
    def others(self) -> int | None:
        """How many other jobs share a budget with this one now, at the most; None where nothing is shared."""
        return max((one.others for one in self.budgets if one.alone is None), default=None)

    async def run(self) -> None:
        """Visit every budget a few times a second; runs until cancelled."""
        while self.budgets:
            await self._clock.sleep(VISIT_S)
            for one in self.budgets:
                one.keep()

    def leave(self) -> None:
        """Give back what this run has of every budget."""
        for one in self.budgets:
            one.leave()
        self.budgets.clear()
