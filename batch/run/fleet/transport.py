"""How a worker is started and spoken with, wherever it is: what a fleet of any kind brings along.

Owns the two ends of that, as protocols. The near end (`Started`) is a worker as the core has it; the far end
(`FarLine`) is the core as a worker has it. `process` and `line` are the two for processes of this machine,
`batch.run.ray` has those for actors of a Ray cluster. Who gets which errand, and what it means when a worker is gone,
is `crew`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from batch.run.fleet import messages


class Started(Protocol):
    """A worker that has begun to start, with the line to it."""

    async def open(self, received: Callable[[messages.ToCore], None], ended: Callable[[], None]) -> None:
        """Open the line; messages may come before this returns.

        Args:
            received: called with each message, in this event loop.
            ended: called once, when nothing will come any more.
        """

    def send(self, message: messages.ToWorker) -> None:
        """Send one message; without waiting, and to nobody where the line has ended."""

    def abort(self) -> None:
        """Close the line at once."""

    def how_it_ended(self) -> str:
        """In words, once its line has ended."""

    def end(self) -> None:
        """End it, whatever it is doing."""


Begin = Callable[[], Started]
"""Starts a worker; raises OSError where none can be started."""


class FarLine(Protocol):
    """The line to the core, in a worker."""

    async def open(self, received: Callable[[messages.ToWorker], None], ended: Callable[[], None]) -> None:
        """Open it; messages may come before this returns.

        Args:
            received: called with each message, in order.
            ended: called once, when the core is gone.
        """

    def send(self, message: messages.ToCore) -> None:
        """Send one message; without waiting, and to nobody where the line has ended."""

    def close(self) -> None:
        """Close it, once all that was sent is written."""

    def core_now(self) -> float:
        """What the clock of the core shows now at most, in its monotonic seconds: what has departed is as old as that.

        Infinity while it is not known; then no errand is young enough to be sent.
        """

    def headers(self, errand: messages.Errand) -> tuple[tuple[str, str], ...]:
        """The headers with which an errand is sent: its own, and the key where that does not go over the line."""
