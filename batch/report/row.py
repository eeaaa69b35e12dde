"""Collects everything about one row, in each of its variants: input, outcome, conversation, and every call made for it.

Looks a row up by its id, or by a beginning of it that no other row shares, in the published table first and then among
the rows that are still under way. What has settled and is not published yet comes from the ledger, in the form it will
have in the table. Reads only what the ledger names: a killed publication's files are not in the book.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.core import canonical
from batch.core.errors import RefusedToStart, StorageError
from batch.core.nearest import suggestion
from batch.core.records import Call, cost_decimal
from batch.input.spill import Spill
from batch.ledger.copies import CopiesReader
from batch.ledger.reader import JournaledCall, LedgerReader, PendingRow
from batch.ledger.waves import WavesReader
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.report.figures.parquet import Ends, OpenPart
from batch.report.figures.parquet import tables as tables_of
from batch.report.folders import opened
from batch.report.missing import Missing, Reading, by_name, opening

MOST_NAMED: Final = 10
NEAREST_AMONG: Final = 20_000
_BOOK: Final = {field.name: field.type for field in tables.CALL_SCHEMA}

Stage = Literal["waiting", "copy", "under way", "settled"]
"""How far an admitted row is: not sent yet; waiting for another's answer; in the middle of a call or conversation;
waiting to be published."""
STAGES: Final[dict[Stage, str]] = {
    "waiting": "The row is to be asked, and nothing was sent yet.",
    "copy": "The row asks what another row of the run asks, and waits for its answer (prompt.dedupe).",
    "under way": "The row is in the middle of a call or a conversation.",
    "settled": "The row has its answer or its failure, and its part of the table is not written yet.",
}
"""What each stage means, for people."""


class RowView(msgspec.Struct, frozen=True, kw_only=True):
    """One row in one variant; `outcome` None while it has none."""

    row_id: str
    row_number: int
    variant: str | None
    """None for the only one."""
    stage: Stage | None
    """None when nothing is under way for it."""
    inputs: dict[str, Any]
    outcome: dict[str, Any] | None
    """The columns of the result table that are ours, by name; without `messages`."""
    messages: list[dict[str, Any]]
    """The kept part of the conversation."""
    calls: list[dict[str, Any]]
    """The columns of the book of account, in the order they were made; those not final yet have state `open`."""
    missing: tuple[Missing, ...] = ()
    """Files of calls that cannot be read: calls of the row may stand in them."""


class _Reader(CopiesReader, WavesReader):
    """Knows which rows wait for another's answer, and which for a batch."""


def row_of(out: Path, row_id: str) -> list[RowView]:
    """The row with this id, or with the only id that begins with it: one view for each variant, in the table's order.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: no row is called so, or several begin so; says which.
        StorageError: a part or the ledger cannot be read.
    """
    folder = opened(out)
    with _Reader(folder.ledger) as reader:
        try:
            return _row(folder, reader, row_id)
        except (OSError, pa.ArrowException) as exc:
            raise StorageError(f"{folder.text}: the table cannot be read: {exc}.") from exc


def _row(folder: OutputFolder, reader: _Reader, row_id: str) -> list[RowView]:
    pending = _Pending(reader)
    entries = reader.entries([row_id])
    full_id = row_id if entries or pending.find(row_id) else _resolve(folder, reader, pending, row_id)
    entries = entries or reader.entries([full_id])
    under_way = pending.find(full_id)
    parts = {entry.part for entry in entries.values() if entry.status is not None}
    published = {name: row for part in sorted(parts) for name, row in _published(folder, part, full_id).items()}
    kept = reader.kept(full_id)
    numbers = {row.row_number for row in kept} | {entry.row_number for entry in entries.values()}
    booked, lost = _booked(folder, reader, full_id, numbers)
    run = next((run.run for run in reversed(reader.runs())), "")
    views = []
    for variant in dict.fromkeys([*published, *under_way, *(name for _, name in entries)]):
        stage, row = under_way.get(variant, (None, None))
        inputs, outcome = _split(published[variant]) if variant in published else ({}, None)
        if row is not None and (not inputs or row.outcome is not None):
            inputs = _spilled(folder, row) or inputs
        if row is not None and row.outcome is not None:
            outcome = _settled(row, run, reader.meta(tables.LABELS))
        number = row.row_number if row is not None else entries[full_id, variant].row_number
        view = RowView(
            row_id=full_id,
            row_number=number,
            variant=variant or None,
            stage=stage,
            inputs=inputs,
            messages=_messages(outcome.pop("messages", None)) if outcome is not None else [],
            outcome=outcome,
            calls=_calls(
                reader,
                [call for call in booked if call["variant"] == (variant or None)],
                [row for row in kept if row.variant == variant],
            ),
            missing=lost,
        )
        views.append(view)
    return views


