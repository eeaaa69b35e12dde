"""`batch.output.place`: an output folder is a folder of its own, at a path that everything of ours fits below."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from batch.core.errors import OutputError
from batch.ledger.schema import connect
from batch.output import place
from batch.output.folder import OutputFolder, RunLock


def refused(root: Path, *, job: Path | None = None) -> str:
    """Why a place is refused; empty when it is taken."""
    before = sorted(root.parent.rglob("*")) if len(str(root)) < 400 else []
    try:
        place.require(OutputFolder(root), job=job or root.parent / "job")
    except OutputError as exc:
        assert exc.exit_code == 2
        assert len(str(exc)) < 500
        assert not before or sorted(root.parent.rglob("*")) == before, "a refusal writes nothing"
        return str(exc)
    return ""


def test_the_folder_of_the_job_is_no_place_for_its_output(tmp_path: Path) -> None:
    """FIELD 45. `-o .` beside job.toml: parts between the input files, which the next night reads as input."""
    (tmp_path / "job.toml").touch()
    said = refused(tmp_path, job=tmp_path)
    assert "is the folder of the job itself" in said
    assert f"-o {tmp_path}/out" in said
    assert refused(tmp_path / "out", job=tmp_path) == ""
    assert "is the folder of another job" in refused(tmp_path, job=tmp_path / "mine")
    with pytest.raises(OutputError, match=r"-o /out$"):
        place.require(OutputFolder(Path("/")), job=tmp_path)


def test_a_folder_with_other_files_is_refused_by_their_names(tmp_path: Path) -> None:
    """FIELD 45. A home, a folder of data, the folder around several output folders."""
    for name in ("zebra", "a.parquet", "b.parquet", "c.parquet"):
        (tmp_path / name).touch()
    assert "is no output folder, but holds a.parquet, b.parquet, c.parquet and 1 more. Give" in refused(tmp_path)


@pytest.mark.parametrize("name", ["results", "runs", "status.json"])
def test_a_name_of_ours_in_a_foreign_folder_does_not_make_it_ours(name: str, tmp_path: Path) -> None:
    """FIELD 45. `runs/` is TensorBoard's as well."""
    (tmp_path / name).mkdir()
    assert f"but holds {name}." in refused(tmp_path)


def killed_at_once(root: Path) -> None:
    with RunLock(OutputFolder(root)):
        (root / "results").mkdir()


def ledger(root: Path) -> None:
    connect(root / "ledger.db").close()
    (root / "notes.txt").touch()


def lost_ledger(root: Path) -> None:
    OutputFolder(root).prepare()
    (root / "notes.txt").touch()


def only_a_part(root: Path) -> None:
    (root / "results").mkdir()
    (root / "results" / "part-00000.parquet").touch()


def hidden(root: Path) -> None:
    (root / ".gitkeep").touch()


@pytest.mark.parametrize("made", [killed_at_once, ledger, lost_ledger, only_a_part, hidden, lambda root: None])
def test_what_a_run_left_is_taken_however_little_that_is(made: Callable[[Path], None], tmp_path: Path) -> None:
    """FIELD 45. Also with notes of its user in it; whether it is whole is looked at next."""
    root = tmp_path / "out"
    root.mkdir()
    made(root)
    assert refused(root) == ""


def test_a_path_that_cannot_be_a_folder_is_refused(tmp_path: Path) -> None:
    """FIELD 45. `-o job.toml` is a slip, no fault of the disk."""
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    assert "is a file, not a folder" in refused(tmp_path / "file")
    assert f"{tmp_path}/file is a file, so nothing can lie in it" in refused(tmp_path / "file" / "a" / "b")
    assert "a symbolic link to a place that is not there" in refused(tmp_path / "link")
    assert "Too many levels" in refused(tmp_path / "loop")
    assert "no NUL" in refused(tmp_path / "a\0b")
    assert "is no UTF-8" in refused(tmp_path / "a\udcff"), "a byte that no text has, as the shell gives it"


@pytest.mark.parametrize("name", ["x" * 5_000, "x" * 256, "/".join(["y" * 200] * 30)])
def test_a_name_that_is_too_long_is_refused(name: str, tmp_path: Path) -> None:
    """FIELD 45. One name of more than 255 bytes, or a path of more than 4,096."""
    assert "is too long for a path" in refused(tmp_path / name)


def test_the_longest_path_that_is_taken_has_room_for_a_ledger(tmp_path: Path) -> None:
    """FIELD 45. SQLite opens no file with a path of more than 512 bytes, its journal included; links do not help."""
    deep = tmp_path
    while len(os.fsencode(deep)) < place.LONGEST - 200:
        deep /= "z" * 100
    fits = deep / ("z" * (place.LONGEST - len(os.fsencode(deep)) - 1))
    assert len(os.fsencode(fits)) == place.LONGEST
    assert refused(fits) == ""
    OutputFolder(fits).prepare()
    connect(fits / "ledger.db").close()
    connect(fits / ".ledger.db.salvaged").close()
    longer = fits.with_name(f"{fits.name}z")
    assert "is longer than 470 bytes" in refused(longer)
    longer.mkdir()
    (tmp_path / "short").symlink_to(longer)
    assert "is longer than 470 bytes" in refused(tmp_path / "short")
