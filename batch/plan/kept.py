"""The columns that earlier runs of a folder fixed, and what the columns of this run are beside them.

Owns that columns never go away and never lose what they hold. What the ledger keeps of them is written by `preflight`.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec
import pyarrow as pa

from batch.core.errors import InputError
from batch.job.job import Job
from batch.ledger.reader import LedgerReader
from batch.output import integrity, tables
from batch.output.folder import OutputFolder, holder
from batch.plan import owner

TYPES: Final = "types"
"""Key of the ledger's `meta` that holds the column types as JSON."""
INPUTS: Final = "inputs"
"""Key of the ledger's `meta` that holds the chosen input columns as a serialized Arrow schema."""


def kept_columns(folder: OutputFolder, job: Job) -> tuple[dict[str, str] | None, pa.Schema | None, pa.Schema]:
    """The column types, the chosen columns, and the columns of labels that an earlier run of this job fixed."""
    none = pa.schema([])
    if holder(folder) is None:
        integrity.require_trusted(folder)
    if not folder.ledger.exists():
        return None, None, none
    with LedgerReader(folder.ledger) as reader:
        if not reader.made:
            return None, None, none
        owner.require_own(folder, job, reader)
        types, inputs, labels = reader.meta(TYPES), reader.meta(INPUTS), reader.meta(tables.LABELS)
    return (
        msgspec.json.decode(types, type=dict[str, str]) if types else None,
        pa.ipc.read_schema(pa.py_buffer(inputs)) if inputs else None,
        pa.ipc.read_schema(pa.py_buffer(labels)) if labels else none,
    )


def input_columns(source: pa.Schema, job: Job, kept: pa.Schema | None, *, keys: Collection[str]) -> pa.Schema:
    """The chosen columns; those of earlier runs come first and never go away, new ones are added behind them."""
    columns = job.output.columns
    if late := sorted(set(keys).intersection(columns or ())):
        raise InputError(
            f"output.columns: {', '.join(map(repr, late))} came after the columns were fixed and stands in input_rest. "
            f'To have a column of it, declare it: input.types = {{ {late[0]} = "string" }}'
        )
    tables.result_schema(source, columns)
    chosen = list(columns) if columns is not None else list(source.names)
    if columns is not None and "input_rest" in source.names and "input_rest" not in chosen:
        chosen.append("input_rest")
    fields = [_as_now(field, source) for field in kept] if kept is not None else []
    left_out = {field.name for field in fields} | tables.unwritable(source).keys()
    fields += [source.field(name) for name in chosen if name not in left_out]
    return pa.schema(fields)


def _as_now(field: pa.Field, source: pa.Schema) -> pa.Field:
    """A column of earlier runs, with the type of now where that holds more."""
    now = source.field(field.name) if field.name in source.names else field
    return field if now.type == field.type else now
