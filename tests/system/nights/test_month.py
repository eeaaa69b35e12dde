"""A month of nights that are bought: two models, a price that changes in the middle, failures, and what is asked of it afterwards.

The questions are those of the README, given to the command line as they stand there. What is answered is held against
the simulator's books alone, at prices that are typed here a second time.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any, Final

import anyio

from batch.job.job import Job
from batch.run.command import run
from tests.simulator.conftest import Start, start
from tests.support import bills, processes
from tests.support.nightly import MODELS, NIGHTS, PRICES, TEAMS
from tests.system.nights.cron import Dated
from tests.system.nights.house import BILLED_IN
from tests.system.runs.conftest import ROOT, Mill

__all__ = ["start"]

NEW_ROWS: Final = 4
"""Each night, asked of both models."""
CHANGED: Final = date(2026, 10, 16)
SCENARIO: Final = """
cached_prefix = true
[[fault]]
behaviour = 74
rows = ["nonsense"]
[[fault]]
behaviour = 28
status = 500
rows = ["flaky"]
first = 2
[[fault]]
behaviour = 34
rows = ["lost"]
first = 1
"""
"""Labels that the job does not know, answers that are paid for in vain; errors that last a night; lost answers."""
KINDS: Final = ("plain", "nonsense", "plain", "flaky", "plain", "lost", "plain")
Record = dict[str, Any]


def cost(record: Record, day: date, model: str | None = None) -> Decimal:
    """What a call costs by the price file, in yuan."""
    fresh, out, cached = {
        "glm-4-air": ("0.5", "0.5", "0.5"),
        "glm-4-plus": ("5", "5", "2.5") if day < CHANGED else ("4", "6", "1"),
    }[model or record["model"]]
    hit = Decimal(record["cached_tokens"])
    sums = (record["prompt_tokens"] - hit) * Decimal(fresh) + hit * Decimal(cached)
    return Decimal((sums + record["completion_tokens"] * Decimal(out)) / 1_000_000)


class Nightly(Mill):
    """The job of a team, started by cron every night at two o'clock in Shanghai."""

    def __init__(self, root: Path, sim: Any) -> None:
        super().__init__(root / "job", sim)
        self.root, self.out = root, root / "tickets"
        self.key, self.user = "id", "{{ text }}"
        self.limits = {"concurrency": 8, "max_attempts": 2}
        self.parameters = {"max_tokens": 64}
        self.more = '[labels]\nnames = ["billing", "delivery", "other"]\nreasks = 1\n'
        self.rows: list[Record] = []
        self.nights: list[list[Record]] = []
        """What the provider noted in each night, at the time of that night."""
        (root / "prices.toml").write_text(PRICES, encoding="utf-8")

    def save(self) -> Path:
        folder = super().save()
        text = (folder / "job.toml").read_text("utf-8").replace('name = "glm-4"', f"names = {json.dumps(MODELS)}")
        (folder / "job.toml").write_text(f'prices = "../prices.toml"\n{text}', encoding="utf-8")
        return folder

    def night(self) -> int:
        """New tickets, and the command at its date; its exit code."""
        first = len(self.rows)
        for n in range(first, first + NEW_ROWS):
            text = f"Ticket {n} is {KINDS[n % len(KINDS)]}: my {('billing', 'delivery', 'order')[n % 3]} is wrong"
            self.rows.append({"id": f"T{n}", "team": TEAMS[n % 3 == 0], "text": text})
        self.write(self.rows)
        now = datetime(2026, 9, 30, 18, tzinfo=UTC) + timedelta(days=len(self.nights))
        seen, began = len(self.books()), datetime.now(UTC)
        begin = partial(run, Job.load(self.save()), environ=self.environ, clock=Dated(now))
        report = anyio.run(begin, backend_options={"use_uvloop": True})
        ahead = (now - began).total_seconds()
        self.nights.append([{**record, "at": record["at"] + ahead} for record in self.books()[seen:]])
        return report.exit_code

    def billed(self) -> Iterator[tuple[Record, date]]:
        """The calls that were paid for, each at the prices of its day, with that day."""
        for record in (record for night in self.nights for record in night if record["billed"]):
            day = datetime.fromtimestamp(record["at"], BILLED_IN).date()
            yield {**record, "cost": f"{cost(record, day):f}"}, day

    def ask(self, command: str) -> Record:
        """A question of the README, in a process of its own."""
        words = [sys.executable, "-m", "batch", *shlex.split(command), "--json"]
        process = processes.start(words, cwd=self.root)
        out, err = process.communicate(timeout=120)
        assert (process.returncode, err) == (0, "")
        found: Record = json.loads(out)
        return found


def test_thirty_nights_that_were_bought_answer_the_questions_of_the_readme(tmp_path: Path, start: Start) -> None:
    """What support spent by day, what failed rows cost, what the other model had cost; and the bill is right."""
    mill = Nightly(tmp_path, start(SCENARIO))
    codes = {mill.night() for _ in range(NIGHTS)}
    assert codes == {0, 1}
    assert [run["state"] for run in mill.runs()] == ["finished"] * NIGHTS
    rows = [row[:2] for row in mill.results("row_number, variant")]
    assert rows == [(n, model) for n in range(NEW_ROWS * NIGHTS) for model in MODELS]
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    by_day, by_status, as_other = map(mill.ask, re.findall(r"^\$ promptmill (cost tickets .*)$", text, re.MULTILINE))

    asked = {name: (row, variant) for name, row, variant in mill.calls("client_call_id, row_id, variant", "true")}
    lost = {name for (name,) in mill.calls("client_call_id", "state = 'unknown'")}
    teams = {row["id"]: row["team"] for row in mill.rows}
    status = {found[:2]: found[2] for found in mill.results("row_id, variant, status")}
    days: defaultdict[str, Decimal] = defaultdict(Decimal)
    standing: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    other: defaultdict[str, Decimal] = defaultdict(Decimal)
    open_bill = Decimal(0)
    for record, day in mill.billed():
        name, paid = record["client_call_id"], Decimal(record["cost"])
        if name in lost:
            open_bill += paid
            continue
        row, variant = asked[name]
        assert variant == record["model"]
        if teams[row] == "support":
            days[day.isoformat()] += paid
        standing[status[row, variant], variant] += paid
        other[variant] += cost(record, day, "glm-4-air")
    assert len(days) == NIGHTS
    assert lost
    assert {group["day"]: Decimal(group["cost"]) for group in by_day["groups"]} == days
    groups = {(group["status"], group["model"]): Decimal(group["cost"]) for group in by_status["groups"]}
    assert groups == standing
    assert {key[0] for key in groups} == {"ok", "failed"}
    (total,) = by_status["totals"]
    assert Decimal(total["failed_cost"]) == sum(standing["failed", model] for model in MODELS) > 0
    assert Decimal(total["cost"]) + open_bill == sum(Decimal(record["cost"]) for record, _ in mill.billed())
    assert 0 < open_bill <= Decimal(total["unknown_at_most"])
    assert {group["model"]: Decimal(group["new_cost"]) for group in as_other["groups"]} == other

    plus = {
        (day < CHANGED, record["cached_tokens"] > 0) for record, day in mill.billed() if record["model"] == MODELS[0]
    }
    assert plus >= {(True, True), (False, True)}, "the cache was never used, or the price never changed"
    bills.agree([mill.out], [record for record, _ in mill.billed()], open_=lost)
