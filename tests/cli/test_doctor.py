"""`promptmill doctor`: what it prints, and its exit code."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.cli.conftest import KEY, Cli, Shell
from tests.support import processes


def test_all_is_well_and_nothing_was_billed(shell: Shell) -> None:
    """Against the simulator, whose books have one request for models."""
    folder = shell.write(shell.rows(2))
    done = shell("doctor", folder)
    assert done.code == 0, done
    assert done.out.startswith("doctor: all is well\n")
    assert "  ok    key           from ZHIPUAI_API_KEY\n" in done.out
    assert not (folder / "out").exists()


def test_64_open_files_are_named_with_the_way_to_more(shell: Shell) -> None:
    """Set-up 6 of ten: a run has fewer calls in flight then, or is refused."""
    shell.sections["limits"] = ["concurrency = 50"]
    folder = shell.write(shell.rows(2))
    process = processes.start(
        ["sh", "-c", 'ulimit -n 64; exec "$@"', "sh", sys.executable, "-m", "batch", "doctor", str(folder)],
        cwd=folder,
        env=shell.environ(),
    )
    out, _ = process.communicate(timeout=120)
    assert "files" in out
    assert "LimitNOFILE" in out
    assert "calls in flight instead of 50" in " ".join(out.split()) or "too few files" in out


def test_a_broken_job_and_a_missing_one_are_findings_and_json_has_them_all(cli: Cli, tmp_path: Path) -> None:
    """What of the machine is known is told all the same."""
    (tmp_path / "job.toml").write_text("[input]\npaht = 'x'\n")
    for folder in (tmp_path, tmp_path / "none"):
        done = cli("doctor", folder, "--json")
        assert done.code == 2
        found = {entry["area"]: entry for entry in json.loads(done.out)["findings"]}
        assert found["python"]["state"] == "ok"
        assert found["job"]["state"] == "stop"
        assert KEY not in done.out


def test_without_a_job_only_the_machine_is_looked_at(cli: Cli) -> None:
    """No provider is spoken to."""
    done = cli("doctor")
    assert done.code == 0
    assert "python" in done.out
    assert "connection" not in done.out
