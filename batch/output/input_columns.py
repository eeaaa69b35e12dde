"""Finds the input columns of rows: in the spills, which keep them until a row is published, or in a published part.

Owns the way back from a part to what the source had, its hash included, and the nulls for input that is lost. How input
columns get their names and types in a part is `tables`' matter.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from batch.input.content import contents_of
from batch.input.spill import Spill
from batch.ledger.reader import PendingRow
from batch.output.folder import OutputFolder
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


def inputs_of(
    rows: Sequence[PendingRow], folder: OutputFolder, spills: dict[int, Spill], results: pa.Schema
) -> pa.Table:
    """The input columns of these rows, in their order; the rows of a part may come from several ranges.

    Args:
        rows: rows that were admitted.
        folder: where their spills lie.
        spills: those that are open, by range; the caller closes them.
        results: the columns of the result table.

    Raises:
        StorageError: a spill cannot be read.
    """
    pieces = []
    start = 0
    while start < len(rows):
        end = start
        while end < len(rows) and rows[end].range == rows[start].range:
            end += 1
        number = rows[start].range
        if number < 0:
            pieces.append(no_inputs(results, end - start))
        else:
            if number not in spills:
                spills[number] = Spill(folder.spill(number))
            pieces.append(spills[number].take([row.idx for row in rows[start:end]]))
        start = end
    return pieces[0] if len(pieces) == 1 else pa.concat_tables(pieces, promote_options="default")
