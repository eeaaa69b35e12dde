"""Limiter in real time: 20 seeded mixes, 6 with two models, and a cap that changes, judged by the simulator's sliding windows.

`scripts/limits` runs it and it prints a line for each mix; a mix is a real run of the command against a simulator of
its own, stopped after `RUN_S` seconds. Four run at the same time.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import signalling
from tests.support.mixes import RUN_S, Mix, draw, draw_pair

ROOT = Path(__file__).resolve().parents[3]
KEYS = {"ZHIPUAI_API_KEY": "0123456789abcdef0123456789abcdef.Zq7kPw3mVx9tRb2c", "OPENAI_API_KEY": "sk-Jh4wQz8nTd1yLs"}
CHANGES = ((0.0, 50), (40.0, 20), (80.0, 80))
CHANGING_S = 125.0


@contextmanager
def simulator(folder: Path, scenario: str) -> Iterator[int]:
    """A simulator process; gives its port."""
    (folder / "scenario.toml").write_text(scenario, encoding="utf-8")
    command = [sys.executable, "-m", "batch.simulator", "--port", "0", "--scenario", str(folder / "scenario.toml")]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline().strip().rpartition(":")[2])
    finally:
        process.terminate()
        process.wait(10)


def toml(tables: dict[str, Any]) -> str:
    """A scenario's tables as TOML."""
    return "\n".join(_lines(tables)) + "\n"


def _lines(table: dict[str, Any], *path: str) -> Iterator[str]:
    yield from (f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict))
    for name, inner in table.items():
        if isinstance(inner, dict):
            yield f"[{'.'.join(json.dumps(part) for part in (*path, name))}]"
            yield from _lines(inner, *path, name)


