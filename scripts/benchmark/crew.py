"""What worker processes gain: the same job with one process and with two, on the same cores as the provider.

Owns these figures, and the account behind them: what the core, its workers and the server spend on a row says how much
all cores together can give, however well the work is spread.
"""

from __future__ import annotations

import os
from functools import partial

from benchmark.figures import Figure, Goal, Value, median
from benchmark.machine import Apart, Machine

WORKERS = 2
GOAL = Goal(1.5)
ROUNDS = 3
ROWS, STREAMS = 40_000, 16_000
"""Some seconds of each: the command and its workers start one after the other, on half of the cores."""
WIDTH, WIDE = 64, 256
"""Calls at a time. Whoever gets thousands of streams a second has thousands under way, for each lasts a while; those of
the stub take no time."""


def workers(machine: Machine) -> list[Value]:
    """Rows and streams a second with two workers, as multiples of one process; the CPU of a row by who spends it."""
    cores = len(os.sched_getaffinity(0))
    found = []
    for what, rows, job in (
        ("rows", ROWS, partial(machine.job, "now", concurrency=WIDTH)),
        ("streams", STREAMS, partial(machine.job, "stream", provider="openai", lane="stream", concurrency=WIDE)),
    ):
        count = machine.rows(rows)
        with machine.stub(everywhere=True):
            machine.write_rows(count)
            job()
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
