"""Jobs that share a limit in real time: two or three commands under one key, one of them killed, judged by the simulator.

`scripts/limits` runs it. Each round starts that many runs against one simulator, with one state folder; the judge must
see no window above the limit, ≥ 95 % of it used while all are at work, and again from five seconds after a kill on.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from tests.support.mixes import Mix
from tests.system.faults.limits_campaign import KEYS, ROOT, judged, simulator, toml

BEGIN_S, KILL_S, END_S = 12.0, 45.0, 75.0
TAKEN_OVER_S = 5.0
ROUNDS = (
    (2, Mix(1, "openai", "sync", rpm=600, latency_ms=(50, 100))),
    (3, Mix(2, "glm", "sync", rpm=120, latency_ms=(200, 600))),
    (2, Mix(3, "openai", "sync", tpm=60_000, tokens=(50, 400), latency_ms=(100, 300))),
    (2, Mix(4, "glm", "sync", in_flight=10, latency_ms=(400, 800))),
)


def sharing(jobs: int, mix: Mix) -> tuple[str, bool]:
    """One round; its line, and whether it held."""
    with tempfile.TemporaryDirectory(prefix="promptmill-sharing-") as name:
        folder = Path(name)
        with simulator(folder, toml(mix.scenario())) as port:
            began = time.monotonic()
            runs = [_start(folder, number, mix, port) for number in range(jobs)]
            try:
                time.sleep(KILL_S)
                runs[-1].kill()
                killed = time.monotonic() - began
                time.sleep(END_S - KILL_S)
            finally:
                for run in runs:
                    run.kill()
                    run.wait(30)
            verdict, before = judged(port, BEGIN_S, KILL_S)
            _, after = judged(port, killed + TAKEN_OVER_S, END_S - 1)
    shares = {**_least(mix, before, "all"), **_least(mix, after, "the others")}
    faults = [f"{key}: {share:.1%} used" for key, share in shares.items() if share < 0.95]
    over = {
        "requests": (verdict["max_requests"], mix.rpm),
        "tokens": (verdict["max_tokens"], mix.tpm),
        "in flight": (verdict["max_in_flight"], mix.in_flight),
    }
    faults += [f"{most} {key} of {limit}" for key, (most, limit) in over.items() if limit is not None and most > limit]
    faults += [f"{sum(verdict['refused'].values())} refused"] if sum(verdict["refused"].values()) else []
    limit = next(f"{key} {value}" for key in ("rpm", "tpm", "in_flight") if (value := getattr(mix, key)))
    used = ", ".join(f"{key} {share:.1%}" for key, share in shares.items())
    most = ", ".join(f"{value[0]} {key}" for key, value in over.items() if value[1] is not None)
    return f"{jobs} jobs, {limit}: used {used}; most {most}: {'; '.join(faults) or 'held'}", not faults


def _least(mix: Mix, use: dict[str, int], when: str) -> dict[str, float]:
    return {f"{key} by {when}": share for key, share in mix.shares(use).items()}


def _start(folder: Path, number: int, mix: Mix, port: int) -> subprocess.Popen[bytes]:
    job = folder / f"job-{number}"
    job.mkdir()
    replace(mix, seed=mix.seed * 10 + number).write(job, mix.rows(END_S))
    (job / "job.toml").write_text(mix.job(port).replace('name = "mix"', f'name = "mix-{number}"'), encoding="utf-8")
    environ = {**os.environ, **KEYS, "PROMPTMILL_STATE": str(folder / "state")}
    command = [sys.executable, "-m", "batch", "run", str(job), "--progress", "none"]
    return subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
