"""Reads the calls of output folders, which are the book, beside the rows that they were made for.

Owns what belongs to the book of a folder at one moment: the published files of `calls`, and the final calls that the
ledger of a run at work, or of one that was killed, holds unpublished. Calls that are under way are no part of it; they
are counted. It knows no prices and no groups.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.core import places
from batch.core.errors import RefusedToStart, StorageError
from batch.ledger.reader import LedgerReader
from batch.output import tables
from batch.output.columns import CALLS, COST, RESULTS
from batch.output.folder import OutputFolder, holder
from batch.output.unreadable import UnreadableFile
from batch.report.cost.windows import NAMES, PartFile, between, fitted, joined, rows_between, stretches
from batch.report.folders import opened
from batch.report.missing import Missing, missing, opening

_WAITING_ROWS: Final = 5_000
_HIGHEST: Final = 2**63 - 1
_CALLS: Final = {"cost_bound": COST} | {column.name: column.type for column in CALLS}
_RESULTS: Final = {column.name: column.type for column in RESULTS}


class BookFolder:
    """The book of one output folder as it was at one moment.

    Args:
        out: the folder; its run may be at work.

    Raises:
        OutputError: it is no output folder.
        StorageError: its ledger cannot be read, or a file of a run at work.

    Attributes:
        folder: its layout.
        calls: the published files of calls.
        results: the published parts of the table.
        waiting: final calls that are not published yet.
        missing: files that cannot be read; figures are without them.
        at_work: whether a process works in the folder, so that calls may be under way.
    """

    def __init__(self, out: Path) -> None:
        self.folder = opened(out)
        with LedgerReader(self.folder.ledger) as reader, reader.snapshot():
            call_parts, parts = reader.call_parts(), reader.parts()
            runs = [run.run for run in reader.runs()]
            self.waiting = self._waiting(reader, runs[-1]) if runs else tables.CALL_SCHEMA.empty_table()
        self.at_work = holder(self.folder) is not None
        self.missing: list[Missing] = []
        self.calls = self._readable([self.folder.calls_part(run, number) for run, number in call_parts])
        self.results = self._readable([self.folder.part(number) for number in parts])

    def leave_out(self, broken: UnreadableFile) -> bool:
        """Have a file be none of the book that broke off while it was read; whether it was one that may be left out."""
        kept = [file for file in self.calls if file.path != broken.path]
        rows = [file for file in self.results if file.path != broken.path]
        if self.at_work or len(kept) + len(rows) == len(self.calls) + len(self.results):
            return False
        self.calls, self.results = kept, rows
        self.missing.append(missing(self.folder.root, broken.path, broken))
        return True

    def _readable(self, paths: Sequence[Path]) -> list[PartFile]:
        """Those of the files that can be read. Where a run is at work, one that cannot may be replaced just now."""
        found = []
        there, lost = opening(self.folder, paths)
        self.missing += lost
        for path in there:
            try:
                found.append(PartFile(path))
            except StorageError as exc:
                if self.at_work:
                    raise
                self.missing.append(missing(self.folder.root, path, exc))
        return found

    def require_whole(self) -> None:
        """Refuse a book of which a file cannot be read: no bill agrees with a part of it.

        Raises:
            StorageError: one cannot be read.
        """
        if self.missing:
            raise StorageError(self.missing[0].reason)

    def tags(self) -> set[str]:
        """The names of the tags that its calls have: of each run those of its first and its last file.

        Raises:
            StorageError: a file cannot be read.
        """
        ends: dict[Path, list[PartFile]] = {}
        for file in self.calls:
            ends.setdefault(file.path.parent, []).append(file)
        tags = [_field("tags", _CALLS)]
        told = [file.read([0], tags) for files in ends.values() for file in {files[0], files[-1]} if file.groups]
        found = [table.slice(0, 1).column("tags").to_pylist() for table in (*told, self.waiting)]
        return {name for values in found for pairs in values for name, _ in pairs or ()}

    def providers(self) -> set[str]:
        """The providers that its calls are of; of several, perhaps not each.

        Raises:
            StorageError: a file cannot be read.
        """
        found = set(self.waiting.column("provider").to_pylist())
        for file in self.calls:
            found.update(file.ends("provider"))
        return {name for name in found if name is not None}

    def _waiting(self, reader: LedgerReader, run: str) -> pa.Table:
        job = _job(self.folder, run)
        batches: list[pa.RecordBatch] = []
        rows: list[tables.CallRow] = []

        def build() -> None:
            batches.append(tables.call_batch(rows, job.get("tags") or {}, run=run, job=str(job.get("name") or "")))
            rows.clear()

        for _, row_id, row_number, variant, call in reader.final_calls():
            rows.append(tables.CallRow(row_id=row_id, row_number=row_number, variant=variant or None, call=call))
            if len(rows) >= _WAITING_ROWS:
                build()
        if rows:
            build()
        return pa.Table.from_batches(batches, tables.CALL_SCHEMA)

    @property
    def columns(self) -> pa.Schema:
        """The columns of the result table: those of its newest part, which has all of them."""
        return self.results[-1].schema if self.results else pa.schema([])

    def stretches(self, calls: Sequence[str], results: Sequence[str]) -> Iterator[tuple[pa.Table, pa.Table]]:
        """All calls, some at a time, each time with all rows of the table that they may belong to.

        Args:
            calls: columns of `calls`, `row_number` among them; texts come as dictionaries.
            results: the same of `results`.

        Raises:
            StorageError: a file cannot be read.
        """
        call_fields = [_field(name, _CALLS) for name in calls]
        row_fields = [_field(name, _RESULTS) for name in results]
        waiting = fitted(self.waiting, call_fields)
        groups = [group for file in (*self.calls, *self.results) for group in file.groups]
        spans = stretches(groups)
        # Rows that no file has yet have calls in the ledger alone, and numbers behind all others.
        behind = spans[-1][1] if spans else 0
        for low, end in [*spans, (behind, _HIGHEST)]:
            made = list(rows_between(self.calls, low, end, call_fields))
            if len(more := between(waiting, low, end)):
                made.append(more)
            if made:
                rows = list(rows_between(self.results, low, end, row_fields))
                yield joined(made, pa.schema(call_fields)), joined(rows, pa.schema(row_fields))


def _field(name: str, kinds: Mapping[str, Any]) -> pa.Field:
    """How a column is read: our numbers and times in their own type, all else as texts."""
    kind: Any = kinds.get(name, NAMES)
    return pa.field(name, NAMES if pa.types.is_string(kind) or pa.types.is_dictionary(kind) else kind)


def open_folders(outs: Sequence[Path]) -> list[BookFolder]:
    """The books of several folders; one that is named twice counts once.

    Raises:
        RefusedToStart: none is named.
        OutputError: one is no output folder.
        StorageError: a ledger or a file cannot be read.
    """
    if not outs:
        raise RefusedToStart("no output folder is named. Give one or several: promptmill cost OUT")
    known: dict[Path, BookFolder] = {}
    for out in outs:
        real = out if places.is_store(out) else out.expanduser().resolve()
        if real not in known:
            known[real] = BookFolder(out)
    return list(known.values())


def _job(folder: OutputFolder, run: str) -> dict[str, Any]:
    """What the file of a run tells of its job; empty when the file is lost."""
    try:
        found = msgspec.json.decode(folder.run_file(run).read_bytes())["job"]
    except (OSError, ValueError, TypeError, KeyError):
        return {}
    return found if isinstance(found, dict) else {}
