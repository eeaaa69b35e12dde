"""The spill that rows are kept in between admission and publication."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.core.errors import StorageError
from batch.input.json_columns import REST, RowDecoder
from batch.input.spill import Spill, SpillWriter
from tests.support.rows import jsonl, records, source, spilled

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
RECORDS = st.lists(
    st.dictionaries(st.sampled_from(["a", "b", "c", "d", REST, "", "odd name"]), JSON), min_size=1, max_size=12
)
FUNCTION_FIXTURE = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@FUNCTION_FIXTURE
@given(sample=RECORDS, later=RECORDS)
def test_a_row_reads_the_same_from_the_source_and_from_the_spill(
    tmp_path: Path, sample: list[dict[str, Any]], later: list[dict[str, Any]]
) -> None:
    """Else the prompt that is sent would not be the one whose fingerprint was taken."""
    kept = source(jsonl(tmp_path, sample)).types
    opened = source(jsonl(tmp_path, later), kept=kept)
    assert list(opened.types) == list(kept) or not kept
    read = records(opened, 5)
    columns = sorted({key for row in later for key in row})
    empty = dict.fromkeys(opened.types)
    assert [repr(record) for record in read] == [repr({**empty, **row}) for row in later]
    with spilled(tmp_path, opened, 5) as spill:
        assert spill.rows == len(later)
        assert repr(spill.records(0, spill.rows)) == repr(read)
        places = sorted({0, spill.rows // 2, spill.rows - 1}, reverse=True)
        chosen = [
            {key: row[key] for key in row if key in columns} for row in map(read.__getitem__, places) if row is not None
        ]
        assert repr(spill.records_at(places, columns)) == repr(chosen)
        for index, row in enumerate(read):
            assert row is not None
            [again] = spill.records(index, 1, columns)
            assert repr(again) == repr({key: row[key] for key in row if key in columns})


def test_a_spill_gives_any_rows_back_over_batch_borders(tmp_path: Path) -> None:
    """`slice`, `take` and `records` agree; asking past the end gives fewer rows."""
    writer = SpillWriter(tmp_path / "range-00001.arrow", pa.schema({"a": pa.int64(), "c": pa.string()}))
    for start in range(0, 30, 10):
        extra = pa.RecordBatch.from_pydict({"z": [0] * 10, "c": ["x"] * 10, "a": list(range(start, start + 10))})
        writer.add(extra)
    assert not (tmp_path / "range-00001.arrow").exists()
    assert writer.close() == 30
    assert [entry.name for entry in tmp_path.iterdir()] == ["range-00001.arrow"]
    with Spill(tmp_path / "range-00001.arrow") as spill:
        assert spill.rows == 30
        assert spill.slice(5, 20).column("a").to_pylist() == list(range(5, 25))
        assert spill.slice(28, 20).column("a").to_pylist() == [28, 29]
        assert spill.slice(30, 5).num_rows == 0
        assert spill.take([29, 0, 10]).column("a").to_pylist() == [29, 0, 10]
        assert spill.take([]).num_rows == 0
        assert spill.records(9, 2, ["a", "unknown"]) == [{"a": 9}, {"a": 10}]
        assert spill.records(9, 2, []) == [{}, {}]
        assert spill.records_at([2, 25, 24, 10, 10], ["a"]) == [{"a": 2}, {"a": 25}, {"a": 24}, {"a": 10}, {"a": 10}]
        assert spill.records_at([2, 25], []) == [{}, {}]
        with pytest.raises(IndexError, match="30 rows"):
            spill.records_at([30])
        kept = spill.slice(0, 30)
        for wrong in ([30], [-1]):
            with pytest.raises(IndexError):
                spill.take(wrong)
    assert kept.column("a").to_pylist() == list(range(30)), "what was handed out outlives the file"


def test_a_spill_without_rows_is_whole(tmp_path: Path) -> None:
    """A range may turn out to need no work."""
    assert SpillWriter(tmp_path / "s.arrow", pa.schema({"a": pa.int64()})).close() == 0
    with Spill(tmp_path / "s.arrow") as spill:
        assert (spill.rows, spill.records(0, 5)) == (0, [])


def test_large_batches_are_split_by_rows_and_bytes(tmp_path: Path) -> None:
    """A reader maps one batch to give back one row."""
    writer = SpillWriter(tmp_path / "s.arrow", pa.schema({"a": pa.large_string()}))
    writer.add(pa.RecordBatch.from_pydict({"a": pa.array(["x" * 100] * 2500, pa.large_string())}))
    writer.add(pa.RecordBatch.from_pydict({"a": pa.array(["x" * 1_000_000] * 20, pa.large_string())}))
    assert writer.close() == 2520
    with pa.memory_map(str(tmp_path / "s.arrow")) as mapped:
        reader = pa.ipc.open_file(mapped)
        counts = [reader.get_batch(index).num_rows for index in range(reader.num_record_batches)]
    assert counts == [1000, 1000, 500, 8, 8, 4]


def test_an_aborted_spill_leaves_nothing(tmp_path: Path) -> None:
    """Whether anything was written or not, and twice."""
    writer = SpillWriter(tmp_path / "s.arrow", pa.schema({"a": pa.int64()}))
    writer.abort()
    writer.add(pa.RecordBatch.from_pydict({"a": [1]}))
    assert [entry.name for entry in tmp_path.iterdir()] == [".s.arrow.tmp"]
    writer.abort()
    writer.abort()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_disk_that_refuses_is_a_storage_error_and_leaves_nothing(tmp_path: Path) -> None:
    """Promise 7: a full disk stops the run; the real limit of the system stands in for the full disk."""
    schema = pa.schema({"a": pa.large_string()})
    with pytest.raises(StorageError, match=r"no/s\.arrow: cannot be written: No such file or directory. Make room"):
        SpillWriter(tmp_path / "no" / "s.arrow", schema).close()
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "import pyarrow as pa\n"
        "from batch.core.errors import StorageError\n"
        "from batch.input.spill import SpillWriter\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))\n"
        "writer = SpillWriter(Path(sys.argv[1]), pa.schema({'a': pa.large_string()}))\n"
        "batch = pa.RecordBatch.from_pydict({'a': pa.array(['x' * 100_000], pa.large_string())})\n"
        "try:\n"
        "    for _ in range(100): writer.add(batch)\n"
        "except StorageError as exc: print(exc)\n"
    )
    command = [sys.executable, "-W", "error", "-c", code, str(tmp_path / "s.arrow")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert os.strerror(errno.EFBIG) in done.stdout
    assert done.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [None, b"", b"ARROW1\x00\x00", b"x" * 1000])
def test_a_spill_that_is_gone_or_not_whole_is_a_storage_error(tmp_path: Path, content: bytes | None) -> None:
    """Its rows were admitted from it, so nobody else has them as they were."""
    if content is not None:
        (tmp_path / "s.arrow").write_bytes(content)
    with pytest.raises(StorageError, match=r"s\.arrow: cannot be read"):
        Spill(tmp_path / "s.arrow")


def test_a_record_has_its_columns_in_the_order_of_the_schema() -> None:
    """Templates that list a row print it the same way each time."""
    batch = pa.RecordBatch.from_pydict({"b": [1], "a": [None]})
    assert list(RowDecoder(batch.schema).records(batch)[0]) == ["b", "a"]
    nothing = pa.RecordBatch.from_struct_array(pa.array([{}, {}], pa.struct([])))
    assert RowDecoder(nothing.schema).records(nothing) == [{}, {}]
