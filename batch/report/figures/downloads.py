"""The rows that a filter lets through as a file to take along, made while it is sent: CSV, JSONL or rows to review.

Owns which columns a download has and that memory holds one row group of it. The forms are those of `promptmill export`
and `promptmill labels --review`; rows to review come in the order of the table, with what makes each of them doubtful.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import IO, Any, Final

from batch.report.doubt import BELOW, Doubt, doubt
from batch.report.export import READ_ROWS, WRITERS
from batch.report.figures.rows import Rows
from batch.report.label_table import label_column
from batch.report.review_files import FORMS, Form
from batch.report.reviewed import columns_shown, dicts, input_columns, judged_by, reviewed

KINDS: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/x-ndjson"}
"""What a table can be exported as: content types, by the ending of the file."""
ENDINGS: Final[dict[Form, str]] = {"jsonl": "jsonl", "csv": "csv", "label-studio": "json", "argilla": "json"}
"""How the name of a file with rows to review ends, by its form."""


_CHUNK: Final = 1 << 16


class _Buffer(io.BytesIO):
    """Bytes that are taken out as they come."""

    def taken(self) -> bytes:
        found = self.getvalue()
        self.seek(0)
        self.truncate()
        return found


def exported(rows: Rows, ending: str) -> Iterator[bytes]:
    """The rows with all their columns, as `promptmill export` writes them, some at a time.

    Args:
        rows: which.
        ending: of the file, one of `KINDS`.

    Raises:
        StorageError: a part cannot be read; what came before is no whole file.
    """
    schema = rows.view.schema
    buffer = _Buffer()
    writer = WRITERS[f".{ending}"](buffer, schema)
    for table in rows.matching({field.name: field.type for field in schema}):
        for batch in table.cast(schema).to_batches(max_chunksize=READ_ROWS):
            writer.rows(batch)
            yield buffer.taken()
    writer.close()
    yield buffer.taken()


def to_review(rows: Rows, form: Form, label: str | None = None) -> Iterator[bytes]:
    """The rows as a file for people who label, some at a time; a row has all its variants that are asked for.

    Args:
        rows: which.
        form: of the file.
        label: the column with the labels; the one there is by default.

    Raises:
        RefusedToStart: the table has no labels; before the first bytes.
        StorageError: a part cannot be read; what came before is no whole file.
    """
    schema = rows.view.schema
    column = label_column(schema, label, rows.view.folder.text)
    return _reviewed(rows, FORMS[form], column)


def _reviewed(rows: Rows, form: Callable[[IO[bytes], Any], Any], label: str) -> Iterator[bytes]:
    schema = rows.view.schema
    fields = {field.name: field for field in input_columns(schema)}
    names = list(fields)
    buffer = _Buffer()
    writer = form(buffer, names)
    results = (
        row
        for table in rows.matching(columns_shown(schema, label, judged=True))
        for batch in table.to_batches(max_chunksize=READ_ROWS)
        for row in dicts(batch, fields, label)
    )
    for _, group in groupby(results, key=lambda row: row["row_id"]):
        of_row = list(group)
        why = doubt([judged_by(row) for row in of_row], BELOW) or Doubt(1.0, ())
        writer.row(reviewed(of_row, why, names))
        if buffer.tell() > _CHUNK:
            yield buffer.taken()
    writer.close()
    yield buffer.taken()
