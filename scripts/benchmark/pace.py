"""Figures of pace and money: the share of a limit that is used, polls a task, rows paid again, the cost."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from decimal import Decimal
from itertools import accumulate

from benchmark.figures import Figure, Goal, Value
from benchmark.machine import ROOT, Machine

PER_MINUTE = 3_000
TOKENS = 184
PRICE = Decimal(100)
"""Of GLM-4, in yuan for a million tokens."""


def limit(machine: Machine) -> list[Value]:
    """1,500 rows under 3,000 requests a minute, at a server that takes 200 ms: the share used, the busiest minute."""
    count = machine.rows(1_500)
    with machine.stub():
        machine.write_rows(count)
        machine.job("late/200", limits=f"requests_per_minute = {PER_MINUTE}")
        machine.ours(count)
        posts = sorted(machine.seen()["posts"])
    took = posts[-1] - posts[0]
    most = max(sum(at <= other < at + 60 for other in posts) for at in posts[:: max(1, count // 50)])
    return [
        Value("of a limit of 3,000 a minute used", 100 * (count - 1) / (PER_MINUTE / 60) / took, "%", Goal(98, 99)),
        Value("requests in the busiest minute", most, "", Goal(PER_MINUTE, is_least=False)),
    ]


def polls(machine: Machine) -> list[Value]:
    """Polls a task and what a task waits for being collected, with tasks of 10 to 30 s, log-normal."""
    count = machine.rows(2_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("slow", lane="task", concurrency=200)
        machine.ours(count)
        seen = machine.seen()
    each, takes = seen["polls"] / count, [took for took, _ in seen["waits"]]
    late = sum(waited - took for took, waited in seen["waits"]) / sum(takes)
    best = least_late(takes, each)
    return [
        Value("polls a task", each, "", Goal(4, is_least=False), "tasks of 10 to 30 s, log-normal"),
        Value("later than they are done", 100 * late, "%", Goal(8, is_least=False), "of the time of a task"),
        Value("as late as with the best times there are", late / best, "x", None, f"{best:.1%} with so many polls"),
    ]


def least_late(takes: list[float], polls: float, step_s: float = 0.1) -> float:
    """How late results must be asked for at the least, as a part of what tasks take, by who knows how long they take.

    The best times are searched for each price of a poll, and the two prices around so many polls a task; a part of the
    tasks may be polled by the times of the one, the rest by those of the other.

    Args:
        takes: how long each task took, in seconds.
        polls: a task may take on average.
        step_s: polls are made at multiples of it.
    """
    steps = math.ceil(max(takes) / step_s)
    done = [0] * (steps + 1)
    spent = [0.0] * (steps + 1)
    for took in takes:
        done[math.ceil(took / step_s)] += 1
        spent[math.ceil(took / step_s)] += took
    done, spent = list(accumulate(done)), list(accumulate(spent))
    low, high = 0.0, max(takes)
    many = few = (0.0, 0.0)
    for _ in range(25):
        price = (low + high) / 2
        # From the last time to the first: what is lost after a poll at this time that found some tasks not done.
        best, asked = [0.0] * (steps + 1), [0.0] * (steps + 1)
        for at in range(steps - 1, -1, -1):
            left = done[-1] - done[at]
            best[at], to = min(
                (price * left + then * step_s * (done[then] - done[at]) - (spent[then] - spent[at]) + best[then], then)
                for then in range(at + 1, steps + 1)
            )
            asked[at] = left + asked[to]
        each, late = asked[0] / len(takes), (best[0] - price * asked[0]) / sum(takes)
        if each > polls:
            low, many = price, (each, late)
        else:
            high, few = price, (each, late)
    share = (polls - few[0]) / (many[0] - few[0]) if many[0] else 0.0
    return few[1] + share * (many[1] - few[1])


def kill(machine: Machine) -> list[Value]:
    """Rows paid again after kill -9 in the middle of 20,000 rows with 64 in flight, and the error of the cost."""
    count = machine.rows(20_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("now", limits="max_attempts = 3")
        machine.kill_after(count // 2)
        machine.ours(count, fresh=False)
        paid = machine.count()[0]
    command = [sys.executable, "-m", "batch", "cost", str(machine.out), "--json"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True, cwd=ROOT).stdout)["totals"][0]
    answered = (paid - told["unknown_calls"]) * TOKENS * PRICE / 1_000_000
    bytes_ = sum(path.stat().st_size for path in machine.out.rglob("*") if path.is_file())
    return [
        Value("rows paid again after kill -9", paid - count, "rows", Goal(64, is_least=False), "64 in flight"),
        Value("error of the cost", float(Decimal(told["cost"]) - answered), "CNY", None, f"{answered} CNY of answers"),
        Value("of calls without an answer, told beside it", told["unknown_calls"], "calls"),
        Value("on disk for a million rows", bytes_ / count, "MB"),
    ]


FIGURES = [
    Figure("limit", "the share of a known limit that is used", limit),
    Figure("polls", "polls a task and extra delay", polls),
    Figure("kill", "rows paid again after a kill, and the error of the cost", kill),
]
