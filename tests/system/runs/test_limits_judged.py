"""Whole runs under limits, judged by the simulator's sliding windows, in time moved by hand; `scripts/limits` has more."""

from __future__ import annotations

from pathlib import Path

import pytest

from batch.simulator.scenario import parse
from tests.support.mixes import Mix, draw
from tests.support.virtual import PatientClock, World, virtual
from tests.system.runs.conftest import ENVIRON

WINDOWS_S = 130.0
SEED_OF_TASKS = 70
"""600 requests a minute in lane task; the seeds of `scripts/limits` have up to 6,000."""


@pytest.mark.parametrize("seed", [1, 3, 13, SEED_OF_TASKS])
def test_a_limit_is_a_line_and_is_used(tmp_path: Path, seed: int) -> None:
    """Requests, tokens and calls in flight: 0 over in any window, ≥ 98 % of requests and ≥ 95 % of tokens used."""
    mix = draw(seed)
    judge(tmp_path, mix)


@pytest.mark.parametrize("rpm", [60, 600])
def test_a_limit_a_minute_that_is_looked_at_by_the_second_is_kept(tmp_path: Path, rpm: int) -> None:
    """FIELD 23: a provider whose bucket holds one second's worth refuses nobody who keeps an even pace."""
    mix = Mix(1, "openai", "sync", rpm=rpm, tpm=600_000, tokens=(50, 400))
    judge(tmp_path, mix, burst_s=1.0)


def judge(folder: Path, mix: Mix, **limits: float) -> None:
    clock = PatientClock()
    scenario = mix.scenario()
    scenario["limits"] = {**scenario["limits"], **limits}
    parse(scenario)
    world = World(clock, scenario)
    mix.write(folder, mix.rows(WINDOWS_S) if (mix.rpm or 0) < 2_000 else 6_000)
    report = virtual(folder, world, mix.job, ENVIRON)
    assert (report.exit_code, report.totals.rows_failed, report.totals.refused) == (0, 0, 0)
    judge = world.app.provider.judge
    end = min(report.elapsed_s - 5, 120.0)
    use = judge.use(5.0, end, clock.monotonic())[0]
    verdict = judge.verdict(60.0)
    print(mix, mix.shares(use), verdict["max_requests"], verdict["max_tokens"], report.elapsed_s)
    assert mix.faults(verdict, use) == []
    assert mix.busiest_second(judge.verdict(1.0)) is None
