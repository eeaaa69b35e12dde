"""What two columns have in common: the type that holds the values of both, and how values get into it.

Owns which change from one type to another loses nothing, the one type for two, and the cast of a batch, inside structs
and lists too. Structs are compared by the names of their fields: a field that one of them lacks is null there. It reads
no files, and does not know what a type is called (`arrowtypes`).
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from batch.core.arrowtypes import JSON_MARK, NUMBER_MARK, is_json, is_number, type_text

_UNITS: Final = ("s", "ms", "us", "ns")


def check_schema(kept: pa.Schema, now: pa.Schema) -> list[str]:
    """The columns whose type has changed so that values could be lost: one line of text for each.

    A column that only one side has is no fault: a missing one is null, a new one is added.

    Args:
        kept: the columns of an earlier run.
        now: the columns of this one.
    """
    return [
        f"column {field.name!r} is {type_text(field)} now, and {type_text(kept.field(field.name))} in the results so "
        "far: that cannot be cast without loss. Give it its old type back, or choose another output folder with -o."
        for field in now
        if kept.get_field_index(field.name) >= 0 and not field_lossless(field, kept.field(field.name))
    ]


def common_field(first: pa.Field, second: pa.Field) -> pa.Field | None:
    """A column that holds the values of both without loss, or None when there is no such type.

    Whole numbers beside floating ones are doubles; where they came first, they are still given as whole numbers. A
    whole number that no double holds is for the caller to look after (`exact_cells`).
    """
    if is_json(first) != is_json(second):
        # Text is no JSON; only a column without any value goes with both.
        nulls = pa.types.is_null(first.type), pa.types.is_null(second.type)
        return (second if nulls[0] else first) if any(nulls) else None
    if is_number_pair(first.type, second.type):
        whole = is_number(first) or pa.types.is_integer(first.type)
        return pa.field(first.name, pa.float64(), metadata=NUMBER_MARK if whole else None)
    kind = common_type(first.type, second.type)
    if kind is None:
        return None
    mark = JSON_MARK if is_json(first) else NUMBER_MARK if is_number(first) and pa.types.is_float64(kind) else None
    return pa.field(first.name, kind, metadata=mark)


def widened(kept: pa.Field, now: pa.Field) -> pa.Field | None:
    """The kept column, made so wide that it holds `now` too, when all values so far read as they did; else None.

    So it is where structs have more fields than before, or integers more bits.
    """
    if is_json(kept) or is_json(now) or not _grows(kept.type, now.type):
        return None
    kind = common_type(kept.type, now.type)
    return None if kind is None else kept.with_type(kind)


def _grows(kept: pa.DataType, now: pa.DataType) -> bool:
    types = pa.types
    if lossless(now, kept) or (types.is_integer(now) and types.is_integer(kept)):
        return True
    if _lists(now) and _lists(kept):
        return _grows(kept.value_type, now.value_type)
    if types.is_struct(now) and types.is_struct(kept):
        both = [field for field in now if kept.get_field_index(field.name) >= 0]
        return all(_grows(kept.field(field.name).type, field.type) for field in both)
    return False


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The type that holds every value of both without loss, or None when there is no such type.

    Two different dictionaries become their value type; two kinds of text become the large one.
    """
    types = pa.types
    if first == second:
        return first
    if types.is_dictionary(first) or types.is_dictionary(second):
        first = first.value_type if types.is_dictionary(first) else first
        return common_type(first, second.value_type if types.is_dictionary(second) else second)
    if _texts(first) and _texts(second):
        return pa.large_string()
    if _bytes(first) and _bytes(second):
        return pa.large_binary()
    if lossless(first, second) and not types.is_nested(first):
        return second
    if lossless(second, first) and not types.is_nested(second):
        return first
    if is_number_pair(first, second):
        return pa.float64()
    if types.is_integer(first) and types.is_integer(second):
        wide = (pa.int16(), pa.int32(), pa.int64())
        return next((kind for kind in wide if _holds(kind, first) and _holds(kind, second)), None)
    if types.is_decimal(first) and types.is_decimal(second):
        scale = max(first.scale, second.scale)
        digits = scale + max(first.precision - first.scale, second.precision - second.scale)
        return (pa.decimal128 if digits <= 38 else pa.decimal256)(digits, scale) if digits <= 76 else None
    if _lists(first) and _lists(second):
        item = common_type(first.value_type, second.value_type)
        return None if item is None else pa.large_list(item)
    return _common_struct(first, second)


def _common_struct(first: pa.DataType, second: pa.DataType) -> pa.DataType | None:
    """The fields of both, those of the first before those that only the second has."""
    if not (pa.types.is_struct(first) and pa.types.is_struct(second)):
        return None
    fields = {field.name: field.type for field in first}
    if len(fields) < first.num_fields or len({field.name for field in second}) < second.num_fields:
        return None  # fields that cannot be told apart
    for field in second:
        kind = common_type(fields.get(field.name, field.type), field.type)
        if kind is None:
            return None
        fields[field.name] = kind
    return pa.struct([pa.field(name, kind) for name, kind in fields.items()])


