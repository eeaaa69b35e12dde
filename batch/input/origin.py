"""Columns that say where a row comes from: the `key=value` folders around its file, and the name of the file.

Owns their names and values, and how they come into the rows of a file. What the file itself says goes before what a
folder says; the name of the file has a column of its own. It opens no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import msgspec
import pyarrow as pa

from batch.core.errors import InputError
from batch.input.files import File, shown
from batch.input.json_columns import REST

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batch.input.batches import SourceBatch
    from batch.job.job import InputSpec

_NULL: Final = "__HIVE_DEFAULT_PARTITION__"


def columns(spec: InputSpec, files: Sequence[File], own: Collection[str]) -> list[pa.Field]:
    """The columns that the job wants of this kind, in order; all of them hold text.

    Args:
        spec: the input section of the job.
        files: all files of the source.
        own: names of columns that the files are known to have themselves.

    Raises:
        InputError: the files have the column that is to hold their names.
    """
    names: dict[str, None] = {}
    if spec.hive_partitioning:
        names = dict.fromkeys(name for file in files for name in partitions(file))
    if spec.file_column is not None:
        if spec.file_column == REST:
            raise InputError(
                f"{shown(spec.path)}: the name {REST} is taken for what fits no column. Give input.file_column another "
                "name."
            )
        if spec.file_column in own or spec.file_column in names:
            raise InputError(
                f"{shown(spec.path)}: has a column {spec.file_column!r} already. Give input.file_column another name."
            )
        names[spec.file_column] = None
    return [pa.field(name, pa.large_string()) for name in names if name not in own]


def partitions(file: File) -> dict[str, str | None]:
    """What the folders around a file say, from the outermost: `day=2026-11-29` is `{"day": "2026-11-29"}`."""
    pairs = (part.partition("=") for part in file.path.parent.parts)
    found = {
        name: unquote(value)
        for name, equals, value in map(_shown, pairs)
        if equals and value and name not in ("", REST)
    }
    return {name: None if value == _NULL else value for name, value in found.items()}


def _shown(pair: tuple[str, str, str]) -> tuple[str, str, str]:
    return shown(pair[0]), pair[1], shown(pair[2])


class Origin:
    """Puts the columns of this kind into the batches of one file.

    Args:
        spec: the input section of the job.
        file: which file.
    """

    def __init__(self, spec: InputSpec, file: File) -> None:
        self._values: Mapping[str, str | None] = partitions(file) if spec.hive_partitioning else {}
        self._file_column = spec.file_column
        self._file = file.name

    def fill(self, batch: SourceBatch) -> SourceBatch:
        """The same rows with these columns; a cell that has a value already keeps it."""
        columns = batch.columns
        for name, value in self._values.items():
            index = columns.schema.get_field_index(name)
            if value is None or index < 0 or not holds_text(columns.schema.field(index)):
                continue
            import pyarrow.compute as pc  # noqa: PLC0415 - slow to load, and hardly ever needed

            # What the file says and no column of text holds stands in `input_rest`, and in the record.
            silent = pa.array([record is None or record.get(name) is None for record in batch.records])
            filled = pc.fill_null(columns.column(index), value)
            columns = _with(columns, index, pc.if_else(silent, filled, columns.column(index)))
            for record in batch.records:
                if record is not None and record.get(name) is None:
                    record[name] = value
        if self._file_column is not None:
            index = columns.schema.get_field_index(self._file_column)
            kind = columns.schema.field(index).type
            columns = _with(columns, index, pa.repeat(pa.scalar(self._file, kind), columns.num_rows))
            for record in batch.records:
                if record is not None:
                    record[self._file_column] = self._file
        return msgspec.structs.replace(batch, columns=columns)


def holds_text(field: pa.Field) -> bool:
    """Whether a column holds text as it is, not the JSON text of something else."""
    return bool(pa.types.is_string(field.type) or pa.types.is_large_string(field.type)) and not field.metadata


def _with(batch: pa.RecordBatch, index: int, column: Any) -> pa.RecordBatch:
    arrays = [*batch.columns]
    arrays[index] = column
    return pa.RecordBatch.from_arrays(arrays, schema=batch.schema)
