"""Finds the labels in a table: which column has them, which one has the truth, and the parts they are read from.

Owns how a column of any type becomes texts that can be counted, and what is said when there is no such column. Reads
the published parts only, some rows at a time. It knows nothing of figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from batch.core.errors import RefusedToStart
from batch.core.nearest import suggestion
from batch.ledger.reader import LedgerReader
from batch.output import tables
from batch.output.folder import OutputFolder
from batch.output.parts import PartReader
from batch.output.unreadable import unreadable
from batch.report.folders import opened
from batch.report.missing import Reading, opening

READ_ROWS: Final = 65_536
MOST_CLASSES: Final = 10_000
"""A column with more different values than these holds no labels."""
_NAMES_SHOWN: Final = 30
_LABEL: Final = "label"


class LabelTable:
    """The parts of a table that has labels, and the columns that matter.

    Args:
        out: the output folder; its run may be at work.
        label: the column with the labels; by default `label`, or the only `label_…` column with names or truth values.
        gold: the input column with the truth; by default the one that the job of the last run names.
        by: a column whose values divide the rows into groups.

    Raises:
        OutputError: `out` is no output folder.
        RefusedToStart: there are no results, or no such column.
        StorageError: no part, or not the ledger, can be read.

    Attributes:
        folder: the output folder.
        parts: the files, in the order of the table.
        reading: knows the parts that could not be read until now.
        schema: the columns of the newest part, which has all of them.
        label: the column with the labels.
        gold: the column with the truth, or None.
        gold_missing: why the one that the job names is not read, or None.
        by: the column of the groups, or None.
        names: the labels that the job of the last run allows, as far as it lists them.
        variants: whether the last run had several variants.
        sources: the inputs that the runs read, as they were noted.
    """

    def __init__(self, out: Path, *, label: str | None = None, gold: str | None = None, by: str | None = None) -> None:
        self.folder = opened(out)
        with LedgerReader(self.folder.ledger) as reader, reader.snapshot():
            self.parts = [self.folder.part(number) for number in reader.parts()]
            runs = reader.runs()
        self.sources = {run.source for run in runs}
        if not self.parts:
            raise RefusedToStart(f"{self.folder.text}: has no results yet. Look again once a part is published.")
        self.parts, lost = opening(self.folder, self.parts)
        self.reading = Reading(self.folder.root, lost)
        self.schema = self.reading.newest(self.parts, schema_of)
        job = _job(self.folder, runs[-1].run) if runs else {}
        self.variants = len(job.get("variants") or ()) > 1
        root = self.folder.text
        self.label = label_column(self.schema, label, root)
        self.names = _names(job) if self.label == _LABEL else []
        self.gold, self.gold_missing = gold_of(self.schema, gold, _named_gold(job), root)
        self.by = None if by is None else _found(self.schema, by, root, "--by")

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The rows of the table in these columns, some at a time; a column that a part lacks is null there.

        A part that cannot be read is left out, and `reading` knows it.
        """
        return self.reading.each(self.parts, lambda part: part_batches(part, self.schema, columns, rows=READ_ROWS))


