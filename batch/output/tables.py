"""The two tables people read: their columns, and how records become Arrow batches.

Owns the names, the order and the types of `results` and `calls`, and the renaming of input columns that would collide
with ours. Knows nothing of files or folders: `parts` writes what is built here, the publisher hands it from one to the
other. One list per table holds both the schema and where each value comes from, so they cannot drift apart.

A value Arrow cannot hold never stops a publication, because the run would meet it again at every restart: half a
surrogate pair becomes U+FFFD, a token count beyond 64 bits becomes null, which reads "unknown" everywhere else too.
"""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from batch.core.canonical import without_surrogates
from batch.core.errors import InputError
from batch.core.records import COST_DIGITS, NO_USAGE, Call, Outcome

SCHEMA_VERSION: Final = "1"
SCHEMA_VERSION_KEY: Final = "promptmill.schema_version"
INPUT_NAME_KEY: Final = "promptmill.input_name"
"""Field metadata of a renamed input column: what it is called in the source."""

_TEXT: Final = pa.string()
_LONG_TEXT: Final = pa.large_string()
_INT: Final = pa.int32()
_LONG: Final = pa.int64()
_BOOL: Final = pa.bool_()
_TIME: Final = pa.timestamp("us", tz="UTC")
_COST: Final = pa.decimal128(38, COST_DIGITS)
_COST_LIMIT: Final = 10**38
_NO_COST: Final = bytes(16)


class _Column(NamedTuple):
    """One of our columns: its type, and the record and attribute its values are read from."""

    name: str
    type: Any
    of: Literal["row", "outcome", "sums", "call", "usage", "made"]
    attribute: str = ""


_RESULTS: Final = (
    _Column("row_id", _TEXT, "row"),
    _Column("row_number", _LONG, "row"),
    _Column("variant", _TEXT, "row"),
    _Column("run", _TEXT, "row"),
    _Column("status", _TEXT, "outcome"),
    _Column("answer", _LONG_TEXT, "outcome"),
    _Column("reasoning", _LONG_TEXT, "outcome"),
    _Column("finish_reason", _TEXT, "outcome"),
    _Column("flags", pa.list_(_TEXT), "outcome"),
    _Column("messages", _LONG_TEXT, "outcome"),
    _Column("turns", _INT, "sums"),
    _Column("calls", _INT, "sums"),
    _Column("tool_calls", _INT, "sums"),
    _Column("unknown_calls", _INT, "sums"),
    _Column("prompt_tokens", _LONG, "sums"),
    _Column("completion_tokens", _LONG, "sums"),
    _Column("total_tokens", _LONG, "sums"),
    _Column("cached_tokens", _LONG, "sums"),
    _Column("reasoning_tokens", _LONG, "sums"),
    _Column("cost", _COST, "sums"),
    _Column("currency", _TEXT, "sums"),
    _Column("provider", _TEXT, "outcome"),
    _Column("model_asked", _TEXT, "outcome"),
    _Column("model", _TEXT, "outcome"),
    _Column("lane", _TEXT, "outcome"),
    _Column("fingerprint", _TEXT, "made"),
    _Column("deduplicated_from", _TEXT, "outcome"),
    _Column("error_kind", _TEXT, "outcome"),
    _Column("error_code", _TEXT, "outcome"),
    _Column("error_message", _TEXT, "outcome"),
    _Column("retryable", _BOOL, "outcome"),
    _Column("first_sent_at", _TIME, "sums", "first_sent_at_us"),
    _Column("settled_at", _TIME, "outcome", "settled_at_us"),
    _Column("latency_ms", _LONG, "made"),
)

_CALLS: Final = (
    _Column("client_call_id", _TEXT, "call"),
    _Column("row_id", _TEXT, "row"),
    _Column("row_number", _LONG, "row"),
    _Column("variant", _TEXT, "row"),
    _Column("turn", _INT, "call"),
    _Column("attempt", _INT, "call"),
    _Column("provider", _TEXT, "call"),
    _Column("lane", _TEXT, "call"),
    _Column("state", _TEXT, "call"),
    _Column("http_status", _INT, "call"),
    _Column("error_kind", _TEXT, "call"),
    _Column("error_code", _TEXT, "call"),
    _Column("model_asked", _TEXT, "call"),
    _Column("model_served", _TEXT, "call"),
    _Column("service_tier", _TEXT, "call"),
    _Column("request_id", _TEXT, "call"),
    _Column("task_id", _TEXT, "call"),
    _Column("batch_id", _TEXT, "call"),
    _Column("prompt_tokens", _LONG, "usage"),
    _Column("completion_tokens", _LONG, "usage"),
    _Column("total_tokens", _LONG, "usage"),
    _Column("cached_tokens", _LONG, "usage"),
    _Column("reasoning_tokens", _LONG, "usage"),
    _Column("cache_write_tokens", _LONG, "usage"),
    _Column("usage_estimated", _BOOL, "usage", "estimated"),
    _Column("finish_reason", _TEXT, "call"),
    _Column("cost", _COST, "call"),
    _Column("currency", _TEXT, "call"),
    _Column("price_id", _TEXT, "call"),
    _Column("tags", pa.map_(_TEXT, _TEXT), "made"),
    _Column("sent_at", _TIME, "call", "sent_at_us"),
    _Column("answered_at", _TIME, "call", "answered_at_us"),
    _Column("wait_ms", _LONG, "call"),
    _Column("latency_ms", _LONG, "call"),
    _Column("first_chunk_ms", _LONG, "call"),
    _Column("polls", _INT, "call"),
    _Column("longest_gap_ms", _LONG, "call"),
)

