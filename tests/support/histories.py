"""Histories of whole commands over one output folder, cut after any commit of the ledger, and what must follow.

A history is a few commands over one output folder: input that grows and changes, another template, a limit, rows that
fail for now, for good, or without anybody knowing what they cost. Every commit leaves a copy of the folder, which is
what a kill at that moment leaves. From any copy, the same command again, or the next one of the history at once, must
come to the table the undisturbed history came to.
"""

from __future__ import annotations

import json
import os
import shutil
import urllib.request
import zlib
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow.parquet as pq
from hypothesis import Phase
from hypothesis import strategies as st

from batch.ledger.writer import Ledger
from batch.run import command as run_command
from tests.support import bills
from tests.support.ledgers import read
from tests.system.faults.stage import CONCURRENCY, TOOLS, command
from tests.system.runs.conftest import Mill

SCENARIO = """
[latency]
chat_ms = [0, 2]
task_ms = [1, 5]
[[fault]]
behaviour = 28
status = 500
rows = ["struck"]
[[fault]]
behaviour = 34
rows = ["severed"]
[[fault]]
behaviour = 48
form = "missing"
rows = ["silent"]
"""
QUESTIONS = {
    "plain": "Tell me about {n}.",
    "tool": "What is {n} plus {twice}?",
    "struck": "This one is struck, {n}.",  # 500: failed, worth another try
    "severed": "This one is severed, {n}.",  # answered, billed, and cut off on its way
    "silent": "This one is silent, {n}.",  # answered without a word on tokens
    "bad": "",  # a line that is no JSON; another one would be another row
}
TEMPLATES = ("{{ question }}", "{{ question }} Be short.")
TABLE = (
    *("n", "row_id", "row_number", "status", "answer", "turns", "tool_calls"),
    *("error_kind", "error_code", "retryable"),
)


@dataclass(frozen=True)
class Step:
    """One command: kinds of all rows, which of them changed for how often, the template, the limit."""

    rows: tuple[str, ...]
    changed: frozenset[int] = frozenset()
    template: int = 0
    limit: int | None = None


@st.composite
def histories(draw: st.DrawFn) -> tuple[Step, ...]:
    """One to three commands; rows are only added, and the last command has no limit."""
    kinds = st.sampled_from(["plain", "plain", "tool", *QUESTIONS])
    rows: tuple[str, ...] = ("plain",)  # an input of bad lines alone has no columns
    steps: list[Step] = []
    for left in reversed(range(draw(st.integers(1, 3)))):
        rows += tuple(draw(st.lists(kinds, min_size=len(steps) == 0, max_size=6)))
        changed = draw(st.frozensets(st.integers(0, len(rows) - 1), max_size=3)) if steps else frozenset()
        limit = draw(st.none() | st.integers(1, len(rows))) if left else None
        steps.append(Step(rows, changed, draw(st.integers(0, 1)), limit))
    return tuple(steps)


