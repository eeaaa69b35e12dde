"""`batch.plan.planner`: which rows are read and rendered, and when reading ends."""

from collections.abc import Sequence
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from batch.core.clock import HandClock
from batch.input.batches import Position
from batch.job.job import InputSpec, Job, LimitSpec, ModelSpec, OutputSpec, PromptSpec
from batch.job.options import ORDINARY
from batch.ledger.reader import Entry
from batch.ledger.totals import Planned
from batch.output.folder import OutputFolder
from batch.plan.lookups import Lookups
from batch.plan.numbers import Least
from batch.plan.planner import Planner
from batch.prompts.prompt import Prompt
from batch.prompts.variants import Variants
from batch.run.drawing import draw
from batch.tools.registry import ToolSet
from tests.support.rows import jsonl, source

ROWS = 5_500


class Ledger:
    """What a planner asks a ledger: `answered` rows have an outcome that asked something else."""

    def __init__(self, answered: Sequence[str] = ()) -> None:
        self._answered = frozenset(answered)

    def next_number(self, _: str) -> int:
        return 0

    def carried(self) -> set[tuple[str, str]]:
        return set()

    def seen(self, _: Sequence[str]) -> dict[str, tuple[int, str | None]]:
        return {}

    def entries(self, row_ids: Sequence[str]) -> dict[tuple[str, str], Entry]:
        known = [row_id for row_id in row_ids if row_id in self._answered]
        return {(row_id, ""): Entry(row_id, "", 0, 0, b"other", 0) for row_id in known}


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that were rendered."""
    texts: list[str] = []
    render = Prompt.conversation

    def noted(self: Prompt, record: Any) -> Any:
        texts.append(record["q"])
        return render(self, record)

    monkeypatch.setattr(Prompt, "conversation", noted)
    return texts


def planner(
    tmp_path: Path,
    ledger: Any,
    least: Least = Least(),
    *,
    in_part: int = 10_000,
    lane: Any = "sync",
    concurrency: int = 50,
) -> Planner:
    path = jsonl(tmp_path, "".join(f'{{"q": "{n}"}}\n' for n in range(ROWS)))
    job = Job(
        name="plan",
        folder=tmp_path,
        input=InputSpec(path=path, key="q"),
        prompt=PromptSpec(user="{{ q }}"),
        model=ModelSpec(provider="simulator", name="glm-4", lane=lane),
        limits=LimitSpec(concurrency=concurrency),
        output=OutputSpec(rows_per_part=in_part),
    )
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    how: dict[str, Any] = {"spilled": ["q"], "outputs": ["q"], "lookups": Lookups(ledger), "clock": HandClock()}
    made = Planner(job, source(path, key="q"), Variants(job, ToolSet.empty()), folder, **how)
    made.start(Position(), Planned(), least)
    return made


def test_a_number_that_was_free_when_the_run_began_is_not_given_again_after_pruning(tmp_path: Path) -> None:
    """Ours: what was settled before a kill is published and pruned before the first range of the next process is planned.

    Under the old numbers its rows were taken for rows that had been handed out, and were left over by an exit of 0.
    """
    made = planner(tmp_path, Ledger(), Least(range=1, work_id=8))
    found = made.next_range()
    assert (found.range, found.first_work) == (1, 8)
    after = made.next_range()
    assert (after.range, after.first_work) == (2, 8 + len(found.rows))


@pytest.mark.parametrize(
    ("in_part", "lane", "concurrency", "sizes", "parts"),
    [
        (10_000, "sync", 50, [500, 5_000], [0, 0]),
        (10_000, "sync", 2_000, [2_000, 3_500], [0, 0]),
        (2_000, "task", 50, [500, 1_500, 2_000, 1_500], [0, 0, 1, 2]),
        (2_000, "sync", 3_000, [1_000, 1_000, 2_000, 1_500], [0, 0, 1, 2]),
        (1_000, "sync", 50, [1_000] * 5 + [500], [0, 1, 2, 3, 4, 5]),
        (10_000, "bulk", 50, [5_500], [0]),
    ],
)
def test_the_first_rows_are_admitted_while_the_rest_of_their_part_is_planned(
    tmp_path: Path, in_part: int, lane: str, concurrency: int, sizes: list[int], parts: list[int]
) -> None:
    """Ours: a first request need not wait for ten thousand rows, and the table has no small part for it.

    Nor does any call that may be in flight beside it: where 2,000 may be, so many rows are there at once. A part stays as large as it was, a small one is planned at once, and so is what is sent together in a batch.
    """
    made = planner(tmp_path, Ledger(), in_part=in_part, lane=lane, concurrency=concurrency)
    plans = [made.next_range() for _ in sizes]
    assert [len(plan.rows) for plan in plans] == sizes
    assert [{row.part for row in plan.rows} for plan in plans] == [{part} for part in parts]
    assert [plan.next_part for plan in plans] == [part + 1 for part in parts], "a killed run goes on with a new one"
    assert [plan.goes_on for plan in plans] == [*(a == b for a, b in pairwise(parts)), False]
    assert [plan.range for plan in plans] == list(range(len(sizes)))
    assert plans[-1].next_row_number == ROWS


@pytest.mark.parametrize("limit", [300, 500])
def test_no_part_waits_for_rows_that_the_limit_leaves_out(tmp_path: Path, limit: int) -> None:
    """Ours: the first range is the last one then."""
    made = planner(tmp_path, Ledger())
    made.restrict(limit=limit)
    plan = made.next_range()
    assert (len(plan.rows), plan.goes_on) == (limit, False)


def test_a_draw_renders_only_rows_that_were_answered(tmp_path: Path, rendered: list[str]) -> None:
    """FIELD 40. A row that nobody ever asked is new whatever it asks: 400,000 of them took half a minute."""
    made = planner(tmp_path, Ledger(["7", "4000"]))
    made.restrict(kinds=ORDINARY)
    drawn = draw(made.candidates(), count=ROWS, seed=0)
    assert sorted(map(int, drawn)) == list(range(ROWS))
    assert rendered == ["7", "4000"]
    only_new = planner(tmp_path, Ledger(["7", "4000"]))
    only_new.restrict(kinds=frozenset(("new",)))
    assert len(list(only_new.candidates())) == ROWS - 2


@pytest.mark.parametrize("what", ["candidates", "range"])
def test_reading_ends_soon_after_a_stop(tmp_path: Path, rendered: list[str], what: str) -> None:
    """FIELD 40. A thread cannot be interrupted; it asks after each batch of 1,000 rows."""
    made = planner(tmp_path, Ledger())
    asked = count(1)
    if what == "candidates":
        made.stop_when(lambda: next(asked) > 3)
        assert len(list(made.candidates())) == 3_000
        return
    made.next_range()
    made.stop_when(lambda: next(asked) > 3)
    plan = made.next_range()
    assert (len(plan.rows), plan.position.row, plan.planned.complete) == (3_000, 3_500, False)
    assert len(rendered) == 3_500
    rest = made.next_range()
    assert not rest.rows, "and the next one does not begin"