_OURS: Final = frozenset(column.name for column in _RESULTS)
_RESULT_GETTERS: Final = {column.name: attrgetter(column.attribute or column.name) for column in _RESULTS}
_CALL_GETTERS: Final = {column.name: attrgetter(column.attribute or column.name) for column in _CALLS}
_VERSION_METADATA: Final = {SCHEMA_VERSION_KEY: SCHEMA_VERSION}

CALL_SCHEMA: Final = pa.schema([(column.name, column.type) for column in _CALLS], metadata=_VERSION_METADATA)
"""The book of account, one row per call."""


class ResultRow(msgspec.Struct, frozen=True):
    """One settled row on its way into `results`; `fingerprint` is 16 bytes, written as 32 hexadecimal digits."""

    row_id: str
    row_number: int
    variant: str | None
    run: str
    fingerprint: bytes
    outcome: Outcome


class CallRow(msgspec.Struct, frozen=True):
    """One final call on its way into `calls`, with the row it was made for."""

    row_id: str
    row_number: int
    variant: str | None
    call: Call


def renamed(inputs: pa.Schema, columns: Sequence[str] | None = None) -> dict[str, str]:
    """Input columns that cannot keep their name beside ours, old name to new, in input order.

    Upper and lower case do not tell names apart here, because DuckDB and Spark do not either: `Status` collides.
    """
    chosen = _chosen(inputs, columns)
    taken = {name.lower() for name in chosen} | _OURS
    renames: dict[str, str] = {}
    for name in chosen:
        if name.lower() in _OURS:
            new, number = f"input_{name}", 1
            while new.lower() in taken:
                number += 1
                new = f"input_{name}_{number}"
            taken.add(new.lower())
            renames[name] = new
    return renames


def unwritable(inputs: pa.Schema, columns: Sequence[str] | None = None) -> dict[str, str]:
    """Chosen input columns whose type Parquet cannot hold (a struct without fields, an interval), name to type."""
    fields = [inputs.field(name) for name in _chosen(inputs, columns)]
    return {field.name: str(field.type) for field in fields if not _fits_parquet(field)}


def result_schema(inputs: pa.Schema, columns: Sequence[str] | None) -> pa.Schema:
    """The schema of `results`: the chosen input columns, then ours.

    Args:
        inputs: Schema of the source.
        columns: Names to keep, in this order; None keeps all. Those in `unwritable` are left out.

    Raises:
        InputError: a chosen column does not exist, or its name stands for two columns.
    """
    renames = renamed(inputs, columns)
    left_out = unwritable(inputs, columns)
    fields = [
        _input_field(inputs.field(name), renames.get(name, name))
        for name in _chosen(inputs, columns)
        if name not in left_out
    ]
    fields += [pa.field(column.name, column.type) for column in _RESULTS]
    return pa.schema(fields, metadata=_VERSION_METADATA)


