"""Figures of speed: rows and tasks a second, CPU a row, many in flight, streams, and how soon a command begins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from benchmark import rivals
from benchmark.figures import Figure, Goal, Value, median
from benchmark.machine import KEY, Machine, Spent

WIDTH = 64
HELP = ["-m", "batch", "--help"]


def in_turn(rounds: int, *programs: Callable[[], Spent]) -> list[list[Spent]]:
    """All of them one after the other, so often; what each took, by program."""
    found = [[one() for one in programs] for _ in range(rounds)]
    return [list(of_one) for of_one in zip(*found, strict=True)]


def program(machine: Machine, text: str, kind: str, rows: int, *, python: str, base: str = "api/paas/v4") -> Spent:
    """A program of others over the input that was written last.

    Args:
        machine: where.
        text: the program.
        kind: the first part of the path, by which the stub knows how to answer.
        rows: how many it has to do.
        python: the interpreter that has what it needs.
        base: the rest of the path.
    """
    words = [str(machine.folder / "rows.jsonl"), f"{machine.url}/{kind}/{base}", str(WIDTH), KEY]
    return machine.run([python, "-c", text, *words], rows)


def rows(machine: Machine) -> list[Value]:
    """Rows a second, JSONL to Parquet, over 20,000 rows, beside the bare loop and lm-deluge."""
    count = machine.rows(20_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("now", concurrency=WIDTH)

        def bare() -> Spent:
            return program(machine, rivals.BARE, "now", count, python=sys.executable)

        others = [bare] + ([partial(deluge, machine, count)] if "lm-deluge" in machine.peers else [])
        mine, loops, *theirs = in_turn(machine.rounds, lambda: machine.ours(count), *others)
    found = [
        median("rows a second on one core", [one.rate for one in mine], "rows/s"),
        median("CPU seconds for 1,000 rows", [one.cpu for one in mine], "s"),
        _ratio("rows/s", mine, loops, None, "a bare loop on the same transport that keeps nothing"),
    ]
    for one in theirs:
        found += [
            _ratio("rows/s", mine, one, Goal(4, 6), "lm-deluge"),
            _share("CPU a row", mine, one, None, "lm-deluge"),
        ]
    return found


def _ratio(what: str, mine: list[Spent], theirs: list[Spent], goal: Goal | None, who: str) -> Value:
    return median(what, [a.rate / b.rate for a, b in zip(mine, theirs, strict=True)], "x", goal, who)


def _share(what: str, mine: list[Spent], theirs: list[Spent], goal: Goal | None, who: str) -> Value:
    """Processor time as a part of theirs: on a machine that others use, too, it tells more than rates."""
    return median(what, [a.cpu / b.cpu for a, b in zip(mine, theirs, strict=True)], "x", goal, who)


def deluge(machine: Machine, count: int) -> Spent:
    """lm-deluge over the input that was written last."""
    return program(machine, rivals.DELUGE, "now", count, python=str(machine.peers["lm-deluge"]), base="v1")


def cpu(machine: Machine) -> list[Value]:
    """CPU for 1,000 rows over 200,000 rows, as a share of what lm-deluge takes for 20,000."""
    return _long_run(machine, tls=False, goal=Goal(0.22, 0.15, is_least=False))


def tls(machine: Machine) -> list[Value]:
    """The same over TLS."""
    return _long_run(machine, tls=True, goal=Goal(0.27, 0.19, is_least=False))


def _long_run(machine: Machine, *, tls: bool, goal: Goal) -> list[Value]:
    """Both in turn, each over its own number of rows; lm-deluge without TLS in any case."""
    few, many = machine.rows(20_000), machine.rows(200_000)

    def theirs() -> Spent:
        with machine.stub():
            machine.write_rows(few)
            return deluge(machine, few)

    def ours() -> Spent:
        with machine.stub(tls=tls):
            machine.write_rows(many)
            machine.job("now", concurrency=WIDTH)
            return machine.ours(many)

    mine, *others = in_turn(machine.rounds, ours, *([theirs] if "lm-deluge" in machine.peers else []))
    name = " over TLS" if tls else ""
    found = [
        median(f"CPU seconds for 1,000 of {many:,} rows{name}", [one.cpu for one in mine], "s"),
        median(f"peak memory{name}", [one.peak_mb for one in mine], "MB"),
    ]
    who = f"lm-deluge over {few:,} rows"
    return found + [_share(f"CPU a row{name}", mine, one, goal, who) for one in others]


def tasks(machine: Machine) -> list[Value]:
    """Tasks a second in lane `task` (submit, poll, collect), beside threads on zai-sdk."""
    count = machine.rows(20_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("tasks", lane="task", concurrency=WIDTH)
        if "sdk" not in machine.peers:
            return [median("tasks a second", [machine.ours(count).rate for _ in range(machine.rounds)], "tasks/s")]
        python = str(machine.peers["sdk"])
        mine, theirs = in_turn(
            machine.rounds,
            lambda: machine.ours(count),
            lambda: program(machine, rivals.ZAI, "tasks", count, python=python),
        )
    told = median("tasks a second", [one.rate for one in mine], "tasks/s")
    who = "zai-sdk in 64 threads"
    return [told, _ratio("tasks/s", mine, theirs, Goal(6, 10), who), _share("CPU a task", mine, theirs, None, who)]


def in_flight(machine: Machine) -> list[Value]:
    """2,000 in flight at 2 s each: the share of 1,000 rows a second, from the first request to the last answer."""
    count = machine.rows(20_000)
    with machine.stub():
        machine.write_rows(count)
        machine.job("late/2000", concurrency=2_000)
        shares, peaks = [], []
        for _ in range(machine.rounds):
            machine.reset()
            peaks.append(machine.ours(count).peak_mb)
            posts = machine.seen()["posts"]
            shares.append(100 * count / 1_000 / (max(posts) - min(posts) + 2))
    return [
        median("of 1,000 rows/s with 2,000 in flight", shares, "%", Goal(95, 98)),
        median("peak memory with 2,000 in flight", peaks, "MB", Goal(250, is_least=False)),
    ]


def streams(machine: Machine) -> list[Value]:
    """Streams of 200 chunks in lane `stream`, at once and dripping, beside the openai package."""
    count = machine.rows(1_000)
    python = str(machine.peers.get("sdk", sys.executable))
    found = []
    for kind, how in (("stream", "that arrive at once"), ("drip", "a chunk every millisecond")):
        with machine.stub():
            machine.write_rows(count)
            machine.job(kind, provider="openai", lane="stream", concurrency=WIDTH)
            mine, theirs = in_turn(
                min(3, machine.rounds),
                lambda: machine.ours(count),
                partial(program, machine, rivals.OPENAI, kind, count, python=python, base="v1"),
            )
        found.append(_ratio(f"streams/s {how}", mine, theirs, None, "the openai package"))
    return found


def start(machine: Machine) -> list[Value]:
    """How soon `--help` and the first request come, as multiples of `python -c pass` in the same run."""
    count = machine.rows(20_000)
    helps, firsts = [], []
    with machine.stub():
        machine.write_rows(count)
        machine.job("now", concurrency=WIDTH)
        machine.ours(count)  # so that all have their bytecode
        for _ in range(machine.rounds):
            bare = min(machine.run([sys.executable, "-c", "pass"], 1).wall_s for _ in range(3))
            helps.append(min(machine.run([sys.executable, *HELP], 1).wall_s for _ in range(3)) / bare)
            machine.reset()
            began = machine.ours(count).began
            firsts.append((machine.count()[1] - began) / bare)
    who = "python -c pass"
    return [
        median("time of --help", helps, "x", Goal(12, 8, is_least=False), who),
        median(f"time to the first request of {count:,} rows", firsts, "x", Goal(40, 25, is_least=False), who),
    ]


FIGURES = [
    Figure("rows", "rows a second, beside a bare loop and lm-deluge", rows),
    Figure("cpu", "CPU a row over 200,000 rows, beside lm-deluge", cpu, is_long=True),
    Figure("tls", "the same over TLS", tls, is_long=True),
    Figure("tasks", "tasks a second, beside zai-sdk", tasks),
    Figure("in-flight", "2,000 in flight at 2 s", in_flight),
    Figure("streams", "streams a second, beside the openai package", streams),
    Figure("start", "--help and the first request, beside a bare python", start),
]
