"""Memory does not grow with the number of rows, nor with their size."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.kills.stage import simulator
from tests.system.runs.conftest import Mill, measured


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), "[latency]\nchat_ms = [0, 0]\n") as address:
        yield address


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("slow"), "[latency]\nchat_ms = [1500, 1500]\n") as address:
        yield address


def test_peak_memory_is_the_same_for_three_times_the_rows(tmp_path: Path, url: str) -> None:
    """Promise 6: flat in the number of rows; 20,000 and 60,000 with PROMPTMILL_LONG=1."""
    few = 20_000 if os.environ.get("PROMPTMILL_LONG") else 4_000
    peaks = []
    for count in (few, 3 * few):
        mill = Mill(tmp_path / str(count), url)
        mill.questions(count)
        mill.output = {"rows_per_part": few // 2}
        code, peak = measured(mill)
        assert code == 0
        peaks.append(peak)
    print(f"peak memory: {peaks[0]:.0f} MB for {few:,} rows, {peaks[1]:.0f} MB for {3 * few:,}")
    assert peaks[1] - peaks[0] <= 25, peaks
    assert max(peaks) <= 250, peaks


def test_peak_memory_stays_bounded_with_rows_of_a_hundred_kilobytes(tmp_path: Path, url: str) -> None:
    """Promise 6: 100 MB of input is not held at once."""
    mill = Mill(tmp_path / "large", url)
    mill.write([{"n": n, "question": f"What of {n}?", "text": f"{n} " * 20_000} for n in range(1_000)])
    mill.limits["concurrency"] = 8
    code, peak = measured(mill)
    assert code == 0
    print(f"peak memory: {peak:.0f} MB for 1,000 rows of 100 kB")
    assert peak <= 250, peak


def test_peak_memory_stays_bounded_with_a_file_of_a_megabyte_in_every_prompt(tmp_path: Path, slow: str) -> None:
    """Promise 6: what waits and what is open is bounded in bytes, also at a service that takes its time for an answer.

    It was 213 MB, and 265 over 300 such rows: 64 MB of messages, as much of requests on their way, and holes.
    """
    mill = Mill(tmp_path / "guided", slow)
    mill.questions(60)
    (mill.folder / "guide.md").write_text("All is well. " * 80_000, encoding="utf-8")
    mill.user = "{{ file('guide.md') }} {{ question }}"
    mill.limits["concurrency"] = 64
    code, peak = measured(mill)
    assert code == 0
    print(f"peak memory: {peak:.0f} MB for 60 prompts of 1 MB, 64 calls in flight")
    assert peak <= 200, peak
