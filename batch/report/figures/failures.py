"""The failures and flags of a table, counted part by part, so that a part that is still the same is not read again.

Owns what is kept of each way to fail: how often, a few ids, and the first row with its message. A part whose footer
shows neither failures nor flags is not read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core.flags import FLAGS
from batch.output.columns import RESULTS
from batch.output.folder import OutputFolder
from batch.report.figures.memory import FileMemory
from batch.report.figures.parquet import Ends, OpenPart
from batch.report.missing import by_name, leaving_out, opening
from batch.report.tablestate import EXAMPLES, Flagged, Standing, TableState

MOST_WAYS: Final = 1_000
"""Ways to fail that are told apart; a service may make up codes."""
MESSAGE: Final = 500
"""Characters of an error message."""
_TYPES: Final = {column.name: column.type for column in RESULTS}
_KEY: Final = ("row_number", "row_id", "variant")
_FAILURE: Final = (*_KEY, "status", "error_kind", "error_code", "retryable", "error_message")
_ELEMENTS: Final = "flags.list.element"

Way = tuple[str, str | None, bool]
"""How rows failed: kind, code, and whether they are worth another try."""


class Counted(msgspec.Struct, frozen=True):
    """Rows that have something in common."""

    rows: int
    examples: tuple[str, ...]
    """The ids of the first few."""
    first: dict[str, Any] = {}
    """The first of them: its key and its message."""

    def plus(self, other: Counted) -> Counted:
        """Both; the others stand behind these in the table."""
        return Counted(self.rows + other.rows, (self.examples + other.examples)[:EXAMPLES], self.first)


class Failures(msgspec.Struct):
    """What one part has, or several."""

    ways: dict[Way, Counted] = {}
    flags: dict[str, Counted] = {}

    def add(self, other: Failures) -> None:
        """Add what another part has, which stands behind this in the table."""
        for way, counted in other.ways.items():
            if way in self.ways:
                self.ways[way] = self.ways[way].plus(counted)
            elif len(self.ways) < MOST_WAYS:
                self.ways[way] = counted
        for flag, counted in other.flags.items():
            self.flags[flag] = self.flags[flag].plus(counted) if flag in self.flags else counted

    def state(self) -> TableState:
        """The same as `promptmill status` counts it."""
        return TableState(
            standing=tuple(
                Standing(*way, counted.rows, counted.examples, counted.first["message"])
                for way, counted in self._ranked()
            ),
            flagged=tuple(
                Flagged(flag, found.rows, found.examples) for flag in FLAGS if (found := self.flags.get(flag))
            ),
        )

    def public(self) -> list[dict[str, Any]]:
        """Each way to fail with its first row, the most frequent first."""
        return [
            {"kind": way[0], "code": way[1], "retryable": way[2], "count": counted.rows, **counted.first}
            for way, counted in self._ranked()
        ]

    def _ranked(self) -> list[tuple[Way, Counted]]:
        return sorted(self.ways.items(), key=lambda item: -item[1].rows)


def counted(folder: OutputFolder, parts: Sequence[int], book: Sequence[Path]) -> TableState:
    """The failures and flags of these parts; a part that cannot be read is left out, and named.

    Args:
        folder: has the parts.
        parts: their numbers.
        book: the files of calls, of which it is only looked whether they are those that were published.
    """
    files, others = opening(folder, [folder.part(part) for part in parts])
    memory = FileMemory()
    found, broken = leaving_out(folder.root, files, lambda left: failures(left, memory))
    return msgspec.structs.replace(found.state(), missing=by_name(*others, *broken, *opening(folder, book)[1]))


def failures(parts: Sequence[Path], memory: FileMemory) -> Failures:
    """The failures and flags of the whole table.

    Args:
        parts: in the order of the table.
        memory: remembers what was found in each part.

    Raises:
        StorageError: a part cannot be read.
    """
    found = Failures()
    for part in parts:
        found.add(memory.of(part, "failures", _of_part))
    return found


def _of_part(path: Path) -> Failures:
    found = Failures()
    with OpenPart(path) as part:
        for group in range(part.groups):
            told = part.ends(group)
            if _may_have_failed(told):
                table = part.read(group, {name: _TYPES[name] for name in _FAILURE})
                found.add(Failures(ways=_ways(table.filter(pc.equal(table.column("status"), "failed")))))
            if told.get(_ELEMENTS, ("", None)) != (None, None):
                found.add(
                    Failures(flags=_flags(part.read(group, {name: _TYPES[name] for name in ("row_id", "flags")})))
                )
    return found


def _may_have_failed(told: Ends) -> bool:
    least, _ = told.get("status", ("failed", None))
    return least is None or least <= "failed"


def _ways(table: pa.Table) -> dict[Way, Counted]:
    ways: dict[Way, Counted] = {}
    columns = (table.column(name).to_pylist() for name in ("error_kind", "error_code", "retryable", "row_id"))
    for place, (kind, code, again, row_id) in enumerate(zip(*columns, strict=True)):
        way = (kind or "unknown", code, bool(again))
        known = ways.get(way)
        if known is not None:
            examples = (*known.examples, row_id) if len(known.examples) < EXAMPLES else known.examples
            ways[way] = Counted(known.rows + 1, examples, known.first)
        elif len(ways) < MOST_WAYS:
            [first] = table.slice(place, 1).select([*_KEY, "error_message"]).to_pylist()
            message = first.pop("error_message")
            first["message"] = message if message is None or len(message) <= MESSAGE else f"{message[:MESSAGE]}…"
            ways[way] = Counted(1, (row_id,), first)
    return ways


def _flags(table: pa.Table) -> dict[str, Counted]:
    found: dict[str, Counted] = {}
    flagged = table.filter(pc.greater(pc.list_value_length(table.column("flags")), 0))
    for row_id, flags in zip(*(flagged.column(name).to_pylist() for name in ("row_id", "flags")), strict=True):
        for flag in flags:
            one = Counted(1, (row_id,))
            found[flag] = found[flag].plus(one) if flag in found else one
    return found