lanes = st.sampled_from(["sync", "sync", "sync", "task"])
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""Each try is several whole commands: minutes of shrinking would tell less than the first example does."""
cuts = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.booleans()), min_size=1, max_size=3)
"""Where in the list of all cuts, and whether the next command of the history comes at once."""


@dataclass
class Cut:
    """The folder as one commit left it."""

    step: int
    folder: Path


@dataclass
class History:
    """Steps played over one folder, and what a kill after each of their commits would leave."""

    folder: Path
    url: str
    lane: str
    steps: tuple[Step, ...]
    cuts: list[Cut] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mill = Mill(self.folder, self.url, lane=self.lane)
        self.mill.key = "n"
        self.mill.tools = TOOLS
        self.mill.limits = {"concurrency": CONCURRENCY, "max_attempts": 1}
        self.mill.output = {"rows_per_part": 4}

    def play(self, first: int = 0) -> None:
        """The commands from `first` on, each to its end."""
        for number in range(first, len(self.steps)):
            self._command(number)

    def record(self) -> None:
        """All commands, with a copy of the folder after each commit."""
        for number in range(len(self.steps)):
            with mock.patch.object(run_command, "Ledger", self._copying(number)):
                self._command(number)

    def back_to(self, cut: Cut) -> None:
        """The folder as it was then."""
        shutil.rmtree(self.mill.out)
        shutil.copytree(cut.folder, self.mill.out)

    def _command(self, number: int) -> None:
        step = self.steps[number]
        lines = []
        for n, kind in enumerate(step.rows):
            again = " Again." * sum(n in earlier.changed for earlier in self.steps[: number + 1])
            text = QUESTIONS[kind].format(n=n, twice=2 * n) + again
            lines.append(json.dumps({"n": n, "question": text}) if kind != "bad" else f'{{"n": {n}, broken')
        source = self.folder / "rows.jsonl"
        text = "".join(f"{line}\n" for line in lines)
        source.write_text(text, encoding="utf-8")
        # After a cut the same rows come as the same file: what is written at another time is another input.
        os.utime(source, (0, 1_700_000_000 + zlib.crc32(text.encode()) % 10_000_000))
        self.mill.user = TEMPLATES[step.template]
        self.mill.save()
        limit = ("--limit", str(step.limit)) if step.limit is not None else ()
        code, said = command(self.mill.out, self.folder, *limit)
        assert code in (0, 1), said
        assert "bug of ours" not in said

    def _copying(self, step: int) -> type[Ledger]:
        history = self

        class Copying(Ledger):
            def _commit(self, group: Any) -> None:
                super()._commit(group)
                # In the writer's thread: nothing is told of this commit, and no other follows, before the copy is made.
                target = history.folder / f"cut-{len(history.cuts)}"
                _copy(history.mill.out, target)
                history.cuts.append(Cut(step, target))

        return Copying

    # -- what came of it --------------------------------------------------------------------------------------------

    def table(self) -> list[dict[str, Any]]:
        parts = sorted((self.mill.out / "results").glob("part-*.parquet"))
        return [row for part in parts for row in pq.read_table(part, columns=[*TABLE, "run", "calls"]).to_pylist()]

    def calls(self) -> list[dict[str, Any]]:
        columns = ["client_call_id", "row_id", "state", "error_code", "total_tokens"]
        found = []
        for part in sorted((self.mill.out / "calls").glob("*/part-*.parquet")):
            run = part.parent.name.removeprefix("run=")
            found += [
                {**row, "run": run} for row in pq.read_table(part, columns=columns, partitioning=None).to_pylist()
            ]
        return found

    def books(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/_sim/books") as answer:
            found: list[dict[str, Any]] = json.load(answer)
        return [record for record in found if record["route"] in ("chat", "submit")]


def _copy(folder: Path, target: Path) -> None:
    """As `copytree`, but a hidden file may be renamed under our hands."""
    target.mkdir()
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            _copy(path, target / path.name)
        elif not path.name.endswith("-shm"):
            try:
                shutil.copy(path, target / path.name)
            except FileNotFoundError:
                continue


def plain(table: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: row[name] for name in TABLE} for row in table]


@dataclass
class Expected:
    """What the undisturbed history came to."""

    table: list[dict[str, Any]]
    answered: int


def recorded(folder: Path, url: str, lane: str, steps: tuple[Step, ...]) -> tuple[History, Expected]:
    history = History(folder, url, lane, steps)
    history.record()
    table = history.table()
    assert [row["row_number"] for row in table] == list(range(len(steps[-1].rows)))
    expected = Expected(plain(table), sum(call["state"] == "answered" for call in history.calls()))
    check_sums(history)
    return history, expected


def go_on(history: History, expected: Expected, cut: Cut, *, skip: bool) -> None:
    """From one cut to the end, and all that must hold there."""
    history.back_to(cut)
    journaled = {row[0] for row in read(cut.folder / "ledger.db", "SELECT call_id FROM calls WHERE late IS NULL")}
    before, since = len(history.books()), datetime.now(UTC)
    history.play(cut.step + (skip and cut.step + 1 < len(history.steps)))
    assert plain(history.table()) == expected.table
    calls = history.calls()
    book = {call["client_call_id"]: call for call in calls}
    assert len(book) == len(calls), "a call stands twice in the book"
    assert journaled <= book.keys(), "a call that was sent is not in the book"
    new = history.books()[before:]
    open_ = {name for name, call in book.items() if call["total_tokens"] is None}
    bills.agree([history.mill.out], new, open_=open_, since=since, by_day=False)
    for record in new:
        found = book[record["client_call_id"]]
        assert record["billed"] or not found["total_tokens"]
        assert found["total_tokens"] in (None, record["total_tokens"])
    died = [call for call in calls if call["error_code"] == "process_ended"]
    assert len(died) <= CONCURRENCY
    if not skip:
        assert sum(call["state"] == "answered" for call in calls) == expected.answered, "bought twice"
    check_sums(history)
    assert not list((history.mill.out / "pending").iterdir())


def check_sums(history: History) -> None:
    """A row counts the calls that the run which settled it has in its book."""
    made = Counter((call["run"], call["row_id"]) for call in history.calls())
    for row in history.table():
        assert row["calls"] == made[row["run"], row["row_id"]], row
