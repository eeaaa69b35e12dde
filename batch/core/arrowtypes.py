"""Arrow types: their names as text, and which change from one type to another loses nothing.

Owns the names in `input.types`, which the ledger keeps between runs, and the mark on columns whose cells are JSON text.
It makes no arrays from Python values (`batch.input` does) and reads no files.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import pyarrow as pa

JSON_MARK: Final = {b"promptmill": b"json"}

_NAMES: Final[dict[str, pa.DataType]] = {
    "bool": pa.bool_(), "boolean": pa.bool_(),
    "int8": pa.int8(), "int16": pa.int16(), "int32": pa.int32(), "int64": pa.int64(),
    "uint8": pa.uint8(), "uint16": pa.uint16(), "uint32": pa.uint32(), "uint64": pa.uint64(),
    "float16": pa.float16(), "float32": pa.float32(), "float64": pa.float64(),
    "halffloat": pa.float16(), "float": pa.float32(), "double": pa.float64(),
    "string": pa.string(), "large_string": pa.large_string(), "string_view": pa.string_view(),
    "binary": pa.binary(), "large_binary": pa.large_binary(), "binary_view": pa.binary_view(),
    "date": pa.date32(), "date32": pa.date32(), "date32[day]": pa.date32(),
    "date64": pa.date64(), "date64[ms]": pa.date64(),
    "null": pa.null(),
}  # fmt: skip
_TIMESTAMP: Final = re.compile(r"timestamp\[(s|ms|us|ns)(?:, ?(?:tz=)?([^\]]+))?\]")
_TIME: Final = re.compile(r"(?:time32\[(s|ms)|time64\[(us|ns)|duration\[(s|ms|us|ns))\]")
_DECIMAL: Final = re.compile(r"decimal(128|256)?\((\d{1,2}), ?(-?\d{1,2})\)")
_LIST: Final = re.compile(r"(large_)?list<(?:([A-Za-z_]\w*): )?(.+)>")
_PACKED: Final = "arrow:"
_UNITS: Final = ("s", "ms", "us", "ns")


def parse_type(text: str) -> pa.DataType:
    """The Arrow type of this name, as users write it or as `type_name` does.

    Raises:
        ValueError: there is no type of this name.
    """
    text = text.strip()
    if text in _NAMES:
        return _NAMES[text]
    try:
        if match := _TIMESTAMP.fullmatch(text):
            return pa.timestamp(match[1], match[2])
        if match := _TIME.fullmatch(text):
            return pa.time32(match[1]) if match[1] else pa.time64(match[2]) if match[2] else pa.duration(match[3])
        if match := _DECIMAL.fullmatch(text):
            wide = match[1] == "256" or (not match[1] and int(match[2]) > 38)
            return (pa.decimal256 if wide else pa.decimal128)(int(match[2]), int(match[3]))
        if match := _LIST.fullmatch(text):
            item = pa.field(match[2] or "item", parse_type(match[3]))
            return pa.large_list(item) if match[1] else pa.list_(item)
        if text.startswith(_PACKED):
            return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(text[len(_PACKED) :]))).field(0).type
    except (pa.ArrowException, ValueError, OSError) as exc:
        raise ValueError(f"no Arrow type is called {text!r}: {exc}") from exc
    raise ValueError(f"no Arrow type is called {text!r}")


def type_name(field: pa.Field) -> str:
    """The name under which the ledger keeps a field's type: readable where possible, else the packed Arrow schema."""
    if is_json(field):
        return "json"
    name = str(field.type)
    try:
        if parse_type(name).equals(field.type, check_metadata=True):
            return name
    except ValueError:
        pass
    schema = pa.schema([pa.field("", field.type)])
    return _PACKED + base64.b64encode(schema.serialize().to_pybytes()).decode()


def field_of(name: str, text: str) -> pa.Field:
    """The field of this name whose type `type_name` has written as `text`.

    Raises:
        ValueError: there is no type of this name.
    """
    return pa.field(name, pa.large_string(), metadata=JSON_MARK) if text == "json" else pa.field(name, parse_type(text))


def is_json(field: pa.Field) -> bool:
    """Whether the cells of this column are marked as JSON text."""
    return bool(field.metadata and field.metadata.get(b"promptmill") == b"json")


