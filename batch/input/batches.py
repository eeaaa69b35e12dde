"""The values that come out of an input: batches of rows, where each row stood, and where to go on.

Owns their form. It reads nothing: `jsonl` and `parquet` make batches, each from one file.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from batch.core.records import Failure


class Position(msgspec.Struct, frozen=True, array_like=True):
    """How far a source was read; `row`, `byte` and `line` count what was read of the file number `file`."""

    file: int = 0
    """The index of the file in the source; a source that has not changed has its files in the same order."""
    row: int = 0
    byte: int = 0
    """For JSONL: bytes of the text, which is what a compressed file unpacks to."""
    end: bool = False
    """Whether the file has nothing more."""
    line: int = 0
    """For JSONL: lines, including blank ones."""


class SourceBatch(msgspec.Struct, frozen=True):
    """Some rows of one file; `columns` and all lists have one entry for each row."""

    columns: pa.RecordBatch
    records: list[dict[str, Any] | None]
    """None for a row that cannot be read. A record beside a failure has an identity, but cannot be asked."""
    lines: list[int]
    """The line in a JSONL file, from 1, or the row in a Parquet file, from 0."""
    failures: list[Failure | None]
    """Why a row cannot be asked; None for a row that can."""
    raw_ids: list[str | None]
    """The identity of a row that cannot be read; None for a row that can."""
    bytes: int
    """About how many bytes the rows had in the file."""
    position: Position
    """Where to go on after this batch."""
    place_name: str
    """File and unit, such as `tickets.jsonl line`; `place` adds the number."""

    def place(self, index: int) -> str:
        """Where a row stands, as errors name it: `tickets.jsonl line 7`, or `tickets.parquet row 6`, from 0."""
        return f"{self.place_name} {self.lines[index]}"

    def key(self, index: int, name: str) -> str | None:
        """What a row that can be read has in its key column, as text; None where that is empty.

        In a column of whole numbers 3.0 is 3: programs that know no missing whole number (pandas) write all of a column
        with a point as soon as one is missing, and each row would be a new one.
        """
        value = (self.records[index] or {}).get(name)
        if value is None or value == "":
            return None
        schema = self.columns.schema
        whole = type(value) is float and value.is_integer() and name in schema.names
        return str(int(value) if whole and pa.types.is_integer(schema.field(name).type) else value)


def input_failure(place: str, *, code: str, reason: str) -> Failure:
    """The failure of a row that cannot be asked.

    Args:
        place: where the row stands, from `SourceBatch.place`.
        code: what is wrong, as a word: `unreadable`, `too_long`.
        reason: what is wrong, for people.
    """
    return Failure(kind="input", verdict="fail", sent=False, code=code, message=f"{place}: {reason}")
