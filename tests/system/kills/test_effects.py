"""An agent that writes files, killed at every step of a tool: what its own count of writes says, and what the job is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.kills.effects import POINTS, Agents
from tests.system.kills.stage import simulator

ROWS = 40  # scripts/chaos has 200, and 30 kills
TIMES = (1, 7)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), "time_factor = 0.2") as address:
        yield address


@pytest.mark.parametrize("policy", ["fail", "ask_model", "rerun"])
def test_no_file_is_written_twice_wherever_the_run_is_killed(policy: str, tmp_path: Path, url: str) -> None:
    """The policy says what becomes of a row that is in doubt; only with `rerun` a file may be written again."""
    stage = Agents(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=10, policy=policy)
    for times in TIMES:
        for point in POINTS:
            stage.run(f"{point}:{times}")
    assert stage.kills >= len(POINTS)
    assert stage.run() in (0, 1), stage.said
    figures = stage.verify_effects()
    assert figures["interrupted" if policy == "fail" else "doubted"] > 0, "nothing was in doubt: the test shows nothing"


def test_a_row_in_doubt_is_asked_again_when_its_user_has_looked_and_says_how(tmp_path: Path, url: str) -> None:
    """`--retry all` alone ends it the same way; with another policy it comes to its answer."""
    stage = Agents(tmp_path / "job", url, "task", rows=12, rows_per_part=10)
    assert stage.run("tool.intended:1") == -9
    assert stage.run() == 1, stage.said
    interrupted = stage.verify_effects()["interrupted"]
    assert interrupted >= 1
    assert stage.run(None, "--retry", "all") == 1, stage.said
    assert stage.verify_effects()["interrupted"] == interrupted
    assert stage.run(None, "--retry", "all", "--set", "tools.policy=rerun") == 0, stage.said
    stage.policy = "rerun"
    assert stage.verify_effects()["doubted"] == interrupted
    assert set(stage.writes().values()) <= {1, 2}


def test_a_half_conversation_that_is_dropped_and_asked_anew_does_not_act_again(tmp_path: Path, url: str) -> None:
    """The prompt changed for a moment: the conversation is given up, and begins again with the prompt of before."""
    stage = Agents(tmp_path / "job", url, "sync", rows=8, rows_per_part=10)
    assert stage.run("tool.ran:12") == -9
    written = stage.writes()
    assert len(written) >= 4, "of twelve calls at most eight were readings"
    job = stage.folder / "job.toml"
    text = job.read_text("utf-8")
    job.write_text(text.replace("You watch a machine.", "You watch this machine."), encoding="utf-8")
    assert stage.run("run.closed:1") == -9, "closed as job_changed, and no row was asked the new question"
    job.write_text(text, encoding="utf-8")
    assert stage.run() in (0, 1), stage.said
    stage.verify_effects()
    writes = stage.writes()
    assert all(writes[row_id] == 1 for row_id in written)
    ok = {row_id for row_id, status in stage.results("row_id, status") if status == "ok"}
    assert ok.intersection(written), "what was known of then went on"


def test_an_answer_to_another_question_may_act_again(tmp_path: Path, url: str) -> None:
    """Promise 3: changing what is asked asks again, and acts again; what is known of the old question goes."""
    stage = Agents(tmp_path / "job", url, "sync", rows=3, rows_per_part=10)
    assert stage.run() == 0, stage.said
    job = stage.folder / "job.toml"
    text = job.read_text("utf-8")
    job.write_text(text.replace("You watch a machine.", "You watch this machine."), encoding="utf-8")
    assert stage.run() == 0, stage.said
    assert set(stage.writes().values()) == {2}
    rows = stage.query(f"SELECT count(*) FROM read_parquet('{stage.out}/results/*.parquet') WHERE tool_calls = 2")
    assert rows == [(3,)]


def test_what_tools_did_is_kept_by_a_ledger_that_is_made_again(tmp_path: Path, url: str) -> None:
    """Rows that are asked again for a lost part do not act again; a ledger that is gone says that this is lost."""
    from batch.cli import main

    stage = Agents(tmp_path / "job", url, "sync", rows=6, rows_per_part=3)
    assert stage.run() == 0, stage.said
    (stage.out / "results" / "part-00001.parquet").unlink()
    assert main(["rebuild", str(stage.out)]) == 1
    assert stage.run() == 0, stage.said
    assert set(stage.writes().values()) == {1}
    answers = stage.results("row_id, answer")
    assert len(answers) == 6
    assert all(answer.endswith("is written.") for _, answer in answers)


def test_a_ledger_that_is_lost_says_that_tools_may_act_again(
    tmp_path: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody can know it any more, so it is said."""
    from batch.cli import main

    stage = Agents(tmp_path / "job", url, "sync", rows=2, rows_per_part=3)
    assert stage.run() == 0, stage.said
    for path in stage.out.glob("ledger.db*"):
        path.unlink()
    assert main(["rebuild", str(stage.out)]) == 1
    assert "a row that is asked again may act again" in "".join(capsys.readouterr())
    assert json.loads((stage.folder / "rows.jsonl").read_text("utf-8").splitlines()[0])["n"] == 0