class _Pending:
    """The rows that are admitted and not published; few enough to be walked through once."""

    def __init__(self, reader: CopiesReader) -> None:
        self._rows: dict[str, dict[str, tuple[Stage, PendingRow]]] = {}
        after = -1
        while slice_ := reader.unsent(after, 1_000):
            self._add("waiting", slice_)
            after = slice_[-1].work_id
        after = -1
        while slice_ := reader.waiting(after, 1_000):
            self._add("copy", slice_)
            after = slice_[-1].work_id
        self._add("under way", reader.open_rows())
        for part in reader.settled_by_part():
            position = (-1, -1)
            while settled := reader.outcomes(part, after=position):
                self._add("settled", settled)
                position = (settled[-1].row_number, settled[-1].variant_no)

    def _add(self, stage: Stage, rows: list[PendingRow]) -> None:
        for row in rows:
            self._rows.setdefault(row.row_id, {})[row.variant] = (stage, row)

    def find(self, row_id: str) -> dict[str, tuple[Stage, PendingRow]]:
        """How far the admitted variants of this id are, in the order of the job."""
        return dict(sorted(self._rows.get(row_id, {}).items(), key=lambda item: item[1][1].variant_no))

    def names(self) -> list[str]:
        """All ids."""
        return list(self._rows)


def _resolve(folder: OutputFolder, reader: LedgerReader, pending: _Pending, start: str) -> str:
    """The only id that begins with `start`.

    Raises:
        RefusedToStart: there is none, or more than one.
        StorageError: none that can be read does, and a part cannot be read.
    """
    files, others = opening(folder, [folder.part(part) for part in reader.parts()])
    reading = Reading(folder.root, others)
    names = {name for name in pending.names() if name.startswith(start)}
    for name in reading.each(files, lambda part: _ids(part, start)) if start else ():
        names.add(name)  # a row stands here once for each of its variants
        if len(names) > MOST_NAMED:
            break
    if len(names) == 1:
        return names.pop()
    if names:
        more = ", …" if len(names) > MOST_NAMED else ""
        raise RefusedToStart(f"{start!r} begins several row ids: {', '.join(sorted(names)[:MOST_NAMED])}{more}")
    for lost in reading.missing:
        raise StorageError(lost.reason)  # it may stand there
    first = islice(reading.each(files, lambda part: _ids(part, "")), NEAREST_AMONG)
    ids = list(dict.fromkeys([*pending.names()[:NEAREST_AMONG], *first]))
    otherwise = f"Row ids here look like {', '.join(ids[:3])}." if ids else "It has no rows yet."
    hint = suggestion(start, ids, otherwise, most=3, cutoff=0.7)
    raise RefusedToStart(f"{folder.text}: no row is called {start!r}. {hint}")


def _ids(part: Path, start: str) -> Iterator[str]:
    """The ids in a part that begin so."""

    def wanted(told: Ends) -> bool:
        low, high = told.get("row_id", (start, start))
        return low is not None and low[: len(start)] <= start <= high

    for table in tables_of(part, {"row_id": pa.string()}, wanted):
        names = table.column("row_id")
        yield from names.filter(pc.starts_with(names, start)).to_pylist()


def _published(folder: OutputFolder, part: int, row_id: str) -> dict[str, dict[str, Any]]:
    """The rows of one part of the table that have this id, by variant."""
    path = folder.part(part)
    if lost := opening(folder, [path])[1]:
        raise StorageError(lost[0].reason)
    rows: list[dict[str, Any]] = []
    with OpenPart(path) as opened_part:
        for group in range(opened_part.groups):
            low, high = opened_part.ends(group).get("row_id", (row_id, row_id))
            if low is not None and low <= row_id <= high:
                table = opened_part.read(group, opened_part.columns)
                found = table.filter(pc.equal(table.column("row_id"), row_id))
                rows += found.to_pylist(maps_as_pydicts="lossy")
    return {row["variant"] or "": row for row in rows}


