"""Decides when a part is published before all its rows have settled, so that its answers can be read.

Owns that one decision, for all parts of a run. A part is a file that is replaced whole, so each of its publications
writes all of it again; how often is a matter of arithmetic, and this does no more than that. It publishes nothing.

A part is published first when one of its outcomes has waited `every_s`, and from then on whenever its outcomes have
grown by a quarter: 600 rows, 750, 938 … Written so, a file of N rows costs 4·N rows before its last writing, because
each writing but the first brings a quarter of the one before. When what is still to come is less than a quarter, the
time counts again, as long as all writings together, the last one included, stay below five times the part.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

GROWTH: Final = 4
"""New outcomes are worth another writing when this many times as many as they would fill the file."""
MOST_WRITTEN: Final = 5
"""Times the rows of a part that are written in all."""
LOOK_S: Final = 1.0
SHORTEST_LOOK_S: Final = 0.02


class _Part(msgspec.Struct):
    """One part that was looked at and is not complete."""

    since: float | None = None
    """When its oldest outcome that is not published was first seen; None when all are."""
    outcomes: int = 0
    """How many were published early."""
    rows: int = 0
    """Of its file; 0 before the first early publication."""
    written: int = 0
    """Rows that its early publications have written."""


class EarlyParts:
    """What is known of the parts of one run that wait for rows.

    Args:
        every_s: the longest that an outcome waits for the first publication of its part.

    Attributes:
        look_s: how often to ask what is due.
    """

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self.look_s = min(LOOK_S, max(SHORTEST_LOOK_S, every_s / 2))
        self._parts: dict[int, _Part] = {}

    def due(self, now: float, settled: Mapping[int, int], unsettled: Mapping[int, int]) -> list[int]:
        """The parts that are to be published now.

        Args:
            now: monotonic seconds.
            settled: by part, outcomes that are not published.
            unsettled: by part, rows that it waits for; a part without any is complete and not this module's matter.
        """
        found = []
        for number, fresh in settled.items():
            if fresh <= 0 or unsettled.get(number, 0) <= 0:
                continue
            part = self._parts.setdefault(number, _Part())
            if part.since is None:
                part.since = now
            if self._is_due(part, fresh, unsettled[number], waited_s=now - part.since):
                found.append(number)
        return found

    def published(self, part: int, outcomes: int, rows: int | None) -> None:
        """A part was published early.

        Args:
            part: its number.
            outcomes: how many rows of it had settled since the last time.
            rows: of its file now; None when there turned out to be nothing to publish.
        """
        known = self._parts[part]
        known.since = None
        if rows is not None:
            known.outcomes += outcomes
            known.rows = rows
            known.written += rows

    def forget(self, part: int) -> None:
        """A part is complete."""
        self._parts.pop(part, None)

    def _is_due(self, part: _Part, fresh: int, awaited: int, *, waited_s: float) -> bool:
        if part.rows == 0:
            return waited_s >= self._every_s
        whole = max(part.rows, part.outcomes + fresh + awaited)
        if part.written + part.rows + fresh > (MOST_WRITTEN - 1) * whole:
            return False
        if GROWTH * fresh >= part.rows:
            return True
        return GROWTH * (fresh + awaited) < part.rows and waited_s >= self._every_s
