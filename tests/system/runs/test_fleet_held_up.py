"""Runs whose workers hear of their errands too late, as on a busy machine: the limit is used again as soon as they do not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from batch.core.clock import HandClock
from batch.job.options import RunOptions
from batch.run.fleet import process
from tests.support.mixes import Mix
from tests.support.nearworkers import NearWorker
from tests.support.virtual import PatientClock, World, virtual
from tests.system.runs.conftest import ENVIRON

RPM = 600
LATE_S = 0.8
"""More than an errand is good for."""


def used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, delays: Callable[[HandClock], list[Callable[[], float]]]
) -> Callable[[float, float], float]:
    """Run under a limit with two workers; what of the limit was used in a span of seconds from the start."""
    clock = PatientClock()
    mix = Mix(1, "openai", "sync", rpm=RPM, in_flight=16, latency_ms=(100, 200))
    world = World(clock, mix.scenario())
    mix.write(folder, 1_200)
    began, those = clock.monotonic(), iter(delays(clock))
    monkeypatch.setattr(process, "WorkerProcess", lambda: NearWorker(clock, next(those)))
    report = virtual(folder, world, mix.job, ENVIRON, options=RunOptions(workers=2))
    assert (report.exit_code, report.totals.rows_failed) == (0, 0)
    assert world.app.provider.judge.verdict(60.0)["max_requests"] <= RPM
    return lambda start, end: world.served_between(began + start, began + end) / ((end - start) * RPM / 60)


def test_after_workers_were_late_for_a_while_the_whole_limit_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def delays(clock: HandClock) -> list[Callable[[], float]]:
        began = clock.monotonic()
        return 2 * [lambda: LATE_S if 20 <= clock.monotonic() - began < 40 else 0.0]

    share = used(tmp_path, monkeypatch, delays)
    assert share(20.0, 40.0) < 0.2, "nothing was late"
    assert share(42.0, 100.0) >= 0.98


def test_a_worker_that_is_always_late_keeps_little_of_the_limit_from_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = used(tmp_path, monkeypatch, lambda _: [lambda: LATE_S, lambda: 0.0])
    assert share(20.0, 80.0) >= 0.95
