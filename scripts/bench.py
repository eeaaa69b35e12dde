"""Rows a second, CPU and memory of the whole command, beside a bare loop on the same transport in the same run.

The stub is pinned to one core, what is measured to the other. The bare loop reads the same file, sends the same
requests through the same client under a semaphore's worth of workers, decodes the replies and keeps nothing: what any
client on this transport must pay. Quote the ratios; absolute figures belong to the machine.

`--streams` measures lane `stream` instead, beside a program on the openai package that reads the same streams.
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
BLINK_MS = 200
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
from batch.core.records import Request
from batch.http.client import Client
from batch.providers.registry import dialect
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

STREAM_JOB = """
name = "streams"
[input]
path = "rows.jsonl"
[prompt]
user = "{{{{ text }}}}"
[model]
provider = "openai"
name = "gpt-5-mini"
lane = "stream"
base_url = "{url}"
[limits]
concurrency = {concurrency}
"""
# What a user of the openai package writes: workers over the rows, text and usage kept.
OPENAI = """
import asyncio, json, sys
import openai
async def main(path, url, width):
    lines = iter(open(path, "rb"))
    answers = []
    async with openai.AsyncOpenAI(base_url=url, api_key=sys.argv[4], max_retries=0) as client:
        async def work():
            for line in lines:
                pieces, usage, finish = [], None, None
                stream = await client.chat.completions.create(
                    model="gpt-5-mini", messages=[{"role": "user", "content": json.loads(line)["text"]}], stream=True,
                    stream_options={"include_usage": True})
                async for chunk in stream:
                    usage = chunk.usage or usage
                    for choice in chunk.choices:
                        pieces.append(choice.delta.content or "")
                        finish = choice.finish_reason or finish
                assert finish == "stop" and usage.total_tokens == 320
                answers.append(("".join(pieces), usage))
        async with asyncio.TaskGroup() as group:
            for _ in range(width):
                group.create_task(work())
    print(len(answers))
asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
"""
ARRIVALS = {"stream": "arriving at once", "drip": "arriving one by one, a millisecond apart"}


def measure(command: list[str], core: int, rows: int) -> dict[str, float]:
    """Run one command pinned to a core; rows a second, CPU-s per 1,000 rows and peak RSS in MB, of its whole tree."""
    began = time.perf_counter()
    environ = {**os.environ, "ZHIPUAI_API_KEY": KEY, "OPENAI_API_KEY": KEY}
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
    parser.add_argument("--rows", type=int, help="20,000; of streams 1,000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, help="64; of streams 32")
    parser.add_argument("--streams", action="store_true", help="lane stream, beside the openai package (minutes)")
    parser.add_argument("--large", action="store_true", help="add one run over 200,000 rows, for its memory")
    asked = parser.parse_args()
    asked.rows = asked.rows or (1_000 if asked.streams else 20_000)
    asked.concurrency = asked.concurrency or (32 if asked.streams else 64)
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
            if asked.streams:
                for how in ARRIVALS:
                    streams(folder, f"http://127.0.0.1:{port}/{how}/v1", asked, cores[0])
            else:
                start(asked.rounds)
                bench(folder, port, asked, cores[0])
        finally:
            stub.terminate()
            stub.wait(10)


def start(rounds: int) -> None:
    """The time of `--help`, which ought to come within a blink: 200 ms."""

    def best(*words: str) -> float:
        times = []
        for _ in range(4 * rounds):
            began = time.perf_counter()
            subprocess.run([sys.executable, *words], capture_output=True, cwd=ROOT, check=True)
            times.append(time.perf_counter() - began)
        return 1000 * min(times)

    bare, shown = best("-c", "pass"), best("-m", "batch", "--help")
    verdict = "within" if shown <= BLINK_MS else "OVER"
    print(
        f"--help comes after {shown:.0f} ms at best, {verdict} {BLINK_MS} ms; an interpreter alone takes {bare:.0f} ms"
    )


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


def streams(folder: Path, url: str, asked: argparse.Namespace, core: int) -> None:
    """The openai package and promptmill in turn over the same streams, then their medians and the ratios."""
    how = url.split("/")[3]
    write_rows(folder / "rows.jsonl", asked.rows)
    (folder / "job.toml").write_text(STREAM_JOB.format(url=url, concurrency=asked.concurrency), encoding="utf-8")
    theirs = [sys.executable, "-c", OPENAI, str(folder / "rows.jsonl"), url, str(asked.concurrency), KEY]
    found: dict[str, list[tuple[float, float]]] = {"openai": [], "promptmill": []}
    for number in range(asked.rounds):
        for who, command in (("openai", theirs), ("promptmill", ours(folder, f"out-{how}-{number}"))):
            one = measure(command, core, asked.rows)
            found[who].append((1000 / one["rows/s"], one["CPU-s/1000"]))
    print(f"{asked.rows} streams of 200 chunks {ARRIVALS[how]}, {asked.concurrency} in flight, {asked.rounds} rounds")
    medians = {
        who: [statistics.median(figure) for figure in zip(*rounds, strict=True)] for who, rounds in found.items()
    }
    for who, (wall, cpu) in medians.items():
        print(f"  {who:12}  {wall:8.3f} s  {cpu:8.3f} CPU-s  per 1,000 streams, start included, median")
    wall, cpu = (ours / theirs for ours, theirs in zip(medians["promptmill"], medians["openai"], strict=True))
    print(f"  promptmill needs {wall:.2f} of the openai package's time and {cpu:.2f} of its CPU")


def ours(folder: Path, out: str) -> list[str]:
    """The command as a user gives it."""
    return [sys.executable, "-m", "batch", "run", str(folder), "-o", str(folder / out), "--progress", "none"]


if __name__ == "__main__":
    main()
