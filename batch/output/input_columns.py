"""The input columns of the result table, seen from a file that has them already.

Owns the way back from a part to what the source had, its hash included, and the stand-in for input that is nowhere any
more. How input columns get their names and types there is `tables`' matter.
"""

from __future__ import annotations

import pyarrow as pa

from batch.input.content import contents_of
from batch.output.columns import RESULTS
from batch.output.tables import INPUT_NAME_KEY


def input_schema(results: pa.Schema) -> pa.Schema:
    """The input columns of a `results` file, under the names they have in the source."""
    fields = []
    for field in list(results)[: len(results) - len(RESULTS)]:
        metadata = dict(field.metadata or {})
        name = metadata.pop(INPUT_NAME_KEY.encode(), field.name.encode()).decode()
        metadata.pop(b"PARQUET:field_id", None)
        fields.append(pa.field(name, field.type, nullable=True, metadata=metadata or None))
    return pa.schema(fields)


def input_contents(results: pa.Table) -> list[bytes | None]:
    """The hash of each row's input columns; None where Python cannot hold one, and a pass over the source learns it."""
    schema = input_schema(results.schema)
    found: list[bytes | None] = []
    for batch in results.to_batches(max_chunksize=1_000):
        try:
            found += contents_of(pa.RecordBatch.from_arrays(batch.columns[: len(schema)], schema=schema))
        except ValueError:
            found += [None] * batch.num_rows
    return found


def no_inputs(results: pa.Schema, count: int) -> pa.Table:
    """So many rows without input, for rows whose input is lost."""
    names = input_schema(results)
    columns = {field.name: pa.nulls(count, field.type) for field in names} or {"": pa.nulls(count)}
    return pa.table(columns)
