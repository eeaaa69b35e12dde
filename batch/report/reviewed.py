"""How results of a table become one row that a person looks at: its values as they are read, its label, its input.

Owns which columns are needed for it. It does not know which rows are doubtful or how a file is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec
import pyarrow as pa

from batch.core.arrowtypes import is_json
from batch.core.flags import TIE
from batch.labels.votes import count_votes
from batch.report.doubt import Doubt, Judged
from batch.report.export import plain
from batch.report.label_table import input_fields, texts
from batch.report.review_files import Doubtful, Result

_SHOWN: Final = ("row_id", "row_number", "variant", "model_asked", "answer", "error_message", "agreement", "confidence")
_JUDGED: Final = ("status", "flags", "error_kind", "retryable")
_LABEL: Final = "\0label"
"""Where a row has its label as text, beside its columns."""


def input_columns(schema: pa.Schema) -> list[pa.Field]:
    """The input columns of a table that a person can read: those without bytes."""
    return [field for field in input_fields(schema) if not _is_bytes(field.type)]


def columns_shown(schema: pa.Schema, label: str, *, judged: bool = False) -> dict[str, Any]:
    """The columns that are needed of each result, with their types.

    Args:
        schema: of the table.
        label: the column with the labels.
        judged: those that `judged_by` looks at, too.
    """
    ours = [name for name in (*_SHOWN, *(_JUDGED if judged else ())) if name in schema.names]
    names = dict.fromkeys([*(field.name for field in input_columns(schema)), *ours, label])
    return {name: schema.field(name).type for name in names}


def dicts(batch: pa.RecordBatch, fields: dict[str, pa.Field], label: str) -> Iterator[dict[str, Any]]:
    """Each result as a dict of plain values, with its label as text beside them.

    Args:
        batch: results in the columns of `columns_shown`.
        fields: the input columns, by name.
        label: the column with the labels.
    """
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        values = plain(column)
        if name in fields and is_json(fields[name]):
            values = [_loaded(value) for value in values]
        columns[name] = values
    columns[_LABEL] = texts(batch.column(label)).to_pylist()
    for cells in zip(*columns.values(), strict=True):
        yield dict(zip(columns, cells, strict=True))


def _loaded(text: Any) -> Any:
    """JSON text as what it says; text that is none stays text."""
    try:
        return text if text is None else msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return text


def judged_by(row: dict[str, Any]) -> Judged:
    """What the doubt of one result is seen by; it needs the columns with `judged`."""
    failed = row["status"] == "failed" and row["error_kind"] != "input" and not row["retryable"]
    tie = TIE in (row["flags"] or ())
    return Judged(row[_LABEL], failed, tie, row.get("agreement"), row.get("confidence"))


def reviewed(results: Sequence[dict[str, Any]], why: Doubt, inputs: Sequence[str]) -> Doubtful:
    """The row that these results are of.

    Args:
        results: of one row, in each of its variants, as `dicts` gives them.
        why: what makes it doubtful.
        inputs: names of the input columns.
    """
    first = results[0]
    labels = count_votes(row[_LABEL] for row in results)
    return Doubtful(
        row_id=first["row_id"],
        row_number=first["row_number"],
        reasons=why.reasons,
        certainty=why.certainty,
        label=labels.majority,
        results=tuple(
            Result(
                variant=row["variant"],
                model=row["model_asked"],
                label=row[_LABEL],
                agreement=row.get("agreement"),
                confidence=row.get("confidence"),
                answer=row["answer"],
                error=row["error_message"],
            )
            for row in results
        ),
        input={name: first[name] for name in inputs},
    )


def _is_bytes(kind: Any) -> bool:
    types = pa.types
    every = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return any(is_one(kind) for is_one in every)
