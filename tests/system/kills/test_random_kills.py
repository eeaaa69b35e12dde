"""Kills at moments nobody chose, one after the other, on the same output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.system.kills.stage import CHUNKS, Stage, expected_answers, moments, simulator

ROWS, KILLS = 300, 8  # scripts/chaos does 1,500 and 40


def killed_again_and_again(folder: Path, url: str, lane: str) -> Stage:
    """A job that was killed at one moment after the other, until a run was over before."""
    stage = Stage(folder, url, lane, rows=ROWS, rows_per_part=50)
    for moment in moments(7, KILLS, 80):
        if stage.run_and_kill(moment) is not None:
            break
    return stage


@pytest.mark.parametrize("lane", ["sync", "stream", "task"])
def test_a_run_killed_again_and_again_loses_nothing_and_pays_nothing_twice(lane: str, tmp_path: Path) -> None:
    """Ours: promises 1, 2 and 5 under kill -9."""
    with simulator(tmp_path, CHUNKS) as url:
        answers = expected_answers(tmp_path / "calm", url, lane, ROWS)
        stage = killed_again_and_again(tmp_path / "job-0", url, lane)
        for number in range(1, 5):
            if stage.kills < 4:  # where this test was held up, a run was over before its kill
                stage = killed_again_and_again(tmp_path / f"job-{number}", url, lane)
        assert stage.kills >= 4
        stage.finish()
        stage.verify(answers)
