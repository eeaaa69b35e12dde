"""One worker of a run, as the core sees it: what it has under way, and since when nothing was heard of it.

Owns one incarnation of a worker with its epoch, and how errands are handed to it. Who gets which errand, and when an
epoch is over, `crew` decides.
"""

from __future__ import annotations

import asyncio
from typing import Final

import anyio

from batch.run.fleet import messages
from batch.run.fleet.transport import Started

AVOIDED_S: Final = 1.0
"""One that an errand came to too late gets none for so long either, and for twice as long each time that it happens
again: else it would get the most of them, for it has nothing to do."""
LONGEST_AVOIDED_S: Final = 30.0


class Member:
    """One incarnation of a worker.

    Args:
        epoch: its number.
        process: what was started, wherever that is.
        now: monotonic seconds.
    """

    def __init__(self, epoch: int, process: Started, now: float) -> None:
        self.epoch = epoch
        self.process = process
        self.waiting: dict[int, asyncio.Future[messages.Found]] = {}
        self.polls: set[int] = set()
        """Tickets of those that buy nothing: if they are lost, another worker sends them again."""
        self.lost: set[int] = set()
        """Tickets that nobody waits for since its epoch is over."""
        self.errands: list[messages.Errand] = []
        self.heard_at = now
        self._avoided_s, self.avoided_until = 0.0, now
        self.ready = self.over = self.answered = False
        self.gone = anyio.Event()
        """Its line has ended."""

    def give(self, errand: messages.Errand) -> asyncio.Future[messages.Found]:
        """Hand an errand over at the end of this tick of the loop, together with all others of it."""
        loop = asyncio.get_running_loop()
        found = self.waiting[errand.ticket] = loop.create_future()
        if not self.errands:
            loop.call_soon(self._hand_over)
        self.errands.append(errand)
        return found

    @property
    def calls(self) -> int:
        """How many calls it has under way, that nobody knows anything of if it ends now."""
        return sum(ticket not in self.polls for ticket in self.waiting)

    def heard(self, report: messages.Report, now: float) -> None:
        """Note from a report whether errands come to it in time."""
        if not report.stale:
            self._avoided_s = 0.0
        elif now >= self.avoided_until:
            self._avoided_s = min(max(AVOIDED_S, 2 * self._avoided_s), LONGEST_AVOIDED_S)
            self.avoided_until = now + self._avoided_s

    def _hand_over(self) -> None:
        errands, self.errands = self.errands, []
        try:
            self.process.send(messages.Take(errands))
        except Exception as bug:  # noqa: BLE001 - whoever waits would wait for ever
            for errand in errands:
                if (waiter := self.waiting.pop(errand.ticket, None)) is not None and not waiter.done():
                    waiter.set_exception(bug)

    def take_back(self, ticket: int) -> None:
        """Nobody waits for this errand any more."""
        if self.waiting.pop(ticket, None) is not None:
            self.process.send(messages.Cancel([ticket]))