def is_number_pair(first: pa.DataType, second: pa.DataType) -> bool:
    """Whether one of the two is an integer and the other a floating number."""
    whole, floating = pa.types.is_integer, pa.types.is_floating
    return bool((whole(first) and floating(second)) or (floating(first) and whole(second)))


def is_text_pair(first: pa.DataType, second: pa.DataType) -> bool:
    """Whether one of the two is text and the other bytes."""
    return (_texts(first) and _bytes(second)) or (_bytes(first) and _texts(second))


def field_lossless(now: pa.Field, kept: pa.Field) -> bool:
    """Whether every value of column `now` keeps its meaning in column `kept`."""
    return is_json(now) == is_json(kept) and lossless(now.type, kept.type)


def lossless(now: pa.DataType, kept: pa.DataType) -> bool:
    """Whether every value of type `now` keeps its meaning when it is cast to `kept`."""
    types = pa.types
    if now == kept or types.is_null(now):
        return True
    if types.is_dictionary(now) or types.is_dictionary(kept):
        return lossless(
            now.value_type if types.is_dictionary(now) else now, kept.value_type if types.is_dictionary(kept) else kept
        )
    if (_texts(now) and _texts(kept)) or (_bytes(now) and _bytes(kept)):
        return True
    if types.is_integer(now) and types.is_integer(kept):
        return _holds(kept, now)
    if types.is_integer(now) and types.is_floating(kept):
        return bool(now.bit_width <= {16: 8, 32: 16, 64: 32}[kept.bit_width])
    if types.is_floating(now) and types.is_floating(kept):
        return bool(now.bit_width <= kept.bit_width)
    if types.is_decimal(now) and types.is_decimal(kept):
        return bool(kept.scale >= now.scale and kept.precision - kept.scale >= now.precision - now.scale)
    if types.is_timestamp(now) and types.is_timestamp(kept):
        return bool(now.tz == kept.tz and _UNITS.index(now.unit) <= _UNITS.index(kept.unit))
    if types.is_date32(now):
        return bool(types.is_date64(kept))
    if _lists(now) and _lists(kept):
        return lossless(now.value_type, kept.value_type)
    if types.is_struct(now) and types.is_struct(kept):
        return _struct_lossless(now, kept)
    return False


def _struct_lossless(now: pa.DataType, kept: pa.DataType) -> bool:
    """Fields are found by name; one that `now` lacks must be allowed to be null."""
    own = {field.name: field for field in now}
    if len(own) < now.num_fields or not own.keys() <= {field.name for field in kept}:
        return False
    for field in kept:
        before = own.get(field.name)
        if not field.nullable and (before is None or before.nullable):
            return False
        if before is not None and not lossless(before.type, field.type):
            return False
    return True


def _texts(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _lists(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _holds(kept: pa.DataType, now: pa.DataType) -> bool:
    """Whether the integer type `kept` holds every value of the integer type `now`."""
    if pa.types.is_signed_integer(now) and not pa.types.is_signed_integer(kept):
        return False
    spare = pa.types.is_signed_integer(kept) and not pa.types.is_signed_integer(now)
    return bool(kept.bit_width >= now.bit_width + spare)


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The same rows under another schema: columns are found by name and cast; a missing one is null.

    Raises:
        ValueError: a value does not fit the type (a date may lie outside the range of a finer unit).
    """
    if batch.schema.equals(schema, check_metadata=True):
        return batch
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        column = pa.nulls(batch.num_rows, field.type) if index < 0 else batch.column(index)
        columns.append(cast(column, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """The same values in another type; inside structs, fields are found by name, and a missing one is null.

    Raises:
        ValueError: a value does not fit the type.
    """
    if column.type == kind:
        return column
    if pa.types.is_struct(column.type) and pa.types.is_struct(kind):
        children = dict(zip([field.name for field in column.type], column.flatten(), strict=True))
        arrays = [
            cast(children[field.name], field.type) if field.name in children else pa.nulls(len(column), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=column.is_null())
    if _lists(column.type) and _lists(kind) and pa.types.is_nested(kind.value_type):
        return _cast_list(column, kind)
    return column.cast(kind)


def _cast_list(column: pa.Array, kind: pa.DataType) -> pa.Array:
    import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and hardly ever needed

    offsets = column.offsets
    first = offsets[0].as_py() if len(offsets) else 0
    last = offsets[-1].as_py() if len(offsets) else 0
    values = cast(column.values.slice(first, last - first), kind.value_type)
    large = pa.types.is_large_list(kind)
    offsets = pc.subtract(offsets, pa.scalar(first, offsets.type)).cast(pa.int64() if large else pa.int32())
    array = pa.LargeListArray if large else pa.ListArray
    return array.from_arrays(offsets, values, type=kind, mask=column.is_null())
