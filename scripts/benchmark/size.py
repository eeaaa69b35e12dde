"""Figures of size: memory over many rows and long ones, an even pace over millions, continuing, rewriting."""

from __future__ import annotations

import json
from statistics import harmonic_mean
from typing import Final

from benchmark.figures import Figure, Goal, Value
from benchmark.machine import Machine

TURNS: Final = 10
"""In how many pieces a tenth of the rows is measured."""


def memory(machine: Machine) -> list[Value]:
    """Peak memory over a million rows with answers of 200 bytes, and how much more that is than 20,000 take."""
    few, many = machine.rows(20_000), machine.rows(1_000_000)
    with machine.stub():
        peaks = []
        for count in (few, many):
            machine.write_rows(count)
            machine.job("short")
            peaks.append(machine.ours(count).peak_mb)
    return [
        Value(f"peak memory over {many:,} rows", peaks[1], "MB", Goal(180, 150, is_least=False)),
        Value("more than", peaks[1] - peaks[0], "MB", Goal(20, is_least=False), f"{few:,} rows"),
    ]


def long_rows(machine: Machine) -> list[Value]:
    """Peak memory over 1,000 rows of 100 kB, and over 300 prompts with a file of 1 MB in each, answered after 2 s."""
    goal = Goal(200, 160, is_least=False)
    found = []
    with machine.stub():
        count = machine.rows(1_000)
        machine.write_rows(count, size=100_000)
        machine.job("now")
        found.append(Value(f"peak memory over {count:,} rows of 100 kB", machine.ours(count).peak_mb, "MB", goal))
        count = machine.rows(300)
        files = machine.folder / "files"
        files.mkdir(exist_ok=True)
        with (machine.folder / "rows.jsonl").open("w", encoding="utf-8") as rows:
            for number in range(count):
                (files / f"{number}.txt").write_text(f"{number} and on. ".ljust(1_000_000, "x"), encoding="utf-8")
                rows.write(json.dumps({"id": number, "name": f"files/{number}.txt"}) + "\n")
        machine.job("late/2000", user="{{ file(name) }}")
        found.append(Value(f"peak memory over {count:,} prompts of 1 MB", machine.ours(count).peak_mb, "MB", goal))
    return found


def drift(machine: Machine) -> list[Value]:
    """The rate of the last tenth of two million rows, as a share of that of the first.

    The first tenth is that of another run, which begins when the long one has come so far; the two take turns, each
    halted while the other goes on. A machine that is slower after six minutes is no drift of the program.
    """
    count = machine.rows(2_000_000)
    turn = count // 10 // TURNS
    first: list[float] = []
    last: list[float] = []
    with machine.stub():
        machine.write_rows(count)
        machine.job("now")
        words = [*machine.command(), "--progress", "none"]
        with machine.halted(words, count - count // 10, "state") as long:
            beside = [*machine.command(machine.folder / "beside"), "--progress", "none"]
            with machine.halted(beside, 1, "beside-state") as fresh:
                for _ in range(TURNS - 1):
                    last.append(machine.go_on(long, turn))
                    first.append(machine.go_on(fresh, turn))
    share = harmonic_mean(last) / harmonic_mean(first)
    return [Value(f"rate of the last {count // 10:,} rows", share, "x", Goal(0.97, 1), f"the first {count // 10:,}")]


def again(machine: Machine) -> list[Value]:
    """How soon the first new request comes when ten million rows go on half done, and what the command takes then.

    The first half is bought, and not made up: what a ledger holds is the business of the program that writes it. Of the
    second a tenth is, for by then all is in memory that will be.
    """
    count = machine.rows(10_000_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("short")
        machine.kill_after(count // 2)
        machine.reset()
        spent = machine.kill_after(count // 20, fresh=False)
        first = machine.count()[1] - spent.began
    return [
        Value(f"first request when {count:,} rows go on half done", first, "s", Goal(3, 1, is_least=False)),
        Value("peak memory of going on", spent.peak_mb, "MB", Goal(250, is_least=False)),
    ]


def rewrite(machine: Machine) -> list[Value]:
    """Peak memory when a column of the input changes that nobody asks about, so that every part is written anew."""
    count = machine.rows(1_000_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("short", keys='key = "id"')
        machine.ours(count)
        before = {path: path.stat().st_mtime_ns for path in (machine.out / "results").iterdir()}
        machine.write_rows(count, channel="web")
        machine.reset()
        spent = machine.ours(count, fresh=False)
        if machine.count()[0]:
            raise SystemExit("bench: rows were asked again, and nothing but a column beside them had changed")
    if any(path.exists() and path.stat().st_mtime_ns == at for path, at in before.items()):
        raise SystemExit("bench: a part was not written anew")
    return [Value(f"peak memory of rewriting {count:,} rows", spent.peak_mb, "MB", Goal(200, is_least=False))]


def batches(machine: Machine) -> list[Value]:
    """Peak memory over a million rows in batches of 50,000, and that of the simulated provider that answers them."""
    count = machine.rows(1_000_000)
    with machine.simulator() as peak_mb:
        machine.write_rows(count, size=200)
        machine.job("", lane="bulk")
        spent = machine.ours(count)
        theirs = peak_mb()
    return [
        Value(f"peak memory over {count:,} rows in batches", spent.peak_mb, "MB", Goal(250, is_least=False)),
        Value("CPU seconds for 1,000 rows in batches", spent.cpu, "s"),
        Value("peak memory of the simulator meanwhile", theirs, "MB", Goal(400, is_least=False)),
    ]


FIGURES = [
    Figure("memory", "peak memory, 20,000 to 1,000,000 rows", memory, is_long=True),
    Figure("long-rows", "peak memory with rows of 100 kB and prompts of 1 MB", long_rows),
    Figure("drift", "rate of the last 200,000 of 2,000,000 rows beside the first", drift, is_long=True),
    Figure("again", "going on with 10,000,000 rows, half done", again, is_long=True),
    Figure("batches", "peak memory, 1,000,000 rows in batches of 50,000 of the simulator", batches, is_long=True),
    Figure("rewrite", "rewriting every part of 1,000,000 rows", rewrite, is_long=True),
]
