"""Every durable arrow of a row's life, killed right there, in every lane."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from batch.core import failpoints
from tests.support.longer import longer
from tests.system.kills.stage import CHUNKS, Stage, expected_answers, simulator

ROWS = 36
GROWN = 48
REWRITES = ("publish.rewrite_written", "publish.rewrite_named")
LANES = ("sync", "stream", "task")
OF_A_CALL = ("sent.", "accepted.", "answered.", "settled.")
TASKS_ONLY = ("accepted.received", "accepted.committed")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with simulator(tmp_path_factory.mktemp("sim"), f"time_factor = 0.2\n{CHUNKS}batch_ms = [100, 500]\n") as address:
        yield address


@pytest.fixture(scope="module")
def slow_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Batches of which a third is done when their time is over."""
    scenario = "[latency]\nbatch_ms = [2500, 2500]\nchat_ms = [5, 20]\n"
    with simulator(tmp_path_factory.mktemp("slow"), scenario) as address:
        yield address


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory, url: str) -> dict[int, str]:
    return expected_answers(tmp_path_factory.mktemp("calm") / "job", url, "sync", GROWN)


def points() -> list[tuple[str, str]]:
    """Every step in one lane, and those of a call in all three: what is before it and after it knows no lane."""
    names = [
        name
        for name in failpoints.NAMES
        if name not in REWRITES
        and not name.startswith(("prune.", "copies.", "bulk."))
        and not name.endswith("_put")  # where the output is in a store: tests/system/stores
    ]
    found = {lane: [name for name in names if lane == "task" or name not in TASKS_ONLY] for lane in LANES}
    ours = {lane: [name for name in found[lane] if lane == "sync" or name.startswith(OF_A_CALL)] for lane in LANES}
    more = longer((lane, name) for lane in LANES for name in found[lane] if name not in ours[lane])
    return [*((lane, name) for lane in LANES for name in ours[lane]), *more]


def in_batches() -> list[str]:
    """Every step of a batch, and two of the rows in it; what follows is the same in every lane."""
    return [
        name
        for name in failpoints.NAMES
        if name.startswith(("bulk.", "answered.committed", "settled.")) and name not in ("bulk.cancelled", "bulk.found")
    ]


def between_lanes() -> list[str]:
    """Every step of a batch whose time is over, and the first of the calls that take over from it."""
    return ["bulk.cancelled", "bulk.ended", "bulk.downloaded", "bulk.line", "bulk.collected", "sent.committed"]


@pytest.mark.parametrize(("lane", "name"), points())
def test_a_run_killed_at_a_failpoint_continues_to_the_same_table(
    lane: str, name: str, tmp_path: Path, url: str, answers: dict[int, str]
) -> None:
    """Ours: promise 1 and 2, at the first and at a later passing of the point; in lane sync with worker processes."""
    stage = Stage(tmp_path / "job", url, lane, rows=ROWS, rows_per_part=12, quick=lane != "sync")
    assert stage.run(f"{name}:1") == -9, f"{name} was never passed: {stage.said}"
    stage.run(f"{name}:2")
    stage.finish()
    stage.verify(answers)


@pytest.mark.parametrize("name", in_batches())
def test_a_run_in_batches_killed_at_a_failpoint_buys_nothing_twice(
    name: str, tmp_path: Path, url: str, answers: dict[int, str]
) -> None:
    """Ours: nothing is at risk in batches: not one call is bought twice, and none is unknown."""
    stage = Stage(tmp_path / "job", url, "bulk", rows=ROWS, rows_per_part=12, quick=True)
    assert stage.run(f"{name}:1") == -9, f"{name} was never passed: {stage.said}"
    stage.run(f"{name}:2")
    stage.finish()
    figures = stage.verify(answers)
    told = f"SELECT * FROM read_parquet('{stage.out}/calls/*/*.parquet') WHERE state = 'unknown'"
    assert figures["unknown"] == 0, stage.query(told)
    assert figures["billed"] == ROWS + ROWS // 2, "a sum takes two turns, any other row one"


@pytest.mark.parametrize("name", between_lanes())
def test_a_run_killed_while_its_rows_change_lane_buys_nothing_twice(
    name: str, tmp_path: Path, slow_url: str, answers: dict[int, str]
) -> None:
    """Ours: cancelled, waited for, collected, then sent, whenever it is killed; what is at risk are calls of `sync`."""
    stage = Stage(tmp_path / "job", slow_url, "bulk,sync", rows=ROWS, rows_per_part=12, deadline_s=1.0, quick=True)
    assert stage.run(f"{name}:1") == -9, f"{name} was never passed: {stage.said}"
    stage.run(f"{name}:2")
    stage.finish()
    figures = stage.verify(answers)
    assert figures["billed"] - (ROWS + ROWS // 2) == figures["unknown_billed"]
    book = f"read_parquet('{stage.out}/calls/*/*.parquet')"
    lanes = dict(stage.query(f"SELECT lane, count(*) FILTER (state = 'unknown') FROM {book} GROUP BY lane"))
    assert lanes.keys() == {"bulk", "sync"}
    assert lanes["bulk"] == 0, "a line of a batch is never in doubt"


@pytest.mark.parametrize("name", [*REWRITES, "publish.calls_named", "publish.committed"])
def test_a_rewrite_killed_in_any_step_leaves_the_part_whole(
    name: str, tmp_path: Path, url: str, answers: dict[int, str]
) -> None:
    """Ours: a part that grows is replaced only whole, and its old rows stay where they are."""
    stage = Stage(tmp_path / "job", url, "sync", rows=ROWS, rows_per_part=1_000)
    assert stage.run(None, "--limit", "18") == 0, stage.said
    before = stage.results("n, row_number")
    stage.write_input(GROWN)
    (stage.folder / "job.toml").write_text(
        (stage.folder / "job.toml").read_text(encoding="utf-8").replace("{{ question }}", "{{ question }} "),
        encoding="utf-8",
    )
    assert stage.run(f"{name}:1") == -9, stage.said
    assert {row[1] for row in before} <= {row[0] for row in stage.results("row_number")}
    stage.finish()
    assert [row[0] for row in stage.results("row_number")] == list(range(GROWN))
    assert len(stage.results("DISTINCT row_id")) == GROWN
    stage.verify_books()


def test_the_list_of_failpoints_is_the_list_of_what_the_code_passes() -> None:
    """Ours: a point that nothing passes would be a test that cannot fail."""
    package = Path(failpoints.__file__).parents[1]
    code = "".join(path.read_text(encoding="utf-8") for path in package.rglob("*.py") if path.name != "failpoints.py")
    assert [name for name in failpoints.NAMES if f'"{name}"' not in code] == []
