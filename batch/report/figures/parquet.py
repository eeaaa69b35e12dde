"""Reads columns of one Parquet file for counting, and says what its footer tells of them without reading them.

Owns that a column which a file of an older version lacks is null there, and that a row group is not read when its
footer shows that none of its rows is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

_BUFFER: Final = 1 << 20

Ends = Mapping[str, tuple[Any, Any]]
"""By column, the least and the greatest value of a row group; columns of which the footer says nothing are left out."""


def opened(path: Path) -> pq.ParquetFile:
    """The file, to be read with little memory; closed by whoever opens it."""
    return pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER)


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
    """
    with opened(path) as file:
        have = [name for name in columns if name in file.schema_arrow.names]
        for group in range(file.num_row_groups):
            if not wanted(ends(file.metadata, group)):
                continue
            # A file without any of the columns has rows all the same.
            table = file.read_row_group(group, columns=have or ["row_id"], use_threads=False)
            arrays = [
                table.column(name) if name in have else pa.nulls(table.num_rows, kind) for name, kind in columns.items()
            ]
            yield pa.Table.from_arrays(arrays, names=list(columns))