def run_for(folder: Path, seconds: float) -> str:
    """Run the job in `folder` for so long, then stop it twice; what it said."""
    environ = {**os.environ, **KEYS}
    command = [sys.executable, "-m", "batch", "run", str(folder), "--progress", "none"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        said, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
        time.sleep(2)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    finally:
        process.kill()  # one that does not end would take the processors of all others
    return said


def judged(port: int, begin: float, end: float, window_s: int = 60) -> tuple[dict[str, Any], dict[str, Any]]:
    """The judge's verdict over windows of 60 s or another length, and the use of the one lane from `begin` to `end`."""
    asked = f"window={window_s}&from={begin}&to={end}"
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/_sim/judge?{asked}") as answer:
        verdict = json.load(answer)
    return verdict, verdict["use"][0]


def mix(seed: int) -> tuple[str, bool]:
    """One mix; its line, and whether it held."""
    chosen = draw(seed)
    with tempfile.TemporaryDirectory(prefix="promptmill-limits-") as name:
        folder = Path(name)
        with simulator(folder, toml(chosen.scenario())) as port:
            chosen.write(folder, chosen.rows(RUN_S))
            (folder / "job.toml").write_text(chosen.job(port), encoding="utf-8")
            run_for(folder, RUN_S)
            verdict, use = judged(port, 10, 70)
            second, _ = judged(port, 10, 70, window_s=1)
    faults = chosen.faults(verdict, use)
    faults += [fault] if (fault := chosen.busiest_second(second)) else []
    shares = ", ".join(f"{name} {share:.1%}" for name, share in chosen.shares(use).items())
    limits = ", ".join(f"{key} {getattr(chosen, key)}" for key in ("rpm", "tpm", "in_flight") if getattr(chosen, key))
    peaks = f"{verdict['max_requests']} requests, {verdict['max_tokens']} tokens, {verdict['max_in_flight']} in flight"
    peaks += f", {second['max_requests']} requests in a second"
    word = "; ".join(faults) or "held"
    return f"seed {seed:2d} {chosen.provider} {chosen.lane} [{limits}] used {shares}; most {peaks}: {word}", not faults


def pair(seed: int) -> tuple[str, bool]:
    """One pair of models; its line, and whether it held."""
    chosen = draw_pair(seed)
    with tempfile.TemporaryDirectory(prefix="promptmill-limits-") as name:
        folder = Path(name)
        with simulator(folder, toml(chosen.scenario())) as port:
            chosen.mix.write(folder, chosen.rows(RUN_S))
            (folder / "job.toml").write_text(chosen.job(port), encoding="utf-8")
            run_for(folder, RUN_S)
            verdict, _ = judged(port, 10, 70)
            second, _ = judged(port, 10, 70, window_s=1)
    faults = chosen.faults(verdict, second)
    seconds = {lane["model"]: lane["max_requests"] for lane in second["lanes"]}
    used = ", ".join(
        f"{model} {share:.1%} of {chosen.rpm[model]}, {seconds[model]} in a second"
        for model, share in chosen.shares(verdict["use"]).items()
    )
    known = "told" if chosen.told else "asked"
    word = "; ".join(faults) or "held"
    return f"pair {seed:2d} {chosen.mix.provider} {chosen.mix.lane} [{known}] used {used}: {word}", not faults


def changing(latency: tuple[int, int]) -> tuple[str, bool]:
    """A cap of 50, then 20, then 80 that nobody tells; concurrency 100."""
    chosen = Mix(0, "glm", "sync", tokens=(10, 20), latency_ms=latency)
    changes = "".join(f"[[limits.change]]\nafter_s = {at}\nin_flight = {cap}\n" for at, cap in CHANGES[1:])
    scenario = f"[latency]\nchat_ms = {list(latency)}\n[limits]\nin_flight = {CHANGES[0][1]}\n{changes}"
    with tempfile.TemporaryDirectory(prefix="promptmill-limits-") as name:
        folder = Path(name)
        with simulator(folder, scenario) as port:
            chosen.write(folder, int(100 / (sum(latency) / 2_000) * CHANGING_S))
            text = chosen.job(port).replace("concurrency = 200", "concurrency = 100")
            (folder / "job.toml").write_text(text, encoding="utf-8")
            run_for(folder, CHANGING_S)
            shares = []
            verdict: dict[str, Any] = {}
            for at, cap in CHANGES:
                verdict, use = judged(port, at + 30, at + 40)
                shares.append(use["in_flight_seconds"] / 10 / cap)
    refused = sum(verdict["refused"].values()) / verdict["requests"]
    good = min(shares) >= 0.95 and refused <= 0.01
    used = ", ".join(f"{cap}: {share:.1%}" for (_, cap), share in zip(CHANGES, shares, strict=True))
    return f"cap changing, {latency} ms: used {used}; refused {refused:.2%} of {verdict['requests']}", good


def main() -> None:
    """Run the campaign; exit 1 when anything did not hold."""
    # It uses what stands above.
    from tests.system.faults import sharing_campaign

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mixes", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=6)
    parser.add_argument("--first", type=int, default=1, help="seed of the first mix")
    parser.add_argument("--at-once", type=int, default=4)
    parser.add_argument("--shared", type=int, default=4, help="rounds of several jobs that share a limit")
    asked = parser.parse_args()
    signalling.unshield()  # else no run would hear that it is to stop, started by a script in the background
    with ThreadPoolExecutor(asked.at_once) as pool:
        jobs = [pool.submit(mix, seed) for seed in range(asked.first, asked.first + asked.mixes)]
        jobs += [pool.submit(pair, seed) for seed in range(asked.first, asked.first + asked.pairs)]
        jobs += [pool.submit(sharing_campaign.sharing, *one) for one in sharing_campaign.ROUNDS[: asked.shared]]
        jobs += [pool.submit(changing, latency) for latency in ((200, 400), (500, 1_000)) if asked.mixes]
        good = True
        for job in jobs:
            line, held = job.result()
            good = good and held
            print(line if held else f"NOT HELD: {line}", flush=True)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
