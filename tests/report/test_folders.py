"""`batch.report.folders`: whoever gives a path beside an output folder is told which one was meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from batch.core.errors import OutputError
from batch.report.folders import opened, rebuildable
from tests.support.outfolders import finished

JOB = """
name = "tickets"
[input]
path = "rows.jsonl"
[prompt]
user = "x"
[model]
provider = "simulator"
name = "glm-4"
"""


def made(root: Path) -> Path:
    return finished(root, pa.table({"q": ["a"]})).root


@pytest.fixture(params=[opened, rebuildable])
def refused(request: pytest.FixtureRequest) -> Callable[[Path], str]:
    """What a command says that is given this path, of those that read the table and of `rebuild`."""

    def said(out: Path) -> str:
        with pytest.raises(OutputError) as caught:
            request.param(out)
        return str(caught.value)

    return said


def test_the_folder_above_an_output_folder_names_it(tmp_path: Path, refused: Callable[[Path], str]) -> None:
    """FIELD 48. `promptmill status out` where `out/tickets` is meant; or the folder that `out` lies in."""
    out = made(tmp_path / "out" / "tickets")
    (tmp_path / "out" / "notes").mkdir()
    assert refused(tmp_path / "out").endswith(f". Did you mean {out}?")
    assert refused(tmp_path).endswith(f". Did you mean {out}?")
    made(tmp_path / "out" / "mails 2")
    assert refused(tmp_path / "out").endswith(f". Did you mean '{tmp_path}/out/mails 2' or {out}?")
    for name in ("a", "b"):
        made(tmp_path / "out" / name)
    few = ", ".join(str(tmp_path / "out" / name) for name in ("a", "b", "mails 2"))
    assert refused(tmp_path / "out").endswith(f" It holds 4 output folders, give one of them: {few} and 1 more.")
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == ["a", "b", "mails 2", "notes", "tickets"]


def test_the_path_in_a_message_begins_as_it_was_given(
    tmp_path: Path, refused: Callable[[Path], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """FIELD 48. So that it can be copied behind the same command."""
    made(tmp_path / "out" / "tickets")
    monkeypatch.chdir(tmp_path)
    assert refused(Path("out")).startswith("out: is no output folder")
    assert refused(Path("out")).endswith(" Did you mean out/tickets?")
    assert refused(Path()).endswith(" Did you mean out/tickets?")


def test_an_output_folder_whose_ledger_is_lost_is_one(tmp_path: Path, refused: Callable[[Path], str]) -> None:
    """FIELD 48. It is named, and then told to be made again."""
    out = made(tmp_path / "out" / "tickets")
    for left in out.glob("ledger.db*"):
        left.unlink()
    assert refused(tmp_path / "out").endswith(f" Did you mean {out}?")


def test_a_folder_or_file_in_an_output_folder_names_it(tmp_path: Path, refused: Callable[[Path], str]) -> None:
    """FIELD 48. The table itself is what a person has before the eyes."""
    out = made(tmp_path / "tickets")
    for inner in (out / "results", out / "results" / "part-00000.parquet", out / "ledger.db"):
        assert refused(inner).endswith(f" It lies in an output folder. Did you mean {out}?")


def test_a_job_names_its_output_folder(tmp_path: Path, refused: Callable[[Path], str]) -> None:
    """FIELD 48. The one in its job file, if it is there; else another that lies in its folder."""
    for job in (tmp_path / "job.toml", tmp_path / "nightly.toml"):
        job.write_text(JOB)
    ways = [tmp_path, tmp_path / "job.toml", tmp_path / "nightly.toml"]
    for way in ways:
        assert refused(way).endswith(
            f" It is a job that has not run yet; its output will lie in {tmp_path}/out/tickets"
        )
    made(tmp_path / "out" / "trial")
    assert refused(tmp_path).endswith(f" Did you mean {tmp_path}/out/trial?")
    made(tmp_path / "out" / "tickets")
    for way in ways:
        assert refused(way).endswith(f" It is a job; its output lies in {tmp_path}/out/tickets")
    (tmp_path / "nightly.toml").write_text("[")
    assert refused(tmp_path / "nightly.toml").endswith(" It is a job; give the folder named in its output.path.")


def test_a_name_that_is_nearly_right_names_the_right_one(tmp_path: Path, refused: Callable[[Path], str]) -> None:
    """FIELD 48. Among the output folders beside it, and no others."""
    out = made(tmp_path / "tickets")
    (tmp_path / "tickest").mkdir()
    assert refused(tmp_path / "tikets") == f"{tmp_path}/tikets: there is no such folder. Did you mean {out}?"
    assert refused(tmp_path / "zzz") == f"{tmp_path}/zzz: there is no such folder. Give the output folder of a run."
    assert refused(tmp_path / "tickest").endswith(" Give the output folder of a run.")
    assert refused(tmp_path / "a" / "b" / "c").endswith(" Give the output folder of a run.")
