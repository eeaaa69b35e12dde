"""The tools that promptmill brings along: as a model sees them, and what they give."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from batch.core.records import ToolCall
from batch.job.toolspec import ToolSpec
from batch.tools import shipped
from batch.tools.confinement import Confinement
from batch.tools.content import MAX_CONTENT, ToolResult
from batch.tools.execute import Executor
from batch.tools.registry import ToolSet


async def call(tools: ToolSet, name: str, **arguments: str) -> ToolResult:
    """Call one as a model does."""
    return await Executor(tools).run_call(ToolCall("1", name, json.dumps(arguments)))


def test_writing_counts_as_an_effect_and_what_changes_in_promptmill_is_not_told() -> None:
    """A file is written once for a row; of the code of a shipped tool, a job's author can change nothing."""
    tools = ToolSet.load(None, shipped=shipped.NAMES, files=Path("files"))
    assert [one.name for one in tools if one.effects] == ["write_file"]
    assert tools.sources() == {}


@pytest.mark.slow
async def test_what_a_job_allows_of_them_is_what_a_worker_runs(tmp_path: Path) -> None:
    """The rest is there in the worker and cannot be called."""
    tools = ToolSet.load(None, shipped=shipped.NAMES, files=tmp_path / "files").only(["memory_info", "write_file"])
    with closing(Executor(tools, Confinement(folder=tmp_path))) as executor:
        written = await executor.run_call(ToolCall("1", "write_file", '{"path": "a", "text": "b"}'))
        assert written == ToolResult("wrote 1 bytes to a")
        refused = await executor.run_call(ToolCall("2", "read_file", '{"path": "a"}'))
    assert "no tool is called 'read_file'; there are: write_file, memory_info" in refused.content


def test_a_job_may_name_exactly_those_that_there_are() -> None:
    """The list in the job's struct and that of the code are one."""
    field = next(field for field in msgspec.structs.fields(ToolSpec) if field.name == "shipped")
    (names, _) = get_args(get_args(field.type)[0])
    assert get_args(names) == shipped.NAMES
    assert ToolSet.load(None, shipped=shipped.NAMES, files=Path("files")).names == shipped.NAMES


async def test_a_file_is_written_read_and_refused_outside(tmp_path: Path) -> None:
    """What goes wrong is content, without the place of the folder."""
    tools = ToolSet.load(None, shipped=["read_file", "write_file"], files=tmp_path / "files")
    assert (await call(tools, "write_file", path="a/b.txt", text="天气 🙂")).content == "wrote 11 bytes to a/b.txt"
    assert (await call(tools, "read_file", path="a/b.txt")).content == "天气 🙂"
    outside = await call(tools, "read_file", path="../secret.txt")
    assert outside.failed
    assert str(tmp_path) not in outside.content
    (tmp_path / "files" / "picture").write_bytes(b"\xff\xfe")
    assert "no text in UTF-8" in (await call(tools, "read_file", path="picture")).content


async def test_sizes_are_bounded_both_ways(tmp_path: Path) -> None:
    """A file that can be read whole is not cut on its way to the model; a larger one is refused."""
    tools = ToolSet.load(None, shipped=["read_file", "write_file"], files=tmp_path)
    assert shipped.MAX_READ <= MAX_CONTENT
    (tmp_path / "most").write_text("x" * shipped.MAX_READ)
    (tmp_path / "more").write_text("x" * (shipped.MAX_READ + 1))
    assert len((await call(tools, "read_file", path="most")).content) == shipped.MAX_READ
    assert (await call(tools, "read_file", path="more")).failed
    assert not (await call(tools, "write_file", path="w", text="x" * shipped.MAX_WRITTEN)).failed
    assert (await call(tools, "write_file", path="w2", text="x" * (shipped.MAX_WRITTEN + 1))).failed
    assert not (tmp_path / "w2").exists()


async def test_memory_is_told_in_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From what the system says; where it says nothing the model is told so."""
    tools = ToolSet.load(None, shipped=["memory_info"])
    file = tmp_path / "meminfo"
    file.write_text(
        "MemTotal:       16000000 kB\nMemFree: 1 kB\nMemAvailable:   4000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n"
    )
    monkeypatch.setattr(shipped, "_MEMORY", file)
    told = json.loads((await call(tools, "memory_info")).content)
    assert told == {"total_mb": 16384, "available_mb": 4096, "swap_mb": 0, "swap_free_mb": 0, "used_percent": 75.0}
    monkeypatch.setattr(shipped, "_MEMORY", tmp_path / "none")
    assert "does not tell its memory" in (await call(tools, "memory_info")).content


async def test_a_tools_file_may_bring_them_itself(tmp_path: Path) -> None:
    """Beside its own functions, with a folder of its choice."""
    (tmp_path / "tools.py").write_text(
        "from pathlib import Path\nfrom batch import tool\nfrom batch.tools.shipped import file_tools, memory_info\n"
        "read_file, write_file = file_tools(Path(__file__).parent / 'notes')\n"
        '@tool\ndef own() -> str:\n    """Do it."""\n    return "own"\n'
    )
    tools = ToolSet.load(tmp_path / "tools.py", shipped=[])
    assert sorted(tools.names) == ["memory_info", "own", "read_file", "write_file"]
    await call(tools, "write_file", path="x", text="y")
    assert (tmp_path / "notes" / "x").read_text() == "y"
