"""Memory does not grow with the number of rows, nor with their size."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kills.stage import simulator
from tests.runs.conftest import ENVIRON, ROOT, Mill

MB = 1024 * 1024


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), "[latency]\nchat_ms = [0, 0]\n") as address:
        yield address


# Started from a small process: what a child is said to have used at most begins with what its parent had.
WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, used.ru_maxrss)
"""


def peak_mb(mill: Mill) -> float:
    """Peak of the resident memory of one whole run, in MB."""
    mill.save()
    run = [sys.executable, "-m", "batch", "run", str(mill.folder), "--progress", "none"]
    told = subprocess.run(
        [sys.executable, "-c", WATCH, *run], env={**os.environ, **ENVIRON}, cwd=ROOT, capture_output=True, check=True
    )
    code, kib = map(int, told.stdout.split())
    assert code == 0
    return kib * 1024 / MB


@pytest.mark.timeout(120)
def test_peak_memory_is_the_same_for_three_times_the_rows(tmp_path: Path, url: str) -> None:
    """Promise 6: flat in the number of rows; 20,000 and 60,000 with PROMPTMILL_LONG_TESTS=1."""
    few = 20_000 if os.environ.get("PROMPTMILL_LONG_TESTS") else 4_000
    peaks = []
    for count in (few, 3 * few):
        mill = Mill(tmp_path / str(count), url)
        mill.questions(count)
        mill.output = {"rows_per_part": few // 2}
        peaks.append(peak_mb(mill))
    print(f"peak memory: {peaks[0]:.0f} MB for {few:,} rows, {peaks[1]:.0f} MB for {3 * few:,}")
    assert peaks[1] - peaks[0] <= 25, peaks
    assert max(peaks) <= 250, peaks


@pytest.mark.timeout(120)
def test_peak_memory_stays_bounded_with_rows_of_a_hundred_kilobytes(tmp_path: Path, url: str) -> None:
    """Promise 6: 100 MB of input is not held at once."""
    mill = Mill(tmp_path / "large", url)
    mill.write([{"n": n, "question": f"What of {n}?", "text": f"{n} " * 20_000} for n in range(1_000)])
    mill.limits["concurrency"] = 8
    peak = peak_mb(mill)
    print(f"peak memory: {peak:.0f} MB for 1,000 rows of 100 kB")
    assert peak <= 400, peak
