"""Rows a second, CPU and memory of the whole command, beside a bare loop on the same transport in the same run.

The stub is pinned to one core, what is measured to the other. The bare loop reads the same file, sends the same
requests through the same client under a semaphore's worth of workers, decodes the replies and keeps nothing: what any
client on this transport must pay. Quote the ratios; absolute figures belong to the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
KEY = "bench.0123456789abcdef"
JOB = """
name = "bench"
[input]
path = "rows.jsonl"
[prompt]
user = "{{{{ text }}}}"
[model]
provider = "glm"
name = "glm-4"
base_url = "http://127.0.0.1:{port}/api/paas/v4"
[limits]
concurrency = {concurrency}
"""
BARE = """
import sys, anyio, msgspec
from batch.records import Request
from batch.wire.http import Client
from batch.wire.providers import dialect
async def main(path, url, width):
    speak, base = dialect("glm", base_url=url, key=sys.argv[4])
    client = Client(base, call_timeout_s=600)
    lines = iter(open(path, "rb"))
    done = 0
    async def work():
        nonlocal done
        for line in lines:
            row = msgspec.json.decode(line)
            asked = Request(model="glm-4", messages=[{"role": "user", "content": row["text"]}])
            reply = speak.read_chat(await client.exchange(speak.chat(asked, "bench")))
            assert reply.usage.total_tokens == 184
            done += 1
    async with anyio.create_task_group() as group:
        for _ in range(width):
            group.start_soon(work)
    await client.aclose()
    print(done)
anyio.run(main, sys.argv[1], sys.argv[2], int(sys.argv[3]))
"""


def measure(command: list[str], core: int, rows: int) -> dict[str, float]:
    """Run one command pinned to a core; rows a second, CPU-s per 1,000 rows and peak RSS in MB, of its whole tree."""
    began = time.perf_counter()
    environ = {**os.environ, "ZHIPUAI_API_KEY": KEY}
    process = subprocess.Popen(["taskset", "-c", str(core), *command], env=environ, stdout=subprocess.DEVNULL, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"bench: {' '.join(command)} ended with {process.returncode}")
    wall = time.perf_counter() - began
    return {
        "rows/s": rows / wall,
        "CPU-s/1000": (usage.ru_utime + usage.ru_stime) / rows * 1000,
        "RSS MB": usage.ru_maxrss / 1024,
    }


def write_rows(path: Path, rows: int) -> None:
    """Rows of about 500 bytes, all different."""
    with path.open("w", encoding="utf-8") as file:
        for number in range(rows):
            text = f"Ticket {number}: " + "the customer writes about an order that has not arrived yet. " * 6
            file.write(json.dumps({"id": number, "text": text, "channel": "mail"}) + "\n")


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--large", action="store_true", help="add one run over 200,000 rows, for its memory")
    asked = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="promptmill-bench-") as name:
        folder = Path(name)
        stub = subprocess.Popen(
            ["taskset", "-c", str(cores[-1]), sys.executable, str(ROOT / "scripts/bench_stub.py"), str(folder / "port")]
        )
        try:
            while not (folder / "port").exists():
                time.sleep(0.02)
            port = (folder / "port").read_text(encoding="ascii")
            bench(folder, port, asked, cores[0])
        finally:
            stub.terminate()
            stub.wait(10)


def bench(folder: Path, port: str, asked: argparse.Namespace, core: int) -> None:
    """Bare loop and promptmill in turn, then their medians and the ratio."""
    write_rows(folder / "rows.jsonl", asked.rows)
    (folder / "job.toml").write_text(JOB.format(port=port, concurrency=asked.concurrency), encoding="utf-8")
    url = f"http://127.0.0.1:{port}/api/paas/v4"
    bare = [sys.executable, "-c", BARE, str(folder / "rows.jsonl"), url, str(asked.concurrency), KEY]
    found: dict[str, list[dict[str, float]]] = {"bare loop": [], "promptmill": []}
    for number in range(asked.rounds):
        found["bare loop"].append(measure(bare, core, asked.rows))
        found["promptmill"].append(measure(ours(folder, f"out-{number}"), core, asked.rows))
    print(f"{asked.rows} rows JSONL to Parquet, {asked.concurrency} in flight, median of {asked.rounds} rounds")
    medians = {}
    for who, rounds in found.items():
        medians[who] = {figure: statistics.median(one[figure] for one in rounds) for figure in rounds[0]}
        print(f"  {who:12}" + "".join(f"  {value:10.3f} {figure}" for figure, value in medians[who].items()))
    ratio = medians["promptmill"]["rows/s"] / medians["bare loop"]["rows/s"]
    print(f"  promptmill makes {ratio:.2f} of the bare loop's rows/s, start, ledger and Parquet included")
    if asked.large:
        write_rows(folder / "rows.jsonl", 200_000)
        large = measure(ours(folder, "out-large"), core, 200_000)
        print("  200,000 rows" + "".join(f"  {value:10.3f} {figure}" for figure, value in large.items()))
        print(f"  memory grew by {large['RSS MB'] - medians['promptmill']['RSS MB']:.1f} MB from {asked.rows} rows")


def ours(folder: Path, out: str) -> list[str]:
    """The command as a user gives it."""
    return [sys.executable, "-m", "batch", "run", str(folder), "-o", str(folder / out), "--progress", "none"]


if __name__ == "__main__":
    main()
