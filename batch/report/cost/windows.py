"""Reads two tables side by side in stretches of row numbers, so that calls meet their rows in flat memory.

Owns how long a stretch is: so long that about `ROWS` rows of both tables lie in it, by what the footers of the files
say of their row groups. A row group that reaches over several stretches is read for each of them. It knows no money.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from batch.output.parts import PartReader
from batch.output.unreadable import unreadable

ROWS: Final = 200_000
"""About so many rows of both tables are in memory at once."""
NUMBER: Final = "row_number"
NAMES: Final = pa.dictionary(pa.int32(), pa.string())
"""How texts are held: most of them come again and again."""
_BUFFER: Final = 1 << 20


class Group(msgspec.Struct, frozen=True):
    """One row group of a file: its place, its rows, and between which row numbers they lie."""

    index: int
    rows: int
    low: int
    high: int


class PartFile:
    """One Parquet file with a column `row_number`, and its row groups.

    Args:
        path: the file.

    Raises:
        StorageError: it cannot be read.

    Attributes:
        schema: its columns.
        groups: its row groups.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, ...] = ()
        self.refresh()

    def refresh(self) -> None:
        """Look at its footer again if another file has its name by now: a run at work replaces parts of its table.

        Raises:
            StorageError: it cannot be read.
        """
        try:
            found = self.path.stat()
            if (seen := (found.st_ino, found.st_size, found.st_mtime_ns)) == self._seen:
                return
            with PartReader(self.path) as file:
                self._metadata = file.metadata
                self.schema = file.schema_arrow
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(self.path, exc) from exc
        self.groups = list(_groups(self._metadata))
        self._seen = seen

    def ends(self, name: str) -> set[str]:
        """The first and the last of the texts of one column, by the order of their characters, from the footer alone.

        Raises:
            StorageError: the footer does not tell, and the column cannot be read.
        """
        place = next(
            (n for n in range(self._metadata.num_columns) if self._metadata.schema.column(n).path == name), None
        )
        said: list[Any] = [
            None if place is None else self._metadata.row_group(index).column(place).statistics
            for index in range(self._metadata.num_row_groups)
        ]
        if any(one is None or not one.has_min_max for one in said):
            column = self.read([group.index for group in self.groups], [pa.field(name, NAMES)]).column(name)
            return {text for text in column.unique().to_pylist() if text is not None}
        return {text for one in said for text in (one.min, one.max)}

    def read(self, groups: Sequence[int], fields: Sequence[pa.Field]) -> pa.Table:
        """Some row groups, in these columns; one that the file lacks is null.

        Args:
            groups: places of row groups.
            fields: names and types; those of type `NAMES` are read as dictionaries, whatever texts they are.

        Raises:
            StorageError: it cannot be read.
        """
        have = [field.name for field in fields if field.name in self.schema.names]
        texts = [field.name for field in fields if field.type == NAMES and field.name in have]
        try:
            with PartReader(
                self.path, metadata=self._metadata, read_dictionary=texts, pre_buffer=False, buffer_size=_BUFFER
            ) as file:
                table = file.read_row_groups(list(groups), columns=have or [NUMBER], use_threads=False)
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(self.path, exc) from exc
        return fitted(table, fields)


def fitted(table: pa.Table, fields: Sequence[pa.Field]) -> pa.Table:
    """A table in these columns and types; a column that it lacks is null."""
    columns = [
        _fitting(table.column(field.name), field.type)
        if field.name in table.column_names
        else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
        for field in fields
    ]
    return pa.table(columns, schema=pa.schema(fields))


def _groups(metadata: Any) -> Iterator[Group]:
    place = next((n for n in range(metadata.num_columns) if metadata.schema.column(n).path == NUMBER), None)
    for index in range(metadata.num_row_groups):
        found = metadata.row_group(index)
        said = None if place is None else found.column(place).statistics
        if said is not None and said.has_min_max:
            yield Group(index, found.num_rows, said.min, said.max)
        elif found.num_rows:
            yield Group(index, found.num_rows, 0, 2**62)


def _fitting(column: Any, kind: Any) -> Any:
    """The column in this type; a text column as a dictionary."""
    if column.type == kind:
        return column
    if kind == NAMES:
        chunks = [as_names(chunk) for chunk in column.chunks]
        return pa.chunked_array(chunks, NAMES)
    return column.cast(kind)


def as_names(array: Any) -> Any:
    """Values as texts, each text kept once: names, numbers, truth values and times alike; null stays null."""
    if pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), NAMES)
    if array.type != pa.string():
        array = array.cast(pa.string())
    encoded = array.dictionary_encode()
    return pa.DictionaryArray.from_arrays(encoded.indices.cast(pa.int32()), encoded.dictionary)


# -- stretches --------------------------------------------------------------------------------------------------------


def stretches(groups: Sequence[Group]) -> list[tuple[int, int]]:
    """Row numbers in stretches `low <= number < end`, each of about `ROWS` rows, in their order.

    Args:
        groups: all row groups of both tables; rows are taken to lie evenly in each.
    """
    if not groups:
        return []
    found: list[tuple[int, int]] = []
    _split(min(group.low for group in groups), max(group.high for group in groups) + 1, list(groups), found)
    return found


def _split(low: int, end: int, groups: list[Group], found: list[tuple[int, int]]) -> None:
    inside = [group for group in groups if group.low < end and group.high >= low]
    rows = sum(
        group.rows * (min(end, group.high + 1) - max(low, group.low)) / (group.high + 1 - group.low) for group in inside
    )
    if rows <= ROWS or end - low <= 1:
        if inside:
            found.append((low, end))
        return
    middle = (low + end) // 2
    _split(low, middle, inside, found)
    _split(middle, end, inside, found)


def rows_between(files: Sequence[PartFile], low: int, end: int, fields: Sequence[pa.Field]) -> Iterator[pa.Table]:
    """The rows whose number lies in a stretch, file by file.

    Args:
        files: of one table.
        low: the first number.
        end: the first number behind.
        fields: the columns to read; `row_number` must be one of them.

    Raises:
        StorageError: a file cannot be read.
    """
    for file in files:
        file.refresh()
        inside = [group for group in file.groups if group.low < end and group.high >= low]
        whole = [group.index for group in inside if low <= group.low and group.high < end]
        if whole:
            yield file.read(whole, fields)
        for group in inside:
            if group.index not in whole:
                yield between(file.read([group.index], fields), low, end)


def between(table: pa.Table, low: int, end: int) -> pa.Table:
    """The rows of a table whose number lies in a stretch."""
    number = table.column(NUMBER)
    return table.filter(pc.and_(pc.greater_equal(number, low), pc.less(number, end)))


def joined(tables: Sequence[pa.Table], schema: pa.Schema) -> pa.Table:
    """Tables one below the other, each column in one piece and with one dictionary."""
    if not tables:
        return schema.empty_table()
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def whole(column: Any) -> Any:
    """A column as one array."""
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
