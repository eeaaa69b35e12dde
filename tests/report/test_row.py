"""`batch.report.row`: one row's calls are found without reading the whole book."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from batch.core.errors import StorageError
from batch.output import parts
from batch.report.row import row_of
from tests.support.outfolders import RUN, finished


def blank_other_groups(path: Path, number: int) -> int:
    """Overwrite with zeros the row groups that cannot have a row of this number; how many were left."""
    file = pq.ParquetFile(path)
    left = 0
    with path.open("r+b") as raw:
        for group in range(file.num_row_groups):
            meta = file.metadata.row_group(group)
            columns = [meta.column(place) for place in range(meta.num_columns)]
            told = next(column.statistics for column in columns if column.path_in_schema == "row_number")
            if told.min <= number <= told.max:
                left += 1
                continue
            begins = [column.dictionary_page_offset or column.data_page_offset for column in columns]
            size = sum(column.total_compressed_size for column in columns)
            raw.seek(min(begins))
            raw.write(bytes(size))
    return left


def test_only_the_row_groups_that_can_have_the_row_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All other row groups of the book are zeros, and nobody notices; with a row of theirs somebody would."""
    monkeypatch.setattr(parts, "GROUP_ROWS", 250)
    folder = finished(tmp_path / "out", pa.table({"text": [f"t{n}" for n in range(2_000)]}))
    book = folder.calls_part(RUN, 0)
    assert pq.ParquetFile(book).num_row_groups == 8
    assert blank_other_groups(book, 1_234) == 1
    [view] = row_of(tmp_path / "out", "r1234")
    assert ([call["row_id"] for call in view.calls], view.missing) == (["r1234"], ())
    [other] = row_of(tmp_path / "out", "r3")
    assert (other.calls, [lost.path for lost in other.missing]) == ([], [f"calls/run={RUN}/part-00000.parquet"])


def test_a_damaged_part_is_named_with_the_way_out(tmp_path: Path) -> None:
    folder = finished(tmp_path / "out", pa.table({"text": [f"t{n}" for n in range(2_000)]}))
    blank_other_groups(folder.part(0), -1)
    with pytest.raises(StorageError, match=r"part-00000\.parquet: cannot be read: .*restore it from a backup.*rebuild"):
        row_of(tmp_path / "out", "r3")
