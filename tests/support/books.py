"""Books of any content: output folders whose calls and rows are given one by one, written by the code that writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

from batch.core.records import Call, Outcome, Sums, cost_decimal
from batch.output import tables
from batch.output.columns import COST
from batch.output.folder import OutputFolder
from batch.output.parts import write_part
from batch.output.rebuild import rebuild
from tests.support.outfolders import POINTS
from tests.support.values import outcome

RUN = "20261001T020000000Z-a1b2"
DAY_US = 86_400_000_000
OCTOBER_US = 1_790_784_000_000_000
"""1 October 2026 in Shanghai: 30 September, 16:00 UTC."""


class BookCall(msgspec.Struct, frozen=True):
    """One call of a book: the record, and the row and the run that it belongs to."""

    call: Call
    row_number: int = 0
    variant: str | None = None
    run: str = RUN


class BookRow(msgspec.Struct, frozen=True):
    """One row of the table: its number, and what is not as usual about it."""

    row_number: int
    variant: str | None = None
    first_us: int | None = None
    """When its first call was sent; None for a row without any."""
    status: str = "ok"
    inputs: Mapping[str, Any] = {}
    run: str = RUN


def book(
    root: Path,
    calls: Sequence[BookCall],
    rows: Sequence[BookRow] = (),
    *,
    tags: Mapping[str, str] | None = None,
    names: Mapping[str, str] | None = None,
    of_a_file: int = 1_000,
    leave_out: Sequence[str] = (),
    bounds: Mapping[str, int] | None = None,
) -> OutputFolder:
    """An output folder with these calls and rows.

    Args:
        root: of the folder.
        calls: in the order in which they were published.
        rows: in the order of the table.
        tags: of the job, in every run.
        names: of the job, by run; `tickets` in all others.
        of_a_file: how many calls and rows a file has.
        leave_out: columns of calls that an older version did not have.
        bounds: by the id of a call, the most it can have cost.
    """
    folder = OutputFolder(root)
    folder.prepare()
    schema = pa.schema([field for field in tables.CALL_SCHEMA if field.name not in leave_out])
    for run in dict.fromkeys(made.run for made in calls):
        name = (names or {}).get(run, "tickets")
        mine = [tables.CallRow(f"r{c.row_number}", c.row_number, c.variant, c.call) for c in calls if c.run == run]
        for part, start in enumerate(range(0, len(mine), of_a_file)):
            batch = tables.call_batch(mine[start : start + of_a_file], tags or {}, run=run, job=name)
            batch = batch.select(schema.names)
            if bounds is not None:
                batch = _bounded(batch, bounds)
            write_part(folder.calls_part(run, part), batch.schema, [batch], points=POINTS)
        job = {"name": name, "tags": tags or {}, "request": {"model": "glm-4"}}
        folder.run_file(run).write_text(json.dumps({"run": run, "job": job}))
    if rows:
        _results(folder, rows, of_a_file)
    rebuild(folder, OCTOBER_US)
    return folder


def _bounded(batch: pa.RecordBatch, bounds: Mapping[str, int]) -> pa.RecordBatch:
    """The calls with the most that each can have cost."""
    told = [bounds.get(name) for name in batch.column("client_call_id").to_pylist()]
    column = pa.array([None if units is None else cost_decimal(units) for units in told], COST)
    kept = [name for name in batch.schema.names if name != "cost_bound"]
    schema = pa.schema(
        [*(batch.schema.field(name) for name in kept), pa.field("cost_bound", COST)], batch.schema.metadata
    )
    return pa.RecordBatch.from_arrays([*(batch.column(name) for name in kept), column], schema=schema)


def _results(folder: OutputFolder, rows: Sequence[BookRow], of_a_file: int) -> None:
    inputs = pa.Table.from_pylist([dict(row.inputs) or {"text": "t"} for row in rows])
    schema = tables.result_schema(inputs.schema, None)
    results = [
        tables.ResultRow(
            f"r{row.row_number}", row.row_number, row.variant, row.run, n.to_bytes(16, "big"), _outcome(row)
        )
        for n, row in enumerate(rows)
    ]
    for part, start in enumerate(range(0, len(rows), of_a_file)):
        chosen = slice(start, start + of_a_file)
        batch = tables.result_batch(schema, inputs.slice(start, of_a_file), results[chosen])
        write_part(folder.part(part), schema, [batch], points=POINTS)


def _outcome(row: BookRow) -> Outcome:
    sums = Sums(calls=int(row.first_us is not None), turns=1, first_sent_at_us=row.first_us)
    if row.status == "ok":
        return outcome("yes", sums=sums)
    failure = {"status": "failed", "error_kind": "server", "error_code": "500", "retryable": True}
    return outcome(None, sums=sums, **failure)
