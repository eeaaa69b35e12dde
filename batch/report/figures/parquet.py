"""Reads columns of one Parquet file for counting, and says what its footer tells of them without reading them.

Owns that a column which a file of an older version lacks is null there, and that a row group is not read when its
footer shows that none of its rows is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq

from batch.output.parts import PartReader
from batch.output.unreadable import unreadable
from batch.report.identity import identity

_BUFFER: Final = 1 << 20

Ends = Mapping[str, tuple[Any, Any]]
"""By column, the least and the greatest value of a row group; columns of which the footer says nothing are left out."""


def ends(metadata: pq.FileMetaData, group: int) -> dict[str, tuple[Any, Any]]:
    """The least and the greatest value of each flat column of one row group, as far as the footer says so.

    Both are None where it says that all values are null.
    """
    told: dict[str, tuple[Any, Any]] = {}
    row_group = metadata.row_group(group)
    for place in range(metadata.num_columns):
        column = row_group.column(place)
        statistics = column.statistics if column.is_stats_set else None
        if statistics is None:
            continue
        if statistics.has_min_max:
            told[column.path_in_schema] = (statistics.min, statistics.max)
        elif statistics.has_null_count and statistics.null_count == row_group.num_rows:
            told[column.path_in_schema] = (None, None)
    return told


def tables(
    path: Path, columns: Mapping[str, Any], wanted: Callable[[Ends], bool] = lambda _: True
) -> Iterator[pa.Table]:
    """The row groups of a file, in these columns.

    Args:
        path: the file.
        columns: by name, the type that it has where the file lacks it.
        wanted: says by the ends of a row group whether it is read.

    Raises:
        StorageError: the file cannot be read.
    """
    with OpenPart(path) as part:
        for group in range(part.groups):
            if wanted(part.ends(group)):
                yield part.read(group, columns)


class OpenPart:
    """One part of a table, held open: all that is read of it is of one and the same file, even if it is replaced.

    Args:
        path: the file.

    Raises:
        StorageError: it cannot be read.

    Attributes:
        path: the file.
        identity: tells it from a later file of its name.
        groups: how many row groups it has.
        columns: its columns, by name their types.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._readable():
            self._source = pa.OSFile(str(path))
            try:
                self.identity = identity(self._source.fileno())
                self._file = PartReader(self._source, pre_buffer=False, buffer_size=_BUFFER)
            except BaseException:
                self._source.close()
                raise
        self.groups: int = self._file.num_row_groups
        self.columns = {field.name: field.type for field in self._file.schema_arrow}

    def rows(self, group: int | None = None) -> int:
        """How many rows it has, or one of its row groups."""
        metadata = self._file.metadata
        return int(metadata.num_rows if group is None else metadata.row_group(group).num_rows)

    def ends(self, group: int) -> dict[str, tuple[Any, Any]]:
        """The least and the greatest value of each column of a row group."""
        return ends(self._file.metadata, group)

    def read(self, group: int, columns: Mapping[str, Any]) -> pa.Table:
        """One row group in these columns, which are null where the file lacks them.

        Args:
            group: its number.
            columns: by name, their types.

        Raises:
            StorageError: it cannot be read.
        """
        have = [name for name in columns if name in self.columns]
        with self._readable():
            # A file without any of the columns has rows all the same.
            table = self._file.read_row_group(group, columns=have or ["row_id"], use_threads=False)
        arrays = [
            table.column(name) if name in have else pa.nulls(table.num_rows, kind) for name, kind in columns.items()
        ]
        return pa.Table.from_arrays(arrays, names=list(columns))

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException) as exc:
            raise unreadable(self.path, exc) from exc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._source.close()
