"""Arrow types: their names as text, and what the marks on a column mean.

Owns the names in `input.types`, which the ledger keeps between runs, and three marks: on columns whose cells are JSON
text, on columns of doubles that began as whole numbers, and on columns of bytes that are read as text. Which type holds
the values of another is `arrowcommon`'s matter. It makes no arrays from Python values (`batch.input` does) and reads no
files.
"""

from __future__ import annotations

import base64
import re
from typing import Final

import pyarrow as pa

JSON_MARK: Final = {b"promptmill": b"json"}
NUMBER_MARK: Final = {b"promptmill": b"number"}
"""On a column of doubles that had whole numbers in the first file: 3.0 is given as 3, as it stood there."""
TEXT_MARK: Final = {b"promptmill": b"text"}
"""On a column of bytes that prompts, or the identity of rows, read: UTF-8 is given as text."""

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
    if is_json(field) or is_number(field):
        return "json" if is_json(field) else "number"
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
    if text == "json":
        return pa.field(name, pa.large_string(), metadata=JSON_MARK)
    if text == "number":
        return pa.field(name, pa.float64(), metadata=NUMBER_MARK)
    return pa.field(name, parse_type(text))


def type_text(field: pa.Field) -> str:
    """The type of a column, as people are told of it."""
    return "json" if is_json(field) else str(field.type)


def is_json(field: pa.Field) -> bool:
    """Whether the cells of this column are marked as JSON text."""
    return bool(field.metadata and field.metadata.get(b"promptmill") == b"json")


def is_number(field: pa.Field) -> bool:
    """Whether whole numbers in this column of doubles are given as such."""
    return bool(field.metadata and field.metadata.get(b"promptmill") == b"number")


def is_text_bytes(field: pa.Field) -> bool:
    """Whether the bytes in this column are given as text."""
    return bool(field.metadata and field.metadata.get(b"promptmill") == b"text")


def has_bytes(kind: pa.DataType) -> bool:
    """Whether values of this type are bytes, or have bytes somewhere inside."""
    types = pa.types
    if types.is_dictionary(kind):
        return has_bytes(kind.value_type)
    if types.is_nested(kind):
        return any(has_bytes(kind.field(index).type) for index in range(kind.num_fields))
    return bool(
        types.is_binary(kind)
        or types.is_large_binary(kind)
        or types.is_binary_view(kind)
        or types.is_fixed_size_binary(kind)
    )


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


def declarable(text: str) -> str | None:
    """Why a JSON column cannot have the type of this name, and the way out; None when it can."""
    expected = (
        "bool, int64, float64, string, decimal(12,2), date32, timestamp[us], timestamp[us, UTC], list<string> or json"
    )
    try:
        field = field_of("", text)
    except ValueError:
        field = None
    if field is None or is_number(field):
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
    if is_number(field):
        return False
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return is_json(field) or (plain_kind(kind) is not None and (kind == pa.float64() or not pa.types.is_floating(kind)))


def from_text(kind: pa.DataType) -> bool:
    """Whether JSON writes values of this type as text: decimals, dates and times."""
    types = pa.types
    return bool(types.is_decimal(kind) or types.is_timestamp(kind) or types.is_date(kind) or types.is_time(kind))
