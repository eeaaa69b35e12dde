"""Counts what stands in the whole table of an output folder: its failures by kind and code, and its flags.

Goes over the columns that are needed in constant memory. It does not know how the run stands (`status`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pyarrow.compute as pc
import pyarrow.dataset as ds

from batch.core.flags import FLAGS
from batch.output.folder import OutputFolder
from batch.report.missing import Missing, opening, without_lost

EXAMPLES: Final = 3


class Standing(msgspec.Struct, frozen=True):
    """The failed rows of the table that share kind, code and whether they are worth another try."""

    kind: str
    code: str | None
    retryable: bool
    rows: int
    examples: tuple[str, ...]
    """The ids of the first few."""
    message: str | None
    """The error message of the first."""


class Flagged(msgspec.Struct, frozen=True):
    """The rows of the table that share a flag."""

    flag: str
    rows: int
    examples: tuple[str, ...]
    """The ids of the first few."""


class TableState(msgspec.Struct, frozen=True):
    """What is counted over the whole table, and so takes longest."""

    standing: tuple[Standing, ...] = ()
    flagged: tuple[Flagged, ...] = ()
    missing: tuple[Missing, ...] = ()
    """Parts that could not be read, and so are not counted; then files of the book that are lost or cut short."""


def counted(folder: OutputFolder, parts: list[int], book: Sequence[Path], *, failures: int) -> TableState:
    """The failures and flags of these parts; a part that cannot be read is left out, and named.

    Args:
        folder: has the parts.
        parts: their numbers.
        book: the files of calls, of which it is only looked whether they are there as a whole.
        failures: how many rows failed; where none did, none is looked for.

    Raises:
        StorageError: a part that could be read a moment ago cannot be read any more.
    """
    files = [folder.part(part) for part in parts]
    found, lost = without_lost(folder.root, files, lambda some: _counted(some, failures))
    return msgspec.structs.replace(found, missing=(*lost, *opening(folder, book)[1]))


def _counted(files: Sequence[Path], failures: int) -> TableState:
    return TableState(_standing(files if failures else []), _flagged(files))


def _standing(files: Sequence[Path]) -> tuple[Standing, ...]:
    """The failed rows of the table by kind and code, the most frequent first; constant memory."""
    if not files:
        return ()
    counts: dict[tuple[str, str | None, bool], int] = {}
    examples: dict[tuple[str, str | None, bool], list[str]] = {}
    messages: dict[tuple[str, str | None, bool], str | None] = {}
    columns = ["row_id", "error_kind", "error_code", "retryable", "error_message"]
    table = ds.dataset(list(map(str, files)), format="parquet")
    for batch in table.to_batches(columns=columns, filter=pc.field("status") == "failed", batch_readahead=2):
        for row_id, kind, code, again, message in zip(*(column.to_pylist() for column in batch), strict=True):
            key = (kind or "unknown", code, bool(again))
            counts[key] = counts.get(key, 0) + 1
            if counts[key] <= EXAMPLES:
                examples.setdefault(key, []).append(row_id)
                messages.setdefault(key, message)
    return tuple(
        Standing(*key, number, tuple(examples[key]), messages[key])
        for key, number in sorted(counts.items(), key=lambda item: -item[1])
    )


def _flagged(files: Sequence[Path]) -> tuple[Flagged, ...]:
    """The flags that rows of the table have, in the order of `core.flags`; constant memory."""
    if not files:
        return ()
    counts: dict[str, int] = {}
    examples: dict[str, list[str]] = {}
    table = ds.dataset(list(map(str, files)), format="parquet")
    any_flag = pc.list_value_length(pc.field("flags")) > 0
    for batch in table.to_batches(columns=["row_id", "flags"], filter=any_flag, batch_readahead=2):
        for row_id, flags in zip(*(column.to_pylist() for column in batch), strict=True):
            for flag in flags:
                counts[flag] = counts.get(flag, 0) + 1
                if counts[flag] <= EXAMPLES:
                    examples.setdefault(flag, []).append(row_id)
    return tuple(Flagged(flag, counts[flag], tuple(examples[flag])) for flag in FLAGS if flag in counts)
