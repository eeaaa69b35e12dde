"""The README's job, command and table are what the program really takes and prints."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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


@pytest.mark.slow
def test_the_job_of_the_readme_prints_the_table_of_the_readme(tmp_path: Path) -> None:
    """Ours: the first thing a reader sees is true."""
    (tmp_path / "job.toml").write_text(block("toml"), encoding="utf-8")
    shutil.copy(ROOT / "jobs" / "label_tickets" / "tickets.parquet", tmp_path)
    command, _, expected = block("console").partition("\n")
    with simulator(tmp_path) as url:
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
