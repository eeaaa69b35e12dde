"""Answers that stay in the table although their row got more votes: the votes of now say none of the leading labels.

Owns what of such a row is taken from the part where it stands. It does not know why an answer stays (the outcome says
that it does).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.core.errors import StorageError
from batch.core.flags import TIE
from batch.ledger.reader import PendingRow
from batch.output.answers import tables_with
from batch.output.parts import PartReader

_OF_ANSWER: Final = ("answer", "reasoning", "finish_reason", "model", "messages")
_READ: Final = ("row_number", "variant", "flags", *_OF_ANSWER)


def with_standing(part: Path, rows: list[PendingRow]) -> list[PendingRow]:
    """Settled rows, those that keep their answer with the one that stands in their part.

    Args:
        part: the file, as it was published last.
        rows: settled ones, by ascending row number.

    Raises:
        StorageError: the part cannot be read.
    """
    keeping = [row for row in rows if row.outcome is not None and row.outcome.keeps_answer]
    if not keeping or not part.exists():
        return rows
    numbers = [row.row_number for row in keeping]
    try:
        stands = {(row["row_number"], row["variant"]): row for row in _rows_at(part, numbers)}
    except (OSError, pa.ArrowException) as exc:
        raise StorageError(
            f"{part}: cannot be read back: {exc}. Restore it from a backup and run the same command again, or run: "
            f"promptmill rebuild {part.parent.parent}"
        ) from exc
    return [_kept(row, stands.get((row.row_number, row.variant or None))) for row in rows]


def _rows_at(part: Path, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The rows of a part with these numbers."""
    with PartReader(part) as file:
        for table in tables_with(file, numbers, _READ):
            yield from table.to_pylist()


def _kept(row: PendingRow, stands: dict[str, Any] | None) -> PendingRow:
    outcome = row.outcome
    if outcome is None or not outcome.keeps_answer or stands is None:
        return row
    flags = (*(flag for flag in stands["flags"] or () if flag != TIE), *outcome.flags)
    changed = {name: stands[name] for name in _OF_ANSWER} | {"flags": tuple(dict.fromkeys(flags))}
    return row._replace(outcome=msgspec.structs.replace(outcome, **changed))