def _split(row: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """A row of the table, split into its input columns and ours; ours come last."""
    items = list(row.items())
    ours = list(row).index("row_id")
    return dict(items[:ours]), dict(items[ours:])


def _settled(row: PendingRow, run: str, labels: bytes | None) -> dict[str, Any]:
    """Our columns of a row that is not published yet, as they will stand in the table."""
    assert row.outcome is not None
    settled = tables.ResultRow(
        row_id=row.row_id,
        row_number=row.row_number,
        variant=row.variant or None,
        run=run,
        fingerprint=row.fingerprint,
        outcome=row.outcome,
    )
    columns = pa.ipc.read_schema(pa.py_buffer(labels)) if labels else pa.schema([])
    schema = tables.result_schema(pa.schema([]), None, columns)
    shown: dict[str, Any] = tables.result_batch(schema, pa.table({"": [None]}), [settled]).to_pylist()[0]
    return shown


def _spilled(folder: OutputFolder, row: PendingRow) -> dict[str, Any]:
    """The input of a row under way; gone when it was published a moment ago."""
    try:
        with Spill(folder.spill(row.range)) as spill:
            return spill.records(row.idx, 1)[0]
    except (StorageError, IndexError):
        return {}


def _messages(text: str | None) -> list[dict[str, Any]]:
    if not text:
        return []
    try:
        found = canonical.loads(text)  # a model may have said half a surrogate pair, or nested without end
    except ValueError:
        return []
    return [message for message in found if isinstance(message, dict)] if isinstance(found, list) else []


def _calls(reader: _Reader, booked: list[dict[str, Any]], kept: list[PendingRow]) -> list[dict[str, Any]]:
    """All calls of a row; those in the book are still in the ledger until the row is pruned."""
    booked_ids = {call["client_call_id"] for call in booked}
    journaled = [call for row in kept for call in _journaled(reader, row)]
    return booked + [call for call in journaled if call["client_call_id"] not in booked_ids]


def _booked(
    folder: OutputFolder, reader: LedgerReader, row_id: str, numbers: set[int]
) -> tuple[list[dict[str, Any]], tuple[Missing, ...]]:
    """The calls of a row that are in the book, oldest first, and the files of it that cannot be read.

    A book has no order by row id, but nearly one by row number: calls are made in the order of the input. So the
    footers say which row groups can have the row, and only those are read.

    Args:
        folder: with the book.
        reader: knows which files it has.
        row_id: the row.
        numbers: its row numbers; more than one only where it stands in the ledger under another number than in the
            table.
    """
    files, others = opening(folder, [folder.calls_part(run, number) for run, number in reader.call_parts()])
    reading = Reading(folder.root, others)
    rows = list(reading.each(files, lambda path: _calls_in(path, row_id, numbers)))
    rows.sort(key=lambda call: (call["sent_at"] is None, call["sent_at"] or 0))
    return rows, by_name(*reading.missing)


def _calls_in(path: Path, row_id: str, numbers: set[int]) -> Iterator[dict[str, Any]]:
    """The calls of a row with these row numbers in one file of the book, by the columns of now."""
    name, values = ("row_number", numbers) if numbers else ("row_id", {row_id})

    def wanted(told: Ends) -> bool:
        low, high = told.get(name, (None, None))
        return name not in told or (low is not None and any(low <= value <= high for value in values))

    for table in tables_of(path, _BOOK, wanted):
        found = table.filter(pc.equal(table.column("row_id"), row_id))
        if numbers:
            found = found.filter(pc.is_in(found.column("row_number"), pa.array(sorted(numbers), pa.int64())))
        for row in found.to_pylist(maps_as_pydicts="lossy"):
            yield {**row, "run": row["run"] or path.parent.name.removeprefix("run=")}


def _journaled(reader: _Reader, row: PendingRow) -> list[dict[str, Any]]:
    """The calls that the ledger has of a row."""
    return [_of_ledger(call, reader) for call in reader.calls_of(row.work_id)]


def _of_ledger(call: JournaledCall, reader: _Reader) -> dict[str, Any]:
    if call.record is None:
        shown = {"client_call_id": call.call_id, "turn": call.turn, "attempt": call.attempt, "lane": call.lane}
        wave = reader.wave_of(call.call) if call.lane == "bulk" else None
        ids = {"task_id": call.task, "batch_id": None if wave is None else wave.batch_id}
        return {**shown, "state": "open", **ids, "sent_at": _when(call.sent_at_us)}
    record: Call = call.record
    shown = {
        name: getattr(record, name)
        for name in tables.CALL_SCHEMA.names
        if name in Call.__struct_fields__ and name != "cost"
    }
    usage = record.usage
    shown |= {name: getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}
    cost = None if record.cost is None else cost_decimal(record.cost)
    return {**shown, "cost": cost, "sent_at": _when(record.sent_at_us)}


def _when(us: int) -> Any:
    return pa.scalar(us, pa.timestamp("us", tz="UTC")).as_py()
