"""`batch.output.parts`: a file is there whole or not at all, and a rewritten part loses nothing."""

import gc
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from batch.core.errors import StorageError
from batch.output import parts, tables
from batch.output.files import remove_hidden
from batch.output.parts import PartReader, rewrite_part, write_part

SCHEMA = pa.schema(
    [("row_id", pa.string()), ("row_number", pa.int64()), ("variant", pa.string()), ("v", pa.string())],
    metadata={"promptmill.schema_version": "1"},
)
NEW = ("publish.results_written", "publish.results_named")
OLD = ("publish.rewrite_written", "publish.rewrite_named")
Row = tuple[str, int, str | None, str]


def batch(*rows: tuple[Any, ...], schema: pa.Schema = SCHEMA) -> pa.RecordBatch:
    columns = [pa.array([row[n] for row in rows], field.type) for n, field in enumerate(schema)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def plain(*numbers: int, v: str = "old") -> pa.RecordBatch:
    return batch(*[(f"r{n}", n, None, v) for n in numbers])


def rows_of(path: Path) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in pq.ParquetFile(path).read().to_pylist()]


def values_of(path: Path) -> list[tuple[int, str]]:
    return [(row[1], row[3]) for row in rows_of(path)]


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A part of three rows, published."""
    path = tmp_path / "results" / "part-00000.parquet"
    assert write_part(path, SCHEMA, [plain(0, 2, 4)], points=NEW) == 3
    return path


def in_a_child(code: str, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process of its own, with this module's names at hand."""
    start = (
        "import sys, importlib.util, pyarrow as pa\nfrom pathlib import Path\nfrom batch.output import files, parts\n"
    )
    start += f"spec = importlib.util.spec_from_file_location('here', {__file__!r})\n"
    start += "here = importlib.util.module_from_spec(spec)\nspec.loader.exec_module(here)\n"
    return subprocess.run(
        [sys.executable, "-c", start + code, *map(str, arguments)],
        cwd=Path(parts.__file__).parents[2],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_part_appears_under_its_name_with_its_rows_and_nothing_else(tmp_path: Path) -> None:
    """Missing folders are made; no temporary file stays; the schema version is in the file."""
    path = tmp_path / "calls" / "run=x" / "part-00000.parquet"
    assert write_part(path, SCHEMA, iter([plain(0, 1), plain(2)]), points=NEW) == 3
    assert files_in(path.parent) == ["part-00000.parquet"]
    assert values_of(path) == [(0, "old"), (1, "old"), (2, "old")]
    assert pq.read_schema(path).metadata[b"promptmill.schema_version"] == b"1"


def test_a_part_without_rows_is_a_readable_file(tmp_path: Path) -> None:
    """An empty table still has its columns."""
    assert write_part(tmp_path / "p.parquet", SCHEMA, [], points=NEW) == 0
    with duckdb.connect() as db:
        assert db.execute(f"SELECT count(*), min(v) FROM '{tmp_path}/p.parquet'").fetchall() == [(0, None)]


def test_rows_are_gathered_into_whole_row_groups(tmp_path: Path) -> None:
    """Many small batches, one large one: groups of 10,000 rows, so that readers can skip and memory stays flat."""
    path = tmp_path / "p.parquet"
    batches = [plain(*range(n, n + 100)) for n in range(0, 9900, 100)] + [plain(*range(9900, 25_000))]
    assert write_part(path, SCHEMA, batches, points=NEW) == 25_000
    meta = pq.ParquetFile(path).metadata
    assert [meta.row_group(n).num_rows for n in range(meta.num_row_groups)] == [10_000, 10_000, 5_000]
    assert [row[1] for row in rows_of(path)] == list(range(25_000))


def test_long_texts_make_shorter_row_groups(tmp_path: Path) -> None:
    """About 16 MB of memory a group, however few rows that is, also when one batch holds it all."""
    path = tmp_path / "p.parquet"
    text = "x" * (4 * 1024 * 1024)
    write_part(path, SCHEMA, [batch(*[(f"r{n}", n, None, text) for n in range(20)])], points=NEW)
    meta = pq.ParquetFile(path).metadata
    assert [meta.row_group(n).num_rows for n in range(meta.num_row_groups)] == [3, 3, 3, 3, 3, 3, 2]


def test_what_repeats_is_written_once_and_what_never_does_has_no_dictionary(tmp_path: Path) -> None:
    """Names, labels and what is nested in a column repeat; ids are another one in each row."""
    nested = {
        "tags": (pa.list_(pa.string()), ["a", "b"]),
        "pairs": (pa.map_(pa.string(), pa.int64()), [("x", 1)]),
        "place": (
            pa.struct([("street", pa.string()), ("floors", pa.large_list(pa.int32()))]),
            {"street": "s", "floors": [1]},
        ),
        "two": (pa.list_(pa.int16(), 2), [1, 2]),
        "short": (pa.dictionary(pa.int32(), pa.string()), "word"),
    }
    schema = pa.schema([*SCHEMA, *((name, kind) for name, (kind, _) in nested.items())])
    rows = [(f"r{n}", n, None, "same", *(value for _, value in nested.values())) for n in range(100)]
    write_part(tmp_path / "a.parquet", schema, [batch(*rows, schema=schema)], points=NEW)
    group = pq.ParquetFile(tmp_path / "a.parquet").metadata.row_group(0)
    columns = [group.column(place) for place in range(group.num_columns)]
    apart = {column.path_in_schema for column in columns if not column.has_dictionary_page}
    assert apart == {"row_id", "row_number"}
    assert len(columns) == 11
    assert rows_of(tmp_path / "a.parquet")[7][:4] == ("r7", 7, None, "same")


def test_writing_the_same_part_again_replaces_it(target: Path) -> None:
    """Publishing twice is harmless."""
    write_part(target, SCHEMA, [plain(7)], points=NEW)
    assert values_of(target) == [(7, "old")]


def test_an_error_in_the_middle_leaves_no_new_file_and_the_old_one_whole(target: Path) -> None:
    """Leaving a ParquetWriter on an error writes a footer: half a run would read as valid."""

    def broken() -> Iterator[pa.RecordBatch]:
        yield plain(*range(12_000), v="new")  # more than a group, so bytes have been written
        raise RuntimeError("the ledger went away")

    before = target.read_bytes()
    with pytest.raises(RuntimeError, match="ledger"):
        write_part(target.with_name("part-00001.parquet"), SCHEMA, broken(), points=NEW)
    with pytest.raises(RuntimeError, match="ledger"):
        write_part(target, SCHEMA, broken(), points=NEW)
    with pytest.raises(RuntimeError, match="ledger"):
        rewrite_part(target, SCHEMA, broken(), variants=[None], points=OLD)
    gc.collect()  # an abandoned writer must not come back to life in its finaliser
    assert files_in(target.parent) == ["part-00000.parquet"]
    assert target.read_bytes() == before


def test_a_batch_of_another_schema_leaves_no_file(target: Path) -> None:
    """A bug of ours must not end as half a part."""
    with pytest.raises(ValueError, match="schema"):
        write_part(target, SCHEMA, [pa.record_batch({"a": [1]})], points=NEW)
    assert values_of(target) == [(0, "old"), (2, "old"), (4, "old")]


def test_a_rewrite_replaces_inserts_and_keeps_the_rest(target: Path) -> None:
    """A retried row keeps its place; a short part is completed; other rows keep their values."""
    rows = rewrite_part(target, SCHEMA, [plain(1, 2, v="new"), plain(9, v="new")], variants=[None], points=OLD)
    assert rows == 5
    assert values_of(target) == [(0, "old"), (1, "new"), (2, "new"), (4, "old"), (9, "new")]
    assert files_in(target.parent) == ["part-00000.parquet"]


def test_variants_of_one_row_stand_in_the_order_of_the_job(tmp_path: Path) -> None:
    """A part holds all variants of its rows, in job order, also across row groups."""
    path = tmp_path / "p.parquet"
    write_part(path, SCHEMA, [batch(("r0", 0, "long", "old"), ("r1", 1, "long", "old"))], points=NEW)
    added = batch(("r0", 0, "short", "new"), ("r1", 1, "short", "new"))
    rewrite_part(path, SCHEMA, [added], variants=["short", "long"], points=OLD)
    assert [row[1:3] for row in rows_of(path)] == [(0, "short"), (0, "long"), (1, "short"), (1, "long")]


def test_a_column_added_later_is_null_in_old_rows(target: Path) -> None:
    """A column added later is added to every old part once, without any replacement."""
    wider = pa.schema([*SCHEMA, pa.field("label", pa.int32())], metadata=SCHEMA.metadata)
    assert rewrite_part(target, wider, [], variants=[None], points=OLD) == 3
    assert rows_of(target)[0] == ("r0", 0, None, "old", None)
    more = batch(("r9", 9, None, "new", 5), schema=wider)
    rewrite_part(target, wider, [more], variants=[None], points=OLD)
    assert [row[-1] for row in rows_of(target)] == [None, None, None, 5]
    assert pq.read_schema(target).equals(wider, check_metadata=True)


def test_a_rewrite_that_would_lose_a_column_is_refused(target: Path) -> None:
    """Nothing lost comes first."""
    with pytest.raises(StorageError, match=r"part-00000.*has columns.*: v\. "):
        rewrite_part(target, SCHEMA.remove(3), [], variants=[None], points=OLD)
    assert values_of(target) == [(0, "old"), (2, "old"), (4, "old")]


def test_input_types_that_parquet_stores_otherwise_survive_rewrites(tmp_path: Path) -> None:
    """Second timestamps, views, dictionaries and nested values are the same after any number of rewrites."""
    types = {
        "seconds": pa.array([1, None], pa.timestamp("s")),
        "day": pa.array([86_400_000, None], pa.date64()),
        "view": pa.array(["a", None], pa.string_view()),
        "word": pa.array(["a", None]).dictionary_encode(),
        "nested": pa.array([[{"a": [1]}], None], pa.list_(pa.struct([("a", pa.list_(pa.int8()))]))),
        "map": pa.array([[("k", None)], None], pa.map_(pa.string(), pa.date64())),
        "money": pa.array([Decimal("9" * 26 + "." + "9" * 12), None], pa.decimal128(38, 12)),
        "nothing": pa.nulls(2),
    }
    schema = pa.schema([*list(SCHEMA)[:3], *[pa.field(name, array.type) for name, array in types.items()]])
    first = pa.RecordBatch.from_arrays([*plain(0, 2).columns[:3], *types.values()], schema=schema)
    new = pa.RecordBatch.from_arrays([*plain(1, 2).columns[:3], *types.values()], schema=schema)
    path = tmp_path / "p.parquet"
    write_part(path, schema, [first], points=NEW)
    for _ in range(3):
        assert rewrite_part(path, schema, [new], variants=[None], points=OLD) == 3
    found = pq.ParquetFile(path).read().cast(schema).select(list(types)).to_pylist()
    first_row, second_row = first.select(list(types)).to_pylist()
    assert found == [first_row, first_row, second_row]  # row 2 was replaced by the second row of `new`


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_series_of_rewrites_equals_a_dictionary(data: st.DataObject) -> None:
    """Ours: whatever is replaced or inserted, and however the file is cut into groups, no row is lost or doubled."""
    variants = ("b", "a")
    keys = st.sets(st.tuples(st.integers(0, 30), st.sampled_from(variants)), max_size=12)
    model: dict[tuple[int, str], str] = {}
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "GROUP_ROWS", data.draw(st.integers(1, 5)))
        path = Path(folder, "p.parquet")
        for turn in range(3):
            chosen = sorted(data.draw(keys), key=lambda key: (key[0], variants.index(key[1])))
            rows: list[Row] = [(f"r{n}", n, variant, str(turn)) for n, variant in chosen]
            model |= dict.fromkeys(chosen, str(turn))
            size = data.draw(st.integers(1, 6))
            batches = [batch(*rows[n : n + size]) for n in range(0, len(rows), size)]
            if turn == 0:
                count = write_part(path, SCHEMA, batches, points=NEW)
            else:
                count = rewrite_part(path, SCHEMA, batches, variants=variants, points=OLD)
            expected = sorted(model.items(), key=lambda item: (item[0][0], variants.index(item[0][1])))
            assert [((row[1], row[2]), row[3]) for row in rows_of(path)] == expected
            assert count == len(expected)


