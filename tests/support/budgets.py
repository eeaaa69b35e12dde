"""Random budgets, and what must hold of runs under them by the provider's own books: never above, and all go on."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from batch.job.budgetspec import BudgetSpec
from tests.system.runs.conftest import Mill, together

Books = Callable[[], list[dict[str, Any]]]
SCENARIO = """
seed = {seed}
[latency]
chat_ms = [0, 4]
task_ms = [0, 10]
submit_ms = [0, 2]
batch_ms = [0, 60]
[[fault]]
behaviour = 34
rate = 0.06
[[fault]]
behaviour = 33
rate = 0.03
[[fault]]
behaviour = 28
rate = 0.05
"""
"""Answers that are cut off and billed all the same, connections that are reset, errors that pass."""
MOST_NIGHTS = 6
STEPS = ("bulk.written", "bulk.built", "bulk.uploaded", "bulk.answered", "bulk.created", "bulk.ended", "bulk.line:4")


def cost(record: dict[str, Any]) -> Decimal:
    return Decimal(record["cost"])


def drawn(seed: int) -> tuple[dict[str, Any], int, str]:
    """The keys of `[budget]` of one trial, how many rows each of its two jobs has, and their lane."""
    chance = random.Random(seed)
    rows = chance.randint(8, 40)
    # Every fifth trial is in batches, of a model that has a price for these: a fortieth of the other's, and a twentieth
    # for what they leave behind.
    cheaper = 30 if seed % 5 == 0 else 1
    about = Decimal("0.0062") * rows / cheaper  # what one job costs, roughly
    budget: dict[str, Any] = {}
    kinds = chance.sample(["max_cost", "max_tokens", "max_rows", "per_day"], chance.randint(1, 3))
    if "max_cost" in kinds:
        budget["max_cost"] = f"{max(Decimal('0.04') / cheaper, about * chance.randint(10, 90) / 100):.6f} CNY"
    if "max_tokens" in kinds:
        budget["max_tokens"] = max(400, int(about * cheaper * 10_000) * chance.randint(10, 90) // 100)
    if "max_rows" in kinds:
        budget["max_rows"] = chance.randint(1, rows)
    if "per_day" in kinds:
        budget["per_day"] = f"{max(Decimal('0.08') / cheaper, about * chance.randint(20, 180) / 100):.6f} CNY"
    return budget, rows, chance.choice(["sync", "stream", "task"] if cheaper == 1 else ["bulk", "bulk,sync"])


def give(mill: Mill, budget: dict[str, Any], state: Path) -> None:
    """Write a budget into a job; answers have an end, and the jobs of a trial share a state folder."""
    lines = [f"{key} = {f'{value!r}' if isinstance(value, str) else value}" for key, value in budget.items()]
    mill.parameters = {"max_tokens": 48}
    bulk = ["[bulk]", "lines = 10", "wave_wait_s = 0.2"] if mill.lane.startswith("bulk") else []
    mill.more = "\n".join([*bulk, *(["[budget]", *lines] if lines else [])])
    mill.environ["PROMPTMILL_STATE"] = str(state)


def hold(mills: Sequence[Mill], books: Sequence[Books], seed: int, state: Path, *, kills: bool = False) -> str:
    """Run two jobs at a time, night after night, until all rows are answered; nothing may ever be above the budget.

    Args:
        mills: the jobs.
        books: what tells, of each, what its provider was asked.
        seed: of the trial.
        state: the folder that the jobs share.
        kills: of trials in batches, kill each job's first command at a step of a batch; the next one goes on.

    Returns:
        What was drawn and what came of it, in a line.
    """
    budget, rows, lane = drawn(seed)
    spec = BudgetSpec(**_parsed(budget))
    day = Decimal(0)
    before = [Decimal(0), Decimal(0)]
    for place, mill in enumerate(mills):
        mill.lane = lane
        if lane.startswith("bulk"):
            mill.model = "glm-4-plus"
        mill.limits["concurrency"] = 64
        mill.questions(rows, first=1_000 * place)
    nights, codes = 0, []
    while nights < MOST_NIGHTS:
        nights += 1
        for mill in mills:
            give(mill, budget, state)
        seen = [len(book()) for book in books]
        if kills and nights == 1 and lane.startswith("bulk"):
            kill_each(mills, books, seed, seen)
        reports = together(mills)
        codes = [report.exit_code for report in reports]
        for place, book in enumerate(books):
            records = [record for record in book()[seen[place] :] if record["billed"]]
            spent = sum(map(cost, records), Decimal(0))
            tokens = sum(record["prompt_tokens"] + record["completion_tokens"] for record in records)
            day += spent
            if spec.max_cost is not None:
                assert spent <= Decimal(spec.max_cost.units).scaleb(-12), f"seed {seed}: {spent} in one run"
            if spec.max_tokens is not None:
                assert tokens <= spec.max_tokens, f"seed {seed}: {tokens} tokens in one run"
            if spec.max_rows is not None:
                assert reports[place].totals.rows_asked <= spec.max_rows, f"seed {seed}"
            totals = reports[place].totals
            booked = totals.cost.get("CNY", Decimal(0))
            assert booked <= spent <= booked + totals.cost_bound.get("CNY", Decimal(0)), f"seed {seed}: the bill"
            before[place] += spent
        if spec.per_day is not None:
            assert day <= Decimal(spec.per_day.units).scaleb(-12), f"seed {seed}: {day} on one day"
        assert set(codes) <= {0, 3}, f"seed {seed}: exit {codes}"
        if codes == [0, 0]:
            break
        budget.pop("per_day", None)  # the next morning
        if nights == MOST_NIGHTS - 1:
            budget = {}
        spec = BudgetSpec(**_parsed(budget))
    assert codes == [0, 0], f"seed {seed}: still {codes} after {nights} nights"
    for mill, book in zip(mills, books, strict=True):
        mill.check_table(rows)
        mill.check_bill(book())
        assert set(mill.one("status")) == {"ok"}
    return f"seed {seed}: {drawn(seed)[0]}, {rows} rows, {lane}: {nights} nights, {before[0] + before[1]} CNY"


def kill_each(mills: Sequence[Mill], books: Sequence[Books], seed: int, seen: list[int]) -> None:
    """Kill each job's command at a step of a batch, one after the other by seed; the next command goes on.

    Args:
        mills: the jobs.
        books: of their providers.
        seed: of the trial.
        seen: how much of each book is of runs before; a command that never came to its step was a run of its own.
    """
    for place, mill in enumerate(mills):
        code = mill.command(failpoint=STEPS[(seed // 5 + place) % len(STEPS)])[0]
        if code != -9:
            seen[place] = len(books[place]())


def _parsed(budget: dict[str, Any]) -> dict[str, Any]:
    from batch.job.budgetspec import Amount

    return {key: Amount.parse(value) if isinstance(value, str) else value for key, value in budget.items()}
