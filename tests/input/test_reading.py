"""Reading on, cut and damaged files, memory, progress, and how a source is known again."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from batch.core.errors import InputError
from batch.input.batches import Position
from batch.input.source import Source
from batch.job.job import InputSpec
from tests.input.cases import ROWS, THREE, Case, lines, opened, outcomes, read, write

MANY = lines(*(f'{{"n": {n}, "t": "{os.urandom(40).hex()}"}}' for n in range(5_000)))


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_all_that_can_be_unpacked_of_a_cut_file_is_read(tmp_path: Path, packing: str) -> None:
    """Wherever it was cut: a row is given once, in order, and the last one says that rows are missing."""
    data = gzip.compress(MANY) if packing == "gzip" else pa.compress(MANY, "zstd", asbytes=True)
    best = 0
    for cut in range(4, len(data), len(data) // 7):
        case = Case("cut", {f"a.jsonl.{'gz' if packing == 'gzip' else 'zst'}": data[:cut]})
        source = opened(tmp_path, case)
        whole = outcomes(read(source))
        numbers = [int(row[1].split()[1].rstrip(",")) for row in whole[:-1]]
        assert numbers == list(range(len(whole) - 1))
        assert whole[-1][2] is not None
        assert f"after line {len(numbers)} (Truncated compressed stream)" in whole[-1][2][1]
        again = read(source, 1000, read(source, 100)[-1].position)
        assert again == []
        best = max(best, len(numbers))
    assert best > 2_500, "of a cut near the end most is read"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plain", "gzip", "zstd"])
def test_a_line_without_an_end_takes_no_memory(tmp_path: Path, kind: str) -> None:
    """100 MB of nothing, of which a bomb is some kilobytes: one failed row, in the memory of a few megabytes."""
    path = tmp_path / {"plain": "a.jsonl", "gzip": "a.jsonl.gz", "zstd": "a.jsonl.zst"}[kind]
    if kind == "plain":
        with path.open("wb") as file:
            file.truncate(100_000_000)
    else:
        with pa.CompressedOutputStream(str(path), kind) as out:
            for _ in range(100):
                out.write(bytes(1_000_000))
    code = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from batch.job.job import InputSpec\n"
        "from batch.input.source import Source\n"
        "def rss(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "before = rss()\n"
        "reader = Source.open(InputSpec(path=Path(sys.argv[1]), max_row_bytes=1_000_000)).reader()\n"
        "batch = reader.read(10)\n"
        "print(len(batch.lines), batch.failures[0].code, rss() - before)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    count, failed, grown = done.stdout.split()
    assert (count, failed) == ("1", "too_long")
    assert int(grown) < 40_000, "kilobytes"


def test_a_file_that_grows_while_it_is_read_is_read_as_far_as_it_is(tmp_path: Path) -> None:
    """What came behind is the next run's, which sees that the file changed."""
    case = Case("growing", {"a.jsonl": b'{"n": 1}\n{"n": 2'})
    source = opened(tmp_path, case)
    reader = source.reader()
    first = reader.read(1)
    with (tmp_path / "a.jsonl").open("ab") as file:
        file.write(lines("2}", '{"n": 3}'))
    assert first is not None
    rest = [record for batch in read(source, 1000, first.position) for record in batch.records]
    assert rest == [{"n": 22}, {"n": 3}]
    assert Source.open(source.spec).stat != source.stat


def test_a_file_that_is_gone_when_its_turn_comes_is_named(tmp_path: Path) -> None:
    """The run stops there, and the next one says the same before it begins."""
    source = opened(tmp_path, Case("gone", {"a.jsonl": THREE, "b.jsonl": THREE}))
    reader = source.reader()
    (tmp_path / "b.jsonl").unlink()
    assert reader.read(1000) is not None
    with pytest.raises(InputError, match=r"b\.jsonl: cannot be read: No such file"):
        reader.read(1000)


def test_positions_and_states_of_before_there_were_folders_are_understood(tmp_path: Path) -> None:
    """An output folder made then goes on: one file is kept in the same words."""
    source = opened(tmp_path, Case("one", {"a.jsonl": THREE}))
    old = msgspec.json.decode(b"[0,1,9,false,1]", type=Position)
    assert [record for batch in read(source, 1000, old) for record in batch.records] == ROWS[1:]
    state = (tmp_path / "a.jsonl").stat()
    assert msgspec.json.decode(msgspec.json.encode(source.stat)) == {
        "path": str(tmp_path / "a.jsonl"),
        "size": state.st_size,
        "mtime_ns": state.st_mtime_ns,
        "inode": state.st_ino,
    }


