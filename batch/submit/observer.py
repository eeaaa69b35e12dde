"""Who is told of calls, polls and rows beside the books, where somebody is: traces and metrics of a run.

Owns the questions that are put to such a listener. It is told after the books are written, changes nothing and must not
raise; what it makes of it is its own matter.
"""

from __future__ import annotations

from typing import Protocol

from batch.core.records import Call, Outcome
from batch.submit.rows import OpenCall, Row


class Observer(Protocol):
    """Listens to one run."""

    def booked(self, row: Row, call: Call) -> None:
        """A call of a row has ended."""

    def polled(self, call: OpenCall, seconds: float, error: str | None) -> None:
        """A provider was asked for the result of a task.

        Args:
            call: the call that left the task.
            seconds: how long the poll took.
            error: the kind of failure, where the poll itself failed.
        """

    def settled(self, row: Row, outcome: Outcome) -> None:
        """A row has its outcome."""
