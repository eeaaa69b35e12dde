"""The next free numbers of rows, parts, ranges and work.

Owns the rule that a run gives no number twice. Rows and parts are counted for ever; ranges and work are numbered anew
once the ledger is pruned, which a publication may do while the run that it belongs to has yet to plan its first range:
whoever hands out rows in the order of their work would take new ones under old numbers for rows that it had already.
"""

from __future__ import annotations

from typing import Self

import msgspec

from batch.ledger.reader import LedgerReader


class Least(msgspec.Struct, frozen=True):
    """What was free when a run began, before anything of it was published."""

    range: int = 0
    work_id: int = 0

    @classmethod
    def of(cls, reader: LedgerReader) -> Self:
        """What is free now."""
        return cls(reader.next_number("range"), reader.next_number("work"))


class Numbers(msgspec.Struct):
    """The next free numbers; one planner owns them."""

    row_number: int
    part: int
    range: int
    work_id: int

    @classmethod
    def of(cls, reader: LedgerReader, least: Least) -> Self:
        """What is free now, and not below what was free at the beginning of the run."""
        row_number, part, range_, work_id = map(reader.next_number, ("row_number", "part", "range", "work"))
        return cls(row_number, part, max(range_, least.range), max(work_id, least.work_id))
