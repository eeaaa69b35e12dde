"""The two tables that people read, `results` and `calls`: their schemas, and how records become Arrow batches.

Owns the schemas, the new names of input columns that would collide with our own (`columns`), and the building of
batches, column by column (`arrays`). It knows nothing of files or folders: `parts` writes what is built here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, TypeAlias

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec.structs import astuple

from batch.core.arrowtypes import is_text_bytes
from batch.core.canonical import without_surrogates
from batch.core.errors import InputError
from batch.core.nearest import suggestion
from batch.core.records import Call, Outcome, Sums, Usage
from batch.labels.schema import PROPERTY_KEY
from batch.labels.votes import Votes
from batch.output.arrays import array, repeated, repeated_map
from batch.output.columns import CALLS, RESULTS

SCHEMA_VERSION: Final = "1"
SCHEMA_VERSION_KEY: Final = "promptmill.schema_version"
LABELS: Final = "labels"
"""Key of the ledger's `meta` that holds the columns of labels, those of earlier runs too, as an Arrow schema."""
INPUT_NAME_KEY: Final = "promptmill.input_name"
"""Key in the field metadata of a renamed input column; the value is its name in the source."""

Fields: TypeAlias = Mapping[str, Mapping[str, Sequence[Any]]]
"""What the columns of some rows are read from, by `Column.of`: of a record the values of each field, one a row."""

_OURS: Final = frozenset(column.name for column in RESULTS)
_LABELS_BEFORE: Final = "finish_reason"
"""Columns of labels stand before this one of ours."""
_BY_NAME: Final = {column.name: column for column in RESULTS}
_UNKNOWN: Final = Usage(None, None, None)  # type: ignore[arg-type]  # nothing but the table ever reads it
"""The usage of a call without one."""
_VERSION_METADATA: Final = {SCHEMA_VERSION_KEY: SCHEMA_VERSION}

CALL_SCHEMA: Final = pa.schema([(column.name, column.type) for column in CALLS], metadata=_VERSION_METADATA)
"""The schema of `calls`, the book of account: one row for each call."""


class ResultRow(msgspec.Struct, frozen=True):
    """One settled row on its way into `results`; its fingerprint (16 bytes) is written as 32 hexadecimal digits."""

    row_id: str
    row_number: int
    variant: str | None
    run: str
    fingerprint: bytes
    outcome: Outcome


class CallRow(msgspec.Struct, frozen=True):
    """One final call on its way into `calls`, with the row that it was made for."""

    row_id: str
    row_number: int
    variant: str | None
    call: Call
    fingerprint: bytes | None = None
    """Of what the row asked; written for a call whose answer the provider keeps, by the id of a task or batch."""


def renamed(inputs: pa.Schema, columns: Sequence[str] | None = None, *, labels: Iterable[str] = ()) -> dict[str, str]:
    """The new names of input columns whose names collide with ours, by old name, in the order of the input.

    Names that differ only in upper and lower case collide too, because DuckDB and Spark do not tell them apart.

    Args:
        inputs: the columns of the source.
        columns: the names to keep; None keeps all.
        labels: names of the columns of labels, which are ours, too.

    Raises:
        InputError: a chosen column does not exist, or its name stands for two columns.
    """
    chosen = _chosen(inputs, columns)
    ours = _OURS.union(name.lower() for name in labels)
    taken = {name.lower() for name in chosen} | ours
    renames: dict[str, str] = {}
    for name in chosen:
        if name.lower() in ours:
            new, number = f"input_{name}", 1
            while new.lower() in taken:
                number += 1
                new = f"input_{name}_{number}"
            taken.add(new.lower())
            renames[name] = new
    return renames


