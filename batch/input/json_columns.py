"""JSON values in Arrow columns without loss: which type a column gets, which values fit it, how cells are read.

Owns two rules. A JSON value stands in its column only if it comes back as the same value; if not, the caller keeps the
value itself in `input_rest`. A column that is read from Arrow gives the same Python values wherever it is read. It
reads no files, and does not know the types by themselves (`batch.core.arrowtypes`).

The type that a column of JSON values gets (`Sketch`) is the one that most of its values have: large_string for text,
bool for true and false, int64 for whole numbers (uint64 where they need it), float64 for numbers with and without a
fraction, a list for lists of one of these, and `json` for all else: a large_string column whose field is marked and
whose cells are JSON text. Of two that are equally frequent, the first in this row counts. So a few values of another
kind never change a column: text stays text, and they stand in `input_rest`. A column without any value is large_string.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from itertools import chain
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.core.arrowtypes import from_text, is_json, is_number, is_text_bytes, plain_kind

REST: Final = "input_rest"
MAX_COLUMNS: Final = 1_000
"""How many keys get a column; the others stay in `input_rest`. A million columns would mean a million empty arrays in
every batch."""

_EXACT: Final = 2**53


class Sketch:
    """Collects which kinds of values stand under each key in the first lines of a JSONL file."""

    def __init__(self) -> None:
        self._columns: dict[str, _Seen] = {}

    def add(self, record: dict[str, Any]) -> None:
        """Note the values of one line."""
        for name, value in record.items():
            seen = self._columns.get(name)
            if seen is None:
                if len(self._columns) >= MAX_COLUMNS or name == REST:
                    continue
                seen = self._columns[name] = _Seen()
            seen.add(value)

    def types(self) -> dict[str, str]:
        """The type of every key, in the order in which the keys first appeared."""
        return {name: seen.type() for name, seen in self._columns.items()}


class _Seen:
    """How often each kind of value stands under one key, and which whole numbers are among them."""

    __slots__ = ("counts", "inexact", "negative", "unsigned")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.negative: set[str] = set()
        """Kinds with a number below zero."""
        self.unsigned: set[str] = set()
        """Kinds with a number that only uint64 holds."""
        self.inexact: set[str] = set()
        """Kinds with a number that no double holds."""

    def add(self, value: Any) -> None:
        if value is None:
            return
        if type(value) is not list:
            self._add("", _scalar(value), [value])
            return
        items = [item for item in value if item is not None]
        kinds = {_scalar(item) for item in items}
        if kinds == {"int", "float"}:
            kinds = {"float"}
        if items:
            self._add("list of ", kinds.pop() if len(kinds) == 1 else "", items)
        else:
            self.counts["empty list"] += 1

    def _add(self, outer: str, kind: str, values: list[Any]) -> None:
        """Count one value of this kind; `values` are the numbers in it when it is one of whole numbers."""
        name = f"{outer}{kind}" if kind else "json"
        self.counts[name] += 1
        if kind == "int":
            if min(values) < 0:
                self.negative.add(name)
            if max(values) >= 2**63:
                self.unsigned.add(name)
            if not -_EXACT <= min(values) <= max(values) <= _EXACT:
                self.inexact.add(name)

    def type(self) -> str:
        counts = self.counts
        families = {
            "large_string": counts["str"],
            "number": counts["int"] + counts["float"],
            "bool": counts["bool"],
            "list<large_string>": counts["list of str"],
            "list of numbers": counts["list of int"] + counts["list of float"],
            "list<bool>": counts["list of bool"],
            "json": counts["json"],
        }
        found = max(families, key=families.__getitem__)
        if not families[found]:
            return "json" if counts["empty list"] else "large_string"
        if found == "number":
            return self._number("")
        return f"list<{self._number('list of ')}>" if found == "list of numbers" else found

    def _number(self, outer: str) -> str:
        whole, floating = f"{outer}int", self.counts[f"{outer}float"]
        if floating > (self.counts[whole] if whole in self.inexact else 0):
            return "double"
        return "uint64" if whole in self.unsigned and whole not in self.negative else "int64"


def _scalar(value: Any) -> str:
    """The kind of a value that is no list; empty for one that only JSON text holds."""
    kind = type(value)
    if kind is int:
        return "int" if -(2**63) <= value < 2**64 else ""
    return {str: "str", bool: "bool", float: "float"}.get(kind, "")


def build(values: list[Any], field: pa.Field, *, declared: bool) -> tuple[pa.Array, list[int]]:
    """Make an Arrow array from JSON values.

    A whole number in a column of doubles is stored there, but is a misfit too, unless the type was declared: 3 and 3.0
    are different text in a prompt.

    Args:
        values: one for each row; None where the row has none.
        field: the column.
        declared: whether `input.types` gives its type.

    Returns:
        The array, with null for a value that does not fit at all; and the indexes of all misfits, the values that do
        not come back as they were.
    """
    kind = field.type
    if is_json(field):
        return pa.array([None if value is None else _dump(value) for value in values], kind), []
    if _fits(values, kind):
        try:
            return pa.array(values, kind), []
        except (pa.ArrowException, OverflowError):
            pass  # a number out of range: find out which
    cells: list[Any] = []
    misfits: list[int] = []
    for index, value in enumerate(values):
        cell = None if value is None else _cell(value, kind)
        if value is not None and (cell is None or (not declared and not _same(cell, value))):
            misfits.append(index)
        cells.append(cell)
    return pa.array(cells, kind), misfits


def _same(cell: Any, value: Any) -> bool:
    """Whether a cell gives the value back, and not only an equal one."""
    if type(cell) is list and type(value) is list:
        return [*map(type, cell)] == [*map(type, value)]
    return type(cell) is type(value)


def _fits(values: list[Any], kind: pa.DataType) -> bool:
    """Whether all values have the Python type that this Arrow type gives back; no loop of Python code."""
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        if not set(map(type, values)) <= {list, type(None)}:
            return False
        values, kind = list(chain.from_iterable(value for value in values if value is not None)), kind.value_type
    return set(map(type, values)) <= {plain_kind(kind), type(None)}


def _cell(value: Any, kind: pa.DataType) -> Any:
    """The Python value that is stored for one JSON value, or None when it does not fit the type."""
    if from_text(kind):
        value = _decimal(value) if pa.types.is_decimal(kind) else _moment(value, kind)
    elif pa.types.is_floating(kind) and type(value) is int and -_EXACT <= value <= _EXACT:
        value = float(value)
    elif type(value) is list and pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        value = [float(item) if type(item) is int and -_EXACT <= item <= _EXACT else item for item in value]
    if not from_text(kind) and not _fits([value], kind):
        return None
    try:
        pa.array([value], kind)
    except (pa.ArrowException, OverflowError):
        return None
    return value


def _decimal(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _moment(value: Any, kind: pa.DataType) -> pa.Scalar | None:
    """A date or time from ISO 8601 text, or None; without a zone it is in UTC, with another zone it is converted."""
    if not isinstance(value, str):
        return None
    text = pa.scalar(value.strip())
    if not pa.types.is_timestamp(kind):
        return _cast(text, kind)
    zoned = _cast(text, pa.timestamp(kind.unit, "UTC"))
    if zoned is None:
        return _cast(_cast(text, pa.timestamp(kind.unit)), kind)
    return _cast(zoned, kind)


def _cast(value: pa.Scalar | None, kind: pa.DataType) -> pa.Scalar | None:
    try:
        return None if value is None else value.cast(kind)
    except (pa.ArrowException, ValueError):
        return None


def _dump(value: Any) -> str:
    return msgspec.json.encode(value).decode()


Decode = Callable[[pa.Array], list[Any]]


class RowDecoder:
    """Turns record batches of one schema into dicts: the same cells give the same values wherever they are read.

    A map becomes a dict, JSON text in marked columns the value it stands for, a time with nanoseconds that a datetime
    cannot hold ISO text.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self._names = schema.names
        self._decoders = [_decoder(field) for field in schema]

    def records(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        """One dict for each row, with the columns in the order of the schema.

        Raises:
            ValueError: Python cannot hold a cell: its text is not UTF-8, or its year is beyond 9999.
        """
        names = self._names
        try:
            columns = [decode(column) for decode, column in zip(self._decoders, batch.columns, strict=True)]
        except (OverflowError, pa.ArrowException) as exc:
            raise ValueError(str(exc)) from exc
        if not columns:
            return [{} for _ in range(batch.num_rows)]
        return [dict(zip(names, cells, strict=False)) for cells in zip(*columns, strict=True)]


def _decoder(field: pa.Field) -> Decode:
    kind = field.type
    if is_text_bytes(field):
        return lambda column: [_text(cell, field.name) for cell in _maps(column)]
    if is_number(field):
        return lambda column: [_whole(cell) for cell in _plain(column)]
    if is_json(field):
        return lambda column: [None if text is None else msgspec.json.decode(text) for text in column.to_pylist()]
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return _nanoseconds
    if (coarse := _in_microseconds(kind)) != kind:
        return lambda column: _maps(column.cast(coarse, safe=False))
    return _maps if pa.types.is_nested(kind) else _plain


def _text(value: Any, name: str) -> Any:
    """The value with text in place of bytes, at every depth.

    Raises:
        ValueError: bytes are no UTF-8.
    """
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError as exc:
            raise ValueError(f"column {name!r}: not UTF-8: byte 0x{value[exc.start]:02x} at byte {exc.start}") from exc
    if isinstance(value, dict):
        return {_text(key, name): _text(item, name) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_text(item, name) for item in value)
    return value


def _whole(value: float | None) -> float | int | None:
    return int(value) if value is not None and value.is_integer() and -_EXACT <= value <= _EXACT else value


def _plain(column: pa.Array) -> list[Any]:
    cells: list[Any] = column.to_pylist()
    return cells


def _maps(column: pa.Array) -> list[Any]:
    try:
        cells: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    except KeyError:  # repeated keys: pairs lose nothing
        return _plain(column)
    return cells


def _nanoseconds(column: pa.Array) -> list[Any]:
    """Timestamps as datetimes, or as ISO text with nine digits where a datetime would round."""
    zone = column.type.tz
    cells = _plain(column.cast(pa.timestamp("us", zone), safe=False))
    for index, count in enumerate(column.cast(pa.int64()).to_pylist()):
        if count is not None and count % 1000:
            # From whole seconds, rounded down: a cast rounds towards zero, which before 1970 is the wrong second.
            text = pa.scalar(count // 1_000_000_000, pa.timestamp("s", zone)).as_py().isoformat()
            cells[index] = f"{text[:19]}.{count % 1_000_000_000:09d}{text[19:]}"
    return cells


def _in_microseconds(kind: pa.DataType) -> pa.DataType:
    """The type with microseconds in place of nanoseconds: inside a nested value they are cut off, not refused."""
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return pa.timestamp("us", kind.tz)
    if kind in (pa.time64("ns"), pa.duration("ns")):
        return pa.time64("us") if kind == pa.time64("ns") else pa.duration("us")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_in_microseconds(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_in_microseconds(kind.value_type)))
    return kind
