"""The columns that all Parquet files of a source have together.

Owns which type a column gets where files, or an earlier run, do not agree. It gets the one that loses nothing. Where
there is none, the column keeps the type it had first, and what does not fit stands in `input_rest`, as with JSONL; a
column that is read is refused instead, because a prompt must not depend on how a value was kept. Bytes that are read as
text are UTF-8, or the source is refused. A file among others that is no whole Parquet file has no say. It does not know
who reads which column, nor how values get into the columns (`fitting`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import msgspec
import pyarrow as pa

from batch.core.arrowcommon import (
    check_schema,
    common_field,
    field_lossless,
    is_number_pair,
    is_text_pair,
    lossless,
    widened,
)
from batch.core.arrowtypes import TEXT_MARK, has_bytes, is_json, type_text
from batch.core.canonical import EXACT
from batch.core.errors import InputError
from batch.input.files import File, Found, shown
from batch.input.json_columns import REST, RowDecoder
from batch.input.parquet_file import BrokenFileError, ParquetRows, Unread

SAMPLE_ROWS: Final = 1_000
MOST_NO_TEXT: Final = 0.1
"""Where more of the sampled cells than this are no UTF-8, the column is no text; fewer are faults of their rows."""


class Reads(msgspec.Struct, frozen=True):
    """Which columns a job reads; all of them where nothing is said."""

    columns: Collection[str] | None = None
    """Those that decide what is asked, and those that it names for its output."""
    texts: Collection[str] = ()
    """Those that are put into text."""

    def __contains__(self, name: str) -> bool:
        return self.columns is None or name in self.columns


class United(msgspec.Struct):
    """The columns of several files."""

    fields: dict[str, pa.Field]
    rows: list[int]
    """Of each file; one for a file that is not whole, which is one failed row."""
    clashes: dict[str, str]
    """Columns some of whose values stand in `input_rest`, and why."""
    inexact: bool = False
    """Whether a whole number beside floating ones may be larger than a double holds."""
    bytes: set[str] = set()
    """Columns that have bytes in some file."""
    whole: list[File] = []
    """The files that are whole."""

    def schema(self) -> pa.Schema:
        """The columns as one schema, with `input_rest` where something stands in it."""
        several = len(self.rows) > 1  # a file that lacks a column gives nulls, whatever the others promise
        fields = [field.with_nullable(True) if several else field for field in self.fields.values()]
        if (self.clashes or self.inexact) and REST not in self.fields:
            fields.append(pa.field(REST, pa.large_string()))
        return pa.schema(fields)


def unite(found: Found, kept: pa.Schema, reads: Reads) -> United:
    """The columns of all files in the order in which they first appear, with the types that an earlier run kept.

    Args:
        found: the files.
        kept: the columns of an earlier run; empty when there was none.
        reads: what the job reads.

    Raises:
        InputError: a file cannot be opened, none is whole, or the types of a column that is read do not go together.
    """
    united = _of_files(found, reads)
    faults = []
    for name, field in united.fields.items():
        if name not in kept.names:
            continue
        before = kept.field(name)
        united.fields[name] = before
        if field_lossless(field, before) or (is_json(before) and name not in reads):
            continue
        if (wide := widened(before, field)) is not None:
            united.fields[name] = wide
        elif pa.types.is_floating(before.type) and _are_numbers_for(united.whole, name, before.type):
            united.inexact |= before.type != pa.float64() or not all(_all_exact(file, {name}) for file in united.whole)
        elif is_text_pair(field.type, before.type) and name in reads.texts:
            continue
        elif (is_number_pair(field.type, before.type) or name not in reads) and REST not in united.fields:
            united.clashes[name] = f"{type_text(field)} now, and {type_text(before)} in the results so far"
        else:
            faults += check_schema(pa.schema([before]), pa.schema([field]))
    if faults:
        raise InputError(f"{shown(found.path)}: " + "\n  ".join(faults))
    for name in united.bytes.intersection(reads.texts):
        _require_text(united.whole, name)
    for name in reads.texts:
        if name in united.fields and has_bytes(united.fields[name].type):
            united.fields[name] = united.fields[name].with_metadata(TEXT_MARK)
    return united


def _of_files(found: Found, reads: Reads) -> United:
    united = United({}, [], {})
    comes_from: dict[str, str] = {}
    numbers: set[str] = set()
    broken: BrokenFileError | None = None
    for file in found.files:
        try:
            opened = ParquetRows(file.path)
        except BrokenFileError as exc:
            broken = broken or exc
            united.rows.append(1)  # the failure that stands for it
            continue
        united.whole.append(file)
        united.rows.append(opened.rows)
        for field in opened.schema:
            name = field.name
            united.bytes |= {name} if has_bytes(field.type) else set()
            before = united.fields.setdefault(name, field)
            comes_from.setdefault(name, file.name)
            if before.equals(field, check_metadata=True):
                continue
            both = common_field(before, field)
            if both is not None:
                numbers |= {name} if is_number_pair(before.type, field.type) else set()
                comes_from[name] = file.name if both.type != before.type else comes_from[name]
                united.fields[name] = both
                continue
            if is_text_pair(before.type, field.type) and name in reads.texts:
                united.fields[name] = pa.field(name, pa.large_string())
                continue
            text = f"{type_text(before)} in {comes_from[name]} and {type_text(field)} in {file.name}"
            if name in reads or name == REST:
                opened.close()
                raise InputError(
                    f"{shown(found.path)}: column {name!r} is {text}, and no type holds both without loss. "
                    "Write one of them anew, or ask them by two jobs."
                )
            united.clashes.setdefault(name, text)
        opened.close()
    if broken is not None and not united.fields:
        raise broken
    if united.clashes and REST in united.fields:
        name, text = next(iter(united.clashes.items()))
        raise InputError(
            f"{shown(found.path)}: column {name!r} is {text}; what fits no type goes to {REST!r}, and the input has a "
            "column of that name. Rename it."
        )
    united.inexact = bool(numbers) and any(not _all_exact(file, numbers) for file in united.whole)
    return united


def _are_numbers_for(files: Sequence[File], name: str, floating: pa.DataType) -> bool:
    """Whether this column has integers in all files, or floating numbers that the type holds."""
    for file in files:
        opened = ParquetRows(file.path)
        opened.close()
        if name in opened.schema.names:
            kind = opened.schema.field(name).type
            if not (pa.types.is_integer(kind) or lossless(kind, floating)):
                return False
    return True


def _all_exact(file: File, names: set[str]) -> bool:
    """Whether the statistics of a file say that a double holds every whole number in these columns."""
    opened = ParquetRows(file.path)
    try:
        whole = {name for name in names if name in opened.schema.names and _is_long(opened.schema.field(name))}
        ranges = [opened.range_of(name) for name in whole]
    finally:
        opened.close()
    return all(found is not None and -EXACT <= found[0] <= found[1] <= EXACT for found in ranges)


def _is_long(field: pa.Field) -> bool:
    return bool(pa.types.is_integer(field.type) and field.type.bit_width == 64)


def _require_text(files: Sequence[File], name: str) -> None:
    """Refuse a column of bytes that is no text; a few cells that are none are faults of their rows.

    Raises:
        InputError: it is refused.
    """
    for file in files:
        opened = ParquetRows(file.path)
        try:
            if name not in opened.schema.names or not has_bytes(opened.schema.field(name).type) or not opened.rows:
                continue
            wanted = pa.schema([opened.schema.field(name).with_metadata(TEXT_MARK)])
            readable = (batch for batch in opened.batches(0) if not isinstance(batch, Unread))
            first = next((batch for batch in readable if batch.num_rows), None)
        finally:
            opened.close()
        if first is None:
            continue
        batch = pa.RecordBatch.from_arrays([first.column(name)[:SAMPLE_ROWS]], schema=wanted)
        decoder = RowDecoder(wanted)
        failures = [text for index in range(batch.num_rows) if (text := _why_no_text(decoder, batch.slice(index, 1)))]
        if len(failures) > MOST_NO_TEXT * (batch.num_rows - batch.column(0).null_count):
            raise InputError(
                f"{shown(file.path)}: {failures[0]}, so in {len(failures):,} of the first {batch.num_rows:,} rows. "
                "The column holds bytes that are to be read as text: write it anew as UTF-8 text, or name it neither "
                "in the prompt nor as input.key."
            )
        return


def _why_no_text(decoder: RowDecoder, row: pa.RecordBatch) -> str:
    try:
        decoder.records(row)
    except ValueError as exc:
        return str(exc)
    return ""