def test_a_published_part_that_is_gone_is_named_with_the_way_out(tmp_path: Path) -> None:
    """The ledger says published, the folder says no: never rebuilt silently with holes."""
    path = tmp_path / "part-00003.parquet"
    with pytest.raises(StorageError, match=r"part-00003\.parquet: is missing.*backup"):
        rewrite_part(path, SCHEMA, [plain(1)], variants=[None], points=OLD)
    assert files_in(tmp_path) == []


@pytest.mark.parametrize("kept", [0, 3, 200])
def test_a_damaged_part_is_named_and_left_alone(target: Path, kept: int) -> None:
    """A cut file is for a person to restore."""
    target.write_bytes(target.read_bytes()[:kept])
    with pytest.raises(StorageError, match=r"part-00000\.parquet: cannot be read back"):
        rewrite_part(target, SCHEMA, [plain(1)], variants=[None], points=OLD)
    assert target.stat().st_size == kept
    assert files_in(target.parent) == ["part-00000.parquet"]


def test_a_byte_that_decayed_is_not_written_anew_as_if_it_were_whole(target: Path) -> None:
    """Ours: the new file had the wrong value, and a sum that said it was right."""
    data, before = target.read_bytes(), rows_of(target)
    pages = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    refused = 0
    for place in range(4, pages, pages // 40):
        target.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        try:
            rewrite_part(target, SCHEMA, [], variants=[None], points=OLD)
            assert rows_of(target) == before, "what was changed is no value"
        except StorageError as exc:
            assert "part-00000.parquet: cannot be read back" in str(exc)
            refused += 1
    assert refused > 10


def test_however_a_file_is_read_all_of_it_comes_or_an_error(target: Path) -> None:
    """Ours: to whom reads it at once, one whose pages are passed over was a shorter file."""
    ways: list[Callable[[PartReader], list[Any]]] = [
        lambda file: file.read(columns=["row_id"]).to_pylist(),
        lambda file: [row for group in range(file.num_row_groups) for row in file.read_row_group(group).to_pylist()],
        lambda file: [row for batch in file.iter_batches(columns=["row_id"]) for row in batch.to_pylist()],
    ]
    data, rows = target.read_bytes(), len(rows_of(target))
    pages, refused = len(data) - 8 - int.from_bytes(data[-8:-4], "little"), [0] * len(ways)
    for place in range(4, pages):
        target.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        for number, read in enumerate(ways):
            try:
                with PartReader(target) as file:
                    assert len(read(file)) == rows, place
            except (OSError, pa.ArrowException):
                refused[number] += 1
    assert all(refused)


@pytest.mark.slow
@pytest.mark.parametrize("point", NEW)
def test_a_kill_while_a_part_is_written_leaves_it_whole_or_absent(tmp_path: Path, point: str) -> None:
    """Kill -9 at any instant: complete by its name, or not there."""
    path = tmp_path / "results" / "part-00000.parquet"
    code = "parts.write_part(Path(sys.argv[1]), here.SCHEMA, [here.plain(0, 1)], points=here.NEW)"
    assert in_a_child(code, path, PROMPTMILL_FAILPOINT=point).returncode == -signal.SIGKILL
    if point == NEW[0]:
        assert remove_hidden(tmp_path) == [f"results/.{path.name}.tmp"]
        assert files_in(path.parent) == []
    else:
        assert values_of(path) == [(0, "old"), (1, "old")]


@pytest.mark.slow
@pytest.mark.parametrize(("point", "value"), [(OLD[0], "old"), (OLD[1], "new")])
def test_a_kill_while_a_part_is_rewritten_leaves_the_old_or_the_new_one(target: Path, point: str, value: str) -> None:
    """Readers and the next run never meet a mixture; the rewrite can simply be done again."""
    code = (
        "parts.rewrite_part(Path(sys.argv[1]), here.SCHEMA, [here.plain(0, 2, 4, v='new')],"
        " variants=[None], points=here.OLD)"
    )
    assert in_a_child(code, target, PROMPTMILL_FAILPOINT=point).returncode == -signal.SIGKILL
    assert values_of(target) == [(0, value), (2, value), (4, value)]
    rewrite_part(target, SCHEMA, [plain(0, 2, 4, v="new")], variants=[None], points=OLD)
    assert files_in(target.parent) == ["part-00000.parquet"]
    assert values_of(target) == [(0, "new"), (2, "new"), (4, "new")]


@pytest.mark.slow
def test_a_full_disk_is_a_storage_error_that_says_what_to_do_and_leaves_the_old_part(target: Path) -> None:
    """A limit on file size stands for the full disk: the same failing write, without a mount."""
    code = """
import gc, os, resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
rows = [here.batch(*[(f"r{n}", n, None, os.urandom(9).hex()) for n in range(9000)])]
target = Path(sys.argv[1])
for write in (
    lambda: parts.write_part(target, here.SCHEMA, rows, points=here.NEW),
    lambda: parts.rewrite_part(target, here.SCHEMA, rows, variants=[None], points=here.OLD),
    lambda: files.write_json(target.with_name("run.json"), "x" * 9000),
):
    try:
        write()
    except parts.StorageError as exc:
        print(exc)
gc.collect()
"""
    before = target.read_bytes()
    child = in_a_child(code, target)
    assert (child.returncode, child.stderr) == (0, "")
    part, rewritten, summary = child.stdout.splitlines()
    assert part == rewritten
    assert part.startswith(f"{target}: cannot be written: File too large. Free some space, then run the same command")
    assert "run.json" in summary
    assert target.read_bytes() == before
    assert files_in(target.parent) == ["part-00000.parquet"]


def test_a_part_that_cannot_be_renamed_leaves_no_hidden_file(tmp_path: Path) -> None:
    """Something else stands where the part should go."""
    path = tmp_path / "p.parquet"
    (path / "in the way").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"p\.parquet: cannot be written: .*directory"):
        write_part(path, SCHEMA, [plain(1)], points=NEW)
    assert files_in(tmp_path) == ["p.parquet"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    """A file stands where a folder should be."""
    (tmp_path / "calls").write_text("")
    with pytest.raises(StorageError, match="calls: cannot be written: File exists"):
        write_part(tmp_path / "calls" / "run=x" / "p.parquet", SCHEMA, [], points=NEW)


def test_readers_see_all_parts_but_no_hidden_file(target: Path) -> None:
    """DuckDB reads the folder while a part is being written."""
    write_part(target.with_name("part-00001.parquet"), SCHEMA, [plain(5)], points=NEW)
    target.with_name(".part-00002.parquet.tmp").write_bytes(b"half")
    with duckdb.connect() as db:
        found = db.execute(f"SELECT row_number FROM '{target.parent}/*.parquet' ORDER BY 1").fetchall()
    assert found == [(0,), (2,), (4,), (5,)]


def test_a_part_of_an_older_version_keeps_the_input_column_whose_name_is_ours_by_now(tmp_path: Path) -> None:
    """FIELD 37: an input had a column `run` before our table had one; types that grew inside are cast as well."""
    said = pa.list_(pa.struct({"role": pa.string()}))
    inputs = pa.schema([("run", pa.string()), ("said", said)])
    now = tables.result_schema(
        pa.schema(
            [("run", pa.string()), ("said", pa.large_list(pa.struct({"role": pa.string(), "name": pa.string()})))]
        ),
        None,
    )
    then = pa.schema([*inputs, *(field for field in list(now)[2:] if field.name != "run")])
    row = {"run": "baker", "said": [{"role": "user"}], "row_id": "r0", "row_number": 0, "status": "ok"}
    target = tmp_path / "results" / "part-00000.parquet"
    write_part(target, then, pa.Table.from_pylist([row], then).to_batches(), points=NEW)
    rewrite_part(target, now, [], variants=[None], points=OLD)
    [found] = pq.read_table(target).to_pylist()
    assert (found["input_run"], found["run"], found["row_id"]) == ("baker", None, "r0")
    assert found["said"] == [{"role": "user", "name": None}]
    rewrite_part(target, now, [], variants=[None], points=OLD)
    assert pq.read_table(target).to_pylist() == [found]
