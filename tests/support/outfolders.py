"""Output folders as a finished run leaves them, written by the code that writes them, without a run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pyarrow as pa

from batch.core.records import Outcome
from batch.ledger.schema import connect
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.parts import footprint, write_part
from batch.output.rebuild import rebuild
from tests.support.values import call, outcome

RUN = "20261121T020000123Z-a1b2"
POINTS = ("publish.results_written", "publish.results_named")


def finished(root: Path, inputs: pa.Table, outcomes: Sequence[Outcome] = (), *, part_rows: int = 1_000) -> OutputFolder:
    """A table over these inputs, a call for each row, and the ledger that belongs to them.

    Args:
        root: of the output folder.
        inputs: the input columns of N rows.
        outcomes: of the first rows; the others were answered `yes`.
        part_rows: how many rows a part has.
    """
    folder = OutputFolder(root)
    folder.prepare()
    schema = tables.result_schema(inputs.schema, None)
    rows = [
        tables.ResultRow(
            row_id=f"r{n}",
            row_number=n,
            variant=None,
            run=RUN,
            fingerprint=n.to_bytes(16, "big"),
            outcome=outcomes[n] if n < len(outcomes) else outcome(settled_at_us=1_790_000_000_000_000 + n),
        )
        for n in range(inputs.num_rows)
    ]
    for part, start in enumerate(range(0, len(rows), part_rows)):
        batch = tables.result_batch(schema, inputs.slice(start, part_rows), rows[start : start + part_rows])
        write_part(folder.part(part), schema, [batch], points=POINTS)
    calls = [
        tables.CallRow(row_id=row.row_id, row_number=row.row_number, variant=None, call=call(n))
        for n, row in enumerate(rows)
    ]
    batch = tables.call_batch(calls, {"team": "support"}, run=RUN, job="tickets")
    write_part(folder.calls_part(RUN, 0), tables.CALL_SCHEMA, [batch], points=POINTS)
    rebuild(folder, 1_790_000_000_000_000)
    return folder


def as_published(folder: OutputFolder) -> None:
    """Have the ledger take the parts for what was published, as they are now that a test has changed them."""
    with closing(connect(folder.ledger)) as db:
        for path in folder.results.iterdir():
            number = int(path.stem.removeprefix("part-"))
            db.execute("UPDATE parts SET size=?, footer=? WHERE part=?", (*footprint(path), number))


def blank(path: Path) -> None:
    """No word of a file is left, but its footer: what a bad block of a disk does."""
    data = path.read_bytes()
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:4] + b"\0" * (footer - 4) + data[footer:])
