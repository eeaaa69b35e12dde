"""New input columns for rows of the table whose question did not change: the columns are replaced, the answer stays.

Owns what a row group becomes by that. It does not know which rows these are (the planner found them), nor when their
part is written.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from batch.core.errors import StorageError
from batch.ledger.reader import PendingRow
from batch.output import merge
from batch.output.input_columns import input_schema


def refreshed(table: pa.Table, rows: Sequence[PendingRow], inputs: pa.Table) -> pa.Table:
    """Old rows of the table with the input columns of some of them as they are now.

    A column that the input has no more keeps what it had.

    Args:
        table: old rows, under the schema of the result table.
        rows: those to refresh; each is in `table`.
        inputs: the input columns of `rows`, in their order, under the names of the source.

    Raises:
        StorageError: a row is not in its part.
    """
    numbers, variants = table.column("row_number").to_pylist(), table.column("variant").to_pylist()
    places = {key: place for place, key in enumerate(zip(numbers, variants, strict=True))}
    try:
        found = [places[row.row_number, row.variant or None] for row in rows]
    except KeyError as exc:
        raise StorageError(
            f"results: row number {exc.args[0][0]} is not in the part where the ledger says it is. Run: "
            "promptmill rebuild OUT"
        ) from exc
    newer = merge.picked(table, found)
    for place, field in enumerate(input_schema(table.schema)):
        if field.name in inputs.schema.names:
            column = inputs.column(field.name)
            kind = table.schema.field(place)
            newer = newer.set_column(place, kind, column if column.type == kind.type else column.cast(kind.type))
    order = list(range(table.num_rows))
    for place, old in enumerate(found):
        order[old] = table.num_rows + place
    return merge.picked(pa.concat_tables([table, newer]), order)
