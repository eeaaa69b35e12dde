"""How the rows of one Parquet file are brought under the columns that all files have together.

Owns which cells fit a column and which stand in `input_rest`. It does not know how the columns were found
(`parquet_columns`), and opens no file.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from batch.core.arrowcommon import cast, common_type, is_number_pair, is_text_pair, lossless
from batch.core.arrowtypes import is_json
from batch.core.canonical import dumps, plain
from batch.input.json_columns import REST, RowDecoder

_EXACT_BITS: Final = {16: 11, 32: 24, 64: 53}
"""By the width of a floating type, the bits of the whole numbers that it holds."""


class Fitter:
    """Brings batches of one file under the columns of the source.

    Args:
        schema: of the source.
        own: the columns of the file.
    """

    def __init__(self, schema: pa.Schema, own: pa.Schema) -> None:
        self._schema = schema
        self._makes_rest = REST in schema.names and REST not in own.names

    def fit(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[int, dict[str, Any]]]:
        """The batch under the schema of the source, and by row what stands in its `input_rest`.

        Raises:
            ValueError: a value does not fit the type that it is cast to.
        """
        if batch.schema.equals(self._schema, check_metadata=True):
            return batch, {}
        columns = []
        rests: dict[int, dict[str, Any]] = {}
        for field in self._schema:
            index = batch.schema.get_field_index(field.name)
            if index < 0:
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            column = batch.column(index)
            if is_json(field) and not is_json(batch.schema.field(index)):
                columns.append(_json_text(column, field))
                continue
            fits = _fits(column, field.type) if self._makes_rest else None
            if fits is not None:
                _keep(rests, field.name, column, but=fits)
                columns.append(_only(column, fits, field.type))
            else:
                columns.append(cast(column, field.type))
        if rests:
            texts = [dumps(rests[index]) if index in rests else None for index in range(batch.num_rows)]
            columns[self._schema.get_field_index(REST)] = pa.array(texts, pa.large_string())
        return pa.RecordBatch.from_arrays(columns, schema=self._schema), rests


def _fits(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Which cells fit the type, nulls included; None when all do because of their type."""
    if column.type == kind or lossless(column.type, kind):
        return None
    if is_number_pair(column.type, kind):
        return _exact(column, kind)
    if is_text_pair(column.type, kind):
        return pa.array([_is_text(cell) for cell in column.to_pylist()])
    return None if common_type(kind, column.type) == kind else column.is_null()


def _exact(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Which numbers the other kind of number holds; nulls among them."""
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and hardly ever needed

    floating = column.type if pa.types.is_floating(column.type) else kind
    whole = kind if pa.types.is_integer(kind) else column.type
    high = 1 << _EXACT_BITS[floating.bit_width]
    bits = whole.bit_width - pa.types.is_signed_integer(whole)
    low = max(-high, -(1 << bits)) if pa.types.is_signed_integer(whole) else 0
    high = min(high, (1 << bits) - 1)
    if pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    within = pc.and_(
        pc.greater_equal(column, pa.scalar(low, column.type)), pc.less_equal(column, pa.scalar(high, column.type))
    )
    if pa.types.is_floating(column.type):
        within = pc.and_(within, pc.equal(pc.floor(column), column))
    return pc.fill_null(within, fill_value=True)


def _is_text(cell: Any) -> bool:
    try:
        return not isinstance(cell, bytes) or cell.decode() is not None
    except UnicodeDecodeError:
        return False


def _only(column: pa.Array, fits: pa.Array, kind: pa.DataType) -> pa.Array:
    """The column in its new type, with null for what does not fit."""
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and hardly ever needed

    if not pc.any(pc.and_(fits, column.is_valid())).as_py():
        return pa.nulls(len(column), kind)
    return cast(pc.if_else(fits, column, pa.scalar(None, column.type)), kind)


def _keep(rests: dict[int, dict[str, Any]], name: str, column: pa.Array, *, but: pa.Array) -> None:
    """Note the cells of a column that do not fit."""
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and hardly ever needed

    indices = pc.indices_nonzero(pc.invert(but))
    for index, value in zip(indices.to_pylist(), _values(column.take(indices)), strict=True):
        rests.setdefault(index, {})[name] = value


def _json_text(column: pa.Array, field: pa.Field) -> pa.Array:
    return pa.array([None if value is None else dumps(value) for value in _values(column)], field.type)


def _values(column: pa.Array) -> list[Any]:
    """The cells as JSON gives them back, so that a row is the same from the file and from what was kept of it."""
    batch = pa.RecordBatch.from_arrays([column], schema=pa.schema([("", column.type)]))
    return [_as_json(record[""]) for record in RowDecoder(batch.schema).records(batch)]


def _as_json(value: Any) -> Any:
    return value if value is None or isinstance(value, (str, bool, int)) else plain(value, keep_null=True)