def decoded(kind: pa.DataType, *, top: bool = True) -> pa.DataType:
    """The type without what later steps cannot carry: dictionaries inside other types, and views.

    A spill holds one dictionary for each column, so a dictionary at the top may stay. Arrow cannot take single rows out
    of views.

    Args:
        kind: the type of a column, or of a part of it.
        top: whether it is the type of the whole column.
    """
    if pa.types.is_dictionary(kind):
        return kind if top else kind.value_type
    if pa.types.is_string_view(kind) or pa.types.is_binary_view(kind):
        return pa.large_string() if pa.types.is_string_view(kind) else pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(decoded(field.type, top=False)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(decoded(kind.value_type, top=False)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(decoded(kind.value_type, top=False)))
    return kind


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
        if kept.get_field_index(field.name) >= 0 and not _field_lossless(field, kept.field(field.name))
    ]


def type_text(field: pa.Field) -> str:
    """The type of a column, as error texts name it."""
    return "json" if is_json(field) else str(field.type)


def common_field(first: pa.Field, second: pa.Field) -> pa.Field | None:
    """A column that holds the values of both without loss, or None when there is no such type."""
    if is_json(first) != is_json(second):
        # Text is no JSON; only a column without any value goes with both.
        nulls = pa.types.is_null(first.type), pa.types.is_null(second.type)
        return (second if nulls[0] else first) if any(nulls) else None
    kind = common_type(first.type, second.type)
    return None if kind is None else pa.field(first.name, kind, metadata=JSON_MARK if is_json(first) else None)


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
    if not (pa.types.is_struct(first) and pa.types.is_struct(second)):
        return None
    if [field.name for field in first] != [field.name for field in second]:
        return None
    kinds = [common_type(a.type, b.type) for a, b in zip(first, second, strict=True)]
    if any(kind is None for kind in kinds):
        return None
    return pa.struct([pa.field(field.name, kind) for field, kind in zip(first, kinds, strict=True)])


def _field_lossless(now: pa.Field, kept: pa.Field) -> bool:
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
    if _texts(now) and _texts(kept):
        return True
    if _bytes(now) and _bytes(kept):
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
        same = [field.name for field in now] == [field.name for field in kept]
        return same and all(lossless(a.type, b.type) for a, b in zip(now, kept, strict=True))
    return False


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
        columns.append(column if column.type == field.type else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def declarable(text: str) -> str | None:
    """Why a JSON column cannot have the type of this name, and the way out; None when it can."""
    expected = (
        "bool, int64, float64, string, decimal(12,2), date32, timestamp[us], timestamp[us, UTC], list<string> or json"
    )
    try:
        field = field_of("", text)
    except ValueError:
        return f"no Arrow type is called that: expected {expected}"
    if is_json(field) or reads_json(field.type):
        return None
    return f"JSON has no values of this type: expected {expected}"


def json_field(name: str, text: str) -> pa.Field:
    """The field of a JSON column with the declared type `text`.

    Strings become large strings, so that no batch is too large for their offsets.
    """
    field = field_of(name, text)
    return pa.field(name, pa.large_string()) if field.type == pa.string() else field


def reads_json(kind: pa.DataType) -> bool:
    """Whether JSON values can be read as this type."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return plain_kind(kind.value_type) is not None
    return plain_kind(kind) is not None or from_text(kind)


def plain_kind(kind: pa.DataType) -> type | None:
    """The one Python type whose values this Arrow type keeps unchanged; None when there is no such type."""
    if pa.types.is_boolean(kind):
        return bool
    if pa.types.is_integer(kind):
        return int
    if pa.types.is_floating(kind):
        return float
    return str if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def is_exact(field: pa.Field) -> bool:
    """Whether this column gives JSON values back as they were; if not, its type decides how they are read."""
    kind = field.type
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return is_json(field) or (plain_kind(kind) is not None and (kind == pa.float64() or not pa.types.is_floating(kind)))


def from_text(kind: pa.DataType) -> bool:
    """Whether JSON writes values of this type as text: decimals, dates and times."""
    types = pa.types
    return bool(types.is_decimal(kind) or types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind))
