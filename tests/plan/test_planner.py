"""`batch.plan.planner`: which rows are read and rendered, and when reading ends."""

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from batch.core.clock import HandClock
from batch.input.batches import Position
from batch.job.job import InputSpec, Job, ModelSpec, PromptSpec
from batch.job.options import ORDINARY
from batch.ledger.reader import Entry
from batch.ledger.totals import Planned
from batch.output.folder import OutputFolder
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


def planner(tmp_path: Path, ledger: Any, least: Least = Least()) -> Planner:
    path = jsonl(tmp_path, "".join(f'{{"q": "{n}"}}\n' for n in range(ROWS)))
    job = Job(
        name="plan",
        folder=tmp_path,
        input=InputSpec(path=path, key="q"),
        prompt=PromptSpec(user="{{ q }}"),
        model=ModelSpec(provider="simulator", name="glm-4"),
    )
    folder = OutputFolder(tmp_path / "out")
    folder.prepare()
    how = {"spilled": ["q"], "outputs": ["q"], "reader": ledger, "clock": HandClock()}
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
    made.stop_when(lambda: next(asked) > 3)
    if what == "candidates":
        assert len(list(made.candidates())) == 3_000
        return
    plan = made.next_range()
    assert (len(plan.rows), plan.position.row, plan.planned.complete) == (3_000, 3_000, False)
    assert len(rendered) == 3_000
    rest = made.next_range()
    assert not rest.rows, "and the next one does not begin"
