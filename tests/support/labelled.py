"""Output folders with labels, as finished runs leave them, written by the code that writes them, without a run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.parts import write_part
from batch.output.rebuild import rebuild
from tests.support.outfolders import POINTS, RUN
from tests.support.values import outcome

EARLIER = "20261120T020000123Z-a1b2"
"""A run of the night before `RUN`."""
TYPES: dict[str, Any] = {
    "label": pa.dictionary(pa.int32(), pa.string()),
    "votes": pa.list_(pa.struct([("label", pa.string()), ("count", pa.int32())])),
    "agreement": pa.float64(),
    "confidence": pa.float64(),
}
"""Our columns of a job with [labels]; any other key `label_…` of a row gets the type of its values."""
_OF_ROW = ("row_id", "variant", "run")
_OUTCOME = {
    "status",
    "answer",
    "flags",
    "error_kind",
    "error_code",
    "error_message",
    "retryable",
    "model_asked",
    "sums",
}


def labelled(
    root: Path,
    rows: Sequence[dict[str, Any]],
    *,
    gold: str | None = None,
    names: Sequence[str] = (),
    part_rows: int = 1_000,
) -> OutputFolder:
    """A table of these rows and the ledger that belongs to it.

    Args:
        root: of the output folder.
        rows: each with what is not as usual: label columns, columns of an outcome, `row_id`, `variant`, `run`; all else
            is input. The first has every column. A row without `status` is ok.
        gold: the job's labels.gold.
        names: the job's labels.names.
        part_rows: how many rows a part has.
    """
    folder = OutputFolder(root)
    folder.prepare()
    ours = [name for name in rows[0] if name in TYPES or name.startswith("label_")]
    inputs = pa.Table.from_pylist(
        [{k: v for k, v in row.items() if k not in {*ours, *_OF_ROW, *_OUTCOME}} for row in rows]
    )
    labels = {name: pa.array([row.get(name) for row in rows], TYPES.get(name)) for name in ours}
    plain = tables.result_schema(inputs.schema, None)
    schema = pa.schema([*plain, *(pa.field(name, array.type) for name, array in labels.items())], plain.metadata)
    numbers: dict[str, int] = {}
    results = []
    for n, row in enumerate(rows):
        row_id = row.get("row_id", f"r{n}")
        results.append(
            tables.ResultRow(
                row_id=row_id,
                row_number=numbers.setdefault(row_id, len(numbers)),
                variant=row.get("variant"),
                run=row.get("run", RUN),
                fingerprint=n.to_bytes(16, "big"),
                outcome=outcome(**{name: row[name] for name in _OUTCOME if name in row}),
            )
        )
    for part, start in enumerate(range(0, len(rows), part_rows)):
        chosen = slice(start, start + part_rows)
        batch = tables.result_batch(plain, inputs.slice(start, part_rows), results[chosen])
        more = [array[chosen] for array in labels.values()]
        whole = pa.RecordBatch.from_arrays([*batch.columns, *more], schema=schema)
        write_part(folder.part(part), schema, [whole], points=POINTS)
    variants = list(dict.fromkeys(row.get("variant") for row in rows))
    for run in {row.get("run", RUN) for row in rows}:
        request = {"model": "glm-4", "names": [name for name in variants if name is not None]}
        job = {
            "name": "tickets",
            "variants": variants,
            "labels": {"gold": gold, "names": list(names)},
            "request": request,
        }
        folder.run_file(run).write_text(json.dumps({"run": run, "job": job}))
    rebuild(folder, 1_790_000_000_000_000)
    return folder
