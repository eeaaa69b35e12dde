"""The values that come out of an input: batches of rows, where they stood, and where to go on.

Nothing here reads anything. Made by `jsonl` and `parquet`, one file each, and handed on by `source`.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from batch.core.records import Failure


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How far a source was read; `row` and `byte` count what was consumed of the file number `file`."""

    file: int = 0
    """Its place among the files of the source, which a source that is still the same has in the same order."""
    row: int = 0
    byte: int = 0
    """JSONL: of the text, so of what comes out when the file is compressed."""
    end: bool = False
    """The file has nothing more."""
    line: int = 0
    """JSONL: lines consumed, blank ones included."""


class SourceBatch(msgspec.Struct, frozen=True):
    """Some rows of one file; all lists and `columns` have one entry a row."""

    columns: pa.RecordBatch
    records: list[dict[str, Any] | None]
    """None: unreadable. A record beside a failure has an identity, but cannot be asked."""
    lines: list[int]
    """1-based line of a JSONL file, 0-based row index of a Parquet file."""
    failures: list[Failure | None]
    raw_ids: list[str | None]
    bytes: int
    """Approximate size of the rows as they were read."""
    position: Position
    """Where to go on after this batch."""
    place_name: str
    """File and unit, such as `tickets.jsonl line`; `place` adds the number."""

    def place(self, index: int) -> str:
        """Where a row stands, as errors name it: `tickets.jsonl line 7`, or `tickets.parquet row 6` counted from 0."""
        return f"{self.place_name} {self.lines[index]}"


def fault(place: str, *, code: str, reason: str) -> Failure:
    """The failure of a row that cannot be asked, for what it is."""
    return Failure(kind="input", verdict="fail", sent=False, code=code, message=f"{place}: {reason}")
