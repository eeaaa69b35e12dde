"""One result of a table as a page lists it: its texts cut to a line, money and numbers as they are.

Owns how much of a text is shown in a list and what becomes of signs that would turn or break a line. Texts are cut
before they become Python's, so a cell of 10 MB costs no more than a short one.
"""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from batch.core.clock import MICROSECONDS
from batch.core.plain import clean
from batch.report.export import plain
from batch.report.figures.conditions import countable, is_number
from batch.report.label_table import input_fields, labels_of, texts

CUT: Final = 200
"""Characters of one text in a list."""
MOST_INPUTS: Final = 30
"""Input columns in a list; one row has all of them."""
_OURS: Final = (
    *("row_id", "row_number", "variant", "status", "answer", "flags", "calls", "prompt_tokens", "completion_tokens"),
    *("total_tokens", "cost", "currency", "model", "error_kind", "error_code", "error_message", "settled_at"),
    *("latency_ms", "agreement", "confidence"),
)


def listed_columns(schema: pa.Schema) -> dict[str, Any]:
    """The columns that a list of rows shows, with their types."""
    inputs = [field.name for field in input_fields(schema) if _is_shown(field.type)][:MOST_INPUTS]
    ours = [name for name in (*_OURS, *labels_of(schema)) if name in schema.names]
    return {name: schema.field(name).type for name in dict.fromkeys([*inputs, *ours])}


def menu(schema: pa.Schema) -> list[dict[str, Any]]:
    """The columns of a table, for whoever filters and orders: name, kind, and whether it is ours."""
    first = len(input_fields(schema))
    return [
        {"name": field.name, "kind": _kind(field.type), "ours": place >= first} for place, field in enumerate(schema)
    ]


def listed(table: pa.Table, schema: pa.Schema) -> list[dict[str, Any]]:
    """The rows of a table with the columns of `listed_columns`, as a page lists them.

    Args:
        table: N results.
        schema: of the whole table.
    """
    inputs = [field.name for field in input_fields(schema) if field.name in table.schema.names]
    labels = [name for name in labels_of(schema) if name in table.schema.names]
    columns = {name: _cells(table.column(name)) for name in table.schema.names if name not in labels}
    told = {name: _cells(texts(table.column(name))) for name in labels if countable(table.schema.field(name).type)}
    rows = []
    for place in range(table.num_rows):
        row = {name: cells[place] for name, cells in columns.items()}
        of_row = {name: cells[place] for name, cells in told.items()}
        took = row["latency_ms"]
        rows.append(
            {
                **{name: row[name] for name in ("row_number", "row_id", "variant", "status")},
                "label": next((value for value in of_row.values() if value is not None), None),
                "labels": of_row,
                "flags": row["flags"] or [],
                "error": _error(row),
                **{name: row[name] for name in ("error_kind", "error_code", "error_message")},
                "input": {name: row[name] for name in inputs},
                "answer": row["answer"],
                "model": row["model"],
                "calls": row["calls"],
                "tokens": row["total_tokens"],
                "prompt_tokens": row["prompt_tokens"],
                "completion_tokens": row["completion_tokens"],
                "cost": None if row["cost"] is None else format(row["cost"].normalize(), "f"),
                "currency": row["currency"],
                "duration_s": None if took is None else took / 1000,
                "settled_at": row["settled_at"],
                **{name: row[name] for name in ("agreement", "confidence") if name in row},
            }
        )
    return rows


def _error(row: dict[str, Any]) -> str | None:
    kind, code = row["error_kind"], row["error_code"]
    return f"{kind}/{code}" if kind and code else kind


def _cells(column: pa.ChunkedArray) -> list[Any]:
    """The cells as values that JSON has; texts are cut, moments are UTC seconds."""
    types, kind = pa.types, column.type
    if types.is_dictionary(kind):
        column, kind = texts(column), pa.string()
    if types.is_string(kind) or types.is_large_string(kind):
        longer = pc.greater(pc.utf8_length(column), CUT).to_pylist()
        cut = pc.utf8_slice_codeunits(column, 0, CUT).to_pylist()
        return [
            None if text is None else clean(f"{text}…" if more else text)
            for text, more in zip(cut, longer, strict=True)
        ]
    if types.is_timestamp(kind) and kind.tz is not None:
        micros = column.cast(pa.timestamp("us", "UTC"), safe=False).cast(pa.int64()).to_pylist()
        return [None if moment is None else moment / MICROSECONDS for moment in micros]
    values: list[Any] = []
    for chunk in column.chunks:
        values += plain(chunk)
    if types.is_decimal(kind) or types.is_floating(kind) or types.is_integer(kind) or types.is_boolean(kind):
        return values
    return [_short(value) for value in values]


def _short(value: Any) -> Any:
    """A value of any other type; what is nested is shown as its text."""
    if value is None or isinstance(value, list):
        return value
    return clean(str(value), most=CUT)


def _is_shown(kind: Any) -> bool:
    types = pa.types
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return not types.is_nested(kind) and not any(check(kind) for check in binary)


def _kind(kind: Any) -> str:
    types = pa.types
    if types.is_timestamp(kind):
        return "moment"
    if is_number(kind):
        return "number"
    if types.is_boolean(kind):
        return "truth"
    return "text" if countable(kind) else "other"