def test_the_state_of_a_folder_tells_any_change_of_its_files(tmp_path: Path) -> None:
    """A new file each night, a file written anew in the same size, one taken away."""
    case = Case("folder", {"a.jsonl": THREE, "b.jsonl": THREE})
    states = {opened(tmp_path, case).stat.digest}
    (tmp_path / "c.jsonl").write_bytes(THREE)
    spec = InputSpec(path=tmp_path)
    states.add(Source.open(spec).stat.digest)
    (tmp_path / "a.jsonl").write_bytes(THREE.replace(b"1", b"9"))
    os.utime(tmp_path / "a.jsonl", ns=(1, 1))
    states.add(Source.open(spec).stat.digest)
    (tmp_path / "b.jsonl").unlink()
    states.add(Source.open(spec).stat.digest)
    assert len(states) == 4
    assert Source.open(spec).stat == Source.open(spec).stat


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "parquet"])
def test_progress_over_several_files_never_goes_back(tmp_path: Path, ending: str) -> None:
    """Weighed by bytes, or by rows where they are known; a compressed file counts when it is over."""
    content: Any = {"jsonl": THREE, "jsonl.gz": gzip.compress(THREE), "parquet": pa.table({"n": [1, 2, 3]})}[ending]
    source = opened(tmp_path, Case("some", {f"{name}.{ending}": content for name in "abc"}))
    shares = [source.fraction(batch.position) for batch in read(source, 1)]
    known = [share for share in shares if share is not None]
    assert known == sorted(known)
    assert known[-1] == (1.0 if ending != "jsonl.gz" else pytest.approx(2 / 3))
    assert source.fraction(Position(2, end=True)) == 1.0


@given(
    sizes=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    packings=st.lists(st.sampled_from(["", ".gz", ".zst"]), min_size=6, max_size=6),
    steps=st.lists(st.integers(1, 7), min_size=1, max_size=20),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_once_and_in_order_however_they_lie_and_are_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], packings: list[str], steps: list[int]
) -> None:
    """Any number of rows in any number of files, read in any steps, each from a new reader."""
    folder = tmp_path_factory.mktemp("any")
    number = 0
    for place, (size, packing) in enumerate(zip(sizes, packings, strict=False)):
        data = lines(*(f'{{"n": {n}}}' for n in range(number, number + size)))
        if packing:
            data = gzip.compress(data) if packing == ".gz" else pa.compress(data, "zstd", asbytes=True)
        (folder / f"{place}.jsonl{packing}").write_bytes(data)
        number += size
    source = Source.open(InputSpec(path=folder))
    found: list[Any] = []
    position = Position()
    for step in [*steps, *[7] * 40]:
        reader = source.reader(position)
        batch = reader.read(step)
        reader.close()
        if batch is None:
            break
        found += batch.records
        position = msgspec.json.decode(msgspec.json.encode(batch.position), type=Position)
    assert found == [{"n": n} for n in range(number)]


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter, which those of pytest are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody without rights")
@pytest.mark.parametrize("path", ["", "a.jsonl", "b.jsonl.gz", "p.parquet", "locked", "**/*.jsonl"])
def test_files_without_a_right_to_read_are_told_in_a_sentence(open_folder: Path, path: str) -> None:
    """By name, whether it is a file or a folder on the way."""
    tmp_path = open_folder
    files = {"a.jsonl": THREE, "b.jsonl.gz": gzip.compress(THREE), "locked/c.jsonl": THREE, "p.parquet": pa.table({})}
    write(tmp_path, files)
    for name in files:
        (tmp_path / name).chmod(0o600)
    (tmp_path / "locked").chmod(0o700)
    if not path:
        (tmp_path / "p.parquet").unlink()
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from batch.job.job import InputSpec\n"
        "from batch.input.source import Source\n"
        "from batch.core.errors import InputError\n"
        "os.seteuid(65534)\n"
        "try: Source.open(InputSpec(path=Path(sys.argv[1])))\n"
        "except InputError as exc: print(exc)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.startswith(str(tmp_path))
    assert done.stdout.endswith(": cannot be read: Permission denied.\n")