def part_batches(part: Path, schema: pa.Schema, columns: Sequence[str], *, rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of one part in these columns, which are null where it lacks them.

    Args:
        part: the file.
        schema: has all the columns.
        columns: which to read, in this order.
        rows: how many at a time, at most.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        with PartReader(part, pre_buffer=False, buffer_size=1 << 20) as file:
            have = [name for name in columns if name in file.schema_arrow.names]
            # A part without any of them has rows all the same.
            for batch in file.iter_batches(batch_size=rows, columns=have or ["row_id"]):
                arrays = [
                    batch.column(name) if name in have else pa.nulls(batch.num_rows, schema.field(name).type)
                    for name in columns
                ]
                yield pa.RecordBatch.from_arrays(arrays, names=list(columns))
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(part, exc) from exc


def schema_of(part: Path) -> pa.Schema:
    """The columns of one part.

    Raises:
        StorageError: it cannot be read.
    """
    try:
        return pq.read_schema(part)
    except (OSError, pa.ArrowException) as exc:
        raise unreadable(part, exc) from exc


def texts(column: Any) -> Any:
    """A column of names, truth values or numbers as texts; null stays null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        column, kind = column.cast(kind.value_type), kind.value_type
    if pa.types.is_null(kind):
        return pa.nulls(len(column), pa.string())
    return column if kind == pa.string() else column.cast(pa.string())


def has_flag(flags: Any, flag: str) -> Any:
    """Whether each row of a column with lists of flags has this one."""
    if pa.types.is_null(flags.type):
        return pa.array([False] * len(flags))
    places = pc.list_parent_indices(flags).filter(pc.equal(pc.list_flatten(flags), flag))
    return pc.is_in(pa.array(range(len(flags)), places.type), places)


def input_fields(schema: pa.Schema) -> list[pa.Field]:
    """The columns of a table that came from its input."""
    return list(schema)[: tables.first_of_ours(schema)]


def ours(schema: pa.Schema) -> list[str]:
    """The names of the columns that are ours."""
    return list(schema.names[tables.first_of_ours(schema) :])


# -- which column -----------------------------------------------------------------------------------------------------


def label_column(schema: pa.Schema, chosen: str | None, root: str) -> str:
    """The column with the labels.

    Args:
        schema: of the table.
        chosen: its name, also without `label_`; None for the one there is.
        root: of the output folder.

    Raises:
        RefusedToStart: there is none, or several and none was chosen; says which there are.
    """
    have = labels_of(schema)
    if chosen is not None:
        short = f"{_LABEL}_{chosen}" in have and chosen not in schema.names
        return _found(schema, f"{_LABEL}_{chosen}" if short else chosen, root, "--label")
    if _LABEL in have:
        return _LABEL
    names = [name for name in have if _is_name(schema.field(name).type)]
    if len(names) == 1:
        return names[0]
    if have:
        names = names or have
        raise RefusedToStart(
            f"{root}: its labels stand in several columns: {', '.join(names)}. Choose one, for instance "
            f"--label {names[0]}"
        )
    raise RefusedToStart(
        f"{root}: has no labels: the job of its runs has no section [labels]. Add one (promptmill explain labels) and "
        "run again, or name the column that has them, for instance answer, by --label or in the field of the page"
    )


def gold_of(schema: pa.Schema, chosen: str | None, named: str | None, root: str) -> tuple[str | None, str | None]:
    """The column with the truth, and why the one that the job names is not read; both None without either.

    Args:
        schema: of the table.
        chosen: its name as a person typed it.
        named: its name in the job, which may have been changed since the table was written.
        root: of the output folder.

    Raises:
        RefusedToStart: the table has no column as it was typed.
    """
    if chosen is not None:
        return gold_column(schema, chosen, root), None
    if named is None:
        return None, None
    try:
        return gold_column(schema, named, root), None
    except RefusedToStart as exc:
        return None, str(exc)


def gold_column(schema: pa.Schema, chosen: str, root: str) -> str:
    """The column with the truth, by the name that it has in the input.

    Args:
        schema: of the table.
        chosen: its name.
        root: of the output folder.

    Raises:
        RefusedToStart: the table has no such column.
    """
    for field in input_fields(schema):
        if (field.metadata or {}).get(tables.INPUT_NAME_KEY.encode(), b"").decode() == chosen:
            return str(field.name)
    try:
        return _found(schema, chosen, root, "--gold")
    except RefusedToStart as exc:
        raise RefusedToStart(
            f"{exc} A column of the input stands in the table when output.columns of the job names it, or names none."
        ) from exc


def labels_of(schema: pa.Schema) -> list[str]:
    """The columns that hold labels."""
    return [name for name in ours(schema) if name == _LABEL or name.startswith(f"{_LABEL}_")]


def last_gold(folder: OutputFolder, run: str | None) -> str | None:
    """The column with the truth that the job of a run names, by its name in the input."""
    return _named_gold(_job(folder, run)) if run is not None else None


def _is_name(kind: Any) -> bool:
    types = pa.types
    return any(
        is_one(kind) for is_one in (types.is_string, types.is_large_string, types.is_dictionary, types.is_boolean)
    )


def _counts(kind: Any) -> bool:
    """Whether values of this type can be told apart by their text."""
    types = pa.types
    binary = (types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view)
    return not types.is_nested(kind) and not any(is_one(kind) for is_one in binary)


def _found(schema: pa.Schema, name: str, root: str, flag: str) -> str:
    """The column of this name, if its values can be counted."""
    if name not in schema.names:
        more = ", …" if len(schema.names) > _NAMES_SHOWN else ""
        hint = suggestion(name, schema.names, f"It has: {', '.join(schema.names[:_NAMES_SHOWN])}{more}.")
        raise RefusedToStart(f"{root}: {flag} {name}: the table has no such column. {hint}")
    kind = schema.field(name).type
    if not _counts(kind):
        raise RefusedToStart(
            f"{root}: {flag} {name}: its values are {kind}, which cannot be counted. Choose a column with names, "
            "numbers or truth values."
        )
    return name


def _job(folder: OutputFolder, run: str) -> dict[str, Any]:
    """What the file of a run tells of its job; empty when the file is lost."""
    try:
        return dict(msgspec.json.decode(folder.run_file(run).read_bytes())["job"])
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _names(job: dict[str, Any]) -> list[str]:
    labels = job.get("labels")
    names = labels.get("names") if isinstance(labels, dict) else None
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def _named_gold(job: dict[str, Any]) -> str | None:
    labels = job.get("labels")
    gold = labels.get("gold") if isinstance(labels, dict) else None
    return gold if isinstance(gold, str) else None
