"""The tools of `jobs/memory_report`: they read what they say, and write nowhere else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from batch.core.records import ToolCall
from batch.job.job import Job
from batch.tools.execute import Executor, ToolResult
from batch.tools.registry import ToolSet

JOB = Path(__file__).parents[2] / "jobs" / "memory_report"


async def called(folder: Path, name: str, **arguments: object) -> ToolResult:
    shutil.copy(JOB / "tools.py", folder)
    tools = ToolSet.load(folder / "tools.py").only(Job.load(JOB).tools.allow)  # type: ignore[union-attr, arg-type]  # it has tools
    return await Executor(tools).run_call(ToolCall("c", name, json.dumps(arguments)))


def test_writing_is_an_effect_and_reading_is_none() -> None:
    """The mark is what the job shows."""
    tools = ToolSet.load(JOB / "tools.py")
    assert [(name, one.effects, one.cache) for name in tools.names if (one := tools.get(name))] == [
        ("memory_info", False, False),
        ("write_file", True, False),
    ]


async def test_the_memory_is_that_of_this_machine(tmp_path: Path) -> None:
    """Three figures that go together."""
    told = json.loads((await called(tmp_path, "memory_info")).content)
    assert 0 < told["used_mb"] < told["total_mb"]
    assert told["used_percent"] == pytest.approx(100 * told["used_mb"] / told["total_mb"], abs=0.2)


async def test_a_file_is_written_into_the_folder_and_counted(tmp_path: Path) -> None:
    """The count has each time the function began."""
    for _ in range(2):
        assert (await called(tmp_path, "write_file", path="a/ok.txt", text="fine")).content == "written: a/ok.txt"
    reports = tmp_path / "out" / "reports"
    assert (reports / "a" / "ok.txt").read_text("utf-8") == "fine"
    assert (reports / "written.log").read_text("utf-8") == "a/ok.txt\na/ok.txt\n"


@pytest.mark.parametrize("path", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", ".", "link/out.txt"])
async def test_nothing_is_written_outside(tmp_path: Path, path: str) -> None:
    """The model is told so, and nothing is counted."""
    reports = tmp_path / "out" / "reports"
    reports.mkdir(parents=True)
    (reports / "link").symlink_to(tmp_path)
    result = await called(tmp_path, "write_file", path=path, text="x")
    assert result.failed
    assert "is not inside the folder of reports" in result.content
    assert not (tmp_path / "out.txt").exists()
    assert not (reports / "written.log").exists()