def unwritable(inputs: pa.Schema, columns: Sequence[str] | None = None) -> dict[str, str]:
    """The types of input columns that Parquet cannot hold (a struct without fields, an interval), by name.

    Args:
        inputs: the columns of the source.
        columns: the names to keep; None keeps all.

    Raises:
        InputError: a chosen column does not exist, or its name stands for two columns.
    """
    fields = [inputs.field(name) for name in _chosen(inputs, columns)]
    return {field.name: str(field.type) for field in fields if not _fits_parquet(field)}


def result_schema(inputs: pa.Schema, columns: Sequence[str] | None, labels: Iterable[pa.Field] = ()) -> pa.Schema:
    """The schema of `results`: the chosen input columns, then ours, those of labels among them.

    Args:
        inputs: the columns of the source.
        columns: the names to keep, in this order; None keeps all. Those in `unwritable` are left out.
        labels: the columns of labels, each marked with the property that it holds.

    Raises:
        InputError: a chosen column does not exist, or its name stands for two columns.
    """
    labels = list(labels)
    renames = renamed(inputs, columns, labels=[field.name for field in labels])
    left_out = unwritable(inputs, columns)
    fields = [
        _input_field(inputs.field(name), renames.get(name, name))
        for name in _chosen(inputs, columns)
        if name not in left_out
    ]
    for column in RESULTS:
        fields += labels if column.name == _LABELS_BEFORE else []
        fields.append(pa.field(column.name, column.type))
    return pa.schema(fields, metadata=_VERSION_METADATA)


def first_of_ours(results: pa.Schema) -> int:
    """Where our columns begin in a `results` file; the input's are before it.

    Their number differs by the version that wrote the file, but `row_id` is always the first, and no input column is
    called so.
    """
    place: int = results.get_field_index(RESULTS[0].name)
    return place if place >= 0 else len(results)


def result_batch(schema: pa.Schema, inputs: pa.RecordBatch | pa.Table, rows: Sequence[ResultRow]) -> pa.RecordBatch:
    """Build N rows of `results`.

    Args:
        schema: from `result_schema`; input columns in it that `inputs` lacks become null.
        inputs: N rows under the names of the source, in the order of `rows`; other columns in it are ignored.
        rows: N settled rows.

    Raises:
        ValueError: the numbers of rows differ, or a cost is negative: a bug of ours.
        pyarrow.ArrowInvalid: an input value does not fit the type the schema promises.
    """
    if inputs.num_rows != len(rows):
        raise ValueError(f"{inputs.num_rows} input rows for {len(rows)} outcomes")
    row = fields_of(ResultRow, rows)
    outcomes: Sequence[Outcome] = row["outcome"]
    outcome = fields_of(Outcome, outcomes)
    sums = fields_of(Sums, outcome["sums"])
    made: dict[str, Sequence[Any]] = {
        "fingerprint": list(map(bytes.hex, row["fingerprint"])),
        "latency_ms": list(map(_latency_ms, outcomes)),
    }
    values: Fields = {"row": row, "outcome": outcome, "sums": sums, "made": made}
    first = first_of_ours(schema)
    arrays = [_input_column(inputs, field) for field in list(schema)[:first]]
    for field in list(schema)[first:]:
        if (column := _BY_NAME.get(field.name)) is None:
            arrays.append(_label_column(field, outcomes))
            continue
        arrays.append(array(values[column.of][column.attribute or column.name], column.type))
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def call_batch(rows: Sequence[CallRow], tags: Mapping[str, str], *, run: str, job: str) -> pa.RecordBatch:
    """Build N rows of `calls`, all of one run.

    A call without usage has null tokens, and false in `usage_estimated`, because nothing was estimated either.

    Args:
        rows: N final calls.
        tags: of the job.
        run: the run that publishes them.
        job: the name of the job.

    Raises:
        ValueError: a cost is negative: a bug of ours.
    """
    count = len(rows)
    row = fields_of(CallRow, rows)
    call = fields_of(Call, row["call"])
    usage = fields_of(Usage, [_UNKNOWN if usage is None else usage for usage in call["usage"]])
    prints = list(map(_print, row["fingerprint"], call["task_id"], call["batch_id"]))
    values: Fields = {"row": row, "call": call, "usage": usage, "made": {"fingerprint": prints}}
    texts = {"run": run, "job": without_surrogates(job)}
    arrays = []
    for name, kind, of, attribute in CALLS:
        if name in texts:
            arrays.append(repeated(texts[name], count, kind))
        elif name == "tags":
            arrays.append(repeated_map(tags, count))
        else:
            arrays.append(array(values[of][attribute or name], kind))
    return pa.RecordBatch.from_arrays(arrays, schema=CALL_SCHEMA)


