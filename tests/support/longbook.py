"""A long book: an output folder with any number of calls, written as the publisher writes its files, without a run.

`python -m tests.support.longbook FOLDER 10000000` makes one by hand, to measure `promptmill cost` over it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pyarrow as pa

from batch.core.records import Outcome, Sums, Usage
from batch.output import tables
from batch.output.columns import COST
from batch.output.parts import write_part
from tests.support.outfolders import POINTS, RUN, finished
from tests.support.values import call, outcome

FIRST_US = 1_790_000_000_000_000
APART_US = 250_000
"""A call every quarter of a second: ten million take a month."""
OF_A_FILE = 100_000
OF_A_BATCH = 10_000
MODELS = ("glm-4-plus", "glm-4-air", "glm-4-flash")


def long_book(root: Path, calls: int) -> int:
    """Make a folder with so many calls: every twentieth row is asked twice, every fiftieth call is never answered.

    Args:
        root: of the output folder.
        calls: how many, a multiple of `OF_A_BATCH`.

    Returns:
        The exact sum of their costs in 10⁻¹² CNY, reckoned apart from what is written.
    """
    folder = finished(root, pa.table({"team": ["a"]}))
    part_of_calls = _batch(OF_A_BATCH)
    part_of_rows, results_schema = _rows(OF_A_BATCH)
    db = apsw.Connection(str(folder.ledger))
    db.execute("DELETE FROM call_parts; DELETE FROM parts; BEGIN")
    total = 0
    for number, start in enumerate(range(0, calls, OF_A_FILE)):
        count = min(OF_A_FILE, calls - start)
        costs: list[int] = []
        write_part(
            folder.calls_part(RUN, number),
            tables.CALL_SCHEMA,
            _calls(part_of_calls, start, count, costs),
            points=POINTS,
        )
        total += sum(costs)
        write_part(folder.part(number), results_schema, _results(part_of_rows, start, count), points=POINTS)
        db.execute("INSERT INTO call_parts(run, number, rows) VALUES (?, ?, ?)", (RUN, number, count))
        db.execute("INSERT INTO parts(part, rows) VALUES (?, ?)", (number, count))
    db.execute("COMMIT")
    db.close()
    return total


def _batch(count: int) -> pa.RecordBatch:
    """Calls of everyday life; their numbers, times and costs are put in later."""
    made = []
    for n in range(count):
        model = MODELS[n % len(MODELS)]
        fields: dict[str, Any] = {"model_asked": model, "model_served": model, "price_id": f"glm/{model}@2025-12-29"}
        fields["usage"] = Usage(200 + n % 1_000, 20 + n % 90, 220 + n % 1_000 + n % 90, n % 200, None)
        fields["purpose"] = "first"
        if n % 50 == 7:
            fields |= {"state": "unknown", "usage": None, "cost": None, "currency": None, "price_id": None}
        elif n % 20 == 1:
            fields |= {"attempt": 1, "purpose": "retry"}
        made.append(tables.CallRow(f"r{n}", n, None, call(n, finish_reason="stop", latency_ms=900, **fields)))
    return tables.call_batch(made, {"team": "support"}, run=RUN, job="tickets")


def _calls(batch: pa.RecordBatch, start: int, count: int, costs: list[int]) -> Iterator[pa.RecordBatch]:
    names = batch.schema.names
    unknown = batch.column("cost").is_null().to_pylist()
    attempts = batch.column("attempt").to_pylist()
    for first in range(start, start + count, len(batch)):
        columns = list(batch.columns)
        # A second attempt is one of the row before it.
        numbers = [first + n - (attempts[n] > 0) for n in range(len(batch))]
        times = [FIRST_US + (first + n) * APART_US for n in range(len(batch))]
        made = [None if unknown[n] else (first + n) % 9_973 * 1_000_001 for n in range(len(batch))]
        costs += [cost for cost in made if cost is not None]
        columns[names.index("row_number")] = pa.array(numbers, pa.int64())
        columns[names.index("row_id")] = pa.array([f"r{number}" for number in numbers])
        columns[names.index("client_call_id")] = pa.array(
            [f"pm-0123456789abcdef-{first + n}" for n in range(len(batch))]
        )
        columns[names.index("sent_at")] = pa.array(times, pa.timestamp("us", "UTC"))
        columns[names.index("cost")] = _decimals(made)
        yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _decimals(costs: list[int | None]) -> Any:
    data = b"".join((cost or 0).to_bytes(16, "little") for cost in costs)
    validity = pa.array([cost is not None for cost in costs]).buffers()[1]
    return pa.Array.from_buffers(COST, len(costs), [validity, pa.py_buffer(data)])


def _rows(count: int) -> tuple[pa.RecordBatch, pa.Schema]:
    inputs = pa.table({"team": [("support", "sales", "legal")[n % 3] for n in range(count)]})
    schema = tables.result_schema(inputs.schema, None)
    answered: Outcome = outcome("yes", sums=Sums(calls=1, turns=1, first_sent_at_us=FIRST_US))
    rows = [tables.ResultRow(f"r{n}", n, None, RUN, bytes(16), answered) for n in range(count)]
    return tables.result_batch(schema, inputs, rows), schema


def _results(batch: pa.RecordBatch, start: int, count: int) -> Iterator[pa.RecordBatch]:
    names = batch.schema.names
    for first in range(start, start + count, len(batch)):
        columns = list(batch.columns)
        columns[names.index("row_number")] = pa.array(range(first, first + len(batch)), pa.int64())
        yield pa.RecordBatch.from_arrays(columns, schema=batch.schema)


if __name__ == "__main__":
    print(long_book(Path(sys.argv[1]), int(sys.argv[2])))
