"""The README's job, command and table are what the program really takes and prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import structlog

from batch.output import tables
from tests.system.kills.stage import ROOT, simulator
from tests.test_layers import WINGS

README = (ROOT / "README.md").read_text(encoding="utf-8")
KEY = "0123456789abcdef0123456789abcdef.ReadmeReadme1234"


def block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def steady(text: str) -> str:
    """Without what differs from run to run: the time and the rate."""
    return re.sub(r"time     .*", "time", text).strip()


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("provider")) as found:
        yield found


@pytest.mark.slow
def test_the_python_of_the_readme_does_what_its_comments_say(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FIELD 46. Whoever copies it gets its figures, a path that can be read, and nothing else on either stream."""
    shutil.copy(ROOT / "jobs" / "label_tickets" / "tickets.parquet", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ZHIPUAI_API_KEY", KEY)
    monkeypatch.setenv("ZHIPUAI_BASE_URL", f"{url}/api/paas/v4")
    structlog.reset_defaults()
    (code,) = (text for text in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "run_sync" in text)
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr()
    figures = re.search(r"totals\.cost\)  # (.*)", code)
    assert figures is not None
    assert said.out.splitlines() == ["finished 0", figures[1], str(tmp_path / "out" / "label-tickets" / "results")]
    assert said.err == ""
    assert pq.read_table(said.out.splitlines()[2]).num_rows == 20


@pytest.mark.slow
def test_the_job_of_the_readme_prints_the_table_of_the_readme(url: str, tmp_path: Path) -> None:
    """Ours: the first thing a reader sees is true."""
    (tmp_path / "job.toml").write_text(block("toml"), encoding="utf-8")
    shutil.copy(ROOT / "jobs" / "label_tickets" / "tickets.parquet", tmp_path)
    command, _, expected = block("console").partition("\n")
    done = subprocess.run(
        [sys.executable, "-m", "batch", *command.removeprefix("$ promptmill ").split(), "-o", "out/label-tickets"],
        cwd=tmp_path,
        env={**os.environ, "ZHIPUAI_API_KEY": KEY, "ZHIPUAI_BASE_URL": f"{url}/api/paas/v4"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert steady(done.stdout.replace(f"{tmp_path}/", "")) == steady(expected)


def test_the_readme_names_the_result_columns_in_their_order() -> None:
    """Ours: the column list is the schema's."""
    listed = README.split("then: ", 1)[1].split(".\n", 1)[0]
    import pyarrow as pa

    assert re.findall(r"`(\w+)`", listed) == tables.result_schema(pa.schema([]), None).names


def test_every_script_the_readme_names_is_there_and_can_be_run() -> None:
    """Ours: no dead command."""
    named = set(re.findall(r"scripts/(\w+)`|^scripts/(\w+)", README, re.MULTILINE))
    scripts = {ROOT / "scripts" / (one or other) for one, other in named}
    assert len(scripts) >= 5
    assert [path.name for path in scripts if not os.access(path, os.X_OK)] == []


def test_the_guide_for_contributors_lists_the_wings_in_their_order() -> None:
    """Ours: the first map that a newcomer sees is the one that is checked."""
    guide = (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `(\w+)` \|", guide, re.MULTILINE) == list(WINGS)