def fields_of(kind: type[msgspec.Struct], records: Iterable[msgspec.Struct]) -> dict[str, Sequence[Any]]:
    """The values of records of one kind, by field, in the order of the records.

    All fields of a record are taken at once, which is several times as fast as one after the other.
    """
    names = kind.__struct_fields__
    return dict(zip(names, zip(*map(astuple, records), strict=True), strict=False)) or dict.fromkeys(names, ())


def _print(fingerprint: bytes | None, task_id: str | None, batch_id: str | None) -> str | None:
    return None if fingerprint is None or (task_id is None and batch_id is None) else fingerprint.hex()


def _chosen(inputs: pa.Schema, columns: Sequence[str] | None) -> list[str]:
    """The names to keep, each standing for exactly one input column."""
    times = Counter(inputs.names)
    names = list(inputs.names if columns is None else dict.fromkeys(columns))
    for name in names:
        if name not in times:
            hint = suggestion(name, inputs.names, f"The input has: {', '.join(inputs.names)}.")
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
    # That a prompt reads bytes as text is no matter of the table either.
    left_out = {b"PARQUET:field_id", *([b"promptmill"] if is_text_bytes(field) else [])}
    kept = {key: value for key, value in (field.metadata or {}).items() if key not in left_out}
    if name != field.name:
        kept[INPUT_NAME_KEY.encode()] = field.name.encode()
    return pa.field(name, field.type, nullable=True, metadata=kept or None)


def _fits_parquet(field: pa.Field) -> bool:
    """Whether Parquet can hold this field; the writer itself is asked, because that differs by version and nesting."""
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


def _label_column(field: pa.Field, outcomes: Sequence[Outcome]) -> Any:
    """One column of labels: names, or one property of objects; null where there is no label, or one of another kind."""
    if field.name in _OF_SAMPLES:  # no property is called so: the columns of these begin with `label_`
        return array(list(map(_OF_SAMPLES[field.name], outcomes)), field.type)
    name = (field.metadata or {}).get(PROPERTY_KEY.encode(), b"").decode()
    labels = [outcome.label for outcome in outcomes]
    if name:
        values = [label.get(name) if isinstance(label, dict) else None for label in labels]
    else:
        values = [label if isinstance(label, str) else None for label in labels]
    return array(values, field.type)


def _votes(outcome: Outcome) -> list[dict[str, Any]] | None:
    if outcome.labelling is None or not outcome.labelling.samples:
        return None
    return [{"label": vote.label, "count": vote.count} for vote in outcome.labelling.votes]


def _agreement(outcome: Outcome) -> float | None:
    kept = outcome.labelling
    return None if kept is None else Votes(kept.samples, kept.votes).agreement


_OF_SAMPLES: Final[dict[str, Callable[[Outcome], Any]]] = {
    "votes": _votes,
    "agreement": _agreement,
    "confidence": attrgetter("confidence"),
}
"""What the columns of samples hold."""


def _latency_ms(outcome: Outcome) -> int | None:
    first_us = outcome.sums.first_sent_at_us
    if outcome.latency_ms is not None or first_us is None:
        return outcome.latency_ms
    # Settled by an older version, which had the wall clock only: that may have been set back meanwhile.
    return max(0, outcome.settled_at_us - first_us) // 1000
