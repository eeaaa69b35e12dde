"""Where values come from, as `check` tells it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Cli, Shell


@pytest.fixture
def job(alone: Shell) -> Path:
    """A job whose own table says something, too."""
    alone.sections = {"limits": ["concurrency = 3"], "tags": ['api_token = "Zq7kPw3mVx9tRb2c"']}
    return alone.write(alone.rows(2))


def told(out: str, header: str) -> dict[str, str]:
    """The lines of one block: by key, the rest of its line."""
    lines = out.split(f"{header}\n", 1)[1].splitlines()
    block = []
    for line in lines:
        if not line.startswith("  "):
            break
        block.append(re.split(r" {2,}", line.strip()))
    return {first: " | ".join(rest) for first, *rest in block}


def test_what_is_not_in_the_job_file_is_told_with_its_origin(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Flag, variable and file of variables; what the job says itself is left out."""
    file = tmp_path / "some.env"
    file.write_text("# c\nPROMPTMILL_MAX_COST=5CNY\n")
    monkeypatch.setenv("PROMPTMILL_LANE", "task")
    words = ("--env-file", file, "--set", "model.parameters.max_tokens=64", "-o", tmp_path / "out")
    said = cli("check", job, *words)
    assert said.code == 0, said.err
    block = told(said.out, "not from the job file")
    assert block.pop("output.path").endswith(" | flag --output")
    assert block == {
        "model.lane": '"task" | PROMPTMILL_LANE (environment)',
        "model.parameters.max_tokens": "64 | flag --set",
        "budget.max_cost": f'"5CNY" | PROMPTMILL_MAX_COST ({file}, line 2)',
    }


def test_the_origin_of_key_and_address_is_told(
    alone: Shell, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Both may come from variables, and these from a file."""
    file = tmp_path / "some.env"
    file.write_text("ZHIPUAI_BASE_URL=http://127.0.0.1:9/v4\n")
    monkeypatch.setenv("ZAI_API_KEY", "b" * 20)
    job = alone.write(alone.rows(1))
    text = (job / "job.toml").read_text()
    (job / "job.toml").write_text("\n".join(line for line in text.splitlines() if not line.startswith("base_url")))
    said = cli("check", job, "--env-file", file).out
    assert f"http://127.0.0.1:9/v4, from ZHIPUAI_BASE_URL ({file}, line 1)\n" in said
    assert "  from ZHIPUAI_API_KEY\n" in said


def test_nothing_is_said_where_the_job_says_all(job: Path, cli: Cli) -> None:
    """As before: most jobs need no such lines."""
    said = cli("check", job).out
    assert "not from the job file" not in said
    assert "where values come from" not in said


def test_all_keys_are_told_with_their_origin_when_asked(job: Path, cli: Cli) -> None:
    """Lines of the file, defaults; a value that looks like a key is masked."""
    block = told(cli("check", job, "--origins").out, "where values come from")
    number = (job / "job.toml").read_text().splitlines().index("concurrency = 3") + 1
    assert block["limits.concurrency"] == f"3 | job file, line {number}"
    assert block["limits.max_attempts"] == "8 | default"
    assert block["tags.api_token"].startswith("**** |")
    assert "labels.samples" not in block


def test_what_run_would_take_from_variables_is_told_by_check(
    job: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a limit that was set months ago is seen only in what it leaves out."""
    monkeypatch.setenv("PROMPTMILL_RUN_LIMIT", "5")
    monkeypatch.setenv("PROMPTMILL_ONLY", "new")
    assert told(cli("check", job).out, "what run takes from variables as well") == {
        "--limit": "PROMPTMILL_RUN_LIMIT (environment)",
        "--only": "PROMPTMILL_ONLY (environment)",
    }
