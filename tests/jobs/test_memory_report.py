"""The tools of `jobs/memory_report`, which promptmill brings along: they read what they say, and write nowhere else."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from batch.core.records import ToolCall
from batch.job.job import Job
from batch.plan import tooling
from batch.tools.content import ToolResult
from batch.tools.execute import Executor

pytestmark = pytest.mark.slow
JOB = Path(__file__).parents[2] / "jobs" / "memory_report"


@pytest.fixture
def executor(tmp_path: Path) -> Iterator[Executor]:
    """The job's tools as a run has them, in worker processes, over a copy of the job."""
    shutil.copy(JOB / "job.toml", tmp_path)
    job = Job.load(tmp_path)
    with closing(Executor(tooling.load(job), tooling.confine(job, {}))) as tools:
        yield tools


async def called(executor: Executor, name: str, **arguments: object) -> ToolResult:
    return await executor.run_call(ToolCall("c", name, json.dumps(arguments)))


def test_writing_is_an_effect_and_reading_is_none() -> None:
    """The mark is what the job shows."""
    assert [(one.name, one.effects, one.cache) for one in tooling.load(Job.load(JOB))] == [
        ("memory_info", False, False),
        ("write_file", True, False),
    ]


async def test_the_memory_is_that_of_this_machine(executor: Executor) -> None:
    """Figures that go together."""
    told = json.loads((await called(executor, "memory_info")).content)
    assert 0 < told["available_mb"] < told["total_mb"]
    assert told["used_percent"] == pytest.approx(100 * (1 - told["available_mb"] / told["total_mb"]), abs=0.2)


async def test_a_file_is_written_into_the_folder(executor: Executor, tmp_path: Path) -> None:
    """In place of the one that was there."""
    for text in ("high", "fine"):
        assert (await called(executor, "write_file", path="a/ok.txt", text=text)).content == "wrote 4 bytes to a/ok.txt"
    assert (tmp_path / "out" / "reports" / "a" / "ok.txt").read_text("utf-8") == "fine"


@pytest.mark.parametrize("path", ["../out.txt", "/tmp/out.txt", "a/../../out.txt", ".", "link/out.txt"])
async def test_nothing_is_written_outside(executor: Executor, tmp_path: Path, path: str) -> None:
    """The model is told so."""
    reports = tmp_path / "out" / "reports"
    reports.mkdir(parents=True)
    (reports / "link").symlink_to(tmp_path)
    result = await called(executor, "write_file", path=path, text="x")
    assert result.failed
    assert list(tmp_path.rglob("out.txt")) == []
