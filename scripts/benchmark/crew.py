"""What worker processes gain: the same job with one process and with two, on the same cores as the provider.

Owns these figures, and the account behind them: what the core, its workers and the server spend on a row says how much
all cores together can give, however well the work is spread.
"""

from __future__ import annotations

import os
from functools import partial

from benchmark.figures import Figure, Goal, Value, median
from benchmark.machine import Apart, Machine

WIDTH = 64
WORKERS = 2
GOAL = Goal(1.5)
ROUNDS = 3
ROWS = {"now": 40_000, "stream": 16_000}
"""Some seconds each: the command and its workers start one after the other, on half of the cores."""


def workers(machine: Machine) -> list[Value]:
    """Rows and streams a second with two workers, as multiples of one process; the CPU of a row by who spends it."""
    cores = len(os.sched_getaffinity(0))
    found = []
    for what, kind, how in (
        ("rows", "now", partial(machine.job, "now")),
        ("streams", "stream", partial(machine.job, "stream", provider="openai", lane="stream")),
    ):
        count = machine.rows(ROWS[kind])
        with machine.stub(everywhere=True):
            machine.write_rows(count)
            how(concurrency=WIDTH)
            both = [
                (machine.apart(count, 1), machine.apart(count, WORKERS)) for _ in range(min(ROUNDS, machine.rounds))
            ]
        found += _told(what, both, cores)
    return found


def _told(what: str, both: list[tuple[Apart, Apart]], cores: int) -> list[Value]:
    """The lines of one kind of row."""
    gains = [many.spent.rate / one.spent.rate for one, many in both]
    most = [min(cores / many.cpu_s, 1 / many.core_s) * one.core_s for one, many in both]
    lines = [
        median(f"{what}/s with {WORKERS} workers", gains, "x", GOAL, f"one process, {cores} cores with the server"),
        median(f"{what}/s at most, by CPU", most, "x", None, "each process has one core, the server among them"),
        median(f"CPU of 1,000 {what}: one process", [one.per_thousand(one.core_s) for one, _ in both], "s"),
    ]
    for who, spent in (("the core", "core_s"), ("all workers", "workers_s"), ("the server", "server_s")):
        values = [many.per_thousand(getattr(many, spent)) for _, many in both]
        lines.append(median(f"CPU of 1,000 {what}: {who}, with {WORKERS} workers", values, "s"))
    return lines


FIGURES = [Figure("workers", "two worker processes beside one process", workers, is_long=True)]