def result_batch(schema: pa.Schema, inputs: pa.RecordBatch | pa.Table, rows: Sequence[ResultRow]) -> pa.RecordBatch:
    """Build N rows of `results`.

    Args:
        schema: From `result_schema`, perhaps with input columns that this range does not have: they become null.
        inputs: N rows under the names of the source, in the order of `rows`. Its other columns are ignored.
        rows: N settled rows.

    Raises:
        ValueError: the two do not have the same length, or a cost is negative: a bug of ours.
        pyarrow.ArrowInvalid: an input value does not fit the type the schema promises.
    """
    if inputs.num_rows != len(rows):
        raise ValueError(f"{inputs.num_rows} input rows for {len(rows)} outcomes")
    outcomes = [row.outcome for row in rows]
    sums = [outcome.sums for outcome in outcomes]
    records: dict[str, Sequence[Any]] = {"row": rows, "outcome": outcomes, "sums": sums}
    made: dict[str, list[Any]] = {
        "fingerprint": [row.fingerprint.hex() for row in rows],
        # The wall clock may be set back while a row is under way; a negative time would help nobody.
        "latency_ms": [
            None if total.first_sent_at_us is None else max(0, outcome.settled_at_us - total.first_sent_at_us) // 1000
            for total, outcome in zip(sums, outcomes, strict=True)
        ],
    }
    arrays = [_input_column(inputs, field) for field in list(schema)[: len(schema) - len(_RESULTS)]]
    for name, kind, of, _ in _RESULTS:
        values = made[name] if of == "made" else list(map(_RESULT_GETTERS[name], records[of]))
        arrays.append(_array(values, kind))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def call_batch(rows: Sequence[CallRow], tags: Mapping[str, str]) -> pa.RecordBatch:
    """Build N rows of `calls`; all carry the same job `tags`.

    A call without usage has null tokens, and `usage_estimated` false: nothing was estimated either.

    Raises:
        ValueError: a cost is negative: a bug of ours.
    """
    calls = [row.call for row in rows]
    usages = [call.usage for call in calls]
    known = [NO_USAGE if usage is None else usage for usage in usages]
    has_unknown = None in usages
    records: dict[str, Sequence[Any]] = {"row": rows, "call": calls, "usage": known}
    arrays = []
    for name, kind, of, _ in _CALLS:
        if of == "made":
            arrays.append(_tags(tags, len(rows)))
            continue
        values = list(map(_CALL_GETTERS[name], records[of]))
        if of == "usage" and has_unknown and kind is _LONG:
            values = [None if usage is None else value for usage, value in zip(usages, values, strict=True)]
        arrays.append(_array(values, kind))
    return pa.RecordBatch.from_arrays(arrays, schema=CALL_SCHEMA)


def _chosen(inputs: pa.Schema, columns: Sequence[str] | None) -> list[str]:
    """The names to keep, each standing for exactly one input column."""
    times = Counter(inputs.names)
    names = list(inputs.names if columns is None else dict.fromkeys(columns))
    for name in names:
        if name not in times:
            near = difflib.get_close_matches(name, inputs.names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The input has: {', '.join(inputs.names)}."
            raise InputError(f"output.columns: the input has no column {name!r}. {hint}")
        if times[name] > 1:
            raise InputError(
                f"input column {name!r} appears {times[name]} times. "
                "Rename one of them, or list the columns to keep in output.columns."
            )
    return names


def _input_field(field: pa.Field, name: str) -> pa.Field:
    # Nullable, because a line that cannot be read is a result row too; without the field ids of the source's own
    # Parquet files, because ours would clash with those of the next file.
    kept = {key: value for key, value in (field.metadata or {}).items() if key != b"PARQUET:field_id"}
    if name != field.name:
        kept[INPUT_NAME_KEY.encode()] = field.name.encode()
    return pa.field(name, field.type, nullable=True, metadata=kept or None)


def _fits_parquet(field: pa.Field) -> bool:
    """Ask the writer itself: what it can hold changes with its version, and nests."""
    try:
        pq.ParquetWriter(pa.BufferOutputStream(), pa.schema([field])).close()
    except pa.ArrowNotImplementedError:
        return False
    return True


def _input_column(inputs: pa.RecordBatch | pa.Table, field: pa.Field) -> Any:
    name = (field.metadata or {}).get(INPUT_NAME_KEY.encode(), field.name.encode()).decode()
    if name not in inputs.schema.names:
        return pa.nulls(inputs.num_rows, field.type)
    column = inputs.column(name)
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    return column if column.type == field.type else column.cast(field.type)


def _array(values: list[Any], kind: Any) -> Any:
    """One column from Python values; what Arrow cannot hold is replaced as the module says."""
    if kind is _COST:
        return _costs(values)
    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:
        return pa.array(without_surrogates(values), kind)
    except (OverflowError, pa.ArrowInvalid):
        if not pa.types.is_integer(kind):
            raise
        limit = 1 << (kind.bit_width - 1)
        return pa.array([value if value is not None and -limit <= value < limit else None for value in values], kind)


def _costs(values: list[int | None]) -> Any:
    """Costs in 10⁻¹² units as decimals.

    The unscaled value of decimal128(38, 12) is that very integer, so the buffer is written directly: exact, and many
    times cheaper than a `Decimal` for each row.
    """
    known = [value for value in values if value is not None]
    if known and not 0 <= min(known) <= max(known) < _COST_LIMIT:
        raise ValueError(f"a cost of {min(known)} to {max(known)} · 10^-{COST_DIGITS} cannot be: costs are 0 or more")
    data = b"".join([_NO_COST if value is None else value.to_bytes(16, "little") for value in values])
    validity = None
    if len(known) < len(values):
        # The bits of a boolean array are laid out as a validity bitmap is.
        validity = pa.array([value is not None for value in values], _BOOL).buffers()[1]
    return pa.Array.from_buffers(_COST, len(values), [validity, pa.py_buffer(data)])


def _tags(tags: Mapping[str, str], count: int) -> Any:
    kind = pa.map_(_TEXT, _TEXT)
    pairs = list(without_surrogates(dict(tags)).items())
    return pa.repeat(pa.scalar(pairs, kind), count) if count else pa.array([], kind)
