"""The input columns of the result table, seen from a file that has them already.

Owns the way back from a part to what the source had, and the stand-in for input that is nowhere any more. How input
columns get their names and types there is `tables`' matter.
"""

from __future__ import annotations

import pyarrow as pa

from batch.output.tables import INPUT_NAME_KEY, first_of_ours


def input_schema(results: pa.Schema) -> pa.Schema:
    """The input columns of a `results` file, under the names they have in the source."""
    fields = []
    for field in list(results)[: first_of_ours(results)]:
        metadata = dict(field.metadata or {})
        name = metadata.pop(INPUT_NAME_KEY.encode(), field.name.encode()).decode()
        metadata.pop(b"PARQUET:field_id", None)
        fields.append(pa.field(name, field.type, nullable=True, metadata=metadata or None))
    return pa.schema(fields)


def no_inputs(results: pa.Schema, count: int) -> pa.Table:
    """So many rows without input, for rows whose input is lost."""
    names = input_schema(results)
    columns = {field.name: pa.nulls(count, field.type) for field in names} or {"": pa.nulls(count)}
    return pa.table(columns)
